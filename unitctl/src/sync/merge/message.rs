//! What the operator reads about facts that are overwritten or stay open.

use std::fmt;

use super::model::{Fact, Obstacle, OpenFact, Overwritten};

impl fmt::Display for Overwritten {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { subject, side, overwritten, kept } = self;
        let other = side.other();
        match kept {
            Fact::Monitor(user, true) => write!(
                f,
                "{subject}: user {user} is no monitor in {side} and becomes one there, because the user is a monitor in \
                 {other}"
            ),
            Fact::Monitor(user, false) => write!(
                f,
                "{subject}: user {user} is a monitor in {side} and is removed there, because the user is no monitor in \
                 {other}"
            ),
            _ => write!(f, "{subject}: {overwritten} in {side} is overwritten with {kept}, as in {other}"),
        }
    }
}

impl fmt::Display for OpenFact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { subject, fact, reason } = self;
        write!(f, "{subject}: {fact} in MongoDB can't be carried to DynamoDB, because {reason}")
    }
}

impl fmt::Display for Fact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // Quoted, because a name may contain anything, such as the end of a line.
            Self::Name(name) => write!(f, "the name {name:?}"),
            Self::Visibility(visibility) => write!(f, "the visibility {}", visibility.as_str()),
            Self::Monitor(user, true) => write!(f, "the monitor {user}"),
            Self::Monitor(user, false) => write!(f, "the removal of monitor {user}"),
            Self::Place(Some(unit)) => write!(f, "its place in unit {unit}"),
            Self::Place(None) => f.write_str("its place in no unit"),
        }
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotAMonitor => "the user does not have the role of a monitor there",
            Self::TooLarge => "the unit would be too large for one item there",
        })
    }
}
