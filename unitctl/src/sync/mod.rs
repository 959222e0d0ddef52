//! `unitctl sync`: keeps Rocket.Chat's MongoDB and the function's DynamoDB the same while both are in use.
//!
//! [`follow`] takes events of both sides, which only say what to look at. A [`look`] reads both sides, decides what to
//! change ([`merge`]), and writes on the condition that what it read has not changed. A [`pass`] compares everything.

pub mod base;
pub mod compare;
pub mod copy;
pub mod delays;
pub mod dynamodb;
pub mod follow;
pub mod guard;
pub mod health;
pub mod look;
pub mod merge;
pub mod model;
pub mod mongodb;
mod options;
pub mod pass;
pub mod place;
pub mod queue;
pub mod report;
pub mod rooms;
mod run;
pub mod scan;
pub mod several;
pub mod sides;
pub mod stamp;
pub mod streams;
pub mod together;
pub mod units;

use anyhow::Result;

pub use self::options::Sync;
use crate::database::Database;

impl Sync {
    /// Runs the command. Returns true if no fact stays open and nothing was held back. This matters only with `--once`.
    ///
    /// # Errors
    /// MongoDB refuses the user, is a standalone server or another workspace; the table has no stream; or, with
    /// `--once`, another process works or a database can't be reached.
    pub async fn run(&self, database: Database, streams: aws_sdk_dynamodbstreams::Client) -> Result<bool> {
        run::run(self, database, streams).await
    }
}
