//! The world of one test: tables of its own, and the real binary, which uses them.

use std::collections::BTreeMap;

use assert_cmd::Command;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use livechat_units::item::Item;
use livechat_units::{Function, Response};
use serde_json::Value;
pub use testing::dynamodb::endpoint;
use testing::dynamodb::{new_tables, new_tables_with_stream};
use testing::events::{set_caller, update_body, update_event};
use testing::items::{self, json_of, scan};
use unitctl::database::Database;
use unitctl::engine;

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

/// Creates empty tables, without a stream.
pub async fn world() -> World {
    let client = Client::new(&engine::sdk_config(endpoint()));
    let tables = new_tables(&client).await;
    World { database: Database { client, tables } }
}

/// Creates empty tables as the template declares them, for the sync.
pub async fn world_with_stream() -> World {
    let client = Client::new(&engine::sdk_config(endpoint()));
    let tables = new_tables_with_stream(&client).await;
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
        // A local engine needs none of these variables, so a test must not depend on their values on this machine.
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

    /// Runs the binary, which has to succeed. Returns its standard output, whatever it says besides.
    pub fn ok_text(&self, arguments: &[&str]) -> String {
        let run = self.run(arguments);
        assert_eq!(run.code, 0, "{run:?}");
        run.stdout
    }

    /// All items of both tables, by key.
    pub async fn items(&self) -> BTreeMap<String, Value> {
        let mut items = BTreeMap::new();
        for table in [&self.database.tables.tokens, &self.database.tables.livechat] {
            let all = scan(&self.database.client, table).await.expect("it is read");
            items.extend(all.into_iter().map(|item| (key(&item), json_of(&AttributeValue::M(item)))));
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

    /// Sets one attribute without a condition and without a new version. The function never does that.
    pub async fn set_number(&self, pk: &str, sk: &str, name: &str, number: &str) {
        let update = self.database.client.update_item().table_name(&self.database.tables.livechat);
        let update = update.key("pk", AttributeValue::S(pk.into())).key("sk", AttributeValue::S(sk.into()));
        let update =
            update.update_expression("SET #name = :number").expression_attribute_names("#name", name);
        let update = update.expression_attribute_values(":number", AttributeValue::N(number.into()));
        update.send().await.expect("it is written");
    }

    /// Deletes an item of the livechat table.
    pub async fn delete(&self, pk: &str, sk: &str) {
        let delete = self.database.client.delete_item().table_name(&self.database.tables.livechat);
        let delete = delete.key("pk", AttributeValue::S(pk.into())).key("sk", AttributeValue::S(sk.into()));
        delete.send().await.expect("it is deleted");
    }

    /// Stores an item. `{"set": [...]}` becomes a string set.
    pub async fn put(&self, item: Value) {
        let table = if item.get("pk").is_some() {
            &self.database.tables.livechat
        } else {
            &self.database.tables.tokens
        };
        items::put(&self.database.client, table, &[item]).await.expect("the item is written");
    }

    /// Sends an update through the function.
    pub async fn update(&self, unit: &str, user: &str, token: &str, body: &Value) -> Response {
        let function = Function::new(&engine::sdk_config(endpoint()), self.database.tables.clone());
        let mut event = update_event(unit, &body.to_string());
        set_caller(&mut event, token, user);
        let payload = serde_json::value::to_raw_value(&event).expect("an event is JSON");
        function.handle(lambda_http::LambdaEvent::new(payload, lambda_http::Context::default())).await
    }
}

/// The body of an update that lists these monitors and departments.
pub fn body(monitors: &[&str], departments: &[&str]) -> Value {
    let monitors = monitors.iter().map(|id| (*id, "x"));
    let body = update_body("new name", monitors, departments.iter().copied());
    serde_json::from_str(&body).expect("a body is JSON")
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
