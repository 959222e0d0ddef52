//! An update that changes something of every kind, and the items that it has to store.

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use futures_util::future::FutureExt;
use livechat_units::Function;
use serde_json::{Value, json};

use super::faulty_client::OtherWrite;
use super::{Items, TestApp, body, event, invoke, text, updated_at, username};

/// An update that changes something of every kind, in items that no other case uses.
pub struct UpdateCase {
    is_large: bool,
    pub unit: String,
    pub event: Value,
}

impl UpdateCase {
    /// Stores the items of the case with this number. A large case seems to need more changes than fit into one
    /// transaction, and one more read shows that they fit.
    pub async fn new(app: &TestApp, is_large: bool, number: usize) -> Self {
        let id = |name: &str| format!("{name}-{number}");
        let (unit, other, leaving, joining) = (id("U"), id("V"), id("d"), id("e"));
        let update = if is_large {
            // 100 departments leave. With the unit that is one change too many, but one department does not exist.
            let departments: Vec<String> = (0..100).map(|n| format!("d{n}-{number}")).collect();
            let departments: Vec<&str> = departments.iter().map(String::as_str).collect();
            app.put_unit(&unit, &["m"], &departments).await;
            app.delete_item(&format!("DEPARTMENT#{}", departments[0]), "DEPARTMENT").await;
            body(&["m"], &[])
        } else {
            app.put_unit(&unit, &["m"], &[&leaving]).await;
            app.put_unit(&other, &[], &[&joining]).await;
            body(&["n"], &[&joining])
        };
        Self { is_large, event: event(&unit, &update), unit }
    }

    /// All items after the update, which has this `_updatedAt`.
    pub fn expected_items(&self, before: &Items, time: &str) -> Items {
        let mut items = before.clone();
        let unit_key = self.key();
        let number = self.unit.strip_prefix('U').expect("`new` chose the name");
        let mut change = |pk: String, change: &dyn Fn(&mut Value)| {
            let sk = pk.split_once('#').expect("a key has a kind").0.to_owned();
            let item = items.get_mut(&(pk, sk)).expect("the item existed before");
            change(item);
            item["_updatedAt"] = time.into();
        };
        let remove = |item: &mut Value, name: &str| item.as_object_mut().expect("an object").remove(name);
        let increment_version =
            |item: &mut Value| item["version"] = (item["version"].as_u64().expect("a count") + 1).into();
        let leave = |item: &mut Value| {
            remove(item, "parentId");
            remove(item, "ancestors");
        };
        change(unit_key.0.clone(), &|unit| {
            increment_version(unit);
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
            increment_version(other);
            remove(other, "departmentIds");
            other["numDepartments"] = 0.into();
        });
        change(unit_key.0.clone(), &|unit| {
            unit["departmentIds"] = json!({ "set": [format!("e{number}")] });
            unit["monitors"] = json!({ "n": username("n") });
        });
        items.remove(&(unit_key.0.clone(), "MONITOR#m".into())).expect("the item existed before");
        let monitor = json!({
            "pk": unit_key.0, "sk": "MONITOR#n", "unitId": self.unit, "monitorId": "n",
            "username": username("n"), "_updatedAt": time,
        });
        items.insert((unit_key.0, "MONITOR#n".into()), monitor);
        items
    }

    /// Another update of the unit, which changes its version only.
    pub fn other_update(&self, app: &TestApp) -> OtherWrite {
        let request = app
            .client
            .update_item()
            .table_name(&app.tables.livechat)
            .key("pk", AttributeValue::S(format!("UNIT#{}", self.unit)))
            .key("sk", AttributeValue::S("UNIT".into()))
            .update_expression("SET version = version + :one")
            .expression_attribute_values(":one", AttributeValue::N("1".into()));
        Arc::new(move || {
            let request = request.clone();
            async move { drop(request.send().await.expect("the unit is updated")) }.boxed()
        })
    }

    /// Applies [`Self::other_update`] to these items.
    pub fn increment_version(&self, before: &mut Items) {
        let unit = before.get_mut(&self.key()).expect("the unit");
        unit["version"] = (unit["version"].as_u64().expect("a count") + 1).into();
    }

    /// The `_updatedAt` of the unit.
    pub fn time(&self, items: &Items) -> String {
        text(&items[&self.key()], "_updatedAt")
    }

    /// Whether the update was stored. Panics if a part of it was stored, or anything else.
    pub fn is_stored(&self, before: &Items, after: &Items) -> bool {
        if before == after {
            return false;
        }
        let expected = self.expected_items(before, &self.time(after));
        for (key, item) in &expected {
            assert_eq!(Some(item), after.get(key), "partly stored: {key:?}");
        }
        assert_eq!(expected.len(), after.len(), "partly stored");
        true
    }

    /// Repeats an update that was not answered with 200, and checks that the repetition is stored.
    pub async fn assert_repeatable(
        &self,
        app: &TestApp,
        function: &Function,
        before: Items,
        was_stored: bool,
    ) {
        let again = invoke(function, &self.event, Some(Duration::from_secs(30))).await;
        assert_eq!(again.status_code, 200, "again: {}", again.body);
        let after = app.stored_items().await;
        let expected = if was_stored {
            // Nothing is left to change except the version and the time.
            let mut items = before;
            self.increment_version(&mut items);
            items.get_mut(&self.key()).expect("the unit")["_updatedAt"] = updated_at(&again).into();
            items
        } else {
            self.expected_items(&before, &updated_at(&again))
        };
        assert!(after == expected, "the repetition did not store what the update asks for");
    }

    /// The key of the unit's item.
    pub fn key(&self) -> (String, String) {
        (format!("UNIT#{}", self.unit), "UNIT".into())
    }
}
