//! What an update asks for, and what all items are afterwards.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use testing::events::{set_caller, update_event};

use super::{ADMIN, Items, TOKEN, merge, set, text, username};

/// What an update asks for. All listed users exist and hold the role of a monitor, and all listed departments exist.
#[derive(Clone, Debug)]
pub struct Asked {
    pub unit: String,
    pub name: String,
    pub visibility: &'static str,
    pub monitors: Vec<String>,
    pub departments: Vec<String>,
}

impl Asked {
    /// An update that makes a unit private and gives it another name.
    pub fn new(unit: &str, monitors: &[String], departments: &[String]) -> Self {
        let (monitors, departments) = (monitors.to_vec(), departments.to_vec());
        Self { unit: unit.into(), name: "new name".into(), visibility: "private", monitors, departments }
    }

    /// The administrator's event.
    pub fn event(&self) -> Value {
        self.event_of(TOKEN, ADMIN)
    }

    pub fn event_of(&self, token: &str, user: &str) -> Value {
        let monitors = self.monitors.iter().map(|id| json!({ "monitorId": id, "username": "as.sent" }));
        let departments = self.departments.iter().map(|id| json!({ "departmentId": id }));
        let body = json!({
            "unitData": { "name": self.name, "visibility": self.visibility },
            "unitMonitors": monitors.collect::<Value>(),
            "unitDepartments": departments.collect::<Value>(),
        });
        let mut event = update_event(&self.unit, &body.to_string());
        set_caller(&mut event, token, user);
        event
    }

    fn key(&self) -> (String, String) {
        (format!("UNIT#{}", self.unit), "UNIT".into())
    }

    /// Whether the unit is exactly as asked. If the invariants hold, so are its members.
    pub fn is_fulfilled(&self, items: &Items) -> bool {
        let unit = &items[&self.key()];
        let monitors: BTreeSet<&String> = unit["monitors"].as_object().expect("a map").keys().collect();
        let departments: BTreeSet<String> = self.departments.iter().cloned().collect();
        text(unit, "name") == self.name
            && text(unit, "visibility") == self.visibility
            && monitors == self.monitors.iter().collect()
            && set(unit, "departmentIds") == departments
    }

    /// All items after the update, which wrote this time. The versions of the units are those of `after`.
    pub fn expected_items(&self, before: &Items, after: &Items, time: &str) -> Items {
        let mut items = before.clone();
        let old = before[&self.key()].clone();
        let mut changed = BTreeSet::from([self.key()]);

        let old_monitors = old["monitors"].as_object().expect("a map");
        for id in old_monitors.keys().filter(|id| !self.monitors.contains(id)) {
            items.remove(&(self.key().0, format!("MONITOR#{id}"))).expect("the monitor has an item");
        }
        for id in self.monitors.iter().filter(|id| !old_monitors.contains_key(*id)) {
            let (pk, sk) = (self.key().0, format!("MONITOR#{id}"));
            let item = json!({
                "pk": pk, "sk": sk, "unitId": self.unit, "monitorId": id, "username": username(id),
                "_updatedAt": time,
            });
            items.insert((pk, sk), item);
        }

        let department_key = |id: &String| (format!("DEPARTMENT#{id}"), "DEPARTMENT".to_owned());
        for id in set(&old, "departmentIds").iter().filter(|id| !self.departments.contains(id)) {
            let item = items.get_mut(&department_key(id)).expect("the department exists");
            merge(item, json!({ "parentId": null, "ancestors": null }));
            changed.insert(department_key(id));
        }
        for id in &self.departments {
            let item = items.get_mut(&department_key(id)).expect("the department exists");
            let parent = item.get("parentId").map(|_| text(item, "parentId"));
            if parent.as_ref() == Some(&self.unit) {
                continue;
            }
            merge(item, json!({ "parentId": self.unit, "ancestors": [self.unit] }));
            changed.insert(department_key(id));
            if let Some(losing_unit) = parent {
                let key = (format!("UNIT#{losing_unit}"), "UNIT".to_owned());
                let item = items.get_mut(&key).expect("the losing unit exists");
                let mut listed = set(item, "departmentIds");
                assert!(listed.remove(id), "the losing unit lists what it loses");
                merge(item, lists(&listed));
                changed.insert(key);
            }
        }

        let unit = items.get_mut(&self.key()).expect("the unit");
        let monitors: Value =
            self.monitors.iter().map(|id| (id.clone(), Value::from(username(id)))).collect();
        merge(
            unit,
            json!({
                "name": self.name, "visibility": self.visibility, "monitors": monitors,
                "numMonitors": self.monitors.len(),
            }),
        );
        merge(unit, lists(&self.departments.iter().cloned().collect()));
        for key in changed {
            let item = items.get_mut(&key).expect("it exists");
            item["_updatedAt"] = time.into();
            if key.1 == "UNIT" {
                item["version"] = after[&key]["version"].clone();
            }
        }
        items
    }
}

/// A unit's attributes for these departments.
fn lists(departments: &BTreeSet<String>) -> Value {
    let ids = if departments.is_empty() { Value::Null } else { json!({ "set": departments }) };
    json!({ "departmentIds": ids, "numDepartments": departments.len() })
}

/// Describes the first item that is not as expected.
pub fn first_difference(expected: &Items, actual: &Items) -> Option<String> {
    let keys = expected.keys().chain(actual.keys().filter(|key| !expected.contains_key(*key)));
    let mut differing = keys.filter(|key| expected.get(*key) != actual.get(*key));
    differing.next().map(|key| format!("{key:?} is {:?} instead of {:?}", actual.get(key), expected.get(key)))
}
