//! Departments: whether they exist, and every field except the place (`parentId` and `ancestors`).
//!
//! The place and `_updatedAt`, which goes with it, stay as they are stored. The function may change them at any time,
//! so they are conditions of every write.

use std::collections::HashMap;
use std::fmt;

use anyhow::Result;
use aws_sdk_dynamodb::types::{AttributeValue, TransactWriteItem, Update};
use livechat_units::id::{DepartmentId, UnitId};
use livechat_units::item::{Item, Key};
use time::OffsetDateTime;

use super::{Decision, Written, next_rev};
use crate::condition::{self, Condition};
use crate::database::Database;
use crate::import::document::Document;
use crate::import::equality::equal_except;
use crate::import::item_size::{check_size, item_bytes};
use crate::import::records::{Place, UnitOrDepartment};
use crate::import::workspace::number;
use crate::import::write::partition;
use crate::origin::{REV, department_base_key};
use crate::requests::transact;
use crate::sync::model::Removal;

/// The attributes that are not carried from MongoDB here.
const PLACE: [&str; 3] = ["parentId", "ancestors", "_updatedAt"];

/// What a write depends on: everything that the sync, the import or the function changes.
const GUARDS: [&str; 4] = [REV, "parentId", "ancestors", "_updatedAt"];

/// What to write of a department.
#[derive(Clone, Debug)]
pub struct DepartmentWrite {
    id: DepartmentId,
    old: Option<Item>,
    /// The new item. `None` if it is deleted.
    new: Option<Item>,
}

/// The action that stores a department.
#[derive(Debug)]
pub struct DepartmentPut {
    /// The action.
    pub action: TransactWriteItem,
    /// The size of the item, in bytes.
    pub bytes: usize,
}

impl DepartmentWrite {
    /// True if it creates the department. A new department is in no unit.
    pub fn creates(&self) -> bool {
        self.old.is_none()
    }

    /// The action that stores the new item. `None` if the department is deleted.
    ///
    /// # Errors
    /// Never: the action is complete.
    pub fn put(&self, table: &str) -> Result<Option<DepartmentPut>> {
        let Some(item) = &self.new else { return Ok(None) };
        let condition = Condition::unchanged(self.old.as_ref(), "pk", &GUARDS);
        Ok(Some(DepartmentPut { action: condition.put(table, item.clone())?, bytes: item_bytes(item) }))
    }
}

/// Reads these departments. Every id is in the result.
///
/// # Errors
/// DynamoDB refuses a request for good, or can't be reached.
pub async fn read(database: &Database, ids: &[DepartmentId]) -> Result<HashMap<DepartmentId, Option<Item>>> {
    let mut found: HashMap<DepartmentId, Option<Item>> = ids.iter().map(|id| (id.clone(), None)).collect();
    let keys = found.keys().map(|id| Key::Department(id.clone()).attributes()).collect();
    for item in database.get_all(keys).await? {
        let id = partition(&item).strip_prefix("DEPARTMENT#").and_then(DepartmentId::parse);
        if let Some(department) = id.and_then(|id| found.get_mut(&id)) {
            *department = Some(item);
        }
    }
    Ok(found)
}

/// Says what to write so that DynamoDB has the department as MongoDB has it, in the place that it is stored in. If
/// MongoDB has no department with this id, a stored one that did not come from Rocket.Chat stays.
pub fn decide(
    id: &DepartmentId,
    stored: Option<&Item>,
    document: Option<Document>,
    removal: Removal,
    now: OffsetDateTime,
) -> Decision<DepartmentWrite> {
    let change = |new| DepartmentWrite { id: id.clone(), old: stored.cloned(), new };
    let document = match document.map(UnitOrDepartment::parse).transpose() {
        Ok(document) => document,
        Err(reason) => return Decision::problem(reason),
    };
    // A document that has become a unit is no department any more.
    let Some(UnitOrDepartment::Department(department)) = document else {
        return match stored {
            Some(old) if old.contains_key(REV) => Decision::removal(change(None), removal),
            _ => Decision::nothing(),
        };
    };
    let mut item = department.item(&Place::default());
    if let Some(old) = stored {
        for name in PLACE {
            item.remove(name);
            item.extend(old.get(name).map(|value| (name.to_owned(), value.clone())));
        }
        if old.contains_key(REV) && equal_except(&[REV], old, &item) {
            return Decision::nothing();
        }
    }
    let rev = next_rev(stored.map(|old| number(old, REV)), now);
    item.insert(REV.into(), AttributeValue::N(rev.to_string()));
    match check_size(&item) {
        Ok(()) => Decision::write(change(Some(item))),
        Err(reason) => Decision::problem(format!("with its place it has {reason}")),
    }
}

/// Writes the department, with `base`: the action that stores the base item of a department that is created.
///
/// A department that is deleted leaves its unit in the same transaction, and its base item is deleted.
///
/// # Errors
/// DynamoDB refuses a request for a reason that a retry does not change.
pub async fn write(
    database: &Database,
    write: &DepartmentWrite,
    base: Option<TransactWriteItem>,
) -> Result<Written> {
    let table = &database.tables.livechat;
    let mut actions = Vec::new();
    match write.put(table)? {
        Some(put) => {
            actions.push(put.action);
            actions.extend(base);
        }
        None => {
            let condition = Condition::unchanged(write.old.as_ref(), "pk", &GUARDS);
            actions.push(condition.delete(table, Key::Department(write.id.clone()).attributes())?);
            actions.push(condition::delete(table, department_base_key(&write.id))?);
            actions.extend(leave_unit(database, write).await?);
        }
    }
    Ok(transact(database, actions).await?.into())
}

/// The action by which a department that is deleted leaves its unit, if it is in one.
///
/// It changes the unit as the function changes a unit that loses a department ([`Action::ShrinkUnit`]). But it does not
/// set `_updatedAt`, which decides whether the name of one side or of the other counts.
///
/// [`Action::ShrinkUnit`]: livechat_units::action::Action::ShrinkUnit
async fn leave_unit(database: &Database, write: &DepartmentWrite) -> Result<Option<TransactWriteItem>> {
    let parent = write.old.as_ref().and_then(|old| old.get("parentId")?.as_s().ok());
    let Some(unit) = parent.and_then(|parent| UnitId::parse(parent.as_str())) else { return Ok(None) };
    let (table, key) = (&database.tables.livechat, Key::Unit(unit).attributes());
    let stored = database.get_all(vec![key.clone()]).await?.pop();
    let is_listed = stored
        .and_then(|unit| {
            Some(unit.get("departmentIds")?.as_ss().ok()?.iter().any(|id| *id == write.id.as_str()))
        })
        .unwrap_or_default();
    if !is_listed {
        // If the unit does not exist or does not list the department, there is nothing to change.
        let lacks = Condition::default().lacks("departmentIds", write.id.as_str());
        return Ok(Some(lacks.check(table, key)?));
    }
    let update = Update::builder()
        .table_name(table)
        .set_key(Some(key))
        .update_expression(
            "SET numDepartments = numDepartments - :one, version = if_not_exists(version, :zero) + :one \
             DELETE departmentIds :ids",
        )
        .condition_expression("contains(departmentIds, :id)")
        .expression_attribute_values(":one", AttributeValue::N("1".into()))
        .expression_attribute_values(":zero", AttributeValue::N("0".into()))
        .expression_attribute_values(":id", AttributeValue::S(write.id.to_string()))
        .expression_attribute_values(":ids", AttributeValue::Ss(vec![write.id.to_string()]));
    Ok(Some(TransactWriteItem::builder().update(update.build()?).build()))
}

impl fmt::Display for DepartmentWrite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let change = match (&self.old, &self.new) {
            (_, None) => "deleted",
            (None, Some(_)) => "created as MongoDB has it",
            (Some(_), Some(_)) => "stored as MongoDB has it",
        };
        write!(f, "department {}: {change}", self.id)
    }
}

#[cfg(test)]
mod tests;
