//! Mends what was found, by transactions that rest on just what was judged: they lose to whoever changes it meanwhile.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use aws_sdk_dynamodb::error::BuildError;
use aws_sdk_dynamodb::types::builders::UpdateBuilder;
use aws_sdk_dynamodb::types::{AttributeValue, ConditionCheck, Delete, Put, TransactWriteItem, Update};
use livechat_units::id::{DepartmentId, UnitId};
use livechat_units::item::Key;

use super::items::{Attribute, Unit};
use super::judge::{Finding, Group, Mend, Scope};
use crate::database::Database;
use crate::requests::{MAX_ACTIONS, transact};

/// Mends the first of these, as many as a transaction holds. Returns how many were, or `None` when the scope
/// has changed since it was read.
///
/// # Errors
/// DynamoDB refuses.
pub async fn mend(
    data: &Database,
    scope: &Scope,
    group: &Group,
    findings: &[Finding],
    now: &str,
) -> Result<Option<usize>> {
    let mends: Vec<&Mend> = findings.iter().filter_map(|finding| finding.mend.as_ref()).collect();
    let mut step = Step { table: &data.tables.livechat, scope, group, now, departments: BTreeMap::new() };
    // Each mend touches one item beside the unit, at most; two that touch the same department share its action.
    let mends = &mends[..mends.len().min(MAX_ACTIONS - 1)];
    let actions = step.actions(mends)?;
    Ok(transact(data, actions).await?.then_some(mends.len()))
}

struct Step<'a> {
    table: &'a str,
    scope: &'a Scope,
    group: &'a Group,
    now: &'a str,
    /// What happens to each department, in one action.
    departments: BTreeMap<DepartmentId, Change<'a>>,
}

/// What happens to a department, if it is where it was judged to be.
#[derive(Default)]
struct Change<'a> {
    where_it_is: Place<'a>,
    ancestors: Option<&'a [String]>,
    leaves: bool,
    is_touched: bool,
}

/// Where a department has to be, for a mend to be right.
#[derive(Default)]
enum Place<'a> {
    /// Its `parentId` has to be this.
    In(&'a str),
    /// It has to be in no unit.
    #[default]
    Nowhere,
    /// It must not be in this unit, or not exist.
    NotIn(&'a str),
    /// Anywhere: its `parentId` can't be read.
    Unknown,
}

impl<'a> Step<'a> {
    fn actions(&mut self, mends: &[&'a Mend]) -> Result<Vec<TransactWriteItem>, BuildError> {
        let mut actions = Vec::new();
        match (self.scope, &self.group.unit) {
            (Scope::Unit(id), Some(unit)) => actions.push(self.update_unit(id, unit, mends)?),
            (Scope::Unit(id), None) => actions.push(self.check_no_unit(id)?),
            (Scope::Department(_), _) => {}
        }
        for mend in mends {
            match (mend, self.scope) {
                (Mend::PutMonitor(monitor, username), Scope::Unit(unit)) => {
                    let mut item = Key::Monitor(unit.clone(), monitor.clone()).attributes();
                    item.insert("unitId".into(), string(unit.as_str()));
                    item.insert("monitorId".into(), string(monitor.as_str()));
                    item.insert("username".into(), string(username));
                    item.insert("_updatedAt".into(), string(self.now));
                    let put = Put::builder().table_name(self.table).set_item(Some(item)).build()?;
                    actions.push(TransactWriteItem::builder().put(put).build());
                }
                (Mend::DeleteMonitor(monitor), Scope::Unit(unit)) => {
                    let key = Key::Monitor(unit.clone(), monitor.clone()).attributes();
                    let delete = Delete::builder().table_name(self.table).set_key(Some(key)).build()?;
                    actions.push(TransactWriteItem::builder().delete(delete).build());
                }
                _ => self.department(mend),
            }
        }
        for (id, change) in &self.departments {
            actions.push(self.change(id, change)?);
        }
        Ok(actions)
    }

    /// Notes what a mend does to a department.
    fn department(&mut self, mend: &'a Mend) {
        let unit = match self.scope {
            Scope::Unit(id) => id.as_str(),
            Scope::Department(_) => "",
        };
        match mend {
            Mend::List(id) => self.change_of(id).where_it_is = Place::In(unit),
            // An id that names nothing has no item to check.
            Mend::Unlist(id) => {
                if let Some(id) = DepartmentId::parse(id.as_str()) {
                    self.departments.entry(id).or_default().where_it_is = Place::NotIn(unit);
                }
            }
            Mend::Place(id, ancestors) => self.change_of(id).ancestors = Some(ancestors),
            Mend::Leave(id) => self.change_of(id).leaves = true,
            Mend::Touch(id) => self.change_of(id).is_touched = true,
            Mend::Unit(_) | Mend::Monitors(_) | Mend::PutMonitor(..) | Mend::DeleteMonitor(_) => {}
        }
    }

    /// The change of a department that stays where it was read.
    fn change_of(&mut self, id: &DepartmentId) -> &mut Change<'a> {
        let stored = self.group.departments.get(id).and_then(Option::as_ref);
        let where_it_is = match stored.map(|department| &department.parent_id) {
            Some(Attribute::Is(parent)) => Place::In(parent),
            Some(Attribute::Wrong) => Place::Unknown,
            Some(Attribute::Absent) | None => Place::Nowhere,
        };
        self.departments.entry(id.clone()).or_insert(Change { where_it_is, ..Change::default() })
    }

    /// Every mend of what belongs to a unit is a change of the unit: its version grows, and guards its
    /// monitors, which nobody changes without it.
    fn update_unit(
        &self,
        id: &UnitId,
        unit: &Unit,
        mends: &[&Mend],
    ) -> Result<TransactWriteItem, BuildError> {
        let mut departments = unit.departments.is().cloned().unwrap_or_default();
        let mut monitors = unit.monitors.is();
        for mend in mends {
            match mend {
                Mend::List(id) => _ = departments.insert(id.to_string()),
                Mend::Unlist(id) => _ = departments.remove(id),
                Mend::Monitors(from_items) => monitors = Some(from_items),
                _ => {}
            }
        }
        let mut set = String::from(
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
            .expression_attribute_values(":next", number(unit.version.is().unwrap_or(&0) + 1))
            .expression_attribute_values(":now", string(self.now));
        if let Some(monitors) = monitors.filter(|_| unit.monitors.is().is_none()) {
            set.push_str(", monitors = :monitors");
            let entries = monitors.iter().map(|(id, username)| (id.clone(), string(username)));
            update = update.expression_attribute_values(":monitors", AttributeValue::M(entries.collect()));
        }
        if departments.is_empty() {
            set.push_str(" REMOVE departmentIds");
        } else if unit.departments.is() != Some(&departments) {
            set.push_str(", departmentIds = :departmentIds");
            let members: BTreeSet<String> = departments;
            let members = AttributeValue::Ss(members.into_iter().collect());
            update = update.expression_attribute_values(":departmentIds", members);
        }
        let update = match unit.version.is() {
            Some(version) => update
                .condition_expression("version = :version")
                .expression_attribute_values(":version", number(*version)),
            None => update.condition_expression("attribute_exists(pk) AND attribute_not_exists(version)"),
        };
        Ok(TransactWriteItem::builder().update(update.update_expression(set).build()?).build())
    }

    fn check_no_unit(&self, id: &UnitId) -> Result<TransactWriteItem, BuildError> {
        let check = ConditionCheck::builder()
            .table_name(self.table)
            .set_key(Some(Key::Unit(id.clone()).attributes()))
            .condition_expression("attribute_not_exists(pk)");
        Ok(TransactWriteItem::builder().condition_check(check.build()?).build())
    }

    fn change(&self, id: &DepartmentId, change: &Change) -> Result<TransactWriteItem, BuildError> {
        let (condition, parent) = match change.where_it_is {
            Place::In(parent) => ("parentId = :parent", Some(parent)),
            Place::Nowhere => ("attribute_exists(pk) AND attribute_not_exists(parentId)", None),
            Place::NotIn(parent) => ("attribute_not_exists(parentId) OR parentId <> :parent", Some(parent)),
            Place::Unknown => ("attribute_exists(pk)", None),
        };
        let parent = parent.map(|parent| (":parent".to_owned(), string(parent)));
        if change.ancestors.is_none() && !change.leaves && !change.is_touched {
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
        if let Some(ancestors) = change.ancestors {
            expression.push_str(", ancestors = :ancestors");
            let ancestors = ancestors.iter().map(|id| string(id)).collect();
            update = update.expression_attribute_values(":ancestors", AttributeValue::L(ancestors));
        }
        if change.leaves {
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
