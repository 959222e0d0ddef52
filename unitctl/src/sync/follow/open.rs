//! Opens DynamoDB's stream.

use std::time::Duration;

use anyhow::Result;
use tokio::time::sleep;

use crate::sync::sides::Sides;
use crate::sync::streams::{Follower, NoStream, Position};

/// The pause before DynamoDB's stream is opened again.
const PAUSE_BEFORE_OPENING: Duration = Duration::from_secs(1);

/// Opens DynamoDB's stream. Repeats that until it succeeds.
///
/// # Errors
/// A problem does not go away by itself: the table has no stream, or a permission is missing.
pub async fn open_stream(
    sides: &Sides,
    streams: aws_sdk_dynamodbstreams::Client,
    start: Option<&Position>,
) -> Result<Follower> {
    let mut said = None;
    loop {
        let (database, table) = (sides.database.client.clone(), sides.database.tables.livechat.clone());
        match Follower::open(streams.clone(), database, table, start).await {
            Ok(opened) => return Ok(opened.follower),
            Err(error) if error.is::<NoStream>() || format!("{error:#}").contains("AccessDenied") => {
                return Err(error);
            }
            Err(error) => {
                let words = format!("DynamoDB's stream can't be opened: {error:#}");
                if said.as_ref() != Some(&words) {
                    sides.reporter.failure(None, &words);
                    said = Some(words);
                }
                sleep(PAUSE_BEFORE_OPENING).await;
            }
        }
    }
}
