//! Repairs what was found, in transactions. Their conditions are the facts that the findings rest on, so a transaction
//! fails if a client has changed the items since they were read.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use aws_sdk_dynamodb::error::BuildError;
use aws_sdk_dynamodb::types::builders::UpdateBuilder;
use aws_sdk_dynamodb::types::{AttributeValue, ConditionCheck, Delete, Put, TransactWriteItem, Update};
use livechat_units::id::{DepartmentId, UnitId, UserId};
use livechat_units::item::Key;

use super::finding::{Finding, Group, Repair, Scope};
use super::items::{Attribute, Unit};
use crate::database::Database;
use crate::limits::MAX_TRANSACTION_ACTIONS;
use crate::requests::transact;

/// What one transaction achieved.
pub enum Outcome {
    /// It repaired this number of findings, the first ones.
    Repaired(usize),
    /// It changed nothing, because a client has changed the items since they were read.
    ChangedMeanwhile,
}

/// Repairs the first of these findings, as many as fit into one transaction. `now` becomes the `_updatedAt` of what
/// changes.
///
/// # Errors
/// DynamoDB refuses the transaction or can't be reached.
pub async fn repair(
    database: &Database,
    scope: &Scope,
    group: &Group,
    findings: &[Finding],
    now: &str,
) -> Result<Outcome> {
    let repairs: Vec<&Repair> = findings.iter().filter_map(|finding| finding.repair.as_ref()).collect();
    // Each repair changes at most one item other than the unit. Repairs of the same department share an action.
    let repairs = &repairs[..repairs.len().min(MAX_TRANSACTION_ACTIONS - 1)];
    let mut builder =
        ActionsBuilder { table: &database.tables.livechat, scope, group, now, departments: BTreeMap::new() };
    let actions = builder.actions(repairs)?;
    Ok(if transact(database, actions).await? {
        Outcome::Repaired(repairs.len())
    } else {
        Outcome::ChangedMeanwhile
    })
}

/// Builds the actions of a transaction.
struct ActionsBuilder<'a> {
    table: &'a str,
    scope: &'a Scope,
    group: &'a Group,
    now: &'a str,
    /// The change of each department, which becomes one action.
    departments: BTreeMap<DepartmentId, DepartmentChange<'a>>,
}

/// The change of a department, if any, on the condition that the department is in this place.
#[derive(Default)]
struct DepartmentChange<'a> {
    condition: Place<'a>,
    set_ancestors: Option<&'a [String]>,
    remove_from_unit: bool,
    set_updated_at: bool,
}

/// Where a department must be for its repair to be right.
#[derive(Default)]
enum Place<'a> {
    /// In this unit.
    In(&'a str),
    /// In no unit.
    #[default]
    InNoUnit,
    /// Not in this unit. The department may also not exist.
    NotIn(&'a str),
    /// Anywhere, because its `parentId` can't be read.
    Unknown,
}

impl<'a> ActionsBuilder<'a> {
    fn actions(&mut self, repairs: &[&'a Repair]) -> Result<Vec<TransactWriteItem>, BuildError> {
        let mut actions = Vec::new();
        match (self.scope, &self.group.unit) {
            (Scope::Unit(id), Some(unit)) => actions.push(self.update_unit(id, unit, repairs)?),
            (Scope::Unit(id), None) => actions.push(self.check_unit_is_missing(id)?),
            (Scope::Department(_), _) => {}
        }
        for repair in repairs {
            match (repair, self.scope) {
                (Repair::PutMonitor(monitor, username), Scope::Unit(unit)) => {
                    actions.push(self.put_monitor(unit, monitor, username)?);
                }
                (Repair::DeleteMonitor(monitor), Scope::Unit(unit)) => {
                    let key = Key::Monitor(unit.clone(), monitor.clone()).attributes();
                    let delete = Delete::builder().table_name(self.table).set_key(Some(key)).build()?;
                    actions.push(TransactWriteItem::builder().delete(delete).build());
                }
                _ => self.add_department_change(repair),
            }
        }
        for (id, change) in &self.departments {
            actions.push(self.change_department(id, change)?);
        }
        Ok(actions)
    }

    fn put_monitor(
        &self,
        unit: &UnitId,
        id: &UserId,
        username: &str,
    ) -> Result<TransactWriteItem, BuildError> {
        let mut item = Key::Monitor(unit.clone(), id.clone()).attributes();
        item.insert("unitId".into(), string(unit.as_str()));
        item.insert("monitorId".into(), string(id.as_str()));
        item.insert("username".into(), string(username));
        item.insert("_updatedAt".into(), string(self.now));
        let put = Put::builder().table_name(self.table).set_item(Some(item)).build()?;
        Ok(TransactWriteItem::builder().put(put).build())
    }

    /// Adds a repair to the change of the department that it concerns.
    fn add_department_change(&mut self, repair: &'a Repair) {
        let unit = match self.scope {
            Scope::Unit(id) => id.as_str(),
            Scope::Department(_) => "",
        };
        match repair {
            Repair::AddToList(id) => self.change_of(id).condition = Place::In(unit),
            // A department with an invalid id has no item, so there is nothing to check.
            Repair::RemoveFromList(id) => {
                if let Some(id) = DepartmentId::parse(id.as_str()) {
                    self.departments.entry(id).or_default().condition = Place::NotIn(unit);
                }
            }
            Repair::SetAncestors(id, ancestors) => self.change_of(id).set_ancestors = Some(ancestors),
            Repair::RemoveFromUnit(id) => self.change_of(id).remove_from_unit = true,
            Repair::SetUpdatedAt(id) => self.change_of(id).set_updated_at = true,
            Repair::SetInUnit(_)
            | Repair::SetMonitors(_)
            | Repair::PutMonitor(..)
            | Repair::DeleteMonitor(_) => {}
        }
    }

    /// The change of a department, on the condition that it is still where it was read.
    fn change_of(&mut self, id: &DepartmentId) -> &mut DepartmentChange<'a> {
        let stored = self.group.departments.get(id).and_then(Option::as_ref);
        let condition = match stored.map(|department| &department.parent_id) {
            Some(Attribute::Valid(parent)) => Place::In(parent),
            Some(Attribute::Invalid) => Place::Unknown,
            Some(Attribute::Absent) | None => Place::InNoUnit,
        };
        let change = || DepartmentChange { condition, ..DepartmentChange::default() };
        self.departments.entry(id.clone()).or_insert_with(change)
    }

    /// Updates the unit. Every repair of a unit, its monitors or its list increments the version. The condition on the
    /// version also protects the monitors' items, because nothing changes them without a new version of the unit.
    fn update_unit(
        &self,
        id: &UnitId,
        unit: &Unit,
        repairs: &[&Repair],
    ) -> Result<TransactWriteItem, BuildError> {
        let mut departments = unit.departments.valid().cloned().unwrap_or_default();
        let mut monitors = unit.monitors.valid();
        for repair in repairs {
            match repair {
                Repair::AddToList(id) => _ = departments.insert(id.to_string()),
                Repair::RemoveFromList(id) => _ = departments.remove(id),
                Repair::SetMonitors(from_items) => monitors = Some(from_items),
                _ => {}
            }
        }
        let mut expression = String::from(
            "SET #type = :type, numMonitors = :numMonitors, numDepartments = :numDepartments, \
             version = :next, #updatedAt = :now",
        );
        let mut update = self
            .update(Key::Unit(id.clone()))
            .expression_attribute_names("#type", "type")
            .expression_attribute_names("#updatedAt", "_updatedAt")
            .expression_attribute_values(":type", string("u"))
            .expression_attribute_values(":numMonitors", number(monitors.map_or(0, BTreeMap::len) as u64))
            .expression_attribute_values(":numDepartments", number(departments.len() as u64))
            .expression_attribute_values(":next", number(unit.version.valid().unwrap_or(&0) + 1))
            .expression_attribute_values(":now", string(self.now));
        if let Some(monitors) = monitors.filter(|_| unit.monitors.valid().is_none()) {
            expression.push_str(", monitors = :monitors");
            let entries = monitors.iter().map(|(id, username)| (id.clone(), string(username)));
            update = update.expression_attribute_values(":monitors", AttributeValue::M(entries.collect()));
        }
        if departments.is_empty() {
            expression.push_str(" REMOVE departmentIds");
        } else if unit.departments.valid() != Some(&departments) {
            expression.push_str(", departmentIds = :departmentIds");
            update = update.expression_attribute_values(":departmentIds", string_set(departments));
        }
        let update = match unit.version.valid() {
            Some(version) => update
                .condition_expression("version = :version")
                .expression_attribute_values(":version", number(*version)),
            None => update.condition_expression("attribute_exists(pk) AND attribute_not_exists(version)"),
        };
        Ok(TransactWriteItem::builder().update(update.update_expression(expression).build()?).build())
    }

    fn check_unit_is_missing(&self, id: &UnitId) -> Result<TransactWriteItem, BuildError> {
        let check = ConditionCheck::builder()
            .table_name(self.table)
            .set_key(Some(Key::Unit(id.clone()).attributes()))
            .condition_expression("attribute_not_exists(pk)");
        Ok(TransactWriteItem::builder().condition_check(check.build()?).build())
    }

    /// Updates a department, or only checks its place if nothing of it changes.
    fn change_department(
        &self,
        id: &DepartmentId,
        change: &DepartmentChange,
    ) -> Result<TransactWriteItem, BuildError> {
        let (condition, parent) = match change.condition {
            Place::In(parent) => ("parentId = :parent", Some(parent)),
            Place::InNoUnit => ("attribute_exists(pk) AND attribute_not_exists(parentId)", None),
            Place::NotIn(parent) => ("attribute_not_exists(parentId) OR parentId <> :parent", Some(parent)),
            Place::Unknown => ("attribute_exists(pk)", None),
        };
        let parent = parent.map(|parent| (":parent".to_owned(), string(parent)));
        if change.set_ancestors.is_none() && !change.remove_from_unit && !change.set_updated_at {
            let check = ConditionCheck::builder()
                .table_name(self.table)
                .set_key(Some(Key::Department(id.clone()).attributes()))
                .condition_expression(condition)
                .set_expression_attribute_values(parent.map(|parent| [parent].into()));
            return Ok(TransactWriteItem::builder().condition_check(check.build()?).build());
        }
        let mut update = self
            .update(Key::Department(id.clone()))
            .condition_expression(condition)
            .expression_attribute_names("#updatedAt", "_updatedAt")
            .expression_attribute_values(":now", string(self.now));
        if let Some((name, value)) = parent {
            update = update.expression_attribute_values(name, value);
        }
        let mut expression = String::from("SET #updatedAt = :now");
        if let Some(ancestors) = change.set_ancestors {
            expression.push_str(", ancestors = :ancestors");
            let ancestors = ancestors.iter().map(|id| string(id)).collect();
            update = update.expression_attribute_values(":ancestors", AttributeValue::L(ancestors));
        }
        if change.remove_from_unit {
            expression.push_str(" REMOVE parentId, ancestors");
        }
        Ok(TransactWriteItem::builder().update(update.update_expression(expression).build()?).build())
    }

    fn update(&self, key: Key) -> UpdateBuilder {
        Update::builder().table_name(self.table).set_key(Some(key.attributes()))
    }
}

fn string(text: &str) -> AttributeValue {
    AttributeValue::S(text.to_owned())
}

fn number(number: u64) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

fn string_set(members: BTreeSet<String>) -> AttributeValue {
    AttributeValue::Ss(members.into_iter().collect())
}
