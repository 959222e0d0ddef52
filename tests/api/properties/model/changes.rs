//! The tables at the beginning of a sequence, and how the steps of other programs change them.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::reference::{
    StoredTables, department_key, monitor_key, now, permission_key, put_set, token_key, unit_key, user_key,
};
use super::steps::{Expiry, Id, Step};
use crate::support::{department, merge, set, unit_item, username};

/// The tables at the beginning of a sequence. The invariants hold.
pub fn initial_tables() -> StoredTables {
    let mut stored = StoredTables::default();
    for (id, monitors, departments, other) in [
        ("U0", &["M0", "Lead"][..], &["D0", "D1"][..], json!({ "description": "stays" })),
        ("U1", &["M1"], &["D2"], json!({ "ancestors": ["Top"], "enabled": true })),
        ("U2", &[], &[], json!({ "version": null })),
    ] {
        let mut item = unit_item(id, monitors, departments);
        merge(&mut item, other);
        let above = item.get("ancestors").cloned().unwrap_or(json!([]));
        stored.livechat.insert(unit_key(id), item);
        for monitor in monitors {
            let (pk, sk) = monitor_key(id, monitor);
            let item = json!({
                "pk": pk, "sk": sk, "unitId": id, "monitorId": monitor, "username": username(monitor),
                "_updatedAt": "2020-01-01T00:00:00.000Z",
            });
            stored.livechat.insert((pk, sk), item);
        }
        for department in departments {
            put_department(&mut stored, department, Some((id, &above)));
        }
    }
    for id in ["D3", "D4"] {
        put_department(&mut stored, id, None);
    }
    for (user, roles) in [
        ("Admin", &["admin"][..]),
        ("Manager", &["livechat-manager", "livechat-monitor"]),
        ("Lead", &["livechat-monitor", "unit-editor"]),
        ("M0", &["livechat-monitor"]),
        ("M1", &["livechat-monitor"]),
        ("M2", &["livechat-monitor"]),
        ("Agent", &["livechat-agent"]),
    ] {
        put_user(&mut stored, Id(user), roles, None);
        put_token(&mut stored, Id(user), Id(user), None);
    }
    put_permission(&mut stored, &["admin", "livechat-manager", "unit-editor"]);
    stored
}

fn put_department(stored: &mut StoredTables, id: &str, parent: Option<(&str, &Value)>) {
    let mut item = stored.livechat.remove(&department_key(id)).unwrap_or_else(|| department(id, None));
    let attributes = item.as_object_mut().expect("an item");
    attributes.remove("parentId");
    attributes.remove("ancestors");
    if let Some((parent, above)) = parent {
        item["parentId"] = parent.into();
        let above = above.as_array().expect("a list").iter().cloned();
        item["ancestors"] = std::iter::once(parent.into()).chain(above).collect();
    }
    stored.livechat.insert(department_key(id), item);
}

fn put_user(stored: &mut StoredTables, user: Id, roles: &[&str], active: Option<bool>) {
    let (pk, sk) = user_key(user.0);
    let mut item = json!({ "pk": pk, "sk": sk, "username": username(user.0) });
    put_set(&mut item, "roles", &roles.iter().map(ToString::to_string).collect());
    if let Some(active) = active {
        item["active"] = active.into();
    }
    stored.livechat.insert((pk, sk), item);
}

fn put_token(stored: &mut StoredTables, of: Id, user: Id, expires: Option<Expiry>) {
    let key = token_key(&of.as_token());
    let mut item = json!({ "hashedToken": key.0, "userId": user.0 });
    match expires {
        Some(Expiry::AnHourAgo) => item["expiresAt"] = (now() - 3600).into(),
        Some(Expiry::InAnHour) => item["expiresAt"] = (now() + 3600).into(),
        None => {}
    }
    stored.tokens.insert(key, item);
}

fn put_permission(stored: &mut StoredTables, roles: &[&str]) {
    let (pk, sk) = permission_key();
    let mut item = json!({ "pk": pk, "sk": sk });
    put_set(&mut item, "roles", &roles.iter().map(ToString::to_string).collect());
    stored.livechat.insert((pk, sk), item);
}

/// Changes a unit's `departmentIds` and `numDepartments`, but no department.
fn change_list(stored: &mut StoredTables, unit: Id, change: impl FnOnce(&mut BTreeSet<String>)) {
    if let Some(item) = stored.livechat.get_mut(&unit_key(unit.0)) {
        let mut listed = set(item, "departmentIds");
        change(&mut listed);
        put_set(item, "departmentIds", &listed);
        item["numDepartments"] = listed.len().into();
    }
}

impl Step {
    /// Changes the tables, if this step is a change by another program.
    pub fn apply_to(&self, stored: &mut StoredTables) {
        match self {
            Self::Update { .. } | Self::SendBroken { .. } | Self::NewEnvironment => {}
            Self::DeleteUnit(id) => _ = stored.livechat.remove(&unit_key(id.0)),
            Self::PutUnit(id) => {
                let mut item = unit_item(id.0, &[], &[]);
                item.as_object_mut().expect("an item").remove("version");
                stored.livechat.insert(unit_key(id.0), item);
            }
            Self::SetUnitAncestors { unit, ancestors } => {
                if let Some(item) = stored.livechat.get_mut(&unit_key(unit.0)) {
                    item["ancestors"] = json!(ancestors);
                }
            }
            Self::List { unit, department } => {
                change_list(stored, *unit, |listed| _ = listed.insert(department.0.into()));
            }
            Self::Unlist { unit, department } => {
                change_list(stored, *unit, |listed| _ = listed.remove(department.0));
            }
            Self::DeleteMonitorItem { unit, monitor } => {
                stored.livechat.remove(&monitor_key(unit.0, monitor.0));
            }
            Self::DeleteDepartment(id) => _ = stored.livechat.remove(&department_key(id.0)),
            Self::SetDepartmentParent { department, parent } => {
                let parent = parent.map(|parent| {
                    let item = stored.livechat.get(&unit_key(parent.0));
                    (parent.0, item.and_then(|unit| unit.get("ancestors").cloned()).unwrap_or(json!([])))
                });
                let parent = parent.as_ref().map(|(id, above)| (*id, above));
                put_department(stored, department.0, parent);
            }
            Self::DeleteUser(id) => _ = stored.livechat.remove(&user_key(id.0)),
            Self::PutUser { user, roles, active } => {
                put_user(stored, *user, &roles.iter().map(|id| id.0).collect::<Vec<_>>(), *active);
            }
            Self::SetActive { user, active } => {
                if let Some(item) = stored.livechat.get_mut(&user_key(user.0)) {
                    item["active"] = (*active).into();
                }
            }
            Self::Rename { user, username } => {
                if let Some(item) = stored.livechat.get_mut(&user_key(user.0)) {
                    item["username"] = (*username).into();
                }
            }
            Self::RemoveUsername(user) => {
                if let Some(item) = stored.livechat.get_mut(&user_key(user.0)) {
                    item.as_object_mut().expect("an item").remove("username");
                }
            }
            Self::DeleteToken(of) => _ = stored.tokens.remove(&token_key(&of.as_token())),
            Self::PutToken { of, user, expires } => put_token(stored, *of, *user, *expires),
            Self::DeletePermission => _ = stored.livechat.remove(&permission_key()),
            Self::PutPermission { roles } => {
                put_permission(stored, &roles.iter().map(|id| id.0).collect::<Vec<_>>());
            }
        }
    }
}
