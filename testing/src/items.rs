//! DynamoDB's items as JSON. `{"set": [...]}` is a string set, and any other JSON value is the attribute of the same type.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail, ensure};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{AttributeValue, PutRequest, WriteRequest};
use livechat_units::item::Item;
use serde_json::{Value, json};
use unitctl::limits::MAX_BATCH_WRITE_ITEMS;

/// JSON as an attribute.
pub fn attribute(value: &Value) -> AttributeValue {
    match value {
        Value::Null => AttributeValue::Null(true),
        Value::Bool(value) => AttributeValue::Bool(*value),
        Value::Number(number) => AttributeValue::N(number.to_string()),
        Value::String(text) => AttributeValue::S(text.clone()),
        Value::Array(items) => AttributeValue::L(items.iter().map(attribute).collect()),
        Value::Object(object) => match object.get("set").and_then(Value::as_array) {
            Some(members) => {
                AttributeValue::Ss(members.iter().filter_map(Value::as_str).map(String::from).collect())
            }
            None => {
                AttributeValue::M(object.iter().map(|(key, value)| (key.clone(), attribute(value))).collect())
            }
        },
    }
}

/// An attribute as JSON. Keys of objects and members of sets are sorted.
///
/// # Panics
/// The attribute is of a type that the function, `unitctl` and Rocket.Chat's documents do not have.
pub fn json_of(value: &AttributeValue) -> Value {
    match value {
        AttributeValue::S(text) => text.clone().into(),
        AttributeValue::N(number) => serde_json::from_str(number).expect("a number"),
        AttributeValue::Bool(value) => (*value).into(),
        AttributeValue::Null(_) => Value::Null,
        AttributeValue::L(items) => items.iter().map(json_of).collect(),
        AttributeValue::M(entries) => {
            let sorted: BTreeMap<_, _> = entries.iter().collect();
            sorted.into_iter().map(|(name, value)| (name.clone(), json_of(value))).collect()
        }
        AttributeValue::Ss(members) => json!({ "set": members.iter().collect::<BTreeSet<_>>() }),
        other => panic!("no item has an attribute like {other:?}"),
    }
}

/// An item from a JSON object.
///
/// # Panics
/// The JSON is not an object.
pub fn item(value: &Value) -> Item {
    let AttributeValue::M(item) = attribute(value) else { panic!("an item is an object, and not {value}") };
    item
}

/// Stores items, in batches. They replace the stored items with the same keys.
///
/// # Errors
/// DynamoDB refuses, or leaves items unprocessed.
pub async fn put(client: &Client, table: &str, items: &[Value]) -> Result<()> {
    for batch in items.chunks(MAX_BATCH_WRITE_ITEMS) {
        let puts = batch.iter().map(|item| {
            let AttributeValue::M(item) = attribute(item) else { bail!("an item is not an object: {item}") };
            let put = PutRequest::builder().set_item(Some(item)).build()?;
            Ok(WriteRequest::builder().put_request(put).build())
        });
        let puts = puts.collect::<Result<Vec<_>>>()?;
        let output = client.batch_write_item().request_items(table, puts).send().await;
        let output = output.context("writing items")?;
        ensure!(
            output.unprocessed_items.is_none_or(|items| items.is_empty()),
            "DynamoDB left items unprocessed"
        );
    }
    Ok(())
}

/// Every item of a table, in no particular order.
///
/// # Errors
/// DynamoDB refuses.
pub async fn scan(client: &Client, table: &str) -> Result<Vec<Item>> {
    let pages = client.scan().table_name(table).consistent_read(true).into_paginator();
    pages.items().send().collect::<Result<Vec<_>, _>>().await.with_context(|| format!("scanning {table}"))
}
