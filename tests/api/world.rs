//! Tables of a test's own, ways to fill them, and to send requests and check what comes of each.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_config::SdkConfig;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use lambda_http::{Context, LambdaEvent};
use livechat_units::{Function, Response, Tables, hashed_token};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use unitctl::target::Data;
use unitctl::{engine, sample};
use uuid::Uuid;

use crate::invariants::{assert_invariants, assert_written};
use crate::{logs, openapi};

pub const TOKEN: &str = sample::TOKEN;
pub const ADMIN: &str = sample::USER;

/// The stored items by partition and sort key, as JSON.
pub type Items = BTreeMap<(String, String), Value>;

pub struct World {
    pub client: Client,
    pub tables: Tables,
    pub function: Function,
    pub sdk: SdkConfig,
}

/// Runs a test in tables of its own, and checks the invariants when it is over. The tables hold an
/// administrator, with [`TOKEN`], and the permission.
pub async fn world(test: impl AsyncFnOnce(&World)) {
    let world = World::new(|sdk| sdk).await;
    world.function_with_admin().await;
    test(&world).await;
    assert_invariants(&world.items().await);
}

/// As [`world`], through an SDK configuration of the test's own making.
pub async fn world_through(sdk: impl FnOnce(SdkConfig) -> SdkConfig, test: impl AsyncFnOnce(&World)) {
    let world = World::new(sdk).await;
    world.function_with_admin().await;
    test(&world).await;
    assert_invariants(&world.items().await);
}

/// As [`world`], with the documentation's sample data instead.
pub async fn documented_world(test: impl AsyncFnOnce(&World)) {
    let world = World::new(|sdk| sdk).await;
    let data = Data { client: world.client.clone(), tables: world.tables.clone() };
    sample::put(&data).await.expect("the sample is written");
    test(&world).await;
    assert_invariants(&world.items().await);
}

impl World {
    /// Empty tables.
    pub async fn new(through: impl FnOnce(SdkConfig) -> SdkConfig) -> Self {
        logs::watch();
        let direct = engine::sdk_config(endpoint());
        let client = Client::new(&direct);
        let name = Uuid::new_v4();
        let tables = Tables { tokens: format!("{name}-tokens"), livechat: format!("{name}-livechat") };
        engine::create_tables(&client, &tables).await.expect("the tables are created");
        let sdk = through(direct);
        let function = Function::new(&sdk, tables.clone());
        Self { client, tables, function, sdk }
    }

    async fn function_with_admin(&self) {
        self.token(TOKEN, ADMIN, json!({})).await;
        self.user(ADMIN, &["admin"]).await;
        let roles = json!({ "set": ["admin", "livechat-manager", "unit-editor"] });
        self.put(json!({ "pk": "PERMISSION#manage-livechat-units", "sk": "PERMISSION", "roles": roles }))
            .await;
    }

    /// Another execution environment of the same function.
    pub fn another_function(&self) -> Function {
        Function::new(&self.sdk, self.tables.clone())
    }

    pub async fn put(&self, item: Value) {
        sample::write(&self.client, &self.tables.livechat, &[item]).await.expect("the item is written");
    }

    pub async fn delete(&self, pk: &str, sk: &str) {
        let request = self.client.delete_item().table_name(&self.tables.livechat);
        let request = request.key("pk", AttributeValue::S(pk.into())).key("sk", AttributeValue::S(sk.into()));
        request.send().await.expect("the item is deleted");
    }

    pub async fn delete_token(&self, token: &str) {
        let key = AttributeValue::S(hashed_token(token));
        let request = self.client.delete_item().table_name(&self.tables.tokens).key("hashedToken", key);
        request.send().await.expect("the token is deleted");
    }

    /// A token with more attributes, or other ones.
    pub async fn token(&self, token: &str, user: &str, other: Value) {
        logs::secret(token);
        let mut item = json!({ "hashedToken": hashed_token(token), "userId": user });
        merge(&mut item, other);
        sample::write(&self.client, &self.tables.tokens, &[item]).await.expect("the token is written");
    }

    pub async fn user(&self, id: &str, roles: &[&str]) {
        let mut item = json!({ "pk": format!("USER#{id}"), "sk": "USER", "username": username(id) });
        if !roles.is_empty() {
            item["roles"] = json!({ "set": roles });
        }
        self.put(item).await;
    }

    pub async fn monitors(&self, ids: &[&str]) {
        let users = ids.iter().map(|id| {
            json!({
                "pk": format!("USER#{id}"), "sk": "USER", "username": username(id),
                "roles": { "set": ["livechat-monitor"] },
            })
        });
        let users: Vec<Value> = users.collect();
        sample::write(&self.client, &self.tables.livechat, &users).await.expect("the users are written");
    }

    /// Departments in no unit.
    pub async fn departments(&self, ids: &[&str]) {
        let items: Vec<Value> = ids.iter().map(|id| department(id, None)).collect();
        sample::write(&self.client, &self.tables.livechat, &items).await.expect("they are written");
    }

    /// A unit with everything that belongs to it: the monitors' users and items, the departments.
    pub async fn unit(&self, id: &str, monitors: &[&str], departments: &[&str]) {
        self.monitors(monitors).await;
        let mut items = vec![unit_item(id, monitors, departments)];
        items.extend(monitors.iter().map(|monitor| {
            json!({
                "pk": format!("UNIT#{id}"), "sk": format!("MONITOR#{monitor}"), "unitId": id,
                "monitorId": monitor, "username": username(monitor), "_updatedAt": "2020-01-01T00:00:00.000Z",
            })
        }));
        items.extend(departments.iter().map(|department_id| department(department_id, Some(id))));
        sample::write(&self.client, &self.tables.livechat, &items).await.expect("the unit is written");
    }

    /// Changes attributes of a stored item behind the function's back; null removes one.
    pub async fn change(&self, pk: &str, sk: &str, change: Value) {
        let mut item = self.item(pk, sk).await;
        merge(&mut item, change);
        self.put(item).await;
    }

    pub async fn item(&self, pk: &str, sk: &str) -> Value {
        let items = self.items().await;
        items.get(&(pk.into(), sk.into())).unwrap_or_else(|| panic!("no item {pk} {sk}")).clone()
    }

    pub async fn unit_of(&self, id: &str) -> Value {
        self.item(&format!("UNIT#{id}"), "UNIT").await
    }

    pub async fn department_of(&self, id: &str) -> Value {
        self.item(&format!("DEPARTMENT#{id}"), "DEPARTMENT").await
    }

    /// Everything in the livechat table.
    pub async fn items(&self) -> Items {
        self.scan(&self.tables.livechat, |item| (text(item, "pk"), text(item, "sk"))).await
    }

    /// Everything in the tokens table.
    pub async fn tokens(&self) -> Items {
        self.scan(&self.tables.tokens, |item| (text(item, "hashedToken"), String::new())).await
    }

    async fn scan(&self, table: &str, key: impl Fn(&Value) -> (String, String)) -> Items {
        let pages = self.client.scan().table_name(table).consistent_read(true);
        let items = pages.into_paginator().items().send().collect::<Result<Vec<_>, _>>().await;
        let items = items.expect("the table is read").into_iter().map(|item| {
            let item = json_of(&AttributeValue::M(item));
            (key(&item), item)
        });
        items.collect()
    }

    /// Sends an update of these members as the administrator, and checks what it wrote.
    pub async fn update(&self, unit: &str, monitors: &[&str], departments: &[&str]) -> Response {
        self.send(&event(unit, &body(monitors, departments))).await
    }

    /// Sends an event and checks what it wrote: nothing unless the answer is 200, and then only changes,
    /// each with the answer's time, and one version more for each unit that changed.
    pub async fn send(&self, event: &Value) -> Response {
        let before = self.items().await;
        let response = self.invoke(event).await;
        let after = self.items().await;
        if response.status_code == 200 {
            assert_written(&before, &after, &response);
        } else {
            assert!(before == after, "{} changed something", response.status_code);
        }
        response
    }

    /// Sends an event and checks nothing.
    pub async fn invoke(&self, event: &Value) -> Response {
        invoke(&self.function, event, None).await
    }
}

/// How many random cases a test tries: as many as a normal run has time for, or what this variable says.
pub fn cases(variable: &str, normally: u32) -> u32 {
    std::env::var(variable).map_or(normally, |cases| cases.parse().expect("it is a number"))
}

/// Gives an event to a function as Lambda does, with this much time left.
pub async fn invoke(function: &Function, event: &Value, remaining: Option<Duration>) -> Response {
    let payload = serde_json::value::to_raw_value(event).expect("an event is JSON");
    let mut context = Context::default();
    context.request_id = "request-id".into();
    if let Some(remaining) = remaining {
        let deadline = (SystemTime::now() + remaining).duration_since(UNIX_EPOCH).expect("it is after 1970");
        context.deadline = deadline.as_millis() as u64;
    }
    let response = function.handle(LambdaEvent::new(payload, context)).await;
    assert!(!logs::tells_a_token(&response.body), "{}", response.body);
    openapi::assert_documented(&response);
    response
}

/// The sample event of an update, for another unit and with another body.
pub fn event(unit: &str, body: &str) -> Value {
    let mut event: Value =
        serde_json::from_str(include_str!("../../events/success.json")).expect("the sample is JSON");
    set_path(&mut event, &format!("/api/v1/livechat/units/{}", utf8_percent_encode(unit, NON_ALPHANUMERIC)));
    event["pathParameters"]["id"] = unit.into();
    event["body"] = body.into();
    event
}

pub fn set_path(event: &mut Value, path: &str) {
    event["rawPath"] = path.into();
    event["requestContext"]["http"]["path"] = path.into();
}

pub fn body(monitors: &[&str], departments: &[&str]) -> String {
    let monitors: Vec<Value> =
        monitors.iter().map(|id| json!({ "monitorId": id, "username": "as.sent" })).collect();
    let departments: Vec<Value> = departments.iter().map(|id| json!({ "departmentId": id })).collect();
    json!({
        "unitData": { "name": "new name", "visibility": "private" },
        "unitMonitors": monitors,
        "unitDepartments": departments,
    })
    .to_string()
}

/// The body of the documented success, with this test's figures.
pub fn success(unit: &str, monitors: usize, departments: usize, response: &Response) -> String {
    format!(
        r#"{{"name":"new name","visibility":"private","type":"u","numMonitors":{monitors},"numDepartments":{departments},"_updatedAt":"{}","_id":{},"success":true}}"#,
        updated_at(response),
        Value::from(unit),
    )
}

pub fn assert_success(response: &Response, unit: &str, monitors: usize, departments: usize) {
    assert_eq!(response.status_code, 200, "{}", response.body);
    assert_eq!(response.body, success(unit, monitors, departments, response));
}

/// Checks status and body, byte for byte.
pub fn assert_refused(response: &Response, status: u16, body: &str) {
    assert_eq!((response.status_code, response.body.as_str()), (status, body));
}

pub const NOT_LOGGED_IN: &str = r#"{"status":"error","message":"You must be logged in to do this."}"#;
pub const UNIT_NOT_FOUND: &str = r#"{"success":false,"error":"Unit not found [error-unit-not-found]","errorType":"error-unit-not-found","details":{"method":"livechat:saveUnit"}}"#;
pub const INTERNAL: &str = r#"{"success":false,"error":"Internal server error"}"#;
pub const UNAVAILABLE: &str = r#"{"success":false,"error":"Service Unavailable"}"#;
pub const BUSY: &str = r#"{"success":false,"error":"The unit is being changed by others, try again [error-unit-busy]","errorType":"error-unit-busy"}"#;

/// The response's `_updatedAt`, which must be RFC 3339 in UTC with three decimals.
pub fn updated_at(response: &Response) -> String {
    let body: Value = serde_json::from_str(&response.body).expect("a body is JSON");
    let time = text(&body, "_updatedAt");
    let shape: String = time.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    assert_eq!(shape, "0000-00-00T00:00:00.000Z", "{time}");
    time
}

pub fn username(id: &str) -> String {
    format!("name of {id}")
}

pub fn unit_item(id: &str, monitors: &[&str], departments: &[&str]) -> Value {
    let by_id: BTreeMap<_, _> = monitors.iter().map(|id| (*id, username(id))).collect();
    let mut item = json!({
        "pk": format!("UNIT#{id}"), "sk": "UNIT", "name": "old name", "visibility": "public", "type": "u",
        "numMonitors": monitors.len(), "numDepartments": departments.len(), "monitors": by_id, "version": 7,
        "_updatedAt": "2020-01-01T00:00:00.000Z",
    });
    if !departments.is_empty() {
        item["departmentIds"] = json!({ "set": departments });
    }
    item
}

pub fn department(id: &str, unit: Option<&str>) -> Value {
    let mut item = json!({
        "pk": format!("DEPARTMENT#{id}"), "sk": "DEPARTMENT", "name": format!("Department {id}"),
        "_updatedAt": "2020-01-01T00:00:00.000Z", "email": "support@example.com", "enabled": true,
        "businessHours": { "open": ["09:00", 17.5], "closed": null },
    });
    if let Some(unit) = unit {
        item["parentId"] = unit.into();
        item["ancestors"] = json!([unit]);
    }
    item
}

pub fn merge(item: &mut Value, change: Value) {
    let (Value::Object(item), Value::Object(change)) = (item, change) else { panic!("both are objects") };
    for (name, value) in change {
        if value.is_null() {
            item.remove(&name)
        } else {
            item.insert(name, value)
        };
    }
}

pub fn text(item: &Value, name: &str) -> String {
    item[name].as_str().unwrap_or_else(|| panic!("{name} is no string in {item}")).into()
}

pub fn set(item: &Value, name: &str) -> BTreeSet<String> {
    let members = item.get(name).map(|set| set["set"].as_array().expect("it is a set").iter());
    members.into_iter().flatten().map(|member| member.as_str().expect("of strings").to_owned()).collect()
}

pub fn json_of(value: &AttributeValue) -> Value {
    match value {
        AttributeValue::S(text) => text.clone().into(),
        AttributeValue::N(number) => serde_json::from_str(number).expect("a number"),
        AttributeValue::Bool(value) => (*value).into(),
        AttributeValue::Null(_) => Value::Null,
        AttributeValue::L(items) => items.iter().map(json_of).collect(),
        AttributeValue::M(entries) => {
            let sorted: BTreeMap<_, _> = entries.iter().collect();
            Value::Object(sorted.into_iter().map(|(name, value)| (name.clone(), json_of(value))).collect())
        }
        AttributeValue::Ss(members) => json!({ "set": members.iter().collect::<BTreeSet<_>>() }),
        other => panic!("nobody writes {other:?}"),
    }
}

/// The engine's endpoint. One embedded engine serves all tests, on a thread of its own, since each test's
/// runtime ends with the test.
pub fn endpoint() -> &'static str {
    static ENDPOINT: OnceLock<String> = OnceLock::new();
    ENDPOINT.get_or_init(|| {
        if let Ok(endpoint) = std::env::var("DYNAMODB_ENDPOINT") {
            return endpoint;
        }
        engine::serve_in_background().expect("the engine starts")
    })
}
