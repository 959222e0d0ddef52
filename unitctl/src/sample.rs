//! The sample data of Rocket.Chat's documentation of the endpoint ("Update Unit", Rocket.Chat Developer).

use std::collections::HashMap;

use anyhow::{Context, Result, bail, ensure};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{AttributeValue, PutRequest, WriteRequest};
use serde_json::Value;

use crate::database::Database;
use crate::import;

/// The user in the documentation, who may update units.
pub const USER: &str = "rbAXPnMktTFbNpwtJ";
/// The token of that user.
pub const TOKEN: &str = "RScctEHSmLGZGywfIhWyRpyofhKOiMoUIpimhvheU3f";
/// The unit in the documentation.
pub const UNIT: &str = "o5zNtKy7BcTMgyXtm";
/// The request body in the documentation.
pub const BODY: &str = concat!(
    r#"{"unitData":{"name":"unitxx2","visibility":"private"},"#,
    r#""unitMonitors":[{"monitorId":"GT67Tv6x5p5y5xZWN","username":"testerio"}],"#,
    r#""unitDepartments":[{"departmentId":"CgM4vfNNtj8t4QEMd"}]}"#
);

/// Imports the sample data: what the documentation's request needs, what each sample event needs for its answer, and the
/// other items of a small workspace. The data is a mongoexport in `sample/`.
///
/// # Errors
/// DynamoDB refuses a request or can't be reached.
pub async fn put(database: &Database) -> Result<()> {
    import::sample(database).await
}

/// Writes items to a table, 25 in each BatchWriteItem request.
///
/// # Errors
/// An item is not a JSON object, or DynamoDB refuses a request, can't be reached, or leaves items unprocessed.
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
        ensure!(
            output.unprocessed_items.is_none_or(|left| left.is_empty()),
            "DynamoDB left items unprocessed"
        );
    }
    Ok(())
}

/// Converts JSON to DynamoDB's types. `{"set": [...]}` becomes a string set.
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
