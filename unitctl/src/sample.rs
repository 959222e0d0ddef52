//! The sample data of Rocket.Chat's documentation page.

use std::collections::HashMap;

use anyhow::{Context, Result, bail, ensure};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{AttributeValue, PutRequest, WriteRequest};
use serde_json::Value;

use crate::database::Database;
use crate::import;

/// The documentation's user, who may update units.
pub const USER: &str = "rbAXPnMktTFbNpwtJ";
/// That user's token.
pub const TOKEN: &str = "RScctEHSmLGZGywfIhWyRpyofhKOiMoUIpimhvheU3f";
/// The documentation's unit.
pub const UNIT: &str = "o5zNtKy7BcTMgyXtm";
/// The body of the documentation's request.
pub const BODY: &str = concat!(
    r#"{"unitData":{"name":"unitxx2","visibility":"private"},"#,
    r#""unitMonitors":[{"monitorId":"GT67Tv6x5p5y5xZWN","username":"testerio"}],"#,
    r#""unitDepartments":[{"departmentId":"CgM4vfNNtj8t4QEMd"}]}"#
);

/// Writes the sample: the documentation's items, those that the sample events need for every answer, and
/// what a small workspace has otherwise. It is a mongoexport, which goes the way of every import.
///
/// # Errors
/// DynamoDB refuses.
pub async fn put(data: &Database) -> Result<()> {
    import::sample(data).await
}

/// Writes items in the batches that BatchWriteItem takes.
///
/// # Errors
/// DynamoDB refuses.
pub async fn write(client: &Client, table: &str, items: &[Value]) -> Result<()> {
    for batch in items.chunks(25) {
        let puts = batch.iter().map(|item| {
            let AttributeValue::M(item) = attribute(item) else { bail!("an item is not an object: {item}") };
            let put = PutRequest::builder().set_item(Some(item)).build()?;
            Ok(WriteRequest::builder().put_request(put).build())
        });
        let puts = puts.collect::<Result<Vec<_>>>()?;
        let output = client.batch_write_item().request_items(table, puts).send().await;
        let output = output.context("writing sample data")?;
        ensure!(output.unprocessed_items.is_none_or(|left| left.is_empty()), "DynamoDB left items unwritten");
    }
    Ok(())
}

/// JSON as DynamoDB's types; `{"set": [...]}` is a string set.
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
            None => AttributeValue::M(
                object.iter().map(|(key, value)| (key.clone(), attribute(value))).collect::<HashMap<_, _>>(),
            ),
        },
    }
}
