//! A function with tables of its own: ways to fill and read the tables, and to send requests.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use aws_config::SdkConfig;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use livechat_units::{Function, Response, Tables, hashed_token};
use serde_json::{Value, json};
use testing::dynamodb;
use testing::items::{json_of, put, scan};
use tokio::time::sleep;
use unitctl::database::Database;
use unitctl::{engine, sample};

use super::invariants::{assert_invariants, assert_written};
use super::requests::{body, event, invoke};
use super::responses::UNAVAILABLE;
use super::{department, logs, merge, text, unit_item, username};

/// The administrator's token.
pub const TOKEN: &str = sample::TOKEN;
/// The administrator: a user who may update every unit.
pub const ADMIN: &str = sample::USER;

/// The stored items by partition and sort key, as JSON. For the tokens table the sort key is the empty string.
pub type Items = BTreeMap<(String, String), Value>;

/// The function, with tables that no other test uses.
pub struct TestApp {
    /// A client for the same DynamoDB that meets no faults.
    pub client: Client,
    pub tables: Tables,
    pub function: Function,
    /// The SDK configuration of the function.
    pub sdk: SdkConfig,
}

/// Runs a test with an administrator and the permission in the tables, and checks the invariants at its end.
pub async fn with_app(test: impl AsyncFnOnce(&TestApp)) {
    with_app_through(|sdk| sdk, test).await;
}

/// Runs a test like [`with_app`], with a changed SDK configuration of the function.
pub async fn with_app_through(sdk: impl FnOnce(SdkConfig) -> SdkConfig, test: impl AsyncFnOnce(&TestApp)) {
    let app = TestApp::new(sdk).await;
    app.put_administrator().await;
    test(&app).await;
    assert_invariants(&app.stored_items().await);
}

/// Runs a test like [`with_app`], with the sample data of `unitctl local` in the tables.
pub async fn with_sample_app(test: impl AsyncFnOnce(&TestApp)) {
    let app = TestApp::new(|sdk| sdk).await;
    let database = Database { client: app.client.clone(), tables: app.tables.clone() };
    sample::put(&database).await.expect("the sample is written");
    test(&app).await;
    assert_invariants(&app.stored_items().await);
}

/// Whether an update that was sent at this time may be answered like this because DynamoDB's reply was late. The function waits
/// for a reply for one second, and no refusal is certain while an earlier copy of its transaction has no reply.
pub fn is_late(response: &Response, started: Instant) -> bool {
    response.body == UNAVAILABLE && started.elapsed() >= Duration::from_secs(1)
}

/// Everything in a livechat table.
pub async fn read_items(client: &Client, table: &str) -> Items {
    read_table(client, table, |item| (text(item, "pk"), text(item, "sk"))).await
}

async fn read_table(client: &Client, table: &str, key: impl Fn(&Value) -> (String, String)) -> Items {
    let items = scan(client, table).await.expect("the table is read").into_iter().map(|item| {
        let item = json_of(&AttributeValue::M(item));
        (key(&item), item)
    });
    items.collect()
}

impl TestApp {
    /// The function with empty tables.
    pub async fn new(through: impl FnOnce(SdkConfig) -> SdkConfig) -> Self {
        logs::watch();
        let direct = engine::sdk_config(dynamodb::endpoint());
        let client = Client::new(&direct);
        let tables = dynamodb::new_tables(&client).await;
        let sdk = through(direct);
        let function = Function::new(&sdk, tables.clone());
        Self { client, tables, function, sdk }
    }

    /// Another execution environment of the same function.
    pub fn another_function(&self) -> Function {
        Function::new(&self.sdk, self.tables.clone())
    }

    async fn put_administrator(&self) {
        self.put_token(TOKEN, ADMIN, json!({})).await;
        self.put_user(ADMIN, &["admin"]).await;
        let roles = json!({ "set": ["admin", "livechat-manager", "unit-editor"] });
        self.put_item(
            json!({ "pk": "PERMISSION#manage-livechat-units", "sk": "PERMISSION", "roles": roles }),
        )
        .await;
    }

    /// Stores an item of the livechat table.
    pub async fn put_item(&self, item: Value) {
        self.put_items(&[item]).await;
    }

    async fn put_items(&self, items: &[Value]) {
        put(&self.client, &self.tables.livechat, items).await.expect("the items are written");
    }

    pub async fn delete_item(&self, pk: &str, sk: &str) {
        let request = self.client.delete_item().table_name(&self.tables.livechat);
        let request = request.key("pk", AttributeValue::S(pk.into())).key("sk", AttributeValue::S(sk.into()));
        request.send().await.expect("the item is deleted");
    }

    /// Changes attributes of a stored item. An attribute that is null in `change` is removed.
    pub async fn change_item(&self, pk: &str, sk: &str, change: Value) {
        let mut item = self.stored_item(pk, sk).await;
        merge(&mut item, change);
        self.put_item(item).await;
    }

    /// Stores a user's token. The attributes of `other` are added or replaced; one that is null is removed.
    pub async fn put_token(&self, token: &str, user: &str, other: Value) {
        logs::watch_token(token);
        let mut item = json!({ "hashedToken": hashed_token(token), "userId": user });
        merge(&mut item, other);
        put(&self.client, &self.tables.tokens, &[item]).await.expect("the token is written");
    }

    pub async fn delete_token(&self, token: &str) {
        let key = AttributeValue::S(hashed_token(token));
        let request = self.client.delete_item().table_name(&self.tables.tokens).key("hashedToken", key);
        request.send().await.expect("the token is deleted");
    }

    pub async fn put_user(&self, id: &str, roles: &[&str]) {
        let mut item = json!({ "pk": format!("USER#{id}"), "sk": "USER", "username": username(id) });
        if !roles.is_empty() {
            item["roles"] = json!({ "set": roles });
        }
        self.put_item(item).await;
    }

    /// Stores users who may be monitors.
    pub async fn put_monitors(&self, ids: &[&str]) {
        let users = ids.iter().map(|id| {
            json!({
                "pk": format!("USER#{id}"), "sk": "USER", "username": username(id),
                "roles": { "set": ["livechat-monitor"] },
            })
        });
        self.put_items(&users.collect::<Vec<_>>()).await;
    }

    /// Stores departments that are in no unit.
    pub async fn put_departments(&self, ids: &[&str]) {
        let items: Vec<Value> = ids.iter().map(|id| department(id, None)).collect();
        self.put_items(&items).await;
    }

    /// Stores a unit with everything that belongs to it: its monitors' users and items, and its departments.
    pub async fn put_unit(&self, id: &str, monitors: &[&str], departments: &[&str]) {
        self.put_monitors(monitors).await;
        let mut items = vec![unit_item(id, monitors, departments)];
        items.extend(monitors.iter().map(|monitor| {
            json!({
                "pk": format!("UNIT#{id}"), "sk": format!("MONITOR#{monitor}"), "unitId": id,
                "monitorId": monitor, "username": username(monitor), "_updatedAt": "2020-01-01T00:00:00.000Z",
            })
        }));
        items.extend(departments.iter().map(|department_id| department(department_id, Some(id))));
        self.put_items(&items).await;
    }

    pub async fn stored_item(&self, pk: &str, sk: &str) -> Value {
        let items = self.stored_items().await;
        items.get(&(pk.into(), sk.into())).unwrap_or_else(|| panic!("no item {pk} {sk}")).clone()
    }

    pub async fn stored_unit(&self, id: &str) -> Value {
        self.stored_item(&format!("UNIT#{id}"), "UNIT").await
    }

    pub async fn stored_department(&self, id: &str) -> Value {
        self.stored_item(&format!("DEPARTMENT#{id}"), "DEPARTMENT").await
    }

    /// Everything in the livechat table.
    pub async fn stored_items(&self) -> Items {
        read_items(&self.client, &self.tables.livechat).await
    }

    /// Everything in the tokens table.
    pub async fn stored_tokens(&self) -> Items {
        read_table(&self.client, &self.tables.tokens, |item| (text(item, "hashedToken"), String::new())).await
    }

    /// Sends an update of these members as the administrator, and checks what it wrote.
    pub async fn update(&self, unit: &str, monitors: &[&str], departments: &[&str]) -> Response {
        self.send(&event(unit, &body(monitors, departments))).await
    }

    /// Sends an event and checks what it wrote. After a 200, [`assert_written`] checks it. After any other answer, nothing may have
    /// changed. As a client does, it repeats an update that is answered with `Service Unavailable` because this machine is late.
    pub async fn send(&self, event: &Value) -> Response {
        for _ in 0..5 {
            let before = self.stored_items().await;
            let started = Instant::now();
            let response = self.send_unchecked(event).await;
            if !is_late(&response, started) {
                self.assert_changed(&before, &response).await;
                return response;
            }
            // The update may still be on its way.
            sleep(Duration::from_secs(1)).await;
        }
        panic!("DynamoDB answers too late again and again");
    }

    /// Checks what an update has changed.
    async fn assert_changed(&self, before: &Items, response: &Response) {
        let after = self.stored_items().await;
        if response.status_code == 200 {
            assert_written(before, &after, response);
        } else {
            assert!(*before == after, "an answer with status {} changed something", response.status_code);
        }
    }

    /// Sends an event without a look at the stored items.
    pub async fn send_unchecked(&self, event: &Value) -> Response {
        invoke(&self.function, event, None).await
    }
}
