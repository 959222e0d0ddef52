//! The items in the tables, and the events of the updates that are measured.

use anyhow::{Context, Result, ensure};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use livechat_units::item::Item;
use livechat_units::{Tables, hashed_token};
use serde_json::{Value, json};
use testing::events::{update_body, update_event};
use testing::items;
use unitctl::database::Database;
use unitctl::sample;

use crate::proxy::Call;

/// Sizes of units, in members: monitors and departments together. One department leaves each unit and comes back.
pub const MEMBERS: [usize; 5] = [1, 10, 50, 95, 1000];

/// Updates that are sent one after the other, again and again. The last one restores what the others have changed, except
/// the unit's version and the times.
pub struct Profile {
    unit: String,
    pub events: Vec<Value>,
    /// The requests that the function sends to DynamoDB for each event.
    pub calls: Vec<Vec<Call>>,
}

pub async fn put(client: &Client, tables: &Tables) -> Result<()> {
    testing::dynamodb::create_tables(client, tables).await?;
    sample::put(&Database { client: client.clone(), tables: tables.clone() }).await?;
    for members in MEMBERS {
        items::put(client, &tables.livechat, &unit(members)).await?;
    }
    Ok(())
}

/// The update of Rocket.Chat's documentation: one monitor and one department. Only the unit's version and time change.
pub fn reference() -> Profile {
    Profile {
        unit: sample::UNIT.into(),
        events: vec![update_event(sample::UNIT, sample::BODY)],
        calls: Vec::new(),
    }
}

/// A department moves between two units.
pub fn moving() -> Profile {
    let body = body(&[], &[department(0, 1)]);
    let events = ["unit0000000000010", "unit0000000000001"].map(|unit| update_event(unit, &body));
    Profile { unit: String::new(), events: events.into(), calls: Vec::new() }
}

/// One department leaves a unit with this many members, and comes back.
pub fn growth(members: usize) -> Profile {
    let (monitors, departments) = ids(members);
    let unit = unit_id(members);
    let less = body(&monitors, &departments[..departments.len() - 1]);
    let events = vec![update_event(&unit, &less), update_event(&unit, &body(&monitors, &departments))];
    Profile { unit, events, calls: Vec::new() }
}

/// Stores new tokens of the sample user, which no execution environment knows.
pub async fn new_tokens(client: &Client, tables: &Tables, series: &str, count: usize) -> Result<Vec<String>> {
    let tokens: Vec<String> = (0..count).map(|number| format!("{series:a<30}{number:013}")).collect();
    let items: Vec<Value> = tokens
        .iter()
        .map(|token| json!({ "hashedToken": hashed_token(token), "userId": sample::USER }))
        .collect();
    items::put(client, &tables.tokens, &items).await?;
    Ok(tokens)
}

pub fn with_token(event: &Value, token: &str) -> Value {
    let mut event = event.clone();
    event["headers"]["x-auth-token"] = token.into();
    event
}

/// The token that an update comes with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Token {
    /// The environment has seen it before.
    Known,
    /// The environment sees it for the first time.
    New,
}

impl Profile {
    /// The event for the floor: it makes the floor send the same requests as the function, in the same steps, with the
    /// current version of the unit.
    pub async fn raw_event(&self, number: usize, token: Token, data: &Database) -> Result<Value> {
        let version = self.version(data).await?;
        let mut reads = Vec::new();
        let mut writes = Vec::new();
        for call in &self.calls[number] {
            let mut body: Value = serde_json::from_slice(&call.request)?;
            if call.operation == "BatchGetItem" {
                reads.push(json!({ "operation": call.operation, "body": body.to_string() }));
                continue;
            }
            body["ClientRequestToken"] = uuid::Uuid::new_v4().to_string().into();
            for item in body["TransactItems"].as_array_mut().context("no actions")? {
                if let Some(expected) = item.pointer_mut("/Update/ExpressionAttributeValues/:was_version") {
                    expected["N"] = version.as_str().into();
                }
            }
            writes.push(json!({ "operation": call.operation, "body": body.to_string() }));
        }
        ensure!(writes.len() == 1, "the update was not one transaction");
        let steps = if token == Token::Known {
            vec![reads, writes]
        } else {
            let others = reads.split_off(1);
            vec![reads, others, writes]
        };
        Ok(json!({ "steps": steps }))
    }

    /// The size of the unit's item as DynamoDB counts it, in bytes ("DynamoDB item sizes and formats").
    pub async fn unit_bytes(&self, data: &Database) -> Result<usize> {
        let item = self.item(data).await?;
        Ok(item.iter().map(|(name, value)| name.len() + bytes(value)).sum())
    }

    async fn version(&self, data: &Database) -> Result<String> {
        let item = self.item(data).await?;
        item.get("version")
            .and_then(|version| version.as_n().ok().cloned())
            .context("the unit has no version")
    }

    async fn item(&self, data: &Database) -> Result<Item> {
        let request = data.client.get_item().table_name(&data.tables.livechat).consistent_read(true);
        let request = request.key("pk", AttributeValue::S(format!("UNIT#{}", self.unit)));
        let output = request.key("sk", AttributeValue::S("UNIT".into())).send().await?;
        output.item.context("there is no such unit")
    }
}

/// The ids of the monitors and of the departments: one half each, and one department at least.
fn ids(members: usize) -> (Vec<String>, Vec<String>) {
    let monitors = (0..members / 2).map(|number| monitor(number, members)).collect();
    let departments = (0..members - members / 2).map(|number| department(number, members)).collect();
    (monitors, departments)
}

/// All ids are as long as those of Rocket.Chat.
fn unit_id(members: usize) -> String {
    format!("unit{members:013}")
}

fn monitor(number: usize, members: usize) -> String {
    format!("user{members:05}{number:08}")
}

fn department(number: usize, members: usize) -> String {
    format!("dept{members:05}{number:08}")
}

fn unit(members: usize) -> Vec<Value> {
    let (monitors, departments) = ids(members);
    let unit = unit_id(members);
    let time = "2020-01-01T00:00:00.000Z";
    let by_id: serde_json::Map<String, Value> =
        monitors.iter().map(|id| (id.clone(), username(id).into())).collect();
    let mut items = vec![json!({
        "pk": format!("UNIT#{unit}"), "sk": "UNIT", "name": "Support", "visibility": "private", "type": "u",
        "numMonitors": monitors.len(), "numDepartments": departments.len(), "monitors": by_id,
        "departmentIds": { "set": departments }, "version": 1, "_updatedAt": time,
    })];
    for id in &monitors {
        items.push(json!({
            "pk": format!("USER#{id}"), "sk": "USER", "username": username(id), "active": true,
            "roles": { "set": ["user", "livechat-monitor"] },
        }));
        items.push(json!({
            "pk": format!("UNIT#{unit}"), "sk": format!("MONITOR#{id}"), "unitId": unit, "monitorId": id,
            "username": username(id), "_updatedAt": time,
        }));
    }
    items.extend(departments.iter().map(|id| {
        json!({
            "pk": format!("DEPARTMENT#{id}"), "sk": "DEPARTMENT", "name": "A department", "enabled": true,
            "description": "what a department has", "email": "support@example.com", "showOnOfflineForm": false,
            "parentId": unit, "ancestors": [unit], "_updatedAt": time,
        })
    }));
    items
}

fn bytes(value: &AttributeValue) -> usize {
    match value {
        AttributeValue::S(text) => text.len(),
        AttributeValue::N(digits) => digits.len().div_ceil(2) + 1,
        AttributeValue::Ss(members) => members.iter().map(String::len).sum(),
        AttributeValue::M(entries) => {
            3 + entries.iter().map(|(name, value)| 1 + name.len() + bytes(value)).sum::<usize>()
        }
        _ => 1,
    }
}

fn username(id: &str) -> String {
    format!("some.body.{id}")
}

fn body(monitors: &[String], departments: &[String]) -> String {
    let usernames: Vec<String> = monitors.iter().map(|id| username(id)).collect();
    let monitors = monitors.iter().zip(&usernames).map(|(id, username)| (id.as_str(), username.as_str()));
    update_body("Support", monitors, departments.iter().map(String::as_str))
}
