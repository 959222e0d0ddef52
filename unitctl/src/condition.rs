//! Condition expressions: an item is written only if it is still as it was read.

use std::collections::HashMap;

use anyhow::Result;
#[cfg(feature = "sync")]
use aws_sdk_dynamodb::types::ConditionCheck;
use aws_sdk_dynamodb::types::{AttributeValue, Delete, Put, TransactWriteItem};
use livechat_units::item::Item;

/// A condition that is being built. Every attribute has a placeholder, because many names are reserved words ("Reserved
/// words in DynamoDB").
#[derive(Clone, Debug, Default)]
pub struct Condition {
    parts: Vec<String>,
    names: HashMap<String, String>,
    values: HashMap<String, AttributeValue>,
}

/// A condition as a request has it.
struct Expression {
    text: String,
    /// The attributes' names, by placeholder.
    names: HashMap<String, String>,
    /// The values, by placeholder. `None` if there are none, because DynamoDB refuses an empty map.
    values: Option<HashMap<String, AttributeValue>>,
}

impl Condition {
    /// If an item was read, it still has the same values of these attributes. If none was found, there still is none.
    pub fn unchanged(stored: Option<&Item>, key: &str, attributes: &[&str]) -> Self {
        match stored {
            None => Self::default().absent(key),
            Some(item) => attributes.iter().fold(Self::default().present(key), |condition, attribute| {
                match item.get(*attribute) {
                    Some(value) => condition.equal(attribute, value.clone()),
                    None => condition.absent(attribute),
                }
            }),
        }
    }

    /// The item has no such attribute. With the name of the partition key: there is no item.
    pub fn absent(mut self, attribute: &str) -> Self {
        let name = self.name(attribute);
        self.parts.push(format!("attribute_not_exists({name})"));
        self
    }

    /// The item has such an attribute.
    pub fn present(mut self, attribute: &str) -> Self {
        let name = self.name(attribute);
        self.parts.push(format!("attribute_exists({name})"));
        self
    }

    /// The attribute has this value.
    pub fn equal(mut self, attribute: &str, value: AttributeValue) -> Self {
        let (name, value) = (self.name(attribute), self.value(value));
        self.parts.push(format!("{name} = {value}"));
        self
    }

    /// The attribute is a set or a list that lacks this member, or there is no such attribute.
    #[cfg(feature = "sync")]
    pub fn lacks(mut self, attribute: &str, member: &str) -> Self {
        let (name, value) = (self.name(attribute), self.value(AttributeValue::S(member.to_owned())));
        self.parts.push(format!("NOT contains({name}, {value})"));
        self
    }

    /// There is no item, or it fulfils this condition.
    #[cfg(feature = "sync")]
    pub fn or_absent(mut self, key: &str) -> Self {
        let name = self.name(key);
        self.parts = vec![format!("attribute_not_exists({name}) OR ({})", self.parts.join(" AND "))];
        self
    }

    /// Stores the item on this condition.
    ///
    /// # Errors
    /// Never: the action is complete.
    pub fn put(self, table: &str, item: Item) -> Result<TransactWriteItem> {
        let Expression { text, names, values } = self.finish();
        let put = Put::builder().table_name(table).set_item(Some(item)).condition_expression(text);
        let put = put.set_expression_attribute_names(Some(names)).set_expression_attribute_values(values);
        Ok(TransactWriteItem::builder().put(put.build()?).build())
    }

    /// Deletes the item of this key on this condition.
    ///
    /// # Errors
    /// Never: the action is complete.
    pub fn delete(self, table: &str, key: Item) -> Result<TransactWriteItem> {
        let Expression { text, names, values } = self.finish();
        let delete = Delete::builder().table_name(table).set_key(Some(key)).condition_expression(text);
        let delete =
            delete.set_expression_attribute_names(Some(names)).set_expression_attribute_values(values);
        Ok(TransactWriteItem::builder().delete(delete.build()?).build())
    }

    /// Writes nothing, but refuses the transaction unless the item of this key fulfils this condition.
    ///
    /// # Errors
    /// Never: the action is complete.
    #[cfg(feature = "sync")]
    pub fn check(self, table: &str, key: Item) -> Result<TransactWriteItem> {
        let Expression { text, names, values } = self.finish();
        let check = ConditionCheck::builder().table_name(table).set_key(Some(key)).condition_expression(text);
        let check = check.set_expression_attribute_names(Some(names)).set_expression_attribute_values(values);
        Ok(TransactWriteItem::builder().condition_check(check.build()?).build())
    }

    fn finish(self) -> Expression {
        Expression {
            text: self.parts.join(" AND "),
            names: self.names,
            values: Some(self.values).filter(|values| !values.is_empty()),
        }
    }

    fn name(&mut self, attribute: &str) -> String {
        let placeholder = format!("#{attribute}");
        self.names.insert(placeholder.clone(), attribute.to_owned());
        placeholder
    }

    fn value(&mut self, value: AttributeValue) -> String {
        let placeholder = format!(":v{}", self.values.len());
        self.values.insert(placeholder.clone(), value);
        placeholder
    }
}

/// Stores the item without a condition.
///
/// # Errors
/// Never: the action is complete.
pub fn put(table: &str, item: Item) -> Result<TransactWriteItem> {
    let put = Put::builder().table_name(table).set_item(Some(item)).build()?;
    Ok(TransactWriteItem::builder().put(put).build())
}

/// Deletes the item of this key without a condition, if there is one.
///
/// # Errors
/// Never: the action is complete.
pub fn delete(table: &str, key: Item) -> Result<TransactWriteItem> {
    let delete = Delete::builder().table_name(table).set_key(Some(key)).build()?;
    Ok(TransactWriteItem::builder().delete(delete).build())
}
