//! What the operator reads about facts that were overwritten or stay open.

use std::fmt;

use super::{Fact, Lost, Obstacle, OpenFact};

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { subject, side, overwritten, kept } = self;
        let other = side.other();
        write!(f, "{subject}: {side} had {overwritten}; this is overwritten, since {other} has {kept}")
    }
}

impl fmt::Display for OpenFact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { subject, fact, reason } = self;
        write!(f, "{subject}: MongoDB has {fact}; DynamoDB can't have this, since {reason}")
    }
}

impl fmt::Display for Fact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // Quoted, since a name may contain anything, such as the end of a line.
            Self::Name(name) => write!(f, "the name {name:?}"),
            Self::Visibility(visibility) => write!(f, "the visibility {}", visibility.as_str()),
            Self::Monitor(user, true) => write!(f, "user {user} as a monitor"),
            Self::Monitor(user, false) => write!(f, "user {user} not as a monitor"),
            Self::Place(Some(unit)) => write!(f, "the department in unit {unit}"),
            Self::Place(None) => f.write_str("the department in no unit"),
        }
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotAMonitor => "that user is no monitor there",
            Self::TooLarge => "the unit would be too large for an item",
        })
    }
}
