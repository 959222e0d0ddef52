//! What a follower of the stream says.

use std::collections::BTreeSet;

use time::OffsetDateTime;

use super::shards::Position;
use crate::sync::model::Subject;

/// What a follower says.
#[derive(Clone, Debug, PartialEq)]
pub enum StreamEvent {
    /// These subjects were written, in any order and any number of times.
    Look {
        /// What to look at.
        subjects: BTreeSet<Subject>,
        /// The position once this event and all events before it are dealt with.
        position: Position,
        /// When the oldest of them was written, to the second.
        written_at: Option<OffsetDateTime>,
    },
    /// Nothing that matters was written since the last event. It comes about once a second, and shows that the stream still
    /// works.
    Idle {
        /// The position once all events before this one are dealt with.
        position: Position,
    },
    /// Something that was written is not in the stream any more. A full pass is needed.
    Lost,
    /// The stream can't be read at the moment, for this reason. Any other event means that it can be read again.
    Failing(String),
}
