//! What a merge needs to know, and what it decides.

use std::collections::BTreeSet;

use livechat_units::id::UserId;
use livechat_units::request::Visibility;

use crate::sync::base::{UnitBase, UnitDelta};
use crate::sync::model::{Place, Side, Subject, UnitFacts, UnitView};

/// How facts without a base are decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoBase {
    /// DynamoDB's state is the base, because it is as the import wrote it.
    AsImported,
    /// The side with the later `_updatedAt` counts.
    Later,
    /// The operator's choice counts.
    Prefer(Side),
}

/// What a unit's merge needs to know.
pub struct UnitInput<'a> {
    /// The base, if there is one.
    pub base: Option<&'a UnitBase>,
    /// The unit in MongoDB.
    pub mongodb: &'a UnitView,
    /// The unit in DynamoDB.
    pub dynamodb: &'a UnitView,
    /// What counts if there is no base.
    pub no_base: NoBase,
    /// The users who can't be monitors in DynamoDB now. If the unit in DynamoDB lacks one of them, that does not count
    /// as a removal.
    pub cannot_monitor: &'a BTreeSet<UserId>,
}

/// What to do with a unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitMerge {
    /// What both sides shall have. The open facts are as in MongoDB.
    pub target: UnitFacts,
    /// The change of MongoDB's unit.
    pub to_mongodb: UnitDelta,
    /// The change of DynamoDB's unit.
    pub to_dynamodb: UnitDelta,
    /// The base to store before both changes are written. For a fact that is overwritten, it has the value that is
    /// overwritten. So a merge that is repeated decides a conflict in the same way. For an open fact, it has DynamoDB's
    /// value. So the fact counts as a change of MongoDB and is carried later, and its absence in DynamoDB never counts
    /// as a removal.
    pub before: UnitFacts,
    /// The values that are overwritten although they were changed since the base, too.
    pub overwritten: Vec<Overwritten>,
    /// The facts that can't be carried to DynamoDB now.
    pub open: Vec<OpenFact>,
}

/// What to do with a department's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlaceMerge {
    /// What both sides shall have.
    pub target: Place,
    /// The side to write to.
    pub write_to: Option<Side>,
    /// The department's new `_updatedAt` on that side.
    pub updated_at: String,
    /// The base to store before that write, as in [`UnitMerge::before`]. After the write, the base is the target.
    pub before: Place,
    /// The value that is overwritten although it was changed since the base, too.
    pub overwritten: Option<Overwritten>,
}

/// A fact of a unit or department, with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// The unit's name.
    Name(String),
    /// The unit's visibility.
    Visibility(Visibility),
    /// Whether the user monitors the unit.
    Monitor(UserId, bool),
    /// The department's place.
    Place(Place),
}

/// A change that is overwritten with a later change of the other side. Its `Display` is one sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overwritten {
    /// The unit or department.
    pub subject: Subject,
    /// The side whose value is overwritten.
    pub side: Side,
    /// The value that is overwritten.
    pub overwritten: Fact,
    /// The other side's value, which counts.
    pub kept: Fact,
}

/// A fact of MongoDB that can't be carried to DynamoDB now. Its `Display` is one sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenFact {
    /// The unit or department.
    pub subject: Subject,
    /// MongoDB's value.
    pub fact: Fact,
    /// Why it can't be carried.
    pub reason: Obstacle,
}

/// Why a fact can't be carried to DynamoDB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// The user does not exist there or does not have the role of a monitor.
    NotAMonitor,
    /// The unit would be too large for its item.
    TooLarge,
}

impl UnitFacts {
    /// These facts after a change.
    pub fn with(&self, delta: &UnitDelta) -> Self {
        let mut monitors = &self.monitors - &delta.leave;
        monitors.extend(delta.join.iter().cloned());
        Self {
            name: delta.name.as_ref().unwrap_or(&self.name).clone(),
            visibility: delta.visibility.unwrap_or(self.visibility),
            monitors,
        }
    }
}

impl UnitMerge {
    /// True if neither side needs a change.
    pub fn is_empty(&self) -> bool {
        self.to_mongodb.is_empty() && self.to_dynamodb.is_empty()
    }

    /// The base after both changes.
    pub fn after(&self) -> UnitFacts {
        self.before.with(&self.to_mongodb).with(&self.to_dynamodb)
    }

    /// The base after `delta`, which is a part of the change of DynamoDB. `left_out` are monitors who can't be monitors
    /// now: the written unit lacks them, although it had them before or `delta` adds them.
    pub fn after_dynamodb(&self, delta: &UnitDelta, left_out: &BTreeSet<UserId>) -> UnitFacts {
        let mut base = self.before.with(delta);
        base.monitors = &base.monitors - left_out;
        base
    }

    /// The same merge without new monitors in DynamoDB, because the unit's item would be too large with them. They
    /// become open facts.
    pub fn without_joins(mut self, subject: &Subject) -> Self {
        for user in std::mem::take(&mut self.to_dynamodb.join) {
            self.open.push(OpenFact {
                subject: subject.clone(),
                fact: Fact::Monitor(user, true),
                reason: Obstacle::TooLarge,
            });
        }
        self
    }
}
