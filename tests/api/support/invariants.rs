//! What must be true of all stored items, and of each update that is answered with 200.

use std::collections::{BTreeMap, BTreeSet};

use livechat_units::Response;
use livechat_units::limits::MAX_TRANSACTION_ACTIONS;
use serde_json::{Value, json};

use super::{Items, merge, set, text, updated_at};

/// Checks the changes by an update that was answered with 200: each changed item has the answer's time, each changed unit
/// has the next version (or a later one after an update of several transactions), no item was written without a change,
/// and only monitors' items were deleted.
pub fn assert_written(before: &Items, after: &Items, response: &Response) {
    let time = updated_at(response);
    let body: Value = serde_json::from_str(&response.body).expect("a body is JSON");
    let own = (format!("UNIT#{}", text(&body, "_id")), "UNIT".to_owned());
    assert_ne!(before.get(&own), after.get(&own), "the unit did not change");
    let changed = after.iter().filter(|(key, item)| before.get(*key) != Some(item)).count();
    let deleted = before.keys().filter(|key| !after.contains_key(*key)).count();
    let is_large = changed + deleted > MAX_TRANSACTION_ACTIONS;
    for (key, item) in after {
        let old = before.get(key);
        if old == Some(item) {
            continue;
        }
        assert_eq!(text(item, "_updatedAt"), time, "of {key:?}");
        if key.1 == "UNIT" {
            let version =
                |item: &Value| item.get("version").map_or(0, |version| version.as_u64().expect("a count"));
            let commits = version(item) - version(old.expect("an update creates no unit"));
            assert!(commits == 1 || (is_large && commits > 1), "{key:?} has {commits} versions more");
        }
        // If only the time differs, the item should not have been written.
        let without_time = |item: &Value| {
            let mut item = item.clone();
            merge(&mut item, json!({ "_updatedAt": null }));
            item
        };
        assert_ne!(old.map(without_time), Some(without_time(item)), "{key:?} was written without a change");
    }
    for (key, item) in before {
        assert!(after.contains_key(key) || key.1.starts_with("MONITOR#"), "{item} was deleted");
    }
}

/// Checks the invariants of docs/data-model.md on all stored items.
pub fn assert_invariants(items: &Items) {
    assert_eq!(broken_invariant(items), None);
}

/// Describes the first violation of the invariants of docs/data-model.md, or returns `None`.
pub fn broken_invariant(items: &Items) -> Option<String> {
    let mut unit_of: BTreeMap<String, String> = BTreeMap::new();
    for ((pk, sk), unit) in items {
        let Some(id) = pk.strip_prefix("UNIT#").filter(|_| sk == "UNIT") else { continue };
        // Invariant 1: `numMonitors`, the entries of `monitors` and the monitors' items agree.
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
            return Some(format!("{id} has the monitors {monitors:?}, but the monitors' items are {rows:?}"));
        }
        if unit["numMonitors"] != monitors.len() {
            return Some(format!(
                "numMonitors of {id} is {}, but its monitors are {monitors:?}",
                unit["numMonitors"]
            ));
        }
        // Invariant 2: `numDepartments`, `departmentIds` and the departments with this parent agree.
        let listed = set(unit, "departmentIds");
        let members: BTreeSet<String> = items
            .iter()
            .filter(|((_, sk), item)| sk == "DEPARTMENT" && item.get("parentId") == Some(&id.into()))
            .map(|((pk, _), _)| pk["DEPARTMENT#".len()..].to_owned())
            .collect();
        if listed != members {
            return Some(format!("{id} lists {listed:?}, but its departments are {members:?}"));
        }
        if unit["numDepartments"] != listed.len() {
            return Some(format!(
                "numDepartments of {id} is {}, but its departments are {listed:?}",
                unit["numDepartments"]
            ));
        }
        // Invariant 3: a department is in one list only, and its ancestors follow that unit.
        let above = unit.get("ancestors").and_then(Value::as_array).cloned().unwrap_or_default();
        let ancestors: Vec<Value> = std::iter::once(id.into()).chain(above).collect();
        for department in listed {
            let item = &items[&(format!("DEPARTMENT#{department}"), "DEPARTMENT".into())];
            if item["ancestors"] != Value::from(ancestors.clone()) {
                return Some(format!("{department} has the ancestors {}", item["ancestors"]));
            }
            if let Some(other) = unit_of.insert(department.clone(), id.into()) {
                return Some(format!("{department} is in the lists of {other} and {id}"));
            }
        }
    }
    // Invariant 4, that versions count the commits, is checked by the tests that make the commits.
    None
}
