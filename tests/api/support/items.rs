//! Items of the livechat table as JSON, and ways to read and change such JSON.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

/// The username that is stored for a user.
pub fn username(id: &str) -> String {
    format!("name of {id}")
}

/// A unit's item, with version 7 and an old `_updatedAt`.
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

/// A department's item, in this unit or in none.
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

/// Adds or replaces the attributes in `change`; those that are null are removed.
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

/// A string attribute.
pub fn text(item: &Value, name: &str) -> String {
    item[name].as_str().unwrap_or_else(|| panic!("{name} is not a string in {item}")).into()
}

/// The members of a string set; none if the attribute is absent.
pub fn set(item: &Value, name: &str) -> BTreeSet<String> {
    let members = item.get(name).map(|set| set["set"].as_array().expect("it is a set").iter());
    members
        .into_iter()
        .flatten()
        .map(|member| member.as_str().expect("a set of strings").to_owned())
        .collect()
}
