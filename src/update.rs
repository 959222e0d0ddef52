//! The body's JSON, checked as Rocket.Chat checks it and turned into the [`Update`] that it asks for.
//!
//! Rocket.Chat uses Meteor's `check` package; the words, the order of the checks and the form of the
//! paths are those of its `match.js`.

use std::collections::HashSet;

use serde_json::{Map, Value};

use crate::error::Error;
use crate::event::Body;
use crate::id::{DepartmentId, UnitId, UserId};
use crate::json;

/// What a unit shall be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    /// The unit.
    pub unit: UnitId,
    /// As sent, with its white space.
    pub name: String,
    /// Who may see the unit's departments.
    pub visibility: Visibility,
    /// The listed users that can exist, distinct, in the order of the body.
    pub monitors: Vec<UserId>,
    /// How many distinct users the body lists, impossible ones included.
    pub listed_monitors: usize,
    /// The listed departments, distinct, in the order of the body; `Err` is an id that names nothing.
    pub departments: Vec<Result<DepartmentId, String>>,
}

/// A unit's visibility.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visibility {
    /// Every agent sees it.
    Public,
    /// Only its own people see it.
    Private,
}

impl Visibility {
    /// As it is sent and stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Private => "private",
        }
    }
}

impl Update {
    /// Reads a body; `unit` is `None` when the path's id names nothing.
    ///
    /// # Errors
    /// The body is too large, not JSON, or JSON of another shape, or there can't be such a unit; the
    /// first that applies.
    pub fn parse(unit: Option<UnitId>, body: Body) -> Result<Self, Error> {
        let body = body.into_bytes()?;
        let body = json::parse(&body).map_err(|error| Error::InvalidJson(error.to_string()))?;
        let (name, visibility) = unit_data(body.get("unitData"))?;
        let monitors = elements(body.get("unitMonitors"), ["monitorId", "username"])?;
        let departments = elements(body.get("unitDepartments"), ["departmentId"])?;

        // The username that was sent is checked and then ignored: the stored one counts.
        let monitors = distinct(monitors.into_iter().map(|[id, _username]| id));
        let departments = distinct(departments.into_iter().map(|[id]| id));
        Ok(Self {
            unit: unit.ok_or(Error::UnitNotFound)?,
            name: name.to_owned(),
            visibility,
            listed_monitors: monitors.len(),
            monitors: monitors.into_iter().filter_map(UserId::parse).collect(),
            departments: departments
                .into_iter()
                .map(|id| DepartmentId::parse(id).ok_or_else(|| id.to_owned()))
                .collect(),
        })
    }
}

fn distinct<'a>(ids: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut seen = HashSet::new();
    ids.filter(|id| seen.insert(*id)).collect()
}

/// `check(unitData, {name: String, visibility: String, ...})`: an exact object.
fn unit_data(value: Option<&Value>) -> Result<(&str, Visibility), Error> {
    let (mut name, mut visibility) = (None, None);
    for (key, value) in plain_object(value).map_err(|what| mismatch(what, ""))? {
        let at_key = |what| mismatch(what, key);
        match key.as_str() {
            "name" => name = Some(non_blank(value).map_err(at_key)?),
            "visibility" => visibility = Some(known_visibility(value).map_err(at_key)?),
            "description" | "email" => _ = string(value).map_err(at_key)?,
            "enabled" | "showOnOfflineForm" => _ = boolean(value).map_err(at_key)?,
            _ => return Err(at_key("Unknown key".into())),
        }
    }
    let name = name.ok_or_else(|| mismatch(missing("name"), ""))?;
    let visibility = visibility.ok_or_else(|| mismatch(missing("visibility"), ""))?;
    Ok((name, visibility))
}

/// `check(value, [Match.ObjectIncluding({key: String, ...})])`: the strings of each element.
fn elements<'a, const N: usize>(
    value: Option<&'a Value>,
    keys: [&str; N],
) -> Result<Vec<[&'a str; N]>, Error> {
    let Some(Value::Array(items)) = value else {
        let got = value.map_or("undefined".into(), Value::to_string);
        return Err(mismatch(format!("Expected array, got {got}"), ""));
    };
    items.iter().enumerate().map(|(index, item)| element(item, keys, index)).collect()
}

fn element<'a, const N: usize>(
    value: &'a Value,
    keys: [&str; N],
    index: usize,
) -> Result<[&'a str; N], Error> {
    let at_element = |what| mismatch(what, &format!("[{index}]"));
    let mut strings = [None; N];
    for (key, value) in plain_object(Some(value)).map_err(at_element)? {
        if let Some(place) = keys.iter().position(|known| known == key) {
            let text = string(value).map_err(|what| mismatch(what, &format!("[{index}].{key}")))?;
            strings[place] = Some(text);
        }
    }
    let mut found = [""; N];
    for (place, key) in keys.into_iter().enumerate() {
        found[place] = strings[place].ok_or_else(|| at_element(missing(key)))?;
    }
    Ok(found)
}

// Each check says what is wrong; the caller knows where.

fn plain_object(value: Option<&Value>) -> Result<&Map<String, Value>, String> {
    match value {
        Some(Value::Object(object)) => Ok(object),
        Some(Value::Array(_)) => Err("Expected plain object".into()),
        Some(other) => Err(expected("object", other)),
        None => Err("Expected object, got undefined".into()),
    }
}

fn string(value: &Value) -> Result<&str, String> {
    value.as_str().ok_or_else(|| expected("string", value))
}

fn boolean(value: &Value) -> Result<bool, String> {
    value.as_bool().ok_or_else(|| expected("boolean", value))
}

/// Stricter than Rocket.Chat, which takes a name that nobody can read.
fn non_blank(value: &Value) -> Result<&str, String> {
    let text = string(value)?;
    if text.trim().is_empty() { Err("Expected a non-empty string".into()) } else { Ok(text) }
}

/// Stricter than Rocket.Chat, which takes any string.
fn known_visibility(value: &Value) -> Result<Visibility, String> {
    match string(value)? {
        "public" => Ok(Visibility::Public),
        "private" => Ok(Visibility::Private),
        other => Err(format!("Expected 'public' or 'private', got '{other}'")),
    }
}

fn expected(wanted: &str, got: &Value) -> String {
    let got = match got {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        // JavaScript's `typeof` says so of an array, too.
        Value::Array(_) | Value::Object(_) => "object",
    };
    format!("Expected {wanted}, got {got}")
}

fn missing(key: &str) -> String {
    format!("Missing key '{key}'")
}

/// Meteor tells the path only when it is not empty.
fn mismatch(what: String, path: &str) -> Error {
    Error::Mismatch(if path.is_empty() { what } else { format!("{what} in field {path}") })
}
