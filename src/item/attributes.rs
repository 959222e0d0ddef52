//! Takes attributes out of an item and checks that each has the type that docs/data-model.md gives it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::str::FromStr;

use aws_sdk_dynamodb::types::AttributeValue;
use serde::Deserialize;
use serde::de::IgnoredAny;
use smol_str::SmolStr;

use super::key::{Corrupt, Item, Key};

/// The attributes of an item. The SDK gives an item as a map. A reply to BatchGetItem has it as a list.
pub trait Attributes {
    /// Takes out an attribute. `None` if it is absent.
    fn take(&mut self, attribute: &str) -> Option<Value<'_>>;
}

impl Attributes for Item {
    fn take(&mut self, attribute: &str) -> Option<Value<'_>> {
        self.remove(attribute).map(Value::from)
    }
}

/// An attribute's value. In JSON it is an object whose only key is the type (Amazon DynamoDB API Reference,
/// "AttributeValue"). The texts are parts of the JSON if they have no escapes.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Value<'a> {
    /// A string.
    #[serde(borrow)]
    S(Cow<'a, str>),
    /// A number, in decimal digits.
    #[serde(borrow)]
    N(Cow<'a, str>),
    /// A boolean.
    Bool(bool),
    /// A set of strings.
    #[serde(borrow)]
    Ss(Vec<Text<'a>>),
    /// A list.
    #[serde(borrow)]
    L(Vec<Self>),
    /// A map.
    #[serde(borrow)]
    M(BTreeMap<Text<'a>, Self>),
    /// A value of a type that no attribute of docs/data-model.md has.
    #[serde(rename = "B", alias = "BS", alias = "NS", alias = "NULL")]
    Other(IgnoredAny),
}

/// A text in a set, or a name in a map. `serde` would copy a `Cow` in these places.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub struct Text<'a>(#[serde(borrow)] pub Cow<'a, str>);

impl From<AttributeValue> for Value<'_> {
    fn from(value: AttributeValue) -> Self {
        let text = |text: String| Text(text.into());
        match value {
            AttributeValue::S(text) => Self::S(text.into()),
            AttributeValue::N(number) => Self::N(number.into()),
            AttributeValue::Bool(value) => Self::Bool(value),
            AttributeValue::Ss(members) => Self::Ss(members.into_iter().map(text).collect()),
            AttributeValue::L(members) => Self::L(members.into_iter().map(Self::from).collect()),
            AttributeValue::M(members) => {
                Self::M(members.into_iter().map(|(name, value)| (text(name), value.into())).collect())
            }
            _ => Self::Other(IgnoredAny),
        }
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
        convert: impl FnOnce(Value) -> Option<T>,
    ) -> Result<Option<T>, Corrupt> {
        let Some(value) = self.item.take(attribute) else { return Ok(None) };
        let corrupt = || Corrupt { item: self.key.partition(), attribute };
        convert(value).map(Some).ok_or_else(corrupt)
    }

    pub(crate) fn string(&mut self, attribute: &'static str) -> Result<Option<SmolStr>, Corrupt> {
        self.take(attribute, string)
    }

    /// `None` when the attribute is absent or has another type. This is for attributes that every update overwrites.
    pub(crate) fn lenient_string(&mut self, attribute: &str) -> Option<String> {
        match self.item.take(attribute)? {
            Value::S(text) => Some(text.into_owned()),
            _ => None,
        }
    }

    pub(crate) fn boolean(&mut self, attribute: &'static str) -> Result<Option<bool>, Corrupt> {
        self.take(attribute, |value| if let Value::Bool(value) = value { Some(value) } else { None })
    }

    pub(crate) fn number<T: FromStr>(&mut self, attribute: &'static str) -> Result<Option<T>, Corrupt> {
        self.take(attribute, |value| if let Value::N(number) = value { number.parse().ok() } else { None })
    }

    /// The members of a set, in no order. Empty when absent, because DynamoDB has no empty sets.
    pub(crate) fn string_set<C: Default + FromIterator<SmolStr>>(
        &mut self,
        attribute: &'static str,
    ) -> Result<C, Corrupt> {
        let set = self.take(attribute, |value| match value {
            Value::Ss(members) => Some(members.into_iter().map(|Text(text)| text.into()).collect()),
            _ => None,
        })?;
        Ok(set.unwrap_or_default())
    }

    pub(crate) fn string_list(&mut self, attribute: &'static str) -> Result<Option<Vec<SmolStr>>, Corrupt> {
        self.take(attribute, |value| match value {
            Value::L(members) => members.into_iter().map(string).collect(),
            _ => None,
        })
    }

    /// Empty when absent.
    pub(crate) fn string_map(
        &mut self,
        attribute: &'static str,
    ) -> Result<BTreeMap<SmolStr, SmolStr>, Corrupt> {
        let map = self.take(attribute, |value| match value {
            Value::M(members) => {
                members.into_iter().map(|(Text(name), value)| Some((name.into(), string(value)?))).collect()
            }
            _ => None,
        })?;
        Ok(map.unwrap_or_default())
    }
}

fn string(value: Value) -> Option<SmolStr> {
    match value {
        Value::S(text) => Some(text.into()),
        _ => None,
    }
}
