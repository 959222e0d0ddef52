//! The planned [`Action`]s in the form that TransactWriteItems takes.

use aws_sdk_dynamodb::error::BuildError;
use aws_sdk_dynamodb::types::{AttributeValue, Delete, Put, TransactWriteItem};

use smol_str::SmolStr;

use super::expression::{Expression, number, string, string_set};
use crate::action::{Action, DepartmentsChange, MonitorsChange, UnitChange};
use crate::id::{DepartmentId, UnitId, UserId};
use crate::item::Item;

/// Turns an action into a TransactWriteItem on `table`. Every written item gets `updated_at`.
///
/// # Errors
/// None in practice. The SDK's builders return an error if a required field is not set, and all are set here.
pub fn to_transact_item(
    action: &Action,
    table: &str,
    updated_at: &str,
) -> Result<TransactWriteItem, BuildError> {
    let key = action.key().attributes();
    match action {
        Action::UpdateUnit(change) => update_unit(change).update(key, table, updated_at),
        Action::PutMonitor { unit, monitor, username } => {
            put_monitor(key, unit, monitor, username, table, updated_at)
        }
        Action::DeleteMonitor { .. } => delete_monitor(key, table),
        Action::JoinDepartment { from, unit, ancestors, .. } => {
            join_department(from.as_deref(), unit, ancestors).update(key, table, updated_at)
        }
        Action::LeaveDepartment { unit, .. } => leave_department(unit).update(key, table, updated_at),
        Action::ShrinkUnit { loses, lacks, .. } => shrink_unit(loses, lacks).update(key, table, updated_at),
        Action::CheckInUnit { unit, .. } => is_in_unit(unit).check(key, table),
        Action::CheckNotInUnit { unit, .. } => is_not_in_unit(unit).check(key, table),
        Action::CheckUnitLacks { departments, .. } => lacks_departments(departments).check(key, table),
    }
}

fn put_monitor(
    key: Item,
    unit: &UnitId,
    monitor: &UserId,
    username: &str,
    table: &str,
    updated_at: &str,
) -> Result<TransactWriteItem, BuildError> {
    let mut item = key;
    item.insert("unitId".into(), string(unit.as_str()));
    item.insert("monitorId".into(), string(monitor.as_str()));
    item.insert("username".into(), string(username));
    item.insert("_updatedAt".into(), string(updated_at));
    let put = Put::builder().table_name(table).set_item(Some(item)).build()?;
    Ok(TransactWriteItem::builder().put(put).build())
}

fn delete_monitor(key: Item, table: &str) -> Result<TransactWriteItem, BuildError> {
    let delete = Delete::builder().table_name(table).set_key(Some(key)).build()?;
    Ok(TransactWriteItem::builder().delete(delete).build())
}

fn join_department(from: Option<&str>, unit: &UnitId, ancestors: &[SmolStr]) -> Expression {
    let mut expression = Expression::default();
    expression.set("parentId", string(unit.as_str()));
    expression.set("ancestors", AttributeValue::L(ancestors.iter().map(|id| string(id.as_str())).collect()));
    match from {
        Some(parent) => expression.require_equal("parentId", string(parent)),
        None => {
            expression.require("attribute_exists(pk)".into());
            expression.require_absent("parentId");
        }
    }
    expression
}

fn leave_department(unit: &UnitId) -> Expression {
    let mut expression = Expression::default();
    expression.remove("parentId");
    expression.remove("ancestors");
    expression.require_equal("parentId", string(unit.as_str()));
    expression
}

fn shrink_unit(loses: &[DepartmentId], lacks: &[DepartmentId]) -> Expression {
    let mut expression = Expression::default();
    expression.subtract("numDepartments", loses.len());
    expression.delete("departmentIds", string_set(loses));
    expression.increment_version();
    expression.require_listed(loses);
    expression.require_not_listed(lacks);
    expression
}

fn is_in_unit(unit: &UnitId) -> Expression {
    let mut expression = Expression::default();
    expression.require_equal("parentId", string(unit.as_str()));
    expression
}

fn is_not_in_unit(unit: &UnitId) -> Expression {
    let mut expression = Expression::default();
    let parent = expression.name("parentId");
    let unit = expression.value("was_parentId", string(unit.as_str()));
    expression.require(format!("NOT {parent} = {unit}"));
    expression
}

fn lacks_departments(departments: &[DepartmentId]) -> Expression {
    let mut expression = Expression::default();
    expression.require_not_listed(departments);
    expression
}

fn update_unit(change: &UnitChange) -> Expression {
    let mut expression = Expression::default();
    if let Some(name) = &change.name {
        expression.set("name", string(name));
    }
    if let Some(visibility) = change.visibility {
        expression.set("visibility", string(visibility.as_str()));
    }
    expression.set("type", string("u"));
    expression.set("numMonitors", number(change.num_monitors));
    expression.set("numDepartments", number(change.num_departments));
    match &change.monitors {
        MonitorsChange::None => {}
        MonitorsChange::All(monitors) => {
            let entries = monitors.iter().map(|(id, username)| (id.to_string(), string(username.as_str())));
            expression.set("monitors", AttributeValue::M(entries.collect()));
        }
        MonitorsChange::Entries { put, remove } => {
            put.iter()
                .for_each(|(id, username)| expression.set_entry("monitors", id, string(username.as_str())));
            remove.iter().for_each(|id| expression.remove_entry("monitors", id));
        }
    }
    match &change.departments {
        DepartmentsChange::None => {}
        DepartmentsChange::All(ids) if ids.is_empty() => expression.remove("departmentIds"),
        DepartmentsChange::All(ids) => expression.set("departmentIds", string_set(ids)),
        DepartmentsChange::Add(ids) => expression.add("departmentIds", string_set(ids)),
        DepartmentsChange::Remove(ids) => expression.delete("departmentIds", string_set(ids)),
    }
    expression.increment_version();
    match change.version {
        Some(version) => expression.require_equal("version", number(version)),
        None => {
            // Without this condition, an update of a deleted unit would create it.
            expression.require("attribute_exists(pk)".into());
            expression.require_absent("version");
        }
    }
    expression
}
