//! The merge of a department's place.

use livechat_units::id::DepartmentId;

use super::decide::{Decision, decide, winner};
use super::model::{Fact, NoBase, Overwritten, PlaceMerge};
use crate::sync::base::{DepartmentBase, IntentState};
use crate::sync::model::{Place, PlaceView, Side, Subject};
use crate::sync::stamp;

/// Merges a department's place. If the base has an intent that still needs a fence ([`DepartmentBase::fence`]), the
/// result must not be written.
pub fn merge_place(
    id: &DepartmentId,
    base: Option<&DepartmentBase>,
    mongodb: &PlaceView,
    dynamodb: &PlaceView,
    no_base: NoBase,
) -> PlaceMerge {
    let known = match base {
        Some(base) => base.settle(mongodb),
        None => (no_base == NoBase::AsImported).then_some(&dynamodb.place),
    };
    let winner = winner(base.is_none().then_some(no_base), &mongodb.updated_at, &dynamodb.updated_at);
    match decide(known, &mongodb.place, &dynamodb.place, winner) {
        Decision::Equal => PlaceMerge {
            target: mongodb.place.clone(),
            write_to: None,
            updated_at: mongodb.updated_at.clone(),
            before: mongodb.place.clone(),
            overwritten: None,
        },
        Decision::Write { to, is_loss } => {
            let (overwritten, kept, updated_at) = match to {
                Side::MongoDb => {
                    (mongodb, dynamodb, stamp::for_mongodb(&dynamodb.updated_at, &mongodb.updated_at))
                }
                Side::DynamoDb => {
                    (dynamodb, mongodb, stamp::for_dynamodb(&mongodb.updated_at, &dynamodb.updated_at))
                }
            };
            let change = is_loss.then(|| Overwritten {
                subject: Subject::Department(id.clone()),
                side: to,
                overwritten: Fact::Place(overwritten.place.clone()),
                kept: Fact::Place(kept.place.clone()),
            });
            PlaceMerge {
                target: kept.place.clone(),
                write_to: Some(to),
                updated_at,
                before: overwritten.place.clone(),
                overwritten: change,
            }
        }
    }
}

impl DepartmentBase {
    /// The place of the base, or the intended place if the intent was committed. `None` if it is unknown whether it was
    /// committed.
    fn settle(&self, mongodb: &PlaceView) -> Option<&Place> {
        let Some(intent) = &self.intent else { return Some(&self.place) };
        match intent.state(mongodb) {
            IntentState::Committed => Some(&intent.place),
            IntentState::Pending | IntentState::Void => Some(&self.place),
            IntentState::Unknown => None,
        }
    }
}
