//! The planned [`Action`]s as TransactWriteItems takes them: expressions, names and values.

use std::collections::HashMap;

use aws_sdk_dynamodb::error::BuildError;
use aws_sdk_dynamodb::types::{
    AttributeValue, ConditionCheck, Delete, Put, ReturnValuesOnConditionCheckFailure, TransactWriteItem,
    Update,
};

use crate::id::DepartmentId;
use crate::plan::Action;

/// The action on `table`; what it writes carries `updated_at`. If its condition fails, DynamoDB returns
/// the item as it is: that is how a refused plan learns what to do instead.
///
/// # Errors
/// None in practice: the SDK's builders want their required fields, which are all set here.
pub fn item(action: &Action, table: &str, updated_at: &str) -> Result<TransactWriteItem, BuildError> {
    let mut expression = Expression::default();
    let key = action.key().attributes();
    match action {
        Action::UpdateUnit {
            version,
            name,
            visibility,
            monitors,
            departments,
            num_monitors,
            num_departments,
            ..
        } => {
            expression.set("name", string(name));
            expression.set("visibility", string(visibility.as_str()));
            expression.set("type", string("u"));
            expression.set("numMonitors", number(*num_monitors));
            expression.set("numDepartments", number(*num_departments));
            if let Some(monitors) = monitors {
                let entries = monitors.iter().map(|(id, username)| (id.clone(), string(username)));
                expression.set("monitors", AttributeValue::M(entries.collect()));
            }
            match departments {
                Some(ids) if ids.is_empty() => expression.remove("departmentIds"),
                Some(ids) => {
                    expression.set("departmentIds", AttributeValue::Ss(ids.iter().cloned().collect()));
                }
                None => {}
            }
            expression.count_version();
            match version {
                Some(version) => expression.require_equal("version", number(*version)),
                None => {
                    // Without this, the update of a unit that is gone would create one.
                    expression.require("attribute_exists(pk)".into());
                    expression.require_absent("version");
                }
            }
            expression.update(key, table, updated_at)
        }
        Action::PutMonitor { unit, monitor, username } => {
            let mut item = key;
            item.insert("unitId".into(), string(unit.as_str()));
            item.insert("monitorId".into(), string(monitor.as_str()));
            item.insert("username".into(), string(username));
            item.insert("_updatedAt".into(), string(updated_at));
            let put = Put::builder().table_name(table).set_item(Some(item)).build()?;
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
            expression.delete("departmentIds", loses);
            expression.count_version();
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

/// An update and a condition in the making. Every attribute goes by a placeholder, since many of their
/// names are reserved words (DynamoDB Developer Guide, "Reserved words in DynamoDB").
#[derive(Default)]
struct Expression {
    set: Vec<String>,
    remove: Vec<String>,
    delete: Vec<String>,
    conditions: Vec<String>,
    names: HashMap<String, String>,
    values: HashMap<String, AttributeValue>,
}

impl Expression {
    fn name(&mut self, attribute: &str) -> String {
        let placeholder = format!("#{attribute}");
        self.names.insert(placeholder.clone(), attribute.to_owned());
        placeholder
    }

    fn value(&mut self, name: &str, value: AttributeValue) -> String {
        let placeholder = format!(":{name}");
        self.values.insert(placeholder.clone(), value);
        placeholder
    }

    fn set(&mut self, attribute: &str, value: AttributeValue) {
        let clause = format!("{} = {}", self.name(attribute), self.value(attribute, value));
        self.set.push(clause);
    }

    fn subtract(&mut self, attribute: &str, amount: usize) {
        let (name, value) = (self.name(attribute), self.value(attribute, number(amount)));
        self.set.push(format!("{name} = {name} - {value}"));
    }

    /// One more than the stored version, or 1: an absent version is version 0.
    fn count_version(&mut self) {
        let name = self.name("version");
        let (zero, one) = (self.value("zero", number(0_u64)), self.value("one", number(1_u64)));
        self.set.push(format!("{name} = if_not_exists({name}, {zero}) + {one}"));
    }

    fn remove(&mut self, attribute: &str) {
        let name = self.name(attribute);
        self.remove.push(name);
    }

    /// DynamoDB removes a set that loses its last member.
    fn delete(&mut self, attribute: &str, members: &[DepartmentId]) {
        let members = members.iter().map(ToString::to_string).collect();
        let clause =
            format!("{} {}", self.name(attribute), self.value(attribute, AttributeValue::Ss(members)));
        self.delete.push(clause);
    }

    fn require(&mut self, condition: String) {
        self.conditions.push(condition);
    }

    /// True only of an item that exists.
    fn require_equal(&mut self, attribute: &str, value: AttributeValue) {
        let name = self.name(attribute);
        let value = self.value(&format!("was_{attribute}"), value);
        self.require(format!("{name} = {value}"));
    }

    fn require_absent(&mut self, attribute: &str) {
        let name = self.name(attribute);
        self.require(format!("attribute_not_exists({name})"));
    }

    // Short placeholders in the next two: an expression has at most 4 KB, and up to 99 departments.

    fn require_listed(&mut self, departments: &[DepartmentId]) {
        for (index, id) in departments.iter().enumerate() {
            let (name, value) = (self.departments(), self.value(&format!("d{index}"), string(id.as_str())));
            self.require(format!("contains({name},{value})"));
        }
    }

    fn require_not_listed(&mut self, departments: &[DepartmentId]) {
        for (index, id) in departments.iter().enumerate() {
            let (name, value) = (self.departments(), self.value(&format!("n{index}"), string(id.as_str())));
            self.require(format!("NOT contains({name},{value})"));
        }
    }

    fn departments(&mut self) -> String {
        self.names.insert("#d".into(), "departmentIds".into());
        "#d".into()
    }

    fn update(
        mut self,
        key: HashMap<String, AttributeValue>,
        table: &str,
        updated_at: &str,
    ) -> Result<TransactWriteItem, BuildError> {
        self.set("_updatedAt", string(updated_at));
        let clauses = [("SET", &self.set), ("REMOVE", &self.remove), ("DELETE", &self.delete)];
        let expression = clauses
            .into_iter()
            .filter(|(_, parts)| !parts.is_empty())
            .map(|(verb, parts)| format!("{verb} {}", parts.join(", ")))
            .collect::<Vec<_>>()
            .join(" ");
        let update = Update::builder()
            .table_name(table)
            .set_key(Some(key))
            .update_expression(expression)
            .condition_expression(self.conditions.join(" AND "))
            .set_expression_attribute_names(Some(self.names))
            .set_expression_attribute_values(Some(self.values))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .build()?;
        Ok(TransactWriteItem::builder().update(update).build())
    }

    fn check(
        self,
        key: HashMap<String, AttributeValue>,
        table: &str,
    ) -> Result<TransactWriteItem, BuildError> {
        let check = ConditionCheck::builder()
            .table_name(table)
            .set_key(Some(key))
            .condition_expression(self.conditions.join(" AND "))
            .set_expression_attribute_names(Some(self.names))
            .set_expression_attribute_values(Some(self.values))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .build()?;
        Ok(TransactWriteItem::builder().condition_check(check).build())
    }
}

fn string(text: impl AsRef<str>) -> AttributeValue {
    AttributeValue::S(text.as_ref().to_owned())
}

fn number(value: impl ToString) -> AttributeValue {
    AttributeValue::N(value.to_string())
}
