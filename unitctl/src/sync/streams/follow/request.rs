//! A request for the next records of a shard.

use std::future::Future;
use std::pin::Pin;

use aws_sdk_dynamodbstreams::Client;
use time::OffsetDateTime;
use tokio::time::Instant;

use crate::sync::streams::client::{self, Page};
use crate::sync::streams::shards::Start;

/// A request that is on its way.
pub type Request = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// The result of a request for records.
pub struct Answer {
    /// The shard.
    pub shard: String,
    /// When the request was sent.
    pub sent: Instant,
    /// The same time, in seconds since 1970.
    pub sent_at: i64,
    /// The records, or what the error means.
    pub page: Page,
}

/// Reads the next records of a shard.
pub async fn read(
    client: Client,
    stream: String,
    shard: String,
    start: Start,
    iterator: Option<String>,
) -> Answer {
    let (sent, sent_at) = (Instant::now(), now());
    let iterator = match iterator {
        Some(iterator) => Ok(iterator),
        None => client::iterator(&client, &stream, &shard, &start).await,
    };
    let page = match iterator {
        Ok(iterator) => client::records(&client, &iterator).await,
        Err(page) => page,
    };
    Answer { shard, sent, sent_at, page }
}

/// Seconds since 1970.
pub fn now() -> i64 {
    OffsetDateTime::now_utc().unix_timestamp()
}
