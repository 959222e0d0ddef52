//! Units that only one side has. Units are created and deleted in Rocket.Chat, never by the function.

use std::collections::BTreeSet;

use anyhow::{Result, bail};
use aws_sdk_dynamodb::types::{AttributeValue, Delete, Put, TransactWriteItem};
use livechat_units::action::Action;
use livechat_units::dynamodb::to_transact_item;
use livechat_units::id::{DepartmentId, UnitId};
use livechat_units::item::{Item, Key};
use livechat_units::limits::MAX_TRANSACTION_ACTIONS;
use livechat_units::plan::plan;
use livechat_units::request::Update;
use time::OffsetDateTime;

use super::both_sides::Step;
use super::read::{Stored, view};
use super::to_dynamodb::{caller, loaded, with_rev};
use crate::import::item_size::check_size;
use crate::import::records::{string, texts};
use crate::import::workspace::StoredUnit;
use crate::import::write;
use crate::origin::REV;
use crate::requests::transact;
use crate::sync::base::{DepartmentBase, UnitBase};
use crate::sync::model::{Removal, Side, Subject, UnitFacts};
use crate::sync::mongodb::{MongoUnit, UnitSnapshot};
use crate::sync::sides::Sides;

/// The maximum number of departments that leave a unit in the transaction that deletes it. Each takes two actions.
const MAX_DEPARTMENTS: usize = 24;

/// The maximum number of monitors' items that are deleted in the transaction that deletes their unit.
const MAX_MONITORS: usize = 48;

/// Marks a unit that both sides have as one of Rocket.Chat's.
pub(super) async fn mark(sides: &Sides, id: &UnitId, unit: &StoredUnit) -> Result<()> {
    write::mark_unit(&sides.database, id, Some(unit)).await
}

/// Creates a unit that MongoDB has, without members. They follow as changes of MongoDB, in a transaction on the condition
/// that the unit still is as it was created. After [`Step::Again`], `stored` has the unit and its base as they were written.
pub(super) async fn create(
    sides: &Sides,
    id: &UnitId,
    mongodb: &MongoUnit,
    stored: &mut Stored,
) -> Result<Step> {
    let subject = Subject::Unit(id.clone());
    let facts = &mongodb.view.facts;
    let item = new_item(id, mongodb);
    if let Err(reason) = check_size(&item) {
        sides.reporter.open(&subject, BTreeSet::from([format!("the unit can't be stored: {reason}")]));
        return Ok(Step::Done);
    }
    if sides.mode.is_dry_run {
        sides.reporter.change(&subject, Side::DynamoDb, format_args!("the unit {:?} is created", facts.name));
        return Ok(Step::Done);
    }
    let table = &sides.database.tables.livechat;
    let put = Put::builder()
        .table_name(table)
        .set_item(Some(item.clone()))
        .condition_expression("attribute_not_exists(pk)");
    let mut base = UnitBase {
        id: id.clone(),
        rev: stored.base.as_ref().map_or(0, |base| base.rev),
        facts: UnitFacts { monitors: BTreeSet::new(), ..facts.clone() },
        intent: None,
    };
    let actions = vec![TransactWriteItem::builder().put(put.build()?).build(), base.put(table)?];
    sides.check_lease()?;
    if !transact(&sides.database, actions).await? {
        return Ok(Step::Refused);
    }
    sides.reporter.change(&subject, Side::DynamoDb, format_args!("the unit {:?} is created", facts.name));
    base.rev += 1;
    stored.base = Some(base);
    stored.unit = Some(StoredUnit::parse(id, item)?);
    Ok(Step::Again)
}

fn new_item(id: &UnitId, mongodb: &MongoUnit) -> Item {
    let facts = &mongodb.view.facts;
    let zero = || AttributeValue::N("0".into());
    let mut item = mongodb.record.other.clone();
    item.extend(Key::Unit(id.clone()).attributes());
    item.insert("name".into(), string(&facts.name));
    item.insert("visibility".into(), string(facts.visibility.as_str()));
    item.insert("type".into(), string("u"));
    item.insert("numMonitors".into(), zero());
    item.insert("numDepartments".into(), zero());
    item.insert("monitors".into(), AttributeValue::M(Item::new()));
    item.insert("_updatedAt".into(), string(&mongodb.view.updated_at));
    item.insert(REV.into(), AttributeValue::N(new_rev()));
    if !mongodb.record.ancestors.is_empty() {
        item.insert("ancestors".into(), texts(&mongodb.record.ancestors));
    }
    item
}

/// The `rev` of a new item. No earlier item with the same key ever had it. So a write that is based on an earlier item
/// is refused.
fn new_rev() -> String {
    (OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000_000).to_string()
}

/// Deletes a unit that MongoDB does not have, if that is allowed. Its departments are in no unit then.
pub(super) async fn missing_in_mongodb(
    sides: &Sides,
    id: &UnitId,
    stored: &Stored,
    snapshot: &UnitSnapshot,
    removal: Removal,
) -> Result<Step> {
    let subject = Subject::Unit(id.clone());
    let table = &sides.database.tables.livechat;
    sides.reporter.open(&subject, BTreeSet::new());
    let Some(unit) = &stored.unit else {
        sides.reporter.held_back(&subject, false);
        if let Some(base) = &stored.base
            && !sides.mode.is_dry_run
        {
            let is_deleted = transact(&sides.database, vec![base.delete(table)?]).await?;
            return Ok(if is_deleted { Step::Done } else { Step::Refused });
        }
        return Ok(Step::Done);
    };
    if !unit.item.contains_key(REV) && stored.base.is_none() {
        // A unit that an operator created in DynamoDB stays. If a department of Rocket.Chat is in it, MongoDB can't
        // store that place.
        let taken = stored.departments.iter().filter(|(department, found)| {
            found.view.place.as_ref() == Some(id) && snapshot.departments.contains_key(*department)
        });
        let open = taken.map(|(department, _)| {
            format!("department {department} is in the unit, which MongoDB does not have, so MongoDB's place stays as it is")
        });
        sides.reporter.open(&subject, open.collect());
        return Ok(Step::Done);
    }
    if !removal.is_allowed() {
        sides.reporter.held_back(&subject, true);
        return Ok(Step::Done);
    }
    if sides.mode.is_dry_run {
        sides.reporter.change(&subject, Side::DynamoDb, "the unit is deleted");
        return Ok(Step::Done);
    }
    let here: Vec<&DepartmentId> = {
        let departments = stored.departments.iter();
        departments.filter(|(_, found)| found.view.place.as_ref() == Some(id)).map(|(id, _)| id).collect()
    };
    sides.check_lease()?;
    if here.len() > MAX_DEPARTMENTS || unit.monitors.len() > MAX_MONITORS {
        return empty(sides, id, unit, stored, snapshot).await;
    }
    let mut actions = vec![delete_unit(unit, id, table)?];
    for monitor in unit.monitors.keys() {
        let key = Key::Monitor(id.clone(), monitor.clone()).attributes();
        let delete = Delete::builder().table_name(table).set_key(Some(key)).build()?;
        actions.push(TransactWriteItem::builder().delete(delete).build());
    }
    for department in here {
        let leave = Action::LeaveDepartment { id: department.clone(), unit: id.clone() };
        actions.push(to_transact_item(&leave, table, &updated_at(stored, snapshot, department))?);
        actions.extend(base_of_left(stored, department, table)?);
    }
    if let Some(base) = &stored.base {
        actions.push(base.delete(table)?);
    }
    if !transact(&sides.database, actions).await? {
        return Ok(Step::Refused);
    }
    sides.reporter.held_back(&subject, false);
    sides.reporter.change(&subject, Side::DynamoDb, "the unit is deleted");
    Ok(Step::Done)
}

/// Removes members from a unit that has too many for the transaction that deletes it: as many as fit into one
/// transaction.
async fn empty(
    sides: &Sides,
    id: &UnitId,
    unit: &StoredUnit,
    stored: &Stored,
    snapshot: &UnitSnapshot,
) -> Result<Step> {
    let facts = view(unit).facts;
    let update = Update {
        unit: id.clone(),
        name: facts.name,
        visibility: facts.visibility,
        monitors: Vec::new(),
        listed_monitors: 0,
        departments: Vec::new(),
    };
    let loaded = loaded(id, stored, &unit.item, &update);
    let mut sequence = match plan(&caller()?, &loaded) {
        Ok(sequence) => sequence,
        Err(error) => bail!("the unit can't be planned: {}", error.outcome()),
    };
    let table = &sides.database.tables.livechat;
    loop {
        let Some(transaction) = sequence.next_transaction(&loaded) else { return Ok(Step::Again) };
        let mut actions = Vec::new();
        for action in &transaction.actions {
            match action {
                Action::UpdateUnit(_) => {
                    actions.push(with_rev(to_transact_item(action, table, &view(unit).updated_at)?)?);
                }
                Action::LeaveDepartment { id: department, .. } => {
                    let updated_at = updated_at(stored, snapshot, department);
                    actions.push(to_transact_item(action, table, &updated_at)?);
                    actions.extend(base_of_left(stored, department, table)?);
                }
                _ => actions.push(to_transact_item(action, table, &view(unit).updated_at)?),
            }
        }
        if actions.len() <= MAX_TRANSACTION_ACTIONS {
            let is_stored = transact(&sides.database, actions).await?;
            return Ok(if is_stored { Step::Again } else { Step::Refused });
        }
        if !sequence.halve() {
            bail!("a transaction of a single change has more than {MAX_TRANSACTION_ACTIONS} actions");
        }
    }
}

fn delete_unit(unit: &StoredUnit, id: &UnitId, table: &str) -> Result<TransactWriteItem> {
    let delete = Delete::builder().table_name(table).set_key(Some(Key::Unit(id.clone()).attributes()));
    let delete = match unit.item.get("version") {
        Some(version) => delete
            .condition_expression("#version = :version")
            .expression_attribute_names("#version", "version")
            .expression_attribute_values(":version", version.clone()),
        None => delete
            .condition_expression("attribute_exists(pk) AND attribute_not_exists(#version)")
            .expression_attribute_names("#version", "version"),
    };
    Ok(TransactWriteItem::builder().delete(delete.build()?).build())
}

/// The base of a department after it has left a unit that is deleted.
fn base_of_left(stored: &Stored, id: &DepartmentId, table: &str) -> Result<Option<TransactWriteItem>> {
    let base = stored.department_bases.get(id);
    let (rev, rooms) = base.map_or((0, false), |base| (base.rev, base.rooms));
    let left = DepartmentBase { id: id.clone(), rev, place: None, intent: None, rooms };
    Ok(if base == Some(&left) { None } else { Some(left.put(table)?) })
}

/// The later one of a department's `_updatedAt` on both sides.
fn updated_at(stored: &Stored, snapshot: &UnitSnapshot, id: &DepartmentId) -> String {
    let dynamodb = stored.departments.get(id).map(|found| found.view.updated_at.clone()).unwrap_or_default();
    let mongodb = snapshot.departments.get(id).and_then(|found| found.as_ref().ok());
    dynamodb.max(mongodb.map(|found| found.view.updated_at.clone()).unwrap_or_default())
}
