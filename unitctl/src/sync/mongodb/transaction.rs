//! Transactions that read one snapshot, and may write.

use std::time::Duration;

use mongodb::ClientSession;
use mongodb::options::{ReadConcern, ReadPreference, SelectionCriteria, WriteConcern};

use super::client::MongoDb;
use super::failure::{Cause, Failure, within_connect};

/// The maximum number of tries of a transaction that meets other writes.
pub const MAX_ATTEMPTS: u32 = 6;

/// The maximum number of times that a commit is sent, if no reply comes.
const MAX_COMMITS: u32 = 3;

/// The result of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MongoWritten {
    /// All of it is stored.
    Committed,
    /// Nothing is stored, because MongoDB is not as it was when the decision was made.
    Refused,
}

impl MongoDb {
    /// Starts a transaction that only reads, in a session of its own. It is aborted when the session is dropped.
    pub(super) async fn begin(&self) -> Result<ClientSession, Failure> {
        let mut session = within_connect(self.client.start_session()).await?;
        let start = session
            .start_transaction()
            .read_concern(ReadConcern::snapshot())
            .write_concern(WriteConcern::majority())
            .selection_criteria(SelectionCriteria::ReadPreference(ReadPreference::Primary));
        within_connect(start).await?;
        Ok(session)
    }

    /// Starts a transaction that writes. The change streams don't report what it writes, because the look that writes knows it.
    pub(super) async fn begin_to_write(&self) -> Result<ClientSession, Failure> {
        let session = self.begin().await?;
        self.known.note_own_session(session.id());
        Ok(session)
    }
}

/// Commits a transaction. After one that only read, this makes sure that the majority has what was read.
pub async fn commit(session: &mut ClientSession) -> Result<(), Failure> {
    let mut attempt = 1;
    loop {
        match within_connect(session.commit_transaction()).await {
            Err(failure) if failure.cause == Cause::UnknownCommit && attempt < MAX_COMMITS => attempt += 1,
            result => return result,
        }
    }
}

/// Waits before a transaction is tried again: some milliseconds at random, more after each attempt.
pub async fn pause(attempt: u32) {
    tokio::time::sleep(Duration::from_millis(fastrand::u64(2..10 << attempt.min(6)))).await;
}
