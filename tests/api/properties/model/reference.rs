//! A model of the contract in memory. It does to plain maps what docs/contract.md says about an update, and shares no code with
//! the function.

use std::collections::BTreeSet;
use std::time::{SystemTime, UNIX_EPOCH};

use livechat_units::hashed_token;
use serde_json::{Map, Value, json};

use super::steps::{Caller, Name, SentBody};
use crate::support::responses::{DEACTIVATED, INTERNAL_ERROR, NOT_LOGGED_IN, NOT_PERMITTED, UNIT_NOT_FOUND};
use crate::support::{Items, set, text};

/// Both tables.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StoredTables {
    pub livechat: Items,
    pub tokens: Items,
}

/// A status and a body.
pub type Answer = (u16, String);

pub fn unit_key(id: &str) -> (String, String) {
    (format!("UNIT#{id}"), "UNIT".into())
}

pub fn monitor_key(unit: &str, monitor: &str) -> (String, String) {
    (format!("UNIT#{unit}"), format!("MONITOR#{monitor}"))
}

pub fn department_key(id: &str) -> (String, String) {
    (format!("DEPARTMENT#{id}"), "DEPARTMENT".into())
}

pub fn user_key(id: &str) -> (String, String) {
    (format!("USER#{id}"), "USER".into())
}

pub fn permission_key() -> (String, String) {
    ("PERMISSION#manage-livechat-units".into(), "PERMISSION".into())
}

pub fn token_key(token: &str) -> (String, String) {
    (hashed_token(token), String::new())
}

pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_secs()
}

/// Sets a string set. An empty one is removed, because DynamoDB has no empty sets.
pub fn put_set(item: &mut Value, name: &str, members: &BTreeSet<String>) {
    if members.is_empty() {
        item.as_object_mut().expect("an item").remove(name);
    } else {
        item[name] = json!({ "set": members });
    }
}

impl StoredTables {
    /// Answers a request, and changes the tables with this `_updatedAt`.
    pub fn handle(&mut self, caller: Caller, unit: &str, sent: &SentBody, updated_at: &str) -> Answer {
        let answered = self.authorize(caller).and_then(|restricted_to| match sent {
            // Rows 7 and 8 of the contract.
            SentBody::Broken(broken) => Err((400, broken.answer().into())),
            SentBody::Members { name, monitors, departments } => {
                let monitors: Vec<&str> = monitors.iter().map(|id| id.0).collect();
                let departments: Vec<&str> = departments.iter().map(|id| id.0).collect();
                self.update(restricted_to, unit, *name, &monitors, &departments, updated_at)
            }
        });
        answered.map_or_else(|refusal| refusal, |body| (200, body))
    }

    /// Rows 3 to 5 of the contract. Returns the caller's id if the caller sees only the units that they monitor.
    fn authorize(&self, Caller { user, token }: Caller) -> Result<Option<&'static str>, Answer> {
        let not_logged_in = || (401, NOT_LOGGED_IN.to_owned());
        let token = self.tokens.get(&token_key(&token.as_token())).ok_or_else(not_logged_in)?;
        let is_expired = token.get("expiresAt").is_some_and(|time| time.as_u64() <= Some(now()));
        if token["userId"] != user.0 || is_expired {
            return Err(not_logged_in());
        }
        let item = self.livechat.get(&user_key(user.0)).ok_or_else(not_logged_in)?;
        if item.get("active") == Some(&false.into()) {
            return Err((403, DEACTIVATED.into()));
        }
        let roles = set(item, "roles");
        let permitted = self.livechat.get(&permission_key()).map(|item| set(item, "roles"));
        if permitted.is_none_or(|permitted| permitted.is_disjoint(&roles)) {
            return Err((403, NOT_PERMITTED.into()));
        }
        let has = |role| roles.contains(role);
        let is_restricted =
            (has("livechat-monitor") || has("livechat-agent")) && !has("admin") && !has("livechat-manager");
        Ok(is_restricted.then_some(user.0))
    }

    fn update(
        &mut self,
        restricted_to: Option<&str>,
        id: &str,
        name: Name,
        listed_monitors: &[&str],
        listed_departments: &[&str],
        updated_at: &str,
    ) -> Result<String, Answer> {
        let not_found = || (400, UNIT_NOT_FOUND.to_owned());
        let mut unit = self.livechat.get(&unit_key(id)).ok_or_else(not_found)?.clone();
        if restricted_to.is_some_and(|user| unit["monitors"].get(user).is_none()) {
            return Err(not_found());
        }
        let mut unknown: Vec<&str> = Vec::new();
        for department in listed_departments {
            if !self.livechat.contains_key(&department_key(department)) && !unknown.contains(department) {
                unknown.push(department);
            }
        }
        if !unknown.is_empty() {
            return Err((400, departments_not_found(&unknown)));
        }
        let monitors = self.monitors_among(listed_monitors)?;
        let departments: BTreeSet<String> = listed_departments.iter().map(ToString::to_string).collect();

        self.put_monitors(id, &unit["monitors"], &monitors, updated_at);
        for department in set(&unit, "departmentIds").difference(&departments) {
            self.leave(department, id, updated_at);
        }
        let above = unit.get("ancestors").and_then(Value::as_array).cloned().unwrap_or_default();
        let ancestors: Value = std::iter::once(id.into()).chain(above).collect();
        let mut losing_units = BTreeSet::new();
        for department in &departments {
            losing_units.extend(self.join(department, id, &ancestors, updated_at));
        }
        for losing_unit in losing_units {
            // The unit's version grows by one, however many departments it loses.
            let item = self.livechat.get_mut(&unit_key(&losing_unit)).expect("it lost departments");
            increment_version(item, updated_at);
        }

        unit["name"] = name.text().into();
        unit["visibility"] = name.visibility().into();
        unit["type"] = "u".into();
        unit["numMonitors"] = monitors.len().into();
        unit["numDepartments"] = departments.len().into();
        unit["monitors"] = monitors.clone().into();
        put_set(&mut unit, "departmentIds", &departments);
        increment_version(&mut unit, updated_at);
        self.livechat.insert(unit_key(id), unit);
        Ok(format!(
            r#"{{"name":{},"visibility":"{}","type":"u","numMonitors":{},"numDepartments":{},"_updatedAt":"{updated_at}","_id":"{id}","success":true}}"#,
            Value::from(name.text()),
            name.visibility(),
            monitors.len(),
            departments.len(),
        ))
    }

    /// The listed users who have the role, deactivated or not, with their stored usernames.
    fn monitors_among(&self, listed: &[&str]) -> Result<Map<String, Value>, Answer> {
        let mut monitors = Map::new();
        for id in listed {
            let Some(user) = self.livechat.get(&user_key(id)) else { continue };
            if set(user, "roles").contains("livechat-monitor") {
                let username = user.get("username").ok_or_else(|| (500, INTERNAL_ERROR.to_owned()))?;
                monitors.insert((*id).into(), username.clone());
            }
        }
        Ok(monitors)
    }

    /// Writes the monitors' items that differ between the old and the new `monitors` of the unit. Items that disagreed with
    /// the old `monitors` stay wrong.
    fn put_monitors(&mut self, unit: &str, old: &Value, new: &Map<String, Value>, updated_at: &str) {
        for id in old.as_object().expect("a map").keys().filter(|id| !new.contains_key(*id)) {
            self.livechat.remove(&monitor_key(unit, id));
        }
        for (id, username) in new.iter().filter(|(id, username)| old.get(id) != Some(username)) {
            let (pk, sk) = monitor_key(unit, id);
            let item = json!({
                "pk": pk, "sk": sk, "unitId": unit, "monitorId": id, "username": username,
                "_updatedAt": updated_at,
            });
            self.livechat.insert((pk, sk), item);
        }
    }

    /// Removes a department from the unit, if it exists and is still in the unit.
    fn leave(&mut self, department: &str, unit: &str, updated_at: &str) {
        let Some(item) = self.livechat.get_mut(&department_key(department)) else { return };
        if item.get("parentId") == Some(&unit.into()) {
            let attributes = item.as_object_mut().expect("an item");
            attributes.remove("parentId");
            attributes.remove("ancestors");
            item["_updatedAt"] = updated_at.into();
        }
    }

    /// Puts a listed department into the unit. Returns the other unit that loses it, if there is one.
    fn join(&mut self, id: &str, unit: &str, ancestors: &Value, updated_at: &str) -> Option<String> {
        let item = self.livechat.get_mut(&department_key(id)).expect("the caller has checked that it exists");
        let parent = item.get("parentId").map(|_| text(item, "parentId"));
        if parent.as_deref() == Some(unit) && item.get("ancestors") == Some(ancestors) {
            return None;
        }
        item["parentId"] = unit.into();
        item["ancestors"] = ancestors.clone();
        item["_updatedAt"] = updated_at.into();
        let losing_unit = parent.filter(|parent| parent != unit)?;
        let item = self.livechat.get_mut(&unit_key(&losing_unit))?;
        let mut listed = set(item, "departmentIds");
        listed.remove(id).then(|| {
            put_set(item, "departmentIds", &listed);
            item["numDepartments"] = (item["numDepartments"].as_i64().expect("a count") - 1).into();
            losing_unit
        })
    }
}

/// Sets the next version and the time of a unit that is written.
fn increment_version(unit: &mut Value, updated_at: &str) {
    unit["version"] =
        (unit.get("version").map_or(0, |version| version.as_u64().expect("a count")) + 1).into();
    unit["_updatedAt"] = updated_at.into();
}

fn departments_not_found(ids: &[&str]) -> String {
    format!(
        r#"{{"success":false,"error":"Department not found: {} [error-department-not-found]","errorType":"error-department-not-found","details":{{"method":"livechat:saveUnit","departmentIds":{}}}}}"#,
        ids.join(", "),
        json!(ids),
    )
}
