//! How long a subject waits for further events before it is looked at.

use std::time::Duration;

use super::model::{Side, Subject};

/// How long a subject waits.
#[derive(Clone, Copy, Debug)]
pub struct Delays {
    /// How long no event of it may have come.
    pub quiet: Duration,
    /// The maximum time from its first event to the look.
    pub max: Duration,
}

impl Delays {
    /// What a subject waits for after an event of this side.
    pub fn after_event(subject: &Subject, side: Side) -> Self {
        let (quiet, max) = match (subject, side) {
            (Subject::User(_) | Subject::Permission(_) | Subject::Rooms(_), _) => (0, 0),
            // Rocket.Chat saves a unit in many separate writes.
            (Subject::Unit(_), Side::MongoDb) => (300, 700),
            // The function changes a unit in one transaction. A large update has several, one soon after the other.
            (Subject::Unit(_), Side::DynamoDb) => (100, 700),
            // A save of a unit writes all its departments one after the other. If they wait a moment, one look compares
            // them all.
            (Subject::Department(_), Side::MongoDb) => (200, 400),
            // The unit has changed in the same transaction, and the look at it makes the department's place the same,
            // too. After that, this look finds nothing to do.
            (Subject::Department(_), Side::DynamoDb) => (500, 700),
        };
        Self { quiet: Duration::from_millis(quiet), max: Duration::from_millis(max) }
    }
}
