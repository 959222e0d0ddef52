//! What the sync reads and writes in DynamoDB, except units, which are written by the function's own plan.
//!
//! Each kind is looked at in three steps: `read` reads what is stored, *before* MongoDB is read; `decide` says what to
//! write, without any request; `write` writes it, on the condition that what is stored is still as it was read.

pub mod departments;
pub mod permissions;
pub mod positions;
#[cfg(test)]
pub mod testing;
pub mod users;
pub mod workspace;

use time::OffsetDateTime;

use super::model::Removal;

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// It is stored.
    Committed,
    /// What is stored is not what the decision was based on. Both sides have to be read again.
    Refused,
}

impl From<bool> for Written {
    fn from(is_committed: bool) -> Self {
        if is_committed { Self::Committed } else { Self::Refused }
    }
}

/// What to do about one user, permission or department.
#[derive(Debug)]
pub struct Decision<W> {
    /// What to write, if it is not as it should be.
    pub write: Option<W>,
    /// Whether it has to be removed, but nothing may be removed now.
    pub is_held_back: bool,
    /// What of MongoDB's document can't be used, and why. Nothing is removed because of that.
    pub problems: Vec<String>,
}

impl<W> Decision<W> {
    fn nothing() -> Self {
        Self { write: None, is_held_back: false, problems: Vec::new() }
    }

    fn write(write: W) -> Self {
        Self { write: Some(write), ..Self::nothing() }
    }

    fn removal(write: W, removal: Removal) -> Self {
        if removal.is_allowed() { Self::write(write) } else { Self { is_held_back: true, ..Self::nothing() } }
    }

    fn problem(reason: String) -> Self {
        Self { problems: vec![reason], ..Self::nothing() }
    }
}

/// The `rev` of the next write. A new item starts at the time in milliseconds: if an item is deleted and made again, it
/// never has a `rev` that it had before. So a write that is based on the first item is refused.
fn next_rev(stored: Option<u64>, now: OffsetDateTime) -> u64 {
    match stored {
        Some(rev) => rev.saturating_add(1),
        None => u64::try_from(now.unix_timestamp_nanos() / 1_000_000).unwrap_or_default().max(1),
    }
}
