//! The sample data of Rocket.Chat's documentation page.

use std::collections::HashMap;

use anyhow::{Context, Result};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use livechat_units::{Tables, hashed_token};
use serde_json::{Value, json};

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

/// Writes the sample items.
///
/// # Errors
/// DynamoDB refuses.
pub async fn put(client: &Client, tables: &Tables) -> Result<()> {
    let token = json!({
        "hashedToken": hashed_token(TOKEN), "userId": USER, "createdAt": "2021-12-06T14:00:00.000Z",
        "type": "personalAccessToken", "name": "sample",
    });
    put_item(client, &tables.tokens, &token).await?;
    for item in [
        json!({
            "pk": format!("USER#{USER}"), "sk": "USER", "username": "rocket.admin", "active": true,
            "roles": {"set": ["admin", "livechat-manager"]},
        }),
        json!({
            "pk": "USER#GT67Tv6x5p5y5xZWN", "sk": "USER", "username": "testerio", "active": true,
            "roles": {"set": ["livechat-monitor"]},
        }),
        json!({
            "pk": "PERMISSION#manage-livechat-units", "sk": "PERMISSION",
            "roles": {"set": ["admin", "livechat-manager"]},
        }),
        json!({
            "pk": format!("UNIT#{UNIT}"), "sk": "UNIT", "name": "unitxx", "visibility": "public", "type": "u",
            "numMonitors": 0, "numDepartments": 0, "monitors": {}, "version": 1,
            "_updatedAt": "2021-12-06T14:00:00.000Z",
        }),
        json!({
            "pk": "DEPARTMENT#CgM4vfNNtj8t4QEMd", "sk": "DEPARTMENT", "name": "Support", "enabled": true,
            "_updatedAt": "2021-12-06T14:00:00.000Z",
        }),
    ] {
        put_item(client, &tables.livechat, &item).await?;
    }
    Ok(())
}

async fn put_item(client: &Client, table: &str, item: &Value) -> Result<()> {
    let AttributeValue::M(item) = attribute(item) else { unreachable!("the items above are objects") };
    client.put_item().table_name(table).set_item(Some(item)).send().await.context("writing sample data")?;
    Ok(())
}

/// JSON as DynamoDB's types; `{"set": [...]}` is a string set.
fn attribute(value: &Value) -> AttributeValue {
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
