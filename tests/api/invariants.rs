//! What must hold of everything stored, and of each step from one state to the next.

use std::collections::{BTreeMap, BTreeSet};

use livechat_units::Response;
use serde_json::{Value, json};

use crate::world::{Items, merge, set, text, updated_at};

/// The step that an answered update makes: what changed is told its time, counts its version and had a reason.
pub fn assert_written(before: &Items, after: &Items, response: &Response) {
    let time = updated_at(response);
    let body: Value = serde_json::from_str(&response.body).expect("a body is JSON");
    let own = (format!("UNIT#{}", text(&body, "_id")), "UNIT".to_owned());
    assert_ne!(before.get(&own), after.get(&own), "the unit did not change");
    for (key, item) in after {
        let old = before.get(key);
        if old == Some(item) {
            continue;
        }
        assert_eq!(text(item, "_updatedAt"), time, "of {key:?}");
        if key.1 == "UNIT" {
            let version =
                |item: &Value| item.get("version").map_or(0, |version| version.as_u64().expect("a count"));
            assert_eq!(version(item), version(old.expect("no unit is made")) + 1, "of {key:?}");
        }
        // Written, but for what the writing itself changes: that must not be all.
        let strip = |item: &Value| {
            let mut item = item.clone();
            merge(&mut item, json!({ "_updatedAt": null }));
            item
        };
        assert_ne!(old.map(strip), Some(strip(item)), "{key:?} was written without a change");
    }
    for (key, item) in before {
        assert!(after.contains_key(key) || key.1.starts_with("MONITOR#"), "{item} was deleted");
    }
}

/// The four invariants of the design, over everything stored.
pub fn assert_invariants(items: &Items) {
    assert_eq!(broken_invariant(items), None);
}

/// What is wrong by the invariants of the design, if anything is.
pub fn broken_invariant(items: &Items) -> Option<String> {
    let mut lists: BTreeMap<String, String> = BTreeMap::new();
    for ((pk, sk), unit) in items {
        let Some(id) = pk.strip_prefix("UNIT#").filter(|_| sk == "UNIT") else { continue };
        // 1: the count of monitors, the map and the items are one.
        let monitors: BTreeMap<String, Value> =
            unit["monitors"].as_object().expect("a map").clone().into_iter().collect();
        let rows: BTreeMap<String, Value> = items
            .iter()
            .filter(|((row_pk, row_sk), _)| row_pk == pk && row_sk.starts_with("MONITOR#"))
            .map(|((_, row_sk), row)| {
                assert_eq!(text(row, "unitId"), id);
                assert_eq!(format!("MONITOR#{}", text(row, "monitorId")), *row_sk);
                (text(row, "monitorId"), row["username"].clone())
            })
            .collect();
        if monitors != rows {
            return Some(format!("{id} has the monitors {monitors:?} and the items {rows:?}"));
        }
        if unit["numMonitors"] != monitors.len() {
            return Some(format!("{id} has {} monitors: {monitors:?}", unit["numMonitors"]));
        }
        // 2: the count of departments, the set and the departments are one.
        let listed = set(unit, "departmentIds");
        let members: BTreeSet<String> = items
            .iter()
            .filter(|((_, sk), item)| sk == "DEPARTMENT" && item.get("parentId") == Some(&id.into()))
            .map(|((pk, _), _)| pk["DEPARTMENT#".len()..].to_owned())
            .collect();
        if listed != members {
            return Some(format!("{id} lists {listed:?}, and {members:?} are in it"));
        }
        if unit["numDepartments"] != listed.len() {
            return Some(format!("{id} has {} departments: {listed:?}", unit["numDepartments"]));
        }
        // 3: a department is in one unit's list, with that unit's ancestors.
        let above = unit.get("ancestors").and_then(Value::as_array).cloned().unwrap_or_default();
        let ancestors: Vec<Value> = std::iter::once(id.into()).chain(above).collect();
        for department in listed {
            let item = &items[&(format!("DEPARTMENT#{department}"), "DEPARTMENT".into())];
            if item["ancestors"] != Value::from(ancestors.clone()) {
                return Some(format!("{department} has the ancestors {}", item["ancestors"]));
            }
            if let Some(other) = lists.insert(department.clone(), id.into()) {
                return Some(format!("{department} is in the lists of {other} and {id}"));
            }
        }
    }
    // 4, that versions count the commits, is checked where the commits are made.
    None
}
