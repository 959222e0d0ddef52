//! The bases of units and departments, and the actions that store and delete them.

use anyhow::{Context, Result};
use aws_sdk_dynamodb::error::BuildError;
use aws_sdk_dynamodb::types::{AttributeValue, Delete, Put, TransactWriteItem};
use livechat_units::id::{DepartmentId, UnitId};
use livechat_units::item::Item;

use super::attributes::{Attributes, set_place, set_unit};
use super::intent::{IntentState, PlaceIntent, UnitIntent};
use crate::origin::{department_base_key, unit_base_key};
use crate::sync::model::{Place, PlaceView, UnitFacts, UnitView};
use crate::sync::stamp;

/// The base of a unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitBase {
    /// The unit.
    pub id: UnitId,
    /// How often the item was written; 0 if it is not stored yet.
    pub rev: u64,
    /// The facts that both sides last had in common.
    pub facts: UnitFacts,
    /// A change of MongoDB's unit that was intended, and may have been committed.
    pub intent: Option<UnitIntent>,
}

/// The base of a department.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DepartmentBase {
    /// The department.
    pub id: DepartmentId,
    /// How often the item was written; 0 if it is not stored yet.
    pub rev: u64,
    /// The place that both sides last had in common.
    pub place: Place,
    /// A change of MongoDB's department that was intended, and may have been committed.
    pub intent: Option<PlaceIntent>,
    /// True if the department's rooms in MongoDB may still have the ancestors of another place.
    pub rooms: bool,
}

impl UnitBase {
    /// A base that is not stored yet.
    pub fn new(id: UnitId, facts: UnitFacts) -> Self {
        Self { id, rev: 0, facts, intent: None }
    }

    /// Reads a stored base.
    ///
    /// # Errors
    /// The item is not as [`UnitBase::put`] writes it.
    pub fn parse(id: UnitId, item: Item) -> Result<Self> {
        let mut item = Attributes(item);
        let facts = UnitFacts {
            name: item.string("name")?.context("no name")?,
            visibility: item.visibility("visibility")?.context("no visibility")?,
            monitors: item.users("monitors")?,
        };
        let intent = item.map("intent")?.map(UnitIntent::parse).transpose()?;
        Ok(Self { id, rev: item.rev()?, facts, intent })
    }

    /// Stores the base with the next `rev`, on the condition that the stored one has this `rev`.
    ///
    /// # Errors
    /// Never: the action is complete.
    pub fn put(&self, table: &str) -> Result<TransactWriteItem, BuildError> {
        let mut item = unit_base_key(&self.id);
        set_unit(&mut item, &self.facts);
        if let Some(intent) = &self.intent {
            item.insert("intent".into(), AttributeValue::M(intent.attributes()));
        }
        put(table, item, self.rev)
    }

    /// Deletes the base, on the condition that the stored one has this `rev`.
    ///
    /// # Errors
    /// Never: the action is complete.
    pub fn delete(&self, table: &str) -> Result<TransactWriteItem, BuildError> {
        delete(table, unit_base_key(&self.id), self.rev)
    }

    /// The `_updatedAt` of the fence, if the intent may still be committed. The caller sets it in MongoDB's unit, on
    /// the condition that the unit's `_updatedAt` is still that of `mongodb`. From then on, MongoDB refuses the
    /// intended transaction. Before that, nothing else of the unit may be decided or written.
    pub fn fence(&self, mongodb: &UnitView) -> Option<String> {
        let intent = self.intent.as_ref()?;
        (intent.state(mongodb) == IntentState::Pending).then(|| stamp::fence(&intent.seen))
    }
}

impl DepartmentBase {
    /// A base that is not stored yet.
    pub fn new(id: DepartmentId, place: Place) -> Self {
        Self { id, rev: 0, place, intent: None, rooms: false }
    }

    /// Reads a stored base.
    ///
    /// # Errors
    /// The item is not as [`DepartmentBase::put`] writes it.
    pub fn parse(id: DepartmentId, item: Item) -> Result<Self> {
        let mut item = Attributes(item);
        let place = item.place("parentId")?;
        let intent = item.map("intent")?.map(PlaceIntent::parse).transpose()?;
        Ok(Self { id, rev: item.rev()?, place, intent, rooms: item.boolean("rooms")?.unwrap_or(false) })
    }

    /// Stores the base with the next `rev`, on the condition that the stored one has this `rev`.
    ///
    /// # Errors
    /// Never: the action is complete.
    pub fn put(&self, table: &str) -> Result<TransactWriteItem, BuildError> {
        let mut item = department_base_key(&self.id);
        set_place(&mut item, &self.place);
        if let Some(intent) = &self.intent {
            item.insert("intent".into(), AttributeValue::M(intent.attributes()));
        }
        if self.rooms {
            item.insert("rooms".into(), AttributeValue::Bool(true));
        }
        put(table, item, self.rev)
    }

    /// Deletes the base, on the condition that the stored one has this `rev`.
    ///
    /// # Errors
    /// Never: the action is complete.
    pub fn delete(&self, table: &str) -> Result<TransactWriteItem, BuildError> {
        delete(table, department_base_key(&self.id), self.rev)
    }

    /// The `_updatedAt` to give to MongoDB's department, in the same way as [`UnitBase::fence`] for a unit.
    pub fn fence(&self, mongodb: &PlaceView) -> Option<String> {
        let intent = self.intent.as_ref()?;
        (intent.state(mongodb) == IntentState::Pending).then(|| stamp::fence(&intent.seen))
    }
}

fn put(table: &str, mut item: Item, rev: u64) -> Result<TransactWriteItem, BuildError> {
    item.insert("rev".into(), AttributeValue::N((rev + 1).to_string()));
    let put = Put::builder().table_name(table).set_item(Some(item));
    let put = match rev {
        0 => put.condition_expression("attribute_not_exists(pk)"),
        _ => put
            .condition_expression("rev = :rev")
            .expression_attribute_values(":rev", AttributeValue::N(rev.to_string())),
    };
    Ok(TransactWriteItem::builder().put(put.build()?).build())
}

fn delete(table: &str, key: Item, rev: u64) -> Result<TransactWriteItem, BuildError> {
    let delete = Delete::builder()
        .table_name(table)
        .set_key(Some(key))
        .condition_expression("rev = :rev")
        .expression_attribute_values(":rev", AttributeValue::N(rev.to_string()));
    Ok(TransactWriteItem::builder().delete(delete.build()?).build())
}
