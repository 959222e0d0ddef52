//! The planned [`Action`]s in the form that TransactWriteItems takes.

use aws_sdk_dynamodb::error::BuildError;
use aws_sdk_dynamodb::types::{AttributeValue, Delete, Put, TransactWriteItem};

use super::expression::{Expression, number, string, string_set};
use crate::action::{Action, DepartmentsChange, MonitorsChange, UnitChange};

/// Turns an action into a TransactWriteItem on `table`. Every written item gets `updated_at`.
///
/// # Errors
/// None in practice. The SDK's builders return an error if a required field is not set, and all are set here.
pub fn to_transact_item(
    action: &Action,
    table: &str,
    updated_at: &str,
) -> Result<TransactWriteItem, BuildError> {
    let mut key = action.key().attributes();
    let mut expression = Expression::default();
    match action {
        Action::UpdateUnit(change) => {
            update_unit(&mut expression, change);
            expression.update(key, table, updated_at)
        }
        Action::PutMonitor { unit, monitor, username } => {
            key.insert("unitId".into(), string(unit.as_str()));
            key.insert("monitorId".into(), string(monitor.as_str()));
            key.insert("username".into(), string(username));
            key.insert("_updatedAt".into(), string(updated_at));
            let put = Put::builder().table_name(table).set_item(Some(key)).build()?;
            Ok(TransactWriteItem::builder().put(put).build())
        }
        Action::DeleteMonitor { .. } => {
            let delete = Delete::builder().table_name(table).set_key(Some(key)).build()?;
            Ok(TransactWriteItem::builder().delete(delete).build())
        }
        Action::JoinDepartment { from, unit, ancestors, .. } => {
            expression.set("parentId", string(unit.as_str()));
            expression.set("ancestors", AttributeValue::L(ancestors.iter().map(string).collect()));
            match from {
                Some(parent) => expression.require_equal("parentId", string(parent)),
                None => {
                    expression.require("attribute_exists(pk)".into());
                    expression.require_absent("parentId");
                }
            }
            expression.update(key, table, updated_at)
        }
        Action::LeaveDepartment { unit, .. } => {
            expression.remove("parentId");
            expression.remove("ancestors");
            expression.require_equal("parentId", string(unit.as_str()));
            expression.update(key, table, updated_at)
        }
        Action::ShrinkUnit { loses, lacks, .. } => {
            expression.subtract("numDepartments", loses.len());
            expression.delete("departmentIds", string_set(loses));
            expression.increment_version();
            expression.require_listed(loses);
            expression.require_not_listed(lacks);
            expression.update(key, table, updated_at)
        }
        Action::CheckInUnit { unit, .. } => {
            expression.require_equal("parentId", string(unit.as_str()));
            expression.check(key, table)
        }
        Action::CheckNotInUnit { unit, .. } => {
            let parent = expression.name("parentId");
            let unit = expression.value("was_parentId", string(unit.as_str()));
            expression.require(format!("NOT {parent} = {unit}"));
            expression.check(key, table)
        }
        Action::CheckUnitLacks { departments, .. } => {
            expression.require_not_listed(departments);
            expression.check(key, table)
        }
    }
}

fn update_unit(expression: &mut Expression, change: &UnitChange) {
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
            let entries = monitors.iter().map(|(id, username)| (id.clone(), string(username)));
            expression.set("monitors", AttributeValue::M(entries.collect()));
        }
        MonitorsChange::Entries { put, remove } => {
            put.iter().for_each(|(id, username)| expression.set_entry("monitors", id, string(username)));
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
}
