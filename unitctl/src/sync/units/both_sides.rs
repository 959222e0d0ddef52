//! A unit that both sides have: what a look has read and merged, and what it writes to which side.

use std::collections::{BTreeMap, BTreeSet};

use livechat_units::id::{DepartmentId, UnitId};

use super::read::Stored;
use crate::import::workspace::StoredUnit;
use crate::sync::merge::{PlaceMerge, UnitMerge};
use crate::sync::model::{PlaceView, Side, Subject};
use crate::sync::mongodb::{MongoUnit, UnitSnapshot};

/// What a step of a look did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing is left to do.
    Done,
    /// Something was written. Both sides have to be read again, to find what is left to do.
    Again,
    /// A write was refused, because something has changed since it was read.
    Refused,
}

/// A unit that both sides have, and what follows from it.
pub(super) struct OnBothSides<'a> {
    pub(super) id: &'a UnitId,
    pub(super) stored: &'a Stored,
    pub(super) unit: &'a StoredUnit,
    pub(super) snapshot: &'a UnitSnapshot,
    pub(super) mongodb: &'a MongoUnit,
    pub(super) merge: UnitMerge,
    /// The places of the departments that exist on both sides and are in this unit on at least one of them.
    pub(super) places: BTreeMap<DepartmentId, PlaceMerge>,
    /// Departments that can't join DynamoDB's unit, because its item would be too large.
    pub(super) left_out: BTreeSet<DepartmentId>,
}

impl OnBothSides<'_> {
    pub(super) fn subject(&self) -> Subject {
        Subject::Unit(self.id.clone())
    }

    /// The departments whose places this look writes to a side: those that join this unit, and those that leave it and
    /// join no other one. If a department moves to another unit, the look at that unit writes it.
    pub(super) fn moves(&self, side: Side) -> impl Iterator<Item = (&DepartmentId, &PlaceMerge)> {
        self.places.iter().filter(move |(id, place)| {
            let is_here = |view: &PlaceView| view.place.as_ref() == Some(self.id);
            let now_here = match side {
                Side::DynamoDb => self.stored.departments.get(*id).is_some_and(|found| is_here(&found.view)),
                Side::MongoDb => {
                    let found = self.snapshot.departments.get(*id).and_then(|found| found.as_ref().ok());
                    found.is_some_and(|found| is_here(&found.view))
                }
            };
            let is_ours = match &place.target {
                Some(target) => target == self.id,
                None => now_here,
            };
            place.write_to == Some(side) && is_ours && !self.left_out.contains(*id)
        })
    }

    /// Leaves out the changes that make DynamoDB's item larger. They stay open, and all other changes are carried.
    pub(super) fn leave_out_joins(&mut self) {
        let subject = self.subject();
        let joins: BTreeSet<DepartmentId> = self
            .moves(Side::DynamoDb)
            .filter(|(_, place)| place.target.is_some())
            .map(|(id, _)| id.clone())
            .collect();
        self.left_out = joins;
        self.merge = self.merge.clone().without_joins(&subject);
    }

    /// True if the unit's base is stored as it should be.
    pub(super) fn is_base_stored(&self) -> bool {
        let base = self.stored.base.as_ref();
        base.is_some_and(|base| base.facts == self.merge.before && base.intent.is_none())
    }

    /// True if the bases of all departments are as they should be and no rooms are left to write, except for those
    /// departments that were just written.
    pub(super) fn is_settled_except(&self, was_written: impl Fn(&DepartmentId) -> bool) -> bool {
        let is_settled = |id: &DepartmentId, place: &PlaceMerge| {
            let base = self.stored.department_bases.get(id);
            place.write_to.is_none()
                && base.is_some_and(|base| base.place == place.before && base.intent.is_none() && !base.rooms)
        };
        self.left_out.is_empty()
            && self.places.iter().all(|(id, place)| was_written(id) || is_settled(id, place))
    }

    pub(super) fn changes_dynamodb(&self) -> bool {
        !self.merge.to_dynamodb.is_empty() || self.moves(Side::DynamoDb).next().is_some()
    }

    pub(super) fn changes_mongodb(&self) -> bool {
        !self.merge.to_mongodb.is_empty() || self.moves(Side::MongoDb).next().is_some()
    }
}
