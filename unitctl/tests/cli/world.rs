//! The world of one test: tables of its own, and the real binary, which uses them.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use assert_cmd::Command;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use livechat_units::item::Item;
use livechat_units::{Function, Response, Tables};
use serde_json::{Value, json};
use unitctl::database::Database;
use unitctl::engine;
use uuid::Uuid;

/// The result of a run of the binary.
#[derive(Debug, PartialEq, Eq)]
pub struct Run {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

pub struct World {
    pub database: Database,
}

/// Creates empty tables.
pub async fn world() -> World {
    let client = Client::new(&engine::sdk_config(endpoint()));
    let name = Uuid::new_v4();
    let tables = Tables { tokens: format!("{name}-tokens"), livechat: format!("{name}-livechat") };
    engine::create_tables(&client, &tables).await.expect("the tables are created");
    World { database: Database { client, tables } }
}

impl World {
    /// A command that runs the binary with the tables of this test.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_unitctl"));
        command.args(["--endpoint", endpoint()]);
        command.args(["--tokens-table", &self.database.tables.tokens]);
        command.args(["--livechat-table", &self.database.tables.livechat]);
        command.args(arguments);
        // A local engine needs none of these, whatever they are on this machine.
        for name in ["AWS_ACCESS_KEY_ID", "AWS_PROFILE", "TOKENS_TABLE", "LIVECHAT_TABLE"] {
            command.env_remove(name);
        }
        command
    }

    /// Runs the binary with the tables of this test.
    pub fn run(&self, arguments: &[&str]) -> Run {
        run(self.command(arguments))
    }

    /// Runs the binary, which must succeed. Returns its standard output.
    pub fn ok(&self, arguments: &[&str]) -> String {
        let run = self.run(arguments);
        assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{run:?}");
        run.stdout
    }

    /// All items of both tables, by key.
    pub async fn items(&self) -> BTreeMap<String, Value> {
        let mut items = BTreeMap::new();
        for table in [&self.database.tables.tokens, &self.database.tables.livechat] {
            let pages = self.database.client.scan().table_name(table).consistent_read(true).into_paginator();
            let page = pages.items().send().collect::<Result<Vec<_>, _>>().await.expect("it is read");
            items.extend(page.into_iter().map(|item| (key(&item), json_of(&AttributeValue::M(item)))));
        }
        items
    }

    /// Reads an item of the livechat table.
    pub async fn item(&self, pk: &str, sk: &str) -> Value {
        let get =
            self.database.client.get_item().table_name(&self.database.tables.livechat).consistent_read(true);
        let get = get.key("pk", AttributeValue::S(pk.into())).key("sk", AttributeValue::S(sk.into()));
        let item = get.send().await.expect("it is read").item.expect("it is there");
        json_of(&AttributeValue::M(item))
    }

    /// Sets one attribute without a condition and without a new version, as the function never does.
    pub async fn set_number(&self, pk: &str, sk: &str, name: &str, number: &str) {
        let update = self.database.client.update_item().table_name(&self.database.tables.livechat);
        let update = update.key("pk", AttributeValue::S(pk.into())).key("sk", AttributeValue::S(sk.into()));
        let update =
            update.update_expression("SET #name = :number").expression_attribute_names("#name", name);
        let update = update.expression_attribute_values(":number", AttributeValue::N(number.into()));
        update.send().await.expect("it is written");
    }

    /// Stores an item. `{"set": [...]}` becomes a string set.
    pub async fn put(&self, item: Value) {
        let table = if item.get("pk").is_some() {
            &self.database.tables.livechat
        } else {
            &self.database.tables.tokens
        };
        unitctl::sample::write(&self.database.client, table, &[item]).await.expect("the item is written");
    }

    /// Sends an update through the function.
    pub async fn update(&self, unit: &str, user: &str, token: &str, body: &Value) -> Response {
        let function = Function::new(&engine::sdk_config(endpoint()), self.database.tables.clone());
        let mut event: Value =
            serde_json::from_str(include_str!("../../../events/success.json")).expect("the sample is JSON");
        event["rawPath"] = format!("/api/v1/livechat/units/{unit}").into();
        event["requestContext"]["http"]["path"] = event["rawPath"].clone();
        event["pathParameters"]["id"] = unit.into();
        event["headers"]["x-auth-token"] = token.into();
        event["headers"]["x-user-id"] = user.into();
        event["body"] = body.to_string().into();
        let payload = serde_json::value::to_raw_value(&event).expect("an event is JSON");
        function.handle(lambda_http::LambdaEvent::new(payload, lambda_http::Context::default())).await
    }
}

/// The body of an update that lists these monitors and departments.
pub fn body(monitors: &[&str], departments: &[&str]) -> Value {
    let monitors: Vec<Value> =
        monitors.iter().map(|id| json!({ "monitorId": id, "username": "x" })).collect();
    let departments: Vec<Value> = departments.iter().map(|id| json!({ "departmentId": id })).collect();
    json!({
        "unitData": { "name": "new name", "visibility": "private" },
        "unitMonitors": monitors,
        "unitDepartments": departments,
    })
}

/// Runs a command until it ends.
pub fn run(mut command: Command) -> Run {
    let output = command.output().expect("it starts");
    let text = |bytes| String::from_utf8(bytes).expect("it prints UTF-8");
    Run {
        code: output.status.code().expect("no signal"),
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    }
}

fn key(item: &Item) -> String {
    let text = |name| item.get(name).and_then(|value| value.as_s().ok()).map_or("", String::as_str);
    format!("{}{} {}", text("hashedToken"), text("pk"), text("sk")).trim().to_owned()
}

/// Converts an item to JSON. A string set becomes `{"set": [...]}`, sorted.
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
        AttributeValue::Ss(members) => {
            let mut members = members.clone();
            members.sort();
            json!({ "set": members })
        }
        other => panic!("unexpected type: {other:?}"),
    }
}

/// The URL of the embedded engine. One engine serves all tests; it has a thread of its own, because each test has its own
/// runtime, which ends with the test.
pub fn endpoint() -> &'static str {
    static ENDPOINT: OnceLock<String> = OnceLock::new();
    ENDPOINT.get_or_init(|| engine::serve_in_background().expect("the engine starts"))
}
