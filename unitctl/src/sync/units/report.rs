//! Reports what a look at a unit changes, overwrites and leaves open, in words.

use std::collections::BTreeSet;

use livechat_units::id::DepartmentId;
use livechat_units::limits::MAX_ITEM_BYTES;

use super::both_sides::OnBothSides;
use crate::sync::base::UnitDelta;
use crate::sync::merge::PlaceMerge;
use crate::sync::model::{Side, Subject};
use crate::sync::sides::{Looked, Sides};

impl OnBothSides<'_> {
    /// Reports what is overwritten, before anything is written, and what stays open. Adds the other units that have to
    /// be looked at, because the looks at them write the places that this look does not write.
    pub(super) fn report(&self, sides: &Sides, looked: &mut Looked) {
        let subject = self.subject();
        for change in &self.merge.overwritten {
            sides.reporter.overwritten(&subject, change);
        }
        let mut open: BTreeSet<String> = self.merge.open.iter().map(ToString::to_string).collect();
        for (id, found) in &self.snapshot.departments {
            match found {
                Err(reason) => {
                    open.insert(format!("MongoDB's document of department {id} can't be used: {reason}"));
                }
                Ok(_) if !self.stored.departments.contains_key(id) => {
                    open.insert(format!("department {id} is not in DynamoDB, so the unit lacks it there"));
                }
                Ok(_) => {}
            }
        }
        for id in &self.left_out {
            open.insert(format!(
                "department {id} can't join the unit in DynamoDB, whose item would be over {} KB",
                MAX_ITEM_BYTES / 1024
            ));
        }
        if sides.mode.is_from_mongodb {
            open.extend(self.to_mongodb_in_words().map(|words| format!("not written to MongoDB: {words}")));
        }
        sides.reporter.open(&subject, open);
        let ours: BTreeSet<&DepartmentId> =
            self.moves(Side::DynamoDb).chain(self.moves(Side::MongoDb)).map(|(id, _)| id).collect();
        for (id, place) in &self.places {
            if ours.contains(id) {
                if let Some(change) = &place.overwritten {
                    sides.reporter.overwritten(&Subject::Department(id.clone()), change);
                }
            } else if let (Some(_), Some(target)) = (place.write_to, &place.target)
                && target != self.id
            {
                looked.follow_ups.insert(Subject::Unit(target.clone()));
            } else if place.write_to.is_some() {
                // The department leaves another unit and joins none. The look at that other unit writes this.
                let views = [
                    self.stored.departments.get(id).map(|found| &found.view),
                    self.snapshot
                        .departments
                        .get(id)
                        .and_then(|found| found.as_ref().ok())
                        .map(|found| &found.view),
                ];
                let others = views.into_iter().flatten().filter_map(|view| view.place.clone());
                looked.follow_ups.extend(others.filter(|other| other != self.id).map(Subject::Unit));
            }
        }
    }

    pub(super) fn say_what_would_be_done(&self, sides: &Sides) {
        let subject = self.subject();
        for words in self.to_dynamodb_in_words() {
            sides.reporter.change(&subject, Side::DynamoDb, words);
        }
        if !sides.mode.is_from_mongodb {
            for words in self.to_mongodb_in_words() {
                sides.reporter.change(&subject, Side::MongoDb, words);
            }
        }
    }

    fn to_dynamodb_in_words(&self) -> impl Iterator<Item = String> {
        changes_in_words(&self.merge.to_dynamodb)
            .into_iter()
            .chain(self.moves(Side::DynamoDb).map(|(id, place)| move_in_words(id, place)))
    }

    fn to_mongodb_in_words(&self) -> impl Iterator<Item = String> {
        changes_in_words(&self.merge.to_mongodb)
            .into_iter()
            .chain(self.moves(Side::MongoDb).map(|(id, place)| move_in_words(id, place)))
    }
}

/// The changes of a unit's own facts, one text each.
pub(super) fn changes_in_words(delta: &UnitDelta) -> Vec<String> {
    let mut words = Vec::new();
    words.extend(delta.name.as_ref().map(|name| format!("the name is now {name:?}")));
    words.extend(delta.visibility.map(|visibility| format!("the visibility is now {}", visibility.as_str())));
    words.extend(delta.leave.iter().map(|user| format!("user {user} is no monitor any more")));
    words.extend(delta.join.iter().map(|user| format!("user {user} is a monitor now")));
    words
}

pub(super) fn move_in_words(id: &DepartmentId, place: &PlaceMerge) -> String {
    match &place.target {
        Some(unit) => format!("department {id} is now in unit {unit}"),
        None => format!("department {id} is now in no unit"),
    }
}
