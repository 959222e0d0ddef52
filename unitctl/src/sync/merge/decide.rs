//! The rule for one fact.

use super::model::NoBase;
use crate::sync::model::Side;
use crate::sync::stamp;

/// The side that counts if both changed a fact, by the times of their last change. `no_base` says how to decide if there is
/// no base; it is `None` if there is one.
pub fn winner(no_base: Option<NoBase>, mongodb: &str, dynamodb: &str) -> Side {
    match no_base {
        Some(NoBase::Prefer(side)) => side,
        _ if stamp::is_later(dynamodb, mongodb) => Side::DynamoDb,
        _ => Side::MongoDb,
    }
}

/// What to do with a fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Both sides have the same value.
    Equal,
    /// This side's value is overwritten with the other one's.
    Write {
        /// The side.
        to: Side,
        /// True if the overwritten value was changed since the base, too.
        is_loss: bool,
    },
}

/// Decides about a fact. `base` is `None` if it is unknown. `winner` counts if both sides have changed the fact.
pub fn decide<T: PartialEq + ?Sized>(base: Option<&T>, mongodb: &T, dynamodb: &T, winner: Side) -> Decision {
    if mongodb == dynamodb {
        Decision::Equal
    } else if base == Some(mongodb) {
        Decision::Write { to: Side::MongoDb, is_loss: false }
    } else if base == Some(dynamodb) {
        Decision::Write { to: Side::DynamoDb, is_loss: false }
    } else {
        Decision::Write { to: winner.other(), is_loss: true }
    }
}
