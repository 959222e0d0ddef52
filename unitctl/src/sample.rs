//! The sample data of Rocket.Chat's documentation page.

use std::collections::HashMap;

use anyhow::{Context, Result, bail, ensure};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{AttributeValue, PutRequest, WriteRequest};
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

/// Writes the sample items: the documentation's, and those that the sample events need for every answer.
///
/// # Errors
/// DynamoDB refuses.
pub async fn put(client: &Client, tables: &Tables) -> Result<()> {
    write(client, &tables.tokens, &tokens()).await?;
    write(client, &tables.livechat, &livechat()).await
}

fn tokens() -> Vec<Value> {
    let token = |token, user| json!({ "hashedToken": hashed_token(token), "userId": user });
    let mut tokens = vec![
        token(TOKEN, USER),
        token("TokenOfTheDeactivatedUser000000000000000001", "deactivatedUser01"),
        token("TokenOfTheUserWithoutPermission000000000001", "agentOfSupport001"),
        token("TokenOfTheUserWhoSeesOnlyMonitoredUnits0001", "restrictedUser001"),
        token("TokenOfAUserWhoIsNoMore00000000000000000001", "userWhoIsNoMore01"),
        token("TokenThatHasExpired000000000000000000000001", USER),
    ];
    tokens[0]["type"] = "personalAccessToken".into();
    tokens[0]["name"] = "sample".into();
    tokens[5]["expiresAt"] = 1_638_801_659.into();
    tokens
}

fn livechat() -> Vec<Value> {
    let user = |id: &str, username, active, roles: &[&str]| {
        json!({
            "pk": format!("USER#{id}"), "sk": "USER", "username": username, "active": active,
            "roles": { "set": roles },
        })
    };
    let unit = |id: &str, name, departments: &[String]| {
        let mut unit = json!({
            "pk": format!("UNIT#{id}"), "sk": "UNIT", "name": name, "visibility": "public", "type": "u",
            "numMonitors": 0, "numDepartments": departments.len(), "monitors": {}, "version": 1,
            "_updatedAt": "2021-12-06T14:00:00.000Z",
        });
        if !departments.is_empty() {
            unit["departmentIds"] = json!({ "set": departments });
        }
        unit
    };
    let department = |id: &str, name: &str| {
        json!({
            "pk": format!("DEPARTMENT#{id}"), "sk": "DEPARTMENT", "name": name, "enabled": true,
            "_updatedAt": "2021-12-06T14:00:00.000Z",
        })
    };
    let many: Vec<String> = (1..=100).map(|n| format!("departmentNo{n:05}")).collect();
    let large_unit = "unitOfAHundred001";

    let mut items = vec![
        json!({
            "pk": "PERMISSION#manage-livechat-units", "sk": "PERMISSION",
            "roles": { "set": ["admin", "livechat-manager", "unit-editor"] },
        }),
        user(USER, "rocket.admin", true, &["admin", "livechat-manager"]),
        user("GT67Tv6x5p5y5xZWN", "testerio", true, &["livechat-agent", "livechat-monitor"]),
        user("deactivatedUser01", "former.manager", false, &["livechat-manager"]),
        user("agentOfSupport001", "support.agent", true, &["livechat-agent"]),
        user("restrictedUser001", "shift.lead", true, &["livechat-monitor", "unit-editor"]),
        unit(UNIT, "unitxx", &[]),
        unit(large_unit, "A hundred departments", &many),
        department("CgM4vfNNtj8t4QEMd", "Support"),
    ];
    items.extend(many.iter().enumerate().map(|(index, id)| {
        let mut department = department(id, &format!("Branch {}", index + 1));
        department["parentId"] = large_unit.into();
        department["ancestors"] = json!([large_unit]);
        department
    }));
    items
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
