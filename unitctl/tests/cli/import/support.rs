//! Exports that the tests make, and what they look at in an import.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::world::{Run, World};

pub(super) const FILES: [&str; 4] = [
    "users.json",
    "rocketchat_permissions.json",
    "rocketchat_livechat_department.json",
    "rocketchat_livechat_unit_monitors.json",
];

pub(super) const ADMIN: &str = unitctl::sample::USER;
pub(super) const TOKEN: &str = unitctl::sample::TOKEN;
pub(super) const EUROPE: &str = "aW4sEuropeUnit001";

pub(super) fn sample() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("sample")
}

/// A folder with these documents, a line each.
pub(super) fn export(
    users: &[Value],
    permissions: &[Value],
    departments: &[Value],
    monitors: &[Value],
) -> TempDir {
    let folder = TempDir::new().expect("a folder");
    for (file, documents) in FILES.into_iter().zip([users, permissions, departments, monitors]) {
        let lines: String = documents.iter().map(|document| format!("{document}\n")).collect();
        fs::write(folder.path().join(file), lines).expect("it is written");
    }
    folder
}

pub(super) fn write(folder: &TempDir, file: &str, text: impl AsRef<[u8]>) {
    fs::write(folder.path().join(file), text).expect("it is written");
}

impl World {
    pub(super) fn import(&self, folder: &Path, options: &[&str]) -> Run {
        let mut arguments = vec!["import", folder.to_str().expect("a path in UTF-8")];
        arguments.extend(options);
        self.run(&arguments)
    }
}

pub(super) fn user(id: &str, roles: &[&str]) -> Value {
    json!({ "_id": id, "username": format!("name.of.{id}"), "active": true, "roles": roles })
}

pub(super) fn unit(id: &str, monitors: usize, departments: usize) -> Value {
    json!({
        "_id": id, "name": format!("Unit {id}"), "visibility": "public", "type": "u", "numMonitors": monitors,
        "numDepartments": departments, "_updatedAt": { "$date": "2021-12-06T14:40:59.478Z" },
    })
}

pub(super) fn department(id: &str, unit: Option<&str>) -> Value {
    let mut department = json!({
        "_id": id, "name": format!("Department {id}"), "enabled": true,
        "_updatedAt": { "$date": "2021-12-06T14:40:59.478Z" },
    });
    if let Some(unit) = unit {
        department["parentId"] = unit.into();
        department["ancestors"] = json!([unit]);
    }
    department
}

pub(super) fn monitor(unit: &str, user: &str) -> Value {
    json!({
        "_id": format!("{unit} {user}"), "unitId": unit, "monitorId": user, "username": format!("name.of.{user}"),
    })
}

pub(super) fn permission() -> Value {
    json!({ "_id": "manage-livechat-units", "roles": ["admin"] })
}

/// The administrator of the sample, with the sample's token.
pub(super) fn admin() -> Value {
    let mut admin = user(ADMIN, &["admin"]);
    let token = json!({ "type": "personalAccessToken", "hashedToken": livechat_units::hashed_token(TOKEN) });
    admin["services"] = json!({ "resume": { "loginTokens": [token] } });
    admin
}

/// A small sound workspace: the units `desk` (monitors `ann` and `bob`, departments `mail` and `phone`) and `shop`
/// (department `orders`), the administrator, and a permission. In the order of [`FILES`].
pub(super) fn base() -> [Vec<Value>; 4] {
    let mut clerk = user("clerk", &["livechat-agent"]);
    clerk["services"] = json!({ "resume": { "loginTokens": [login("clerk", "2098-01-02T03:04:05.006Z")] } });
    let users =
        vec![admin(), user("ann", &["livechat-monitor"]), user("bob", &["user", "livechat-monitor"]), clerk];
    let departments = vec![
        unit("desk", 2, 2),
        unit("shop", 0, 1),
        department("mail", Some("desk")),
        department("phone", Some("desk")),
        department("orders", Some("shop")),
    ];
    [users, vec![permission()], departments, vec![monitor("desk", "ann"), monitor("desk", "bob")]]
}

/// A folder with these documents, in the order of [`FILES`].
pub(super) fn folder(documents: &[Vec<Value>; 4]) -> TempDir {
    let [users, permissions, departments, monitors] = documents;
    export(users, permissions, departments, monitors)
}

/// A login token as Rocket.Chat stores it.
pub(super) fn login(token: &str, when: &str) -> Value {
    json!({ "when": { "$date": when }, "hashedToken": livechat_units::hashed_token(token) })
}

/// Lines that start with any of these words, in order of the alphabet.
pub(super) fn lines<'a>(run: &'a Run, starts: &[&str]) -> Vec<&'a str> {
    let mut lines: Vec<&str> =
        run.stdout.lines().filter(|line| starts.iter().any(|start| line.starts_with(start))).collect();
    lines.sort_unstable();
    lines
}

/// The items without these attributes of departments, and without `rev` of units, if `rev` is among them.
pub(super) fn without(names: &[&str], items: &BTreeMap<String, Value>) -> BTreeMap<String, Value> {
    let mut items = items.clone();
    for (key, item) in &mut items {
        let item = item.as_object_mut().expect("an item");
        for name in names.iter().filter(|name| key.starts_with("DEPARTMENT#") || **name == "rev") {
            item.remove(*name);
        }
    }
    items
}

/// The items whose keys start like this.
pub(super) fn starting(start: &str, items: &BTreeMap<String, Value>) -> Vec<String> {
    items.keys().filter(|key| key.starts_with(start)).cloned().collect()
}

/// Imports this folder twice, each time after a dry run that must say the same. Nothing changes the second time.
pub(super) async fn import_twice(world: &World, folder: &TempDir, code: i32) -> Run {
    let events = |run: &Run| -> Vec<Value> {
        let events = run.stdout.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        let mut events: Vec<Value> = events
            .filter(|event| !["write", "summary"].contains(&event["event"].as_str().expect("a text")))
            .collect();
        events.sort_by_key(Value::to_string);
        events
    };
    let dry = world.import(folder.path(), &["--dry-run", "--output", "json"]);
    let run = world.import(folder.path(), &["--output", "json"]);
    assert_eq!((dry.code, run.code), (code, code), "{run:?}");
    assert_eq!(events(&dry), events(&run));
    let items = world.items().await;
    let again = world.import(folder.path(), &[]);
    assert_eq!(again.code, code, "{again:?}");
    assert!(world.items().await == items, "the second import changed something");
    assert_eq!(world.run(&["check"]).code, 0);
    again
}
