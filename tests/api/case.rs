//! An update that has something of everything to change, and what is stored when it is.

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use futures_util::future::FutureExt;
use livechat_units::Function;
use serde_json::{Value, json};

use crate::faulty::Meanwhile;
use crate::world::{Items, World, body, event, invoke, text, updated_at, username};

/// An update that has something of everything to change, in items of its own.
pub struct Case {
    is_large: bool,
    pub unit: String,
    pub event: Value,
}

impl Case {
    /// A large one has more to change than one transaction holds, until one more read shows that it has not.
    pub async fn new(world: &World, is_large: bool, number: usize) -> Self {
        let id = |name: &str| format!("{name}-{number}");
        let (unit, other, leaving, joining) = (id("U"), id("V"), id("d"), id("e"));
        let update = if is_large {
            // All but one can leave in one transaction, and one is gone already.
            let departments: Vec<String> = (0..100).map(|n| format!("d{n}-{number}")).collect();
            let departments: Vec<&str> = departments.iter().map(String::as_str).collect();
            world.unit(&unit, &["m"], &departments).await;
            world.delete(&format!("DEPARTMENT#{}", departments[0]), "DEPARTMENT").await;
            body(&["m"], &[])
        } else {
            world.unit(&unit, &["m"], &[&leaving]).await;
            world.unit(&other, &[], &[&joining]).await;
            body(&["n"], &[&joining])
        };
        Self { is_large, event: event(&unit, &update), unit }
    }

    /// What is stored when the update is, and nothing else.
    pub fn asked(&self, before: &Items, time: &str) -> Items {
        let mut items = before.clone();
        let unit_key = self.key();
        let number = self.unit.strip_prefix('U').expect("as named above");
        let mut change = |pk: String, change: &dyn Fn(&mut Value)| {
            let sk = pk.split_once('#').expect("a key has a kind").0.to_owned();
            let item = items.get_mut(&(pk, sk)).expect("it was there before");
            change(item);
            item["_updatedAt"] = time.into();
        };
        let remove = |item: &mut Value, name: &str| item.as_object_mut().expect("an object").remove(name);
        let count =
            |item: &mut Value| item["version"] = (item["version"].as_u64().expect("a count") + 1).into();
        let leave = |item: &mut Value| {
            remove(item, "parentId");
            remove(item, "ancestors");
        };
        change(unit_key.0.clone(), &|unit| {
            count(unit);
            unit["name"] = "new name".into();
            unit["visibility"] = "private".into();
        });
        if self.is_large {
            (1..100).for_each(|n| change(format!("DEPARTMENT#d{n}{number}"), &leave));
            change(unit_key.0, &|unit| {
                remove(unit, "departmentIds");
                unit["numDepartments"] = 0.into();
            });
            return items;
        }
        change(format!("DEPARTMENT#d{number}"), &leave);
        change(format!("DEPARTMENT#e{number}"), &|item| {
            item["parentId"] = self.unit.as_str().into();
            item["ancestors"] = json!([self.unit]);
        });
        change(format!("UNIT#V{number}"), &|other| {
            count(other);
            remove(other, "departmentIds");
            other["numDepartments"] = 0.into();
        });
        change(unit_key.0.clone(), &|unit| {
            unit["departmentIds"] = json!({ "set": [format!("e{number}")] });
            unit["monitors"] = json!({ "n": username("n") });
        });
        items.remove(&(unit_key.0.clone(), "MONITOR#m".into())).expect("it was there before");
        let monitor = json!({
            "pk": unit_key.0, "sk": "MONITOR#n", "unitId": self.unit, "monitorId": "n",
            "username": username("n"), "_updatedAt": time,
        });
        items.insert((unit_key.0, "MONITOR#n".into()), monitor);
        items
    }

    /// Another update of the unit, which leaves it as it is but for the version.
    pub fn competitor(&self, world: &World) -> Meanwhile {
        let request = world
            .client
            .update_item()
            .table_name(&world.tables.livechat)
            .key("pk", AttributeValue::S(format!("UNIT#{}", self.unit)))
            .key("sk", AttributeValue::S("UNIT".into()))
            .update_expression("SET version = version + :one")
            .expression_attribute_values(":one", AttributeValue::N("1".into()));
        Arc::new(move || {
            let request = request.clone();
            async move { drop(request.send().await.expect("the unit is updated")) }.boxed()
        })
    }

    /// Counts an update that changed nothing else.
    pub fn count_update(&self, before: &mut Items) {
        let unit = before.get_mut(&self.key()).expect("the unit");
        unit["version"] = (unit["version"].as_u64().expect("a count") + 1).into();
    }

    /// When the unit was updated.
    pub fn time(&self, items: &Items) -> String {
        text(&items[&self.key()], "_updatedAt")
    }

    /// Whether the update is stored: all of it, once, or else nothing.
    pub fn is_stored(&self, before: &Items, after: &Items) -> bool {
        if before == after {
            return false;
        }
        let asked = self.asked(before, &self.time(after));
        for (key, item) in &asked {
            assert_eq!(Some(item), after.get(key), "half done: {key:?}");
        }
        assert_eq!(asked.len(), after.len(), "half done");
        true
    }

    /// The client repeats what was not answered with 200, and it works: nothing is broken or locked.
    pub async fn repeat(&self, world: &World, function: &Function, before: Items, was_stored: bool) {
        let again = invoke(function, &self.event, Some(Duration::from_secs(30))).await;
        assert_eq!(again.status_code, 200, "again: {}", again.body);
        let after = world.items().await;
        let asked = if was_stored {
            // Asked again for what is: the version and the time move.
            let mut items = before;
            self.count_update(&mut items);
            items.get_mut(&self.key()).expect("the unit")["_updatedAt"] = updated_at(&again).into();
            items
        } else {
            self.asked(&before, &updated_at(&again))
        };
        assert!(after == asked, "the repetition is not what was asked");
    }

    pub fn key(&self) -> (String, String) {
        (format!("UNIT#{}", self.unit), "UNIT".into())
    }
}
