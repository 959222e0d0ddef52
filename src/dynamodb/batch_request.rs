//! The body of a BatchGetItem (Amazon DynamoDB API Reference, "BatchGetItem").
//!
//! The SDK would first make a map with owned names and values of each key.

use std::collections::BTreeMap;
use std::fmt;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::batch_reply::LIVECHAT_ATTRIBUTES;
use super::tables::Tables;
use crate::item::Key;

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct BatchGetItem<'a> {
    request_items: BTreeMap<&'a str, KeysAndAttributes<'a>>,
    return_consumed_capacity: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct KeysAndAttributes<'a> {
    keys: Vec<KeyAttributes<'a>>,
    consistent_read: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    projection_expression: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expression_attribute_names: Option<BTreeMap<String, &'static str>>,
}

/// A key in the form that DynamoDB takes.
struct KeyAttributes<'a>(&'a Key);

impl Serialize for KeyAttributes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(key) = self;
        let [kind, id] = key.partition_parts();
        let sort = key.sort();
        let mut attributes = serializer.serialize_map(None)?;
        attributes.serialize_entry(key.partition_name(), &Text { text: format_args!("{kind}{id}") })?;
        if let Some(sort) = &sort {
            attributes.serialize_entry("sk", &Text { text: format_args!("{sort}") })?;
        }
        attributes.end()
    }
}

/// A text in the form that DynamoDB takes. It is written in parts. Otherwise each of thousands of keys would need an allocation.
#[derive(Serialize)]
struct Text<'a> {
    #[serde(rename = "S")]
    text: fmt::Arguments<'a>,
}

/// The body of a strongly consistent read of these keys.
///
/// # Errors
/// None in practice. `serde_json` returns an error for maps whose keys are no strings, and there is no such map here.
pub(super) fn batch_request(tables: &Tables, keys: &[Key]) -> Result<String, serde_json::Error> {
    let (tokens, others): (Vec<&Key>, Vec<&Key>) = keys.iter().partition(|key| matches!(key, Key::Token(_)));
    let mut request_items = BTreeMap::new();
    if !tokens.is_empty() {
        let of_table = KeysAndAttributes {
            keys: tokens.into_iter().map(KeyAttributes).collect(),
            consistent_read: true,
            projection_expression: None,
            expression_attribute_names: None,
        };
        request_items.insert(tables.tokens.as_str(), of_table);
    }
    if !others.is_empty() {
        // Every name has a placeholder, because some of the names are reserved words (Amazon DynamoDB Developer Guide,
        // "Reserved words in DynamoDB").
        let names: Vec<String> = (0..LIVECHAT_ATTRIBUTES.len()).map(|number| format!("#a{number}")).collect();
        let of_table = KeysAndAttributes {
            keys: others.into_iter().map(KeyAttributes).collect(),
            consistent_read: true,
            projection_expression: Some(names.join(",")),
            expression_attribute_names: Some(names.into_iter().zip(LIVECHAT_ATTRIBUTES).collect()),
        };
        request_items.insert(tables.livechat.as_str(), of_table);
    }
    serde_json::to_string(&BatchGetItem { request_items, return_consumed_capacity: "TOTAL" })
}
