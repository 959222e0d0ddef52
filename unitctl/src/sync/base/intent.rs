//! Intents: changes of MongoDB that a process was about to make, and how to know what became of them.
//!
//! The process may have ended before the change, or after it, or may only be paused before it. This is what makes the
//! state of an intent certain in all of these cases:
//! - An intent is exactly one transaction of MongoDB.
//! - The transaction is refused if `_updatedAt` of a document is not `seen` any more, and sets it to `updated_at`.
//! - `updated_at` is later than `seen` by two milliseconds at least. The millisecond between them is the fence.
//! - A process that finds a pending intent sets the fence before it does anything else.
//!
//! It would not be enough to compare values. For example, if MongoDB lacks a monitor, the intent may have added the
//! monitor and someone may have removed them since, without a change of the unit's document.

use anyhow::{Context, Result};
use aws_sdk_dynamodb::types::AttributeValue;
use livechat_units::item::Item;

use super::attributes::{Attributes, set_delta, set_place};
use super::delta::UnitDelta;
use crate::sync::model::{Place, PlaceView, UnitView};
use crate::sync::stamp;

/// A change of a unit in MongoDB, in one transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitIntent {
    /// Exactly what the transaction changes, and the unit's `_updatedAt` that it sets.
    pub delta: UnitDelta,
    /// The unit's `_updatedAt` that the decision is based on.
    pub seen: String,
}

/// A change of a department's place in MongoDB, in one transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlaceIntent {
    /// The new place.
    pub place: Place,
    /// The department's `_updatedAt` that the decision is based on.
    pub seen: String,
    /// The department's `_updatedAt` that the transaction sets.
    pub updated_at: String,
}

/// What became of an intent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IntentState {
    /// MongoDB committed it. Whatever differs from it was changed afterwards.
    Committed,
    /// MongoDB has not committed it. It still may, because the process that intended it may only be paused.
    Pending,
    /// MongoDB has not committed it and can't any more, because a fence was set.
    Void,
    /// The document was changed by someone else, so it is unknown whether MongoDB committed the intent before that.
    Unknown,
}

impl UnitIntent {
    /// The intent to change MongoDB's unit, which is as `seen`.
    pub fn new(delta: &UnitDelta, seen: &UnitView) -> Self {
        Self { delta: delta.clone(), seen: seen.updated_at.clone() }
    }

    /// What became of it.
    pub fn state(&self, mongodb: &UnitView) -> IntentState {
        IntentState::of(&self.seen, &self.delta.updated_at, &mongodb.updated_at)
    }

    pub(super) fn parse(item: Item) -> Result<Self> {
        let mut item = Attributes(item);
        let delta = UnitDelta {
            name: item.string("name")?,
            visibility: item.visibility("visibility")?,
            join: item.users("join")?,
            leave: item.users("leave")?,
            updated_at: item.string("updatedAt")?.context("no updatedAt")?,
        };
        Ok(Self { delta, seen: item.string("seen")?.context("no seen")? })
    }

    pub(super) fn attributes(&self) -> Item {
        let mut item = Item::from([
            ("seen".into(), AttributeValue::S(self.seen.clone())),
            ("updatedAt".into(), AttributeValue::S(self.delta.updated_at.clone())),
        ]);
        set_delta(&mut item, &self.delta);
        item
    }
}

impl PlaceIntent {
    /// The intent to move MongoDB's department, which is as `seen`.
    pub fn new(place: &Place, updated_at: &str, seen: &PlaceView) -> Self {
        Self { place: place.clone(), seen: seen.updated_at.clone(), updated_at: updated_at.to_owned() }
    }

    /// What became of it.
    pub fn state(&self, mongodb: &PlaceView) -> IntentState {
        IntentState::of(&self.seen, &self.updated_at, &mongodb.updated_at)
    }

    pub(super) fn parse(item: Item) -> Result<Self> {
        let mut item = Attributes(item);
        Ok(Self {
            place: item.place("parentId")?,
            seen: item.string("seen")?.context("no seen")?,
            updated_at: item.string("updatedAt")?.context("no updatedAt")?,
        })
    }

    pub(super) fn attributes(&self) -> Item {
        let mut item = Item::from([
            ("seen".into(), AttributeValue::S(self.seen.clone())),
            ("updatedAt".into(), AttributeValue::S(self.updated_at.clone())),
        ]);
        set_place(&mut item, &self.place);
        item
    }
}

impl IntentState {
    /// What became of an intent, by `_updatedAt` of MongoDB's document now.
    fn of(seen: &str, intended: &str, now: &str) -> Self {
        if now == seen {
            Self::Pending
        } else if now == intended {
            Self::Committed
        } else if now == stamp::fence(seen) {
            Self::Void
        } else {
            Self::Unknown
        }
    }
}
