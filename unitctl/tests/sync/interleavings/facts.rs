//! Facts of both sides, read from the raw data, and what differs between the sides.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_dynamodb::types::{AttributeValue, Get, TransactGetItem};
use futures_util::TryStreamExt;
use mongodb::Collection;
use mongodb::bson::{Bson, Document, doc};
use serde_json::{Value, json};
use testing::items::json_of;

use crate::world::World;

/// A fact that both sides may change.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fact {
    Name(String),
    Visibility(String),
    /// Whether the user (second) monitors the unit (first): "true" or "false".
    Monitor(String, String),
    /// The unit of a department, or "" for none.
    Place(String),
}

/// The values of facts on one side.
pub type Facts = BTreeMap<Fact, String>;

/// What a test knows of its units, monitors and departments.
#[derive(Clone, Debug)]
pub struct Known {
    pub units: Vec<String>,
    pub monitors: Vec<String>,
    pub departments: Vec<String>,
}

pub async fn all(collection: &Collection<Document>) -> Vec<Document> {
    collection.find(doc! {}).await.expect("they are found").try_collect().await.expect("they are read")
}

pub fn text(document: &Document, name: &str) -> String {
    document.get_str(name).unwrap_or_default().to_owned()
}

/// Items of DynamoDB by `pk` and `sk`, as they are at one moment.
pub type Items = BTreeMap<(String, String), Value>;

/// Reads the units, their monitors' items and the departments in one transaction.
pub async fn snapshot(world: &World, known: &Known) -> Items {
    let mut keys = Vec::new();
    for unit in &known.units {
        keys.push((format!("UNIT#{unit}"), "UNIT".to_owned()));
        let monitors = known.monitors.iter().map(|user| (format!("UNIT#{unit}"), format!("MONITOR#{user}")));
        keys.extend(monitors);
    }
    keys.extend(known.departments.iter().map(|id| (format!("DEPARTMENT#{id}"), "DEPARTMENT".to_owned())));
    let text = |text: &str| AttributeValue::S(text.to_owned());
    let gets = keys.iter().map(|(pk, sk)| {
        let get = Get::builder().table_name(&world.database.tables.livechat);
        let get = get.key("pk", text(pk)).key("sk", text(sk)).build().expect("complete");
        TransactGetItem::builder().get(get).build()
    });
    loop {
        let request =
            world.database.client.transact_get_items().set_transact_items(Some(gets.clone().collect()));
        // It may meet a transaction that writes.
        if let Ok(output) = request.send().await {
            let items = keys.iter().zip(output.responses.expect("as many replies as keys"));
            let items = items
                .filter_map(|(key, found)| Some((key.clone(), json_of(&AttributeValue::M(found.item?)))));
            return items.collect();
        }
        tokio::task::yield_now().await;
    }
}

fn strings(value: &Value) -> BTreeSet<String> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn string(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// The facts of a snapshot.
pub fn of_dynamodb(items: &Items, known: &Known) -> Facts {
    let mut facts = Facts::new();
    for unit in &known.units {
        let Some(item) = items.get(&(format!("UNIT#{unit}"), "UNIT".into())) else { continue };
        facts.insert(Fact::Name(unit.clone()), string(&item["name"]));
        facts.insert(Fact::Visibility(unit.clone()), string(&item["visibility"]));
        for user in &known.monitors {
            let is_monitor = item["monitors"].get(user).is_some();
            facts.insert(Fact::Monitor(unit.clone(), user.clone()), is_monitor.to_string());
        }
    }
    for id in &known.departments {
        if let Some(item) = items.get(&(format!("DEPARTMENT#{id}"), "DEPARTMENT".into())) {
            facts.insert(Fact::Place(id.clone()), string(&item["parentId"]));
        }
    }
    facts
}

/// The facts in MongoDB.
pub async fn of_mongodb(world: &World, known: &Known) -> Facts {
    let mut facts = Facts::new();
    for document in all(&world.rocket_chat().departments()).await {
        let id = text(&document, "_id");
        if text(&document, "type") == "u" {
            facts.insert(Fact::Name(id.clone()), text(&document, "name"));
            facts.insert(Fact::Visibility(id.clone()), text(&document, "visibility"));
        } else {
            facts.insert(Fact::Place(id), text(&document, "parentId"));
        }
    }
    let rows = all(&world.rocket_chat().unit_monitors()).await;
    let rows: BTreeSet<_> = rows.iter().map(|row| (text(row, "unitId"), text(row, "monitorId"))).collect();
    for unit in &known.units {
        for user in &known.monitors {
            let is_monitor = rows.contains(&(unit.clone(), user.clone()));
            facts.insert(Fact::Monitor(unit.clone(), user.clone()), is_monitor.to_string());
        }
    }
    facts
}

/// The first violation of the invariants of the stored items (docs/data-model.md) in a snapshot.
pub fn broken_invariant(items: &Items, known: &Known) -> Option<String> {
    let mut listed_by: BTreeMap<String, &str> = BTreeMap::new();
    for unit in &known.units {
        let pk = format!("UNIT#{unit}");
        let rows: BTreeMap<&str, &Value> = items
            .range((pk.clone(), "MONITOR#".to_owned())..(pk.clone(), "MONITOR$".to_owned()))
            .map(|((_, sk), row)| (&sk["MONITOR#".len()..], &row["username"]))
            .collect();
        let Some(item) = items.get(&(pk, "UNIT".into())) else {
            if rows.is_empty() {
                continue;
            }
            return Some(format!("unit {unit} is gone, and its monitors {rows:?} are not"));
        };
        let monitors = item["monitors"].as_object().expect("a map");
        let monitors: BTreeMap<&str, &Value> =
            monitors.iter().map(|(id, name)| (id.as_str(), name)).collect();
        if monitors != rows || item["numMonitors"] != json!(monitors.len()) {
            return Some(format!("monitors of {unit}: {item} and {rows:?}"));
        }
        let listed = strings(&item["departmentIds"]["set"]);
        let is_member = |id: &&String| {
            let department = items.get(&(format!("DEPARTMENT#{id}"), "DEPARTMENT".to_owned()));
            department.is_some_and(|department| department["parentId"] == json!(unit))
        };
        let members: BTreeSet<String> = known.departments.iter().filter(is_member).cloned().collect();
        if listed != members || item["numDepartments"] != json!(listed.len()) {
            return Some(format!("departments of {unit}: {item} and {members:?}"));
        }
        let above = item.get("ancestors").and_then(Value::as_array).cloned().unwrap_or_default();
        let ancestors: Vec<Value> = std::iter::once(json!(unit)).chain(above).collect();
        for id in listed {
            let department = &items[&(format!("DEPARTMENT#{id}"), "DEPARTMENT".into())];
            if department["ancestors"] != json!(ancestors) {
                return Some(format!("ancestors of department {id}: {department}"));
            }
            if let Some(other) = listed_by.insert(id.clone(), unit) {
                return Some(format!("{other} and {unit} both list {id}"));
            }
        }
    }
    for id in &known.departments {
        let department = items.get(&(format!("DEPARTMENT#{id}"), "DEPARTMENT".into()));
        let is_in_none = department.is_some_and(|item| item.get("parentId").is_none());
        if is_in_none && department.is_some_and(|item| item.get("ancestors").is_some()) {
            return Some(format!("department {id} is in no unit and has ancestors: {department:?}"));
        }
    }
    None
}

/// What differs between both sides, from the raw data of both.
pub async fn differences(world: &World, known: &Known) -> Vec<String> {
    let mut differences = Vec::new();
    let mut compare = |what: String, mongodb: Value, dynamodb: Value| {
        if mongodb != dynamodb {
            differences.push(format!("{what}: {mongodb} in MongoDB, {dynamodb} in DynamoDB"));
        }
    };
    let (mongodb, dynamodb) = (of_mongodb(world, known).await, snapshot(world, known).await);
    let dynamodb = of_dynamodb(&dynamodb, known);
    let facts: BTreeSet<&Fact> = mongodb.keys().chain(dynamodb.keys()).collect();
    for fact in facts {
        compare(format!("{fact:?}"), json!(mongodb.get(fact)), json!(dynamodb.get(fact)));
    }
    let items = world.items().await;
    let rocket_chat = world.rocket_chat();
    let sorted = |values: Option<&Vec<Bson>>| -> BTreeSet<String> {
        values.into_iter().flatten().filter_map(Bson::as_str).map(str::to_owned).collect()
    };
    let mut ids: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    let mut tokens = BTreeMap::new();
    for user in all(&rocket_chat.users()).await {
        let id = text(&user, "_id");
        let item = items.get(&format!("USER#{id} USER")).cloned().unwrap_or_default();
        compare(format!("username of {id}"), json!(text(&user, "username")), item["username"].clone());
        let roles = sorted(user.get_array("roles").ok());
        compare(format!("roles of {id}"), json!(roles), json!(strings(&item["roles"]["set"])));
        let is_active = item.get("active") != Some(&json!(false));
        compare(format!("active of {id}"), json!(user.get_bool("active").unwrap_or(true)), json!(is_active));
        let resume = user.get_document("services").and_then(|services| services.get_document("resume"));
        let logins = resume.and_then(|resume| resume.get_array("loginTokens")).cloned().unwrap_or_default();
        let logins = logins.iter().filter_map(Bson::as_document);
        tokens.extend(logins.map(|login| (text(login, "hashedToken"), id.clone())));
        ids.entry("USER").or_default().insert(id);
    }
    for permission in all(&rocket_chat.permissions()).await {
        let id = text(&permission, "_id");
        let item = items.get(&format!("PERMISSION#{id} PERMISSION")).cloned().unwrap_or_default();
        let roles = sorted(permission.get_array("roles").ok());
        compare(format!("permission {id}"), json!(roles), json!(strings(&item["roles"]["set"])));
        ids.entry("PERMISSION").or_default().insert(id);
    }
    for document in all(&rocket_chat.departments()).await {
        let id = text(&document, "_id");
        let kind = if text(&document, "type") == "u" { "UNIT" } else { "DEPARTMENT" };
        let item = items.get(&format!("{kind}#{id} {kind}")).cloned().unwrap_or_default();
        let ancestors = sorted(document.get_array("ancestors").ok());
        let in_dynamodb = strings(&item["ancestors"]);
        compare(format!("ancestors of {id}"), json!(ancestors), json!(in_dynamodb));
        for field in ["name", "description", "email"] {
            let value = document.get_str(field).map_or(Value::Null, Value::from);
            compare(format!("{field} of {id}"), value, item[field].clone());
        }
        ids.entry(kind).or_default().insert(id);
    }
    for kind in ["USER", "PERMISSION", "UNIT", "DEPARTMENT"] {
        let stored = items.keys().filter_map(|key| key.strip_suffix(&format!(" {kind}")));
        let stored: BTreeSet<&str> = stored.filter_map(|key| key.strip_prefix(&format!("{kind}#"))).collect();
        compare(format!("all of {kind}"), json!(ids.get(kind).cloned().unwrap_or_default()), json!(stored));
    }
    let stored = items.iter().filter(|(key, item)| !key.contains('#') && item["source"] != "unitctl");
    let stored: BTreeMap<&String, String> =
        stored.map(|(key, item)| (key, string(&item["userId"]))).collect();
    // Hashes are no secrets here: the tests made the tokens.
    compare("tokens".into(), json!(tokens), json!(stored));
    differences
}
