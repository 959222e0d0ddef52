//! Update and condition expressions with their placeholders.

use std::collections::HashMap;

use aws_sdk_dynamodb::error::BuildError;
use aws_sdk_dynamodb::types::{
    AttributeValue, ConditionCheck, ReturnValuesOnConditionCheckFailure, TransactWriteItem, Update,
};

use crate::id::DepartmentId;
use crate::item::Item;

/// An update expression and a condition expression that are being built. Every attribute has a placeholder, because
/// many attribute names are reserved words (Amazon DynamoDB Developer Guide, "Reserved words in DynamoDB").
///
/// If the condition fails, DynamoDB returns the stored item, so that the function can plan again without a read.
#[derive(Default)]
pub(super) struct Expression {
    set: Vec<String>,
    remove: Vec<String>,
    add: Vec<String>,
    delete: Vec<String>,
    /// The number of map entries that have a placeholder.
    entries: usize,
    conditions: Vec<String>,
    names: HashMap<String, String>,
    values: HashMap<String, AttributeValue>,
}

impl Expression {
    pub(super) fn name(&mut self, attribute: &str) -> String {
        let placeholder = format!("#{attribute}");
        self.names.insert(placeholder.clone(), attribute.to_owned());
        placeholder
    }

    pub(super) fn value(&mut self, name: &str, value: AttributeValue) -> String {
        let placeholder = format!(":{name}");
        self.values.insert(placeholder.clone(), value);
        placeholder
    }

    pub(super) fn set(&mut self, attribute: &str, value: AttributeValue) {
        let clause = format!("{} = {}", self.name(attribute), self.value(attribute, value));
        self.set.push(clause);
    }

    pub(super) fn subtract(&mut self, attribute: &str, amount: usize) {
        let (name, value) = (self.name(attribute), self.value(attribute, number(amount)));
        self.set.push(format!("{name} = {name} - {value}"));
    }

    /// Sets `version` to one more than the stored version. An absent version counts as 0.
    pub(super) fn increment_version(&mut self) {
        let name = self.name("version");
        let (zero, one) = (self.value("zero", number(0_u64)), self.value("one", number(1_u64)));
        self.set.push(format!("{name} = if_not_exists({name}, {zero}) + {one}"));
    }

    pub(super) fn remove(&mut self, attribute: &str) {
        let name = self.name(attribute);
        self.remove.push(name);
    }

    /// Adds members to a set. DynamoDB creates the attribute when it is absent.
    pub(super) fn add(&mut self, attribute: &str, members: AttributeValue) {
        let clause = format!("{} {}", self.name(attribute), self.value(attribute, members));
        self.add.push(clause);
    }

    /// Deletes members from a set. DynamoDB removes the attribute when the set becomes empty.
    pub(super) fn delete(&mut self, attribute: &str, members: AttributeValue) {
        let clause = format!("{} {}", self.name(attribute), self.value(attribute, members));
        self.delete.push(clause);
    }

    // The next two use short placeholders, because an expression may have 4 KB and there may be 99 entries.

    /// Sets one entry of a map, which must exist.
    pub(super) fn set_entry(&mut self, map: &str, key: &str, value: AttributeValue) {
        let (path, value) = (self.entry(map, key), self.value(&format!("e{}", self.entries), value));
        self.set.push(format!("{path}={value}"));
    }

    /// Removes one entry of a map.
    pub(super) fn remove_entry(&mut self, map: &str, key: &str) {
        let path = self.entry(map, key);
        self.remove.push(path);
    }

    fn entry(&mut self, map: &str, key: &str) -> String {
        self.entries += 1;
        let placeholder = format!("#e{}", self.entries);
        self.names.insert(placeholder.clone(), key.to_owned());
        self.names.insert("#m".into(), map.to_owned());
        format!("#m.{placeholder}")
    }

    pub(super) fn require(&mut self, condition: String) {
        self.conditions.push(condition);
    }

    /// Requires that the item exists and the attribute has this value.
    pub(super) fn require_equal(&mut self, attribute: &str, value: AttributeValue) {
        let name = self.name(attribute);
        let value = self.value(&format!("was_{attribute}"), value);
        self.require(format!("{name} = {value}"));
    }

    pub(super) fn require_absent(&mut self, attribute: &str) {
        let name = self.name(attribute);
        self.require(format!("attribute_not_exists({name})"));
    }

    // The next two use short placeholders, because an expression may have 4 KB and there may be 99 departments.

    pub(super) fn require_listed(&mut self, departments: &[DepartmentId]) {
        for (index, id) in departments.iter().enumerate() {
            let (name, value) =
                (self.department_ids(), self.value(&format!("d{index}"), string(id.as_str())));
            self.require(format!("contains({name},{value})"));
        }
    }

    pub(super) fn require_not_listed(&mut self, departments: &[DepartmentId]) {
        for (index, id) in departments.iter().enumerate() {
            let (name, value) =
                (self.department_ids(), self.value(&format!("n{index}"), string(id.as_str())));
            self.require(format!("NOT contains({name},{value})"));
        }
    }

    fn department_ids(&mut self) -> String {
        self.names.insert("#d".into(), "departmentIds".into());
        "#d".into()
    }

    pub(super) fn update(
        mut self,
        key: Item,
        table: &str,
        updated_at: &str,
    ) -> Result<TransactWriteItem, BuildError> {
        self.set("_updatedAt", string(updated_at));
        let clauses =
            [("SET", &self.set), ("REMOVE", &self.remove), ("ADD", &self.add), ("DELETE", &self.delete)];
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

    pub(super) fn check(self, key: Item, table: &str) -> Result<TransactWriteItem, BuildError> {
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

pub(super) fn string(text: impl AsRef<str>) -> AttributeValue {
    AttributeValue::S(text.as_ref().to_owned())
}

pub(super) fn string_set<'a, T: ToString + 'a>(members: impl IntoIterator<Item = &'a T>) -> AttributeValue {
    AttributeValue::Ss(members.into_iter().map(ToString::to_string).collect())
}

pub(super) fn number(value: impl ToString) -> AttributeValue {
    AttributeValue::N(value.to_string())
}
