//! Takes attributes out of an item and checks that each has the type that docs/data-model.md gives it.

use std::collections::BTreeMap;
use std::str::FromStr;

use aws_sdk_dynamodb::types::AttributeValue;

use super::key::{Corrupt, Item, Key};

/// The attributes of an item. The SDK gives an item as a map. A reply to BatchGetItem has it as a list.
pub trait Attributes {
    /// Takes out an attribute. `None` if it is absent.
    fn take(&mut self, attribute: &str) -> Option<AttributeValue>;
}

impl Attributes for Item {
    fn take(&mut self, attribute: &str) -> Option<AttributeValue> {
        self.remove(attribute)
    }
}

/// An item that is being parsed.
pub(crate) struct ItemParser<'a, A> {
    key: &'a Key,
    item: A,
}

impl<'a, A: Attributes> ItemParser<'a, A> {
    pub(crate) fn new(key: &'a Key, item: A) -> Self {
        Self { key, item }
    }

    /// `None` when the attribute is absent. A value that `convert` refuses makes the item corrupt.
    fn take<T>(
        &mut self,
        attribute: &'static str,
        convert: impl FnOnce(AttributeValue) -> Option<T>,
    ) -> Result<Option<T>, Corrupt> {
        let Some(value) = self.item.take(attribute) else { return Ok(None) };
        let corrupt = || Corrupt { item: self.key.partition(), attribute };
        convert(value).map(Some).ok_or_else(corrupt)
    }

    pub(crate) fn string(&mut self, attribute: &'static str) -> Result<Option<String>, Corrupt> {
        self.take(attribute, string)
    }

    /// `None` when the attribute is absent or has another type. This is for attributes that every update overwrites.
    pub(crate) fn lenient_string(&mut self, attribute: &str) -> Option<String> {
        self.item.take(attribute).and_then(string)
    }

    pub(crate) fn boolean(&mut self, attribute: &'static str) -> Result<Option<bool>, Corrupt> {
        self.take(attribute, |value| value.as_bool().ok().copied())
    }

    pub(crate) fn number<T: FromStr>(&mut self, attribute: &'static str) -> Result<Option<T>, Corrupt> {
        self.take(attribute, |value| value.as_n().ok()?.parse().ok())
    }

    /// The members of a set, in no order. Empty when absent, because DynamoDB has no empty sets.
    pub(crate) fn string_set(&mut self, attribute: &'static str) -> Result<Vec<String>, Corrupt> {
        let set = self.take(attribute, |value| match value {
            AttributeValue::Ss(members) => Some(members),
            _ => None,
        })?;
        Ok(set.unwrap_or_default())
    }

    pub(crate) fn string_list(&mut self, attribute: &'static str) -> Result<Option<Vec<String>>, Corrupt> {
        self.take(attribute, |value| match value {
            AttributeValue::L(members) => members.into_iter().map(string).collect(),
            _ => None,
        })
    }

    /// Empty when absent.
    pub(crate) fn string_map(
        &mut self,
        attribute: &'static str,
    ) -> Result<BTreeMap<String, String>, Corrupt> {
        let map = self.take(attribute, |value| match value {
            AttributeValue::M(entries) => {
                entries.into_iter().map(|(name, value)| Some((name, string(value)?))).collect()
            }
            _ => None,
        })?;
        Ok(map.unwrap_or_default())
    }
}

fn string(value: AttributeValue) -> Option<String> {
    match value {
        AttributeValue::S(text) => Some(text),
        _ => None,
    }
}
