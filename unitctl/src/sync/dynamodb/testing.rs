//! Tables on a real engine for the tests of this folder.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use livechat_units::Tables;
use livechat_units::item::Item;
use serde_json::Value;
use testing::dynamodb::{endpoint, new_tables_with_stream};
use testing::items;

use crate::database::Database;
use crate::engine;

/// Two empty tables.
pub async fn database() -> Database {
    let client = Client::new(&engine::sdk_config(endpoint()));
    let Tables { tokens, livechat } = new_tables_with_stream(&client).await;
    Database { client, tables: Tables { tokens, livechat } }
}

/// Stores an item. `{"set": [...]}` is a string set.
pub async fn put(database: &Database, item: Value) {
    let Tables { tokens, livechat } = &database.tables;
    let table = if item.get("pk").is_some() { livechat } else { tokens };
    items::put(&database.client, table, &[item]).await.expect("it is stored");
}

/// An item from its JSON.
pub fn item(item: &Value) -> Item {
    items::item(item)
}

/// All items of both tables, by key.
pub async fn items(database: &Database) -> BTreeMap<String, Value> {
    let mut found = BTreeMap::new();
    for table in [&database.tables.tokens, &database.tables.livechat] {
        let all = items::scan(&database.client, table).await.expect("it is read");
        found.extend(all.into_iter().map(|item| (key(&item), items::json_of(&AttributeValue::M(item)))));
    }
    found
}

fn key(item: &Item) -> String {
    let text = |name| item.get(name).and_then(|value| value.as_s().ok()).map_or("", String::as_str);
    format!("{}{} {}", text("hashedToken"), text("pk"), text("sk")).trim().to_owned()
}
