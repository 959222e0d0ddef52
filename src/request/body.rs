//! The JSON body, checked as Rocket.Chat checks it and parsed into an [`Update`].
//!
//! Rocket.Chat uses Meteor's `check` package. The error texts, the order of the checks and the notation of paths are
//! those of its `match.js`.

use std::collections::HashSet;

use super::event::Body;
use super::json::{self, Object, Value};
use crate::error::Error;
use crate::id::{DepartmentId, UnitId, UserId};

/// The complete state that a request wants for a unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    /// The unit.
    pub unit: UnitId,
    /// The name as sent, with its white space.
    pub name: String,
    /// Who may see the unit's departments.
    pub visibility: Visibility,
    /// The listed users, each once, in the order of the body. Ids that no user can have are left out.
    pub monitors: Vec<UserId>,
    /// The number of different listed users, including ids that no user can have.
    pub listed_monitors: usize,
    /// The listed departments, each once, in the order of the body.
    pub departments: Vec<ListedDepartment>,
}

/// A department that the body lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListedDepartment {
    /// A department may have this id.
    Possible(DepartmentId),
    /// No department can have this id, because it is empty or too long.
    Impossible(String),
}

impl ListedDepartment {
    /// The id, if a department can have it.
    pub fn possible(&self) -> Option<&DepartmentId> {
        match self {
            Self::Possible(id) => Some(id),
            Self::Impossible(_) => None,
        }
    }

    /// The id as sent.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Possible(id) => id.as_str(),
            Self::Impossible(id) => id,
        }
    }
}

impl From<&str> for ListedDepartment {
    fn from(id: &str) -> Self {
        DepartmentId::parse(id).map_or_else(|| Self::Impossible(id.to_owned()), Self::Possible)
    }
}

/// A unit's visibility.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visibility {
    /// Every agent sees the unit's departments.
    Public,
    /// Only the unit's own monitors and agents see them.
    Private,
}

impl Visibility {
    /// The value in the body and in the stored item.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Private => "private",
        }
    }
}

impl Update {
    /// Parses a body. `unit` is `None` when no unit can have the path's id.
    ///
    /// # Errors
    /// The first of these that applies: the body is too large, is not JSON, has another shape, or `unit` is `None`.
    pub fn parse(unit: Option<UnitId>, body: Body) -> Result<Self, Error> {
        let body = body.into_bytes()?;
        let body = json::parse(&body).map_err(|error| Error::InvalidJson(error.to_string()))?;
        let (name, visibility) = unit_data(body.get("unitData"))?;
        let monitors = elements(body.get("unitMonitors"), ["monitorId", "username"])?;
        let departments = elements(body.get("unitDepartments"), ["departmentId"])?;

        // The sent username is checked and then ignored, because the stored username counts.
        let monitors = distinct(monitors.into_iter().map(|[id, _username]| id));
        let departments = distinct(departments.into_iter().map(|[id]| id));
        Ok(Self {
            unit: unit.ok_or(Error::UnitNotFound)?,
            name: name.to_owned(),
            visibility,
            listed_monitors: monitors.len(),
            monitors: monitors.into_iter().filter_map(UserId::parse).collect(),
            departments: departments.into_iter().map(ListedDepartment::from).collect(),
        })
    }

    /// The listed departments, without ids that no department can have.
    pub fn possible_departments(&self) -> impl Iterator<Item = &DepartmentId> {
        self.departments.iter().filter_map(ListedDepartment::possible)
    }
}

fn distinct<'a>(ids: impl ExactSizeIterator<Item = &'a str>) -> Vec<&'a str> {
    let mut seen = HashSet::with_capacity(ids.len());
    ids.filter(|id| seen.insert(*id)).collect()
}

/// `check(unitData, {name: String, visibility: String, ...})`. The object must have no other keys.
fn unit_data<'a>(value: Option<&'a Value<'_>>) -> Result<(&'a str, Visibility), Error> {
    let (mut name, mut visibility) = (None, None);
    for (key, value) in plain_object(value).map_err(|what| mismatch(what, ""))?.entries() {
        let at_key = |what| mismatch(what, key);
        match key {
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

/// `check(value, [Match.ObjectIncluding({key: String, ...})])`. Returns the strings of each element.
fn elements<'a, const N: usize>(
    value: Option<&'a Value<'_>>,
    keys: [&str; N],
) -> Result<Vec<[&'a str; N]>, Error> {
    let Some(Value::Array(items)) = value else {
        let got = value.map_or("undefined".into(), Value::to_string);
        return Err(mismatch(format!("Expected array, got {got}"), ""));
    };
    items.iter().enumerate().map(|(index, item)| element(item, keys, index)).collect()
}

fn element<'a, const N: usize>(
    value: &'a Value<'_>,
    keys: [&str; N],
    index: usize,
) -> Result<[&'a str; N], Error> {
    let at_element = |what| mismatch(what, &format!("[{index}]"));
    let mut strings = [None; N];
    for (key, value) in plain_object(Some(value)).map_err(at_element)?.entries() {
        if let Some(place) = keys.iter().position(|known| *known == key) {
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

// Each check below returns only what is wrong. The function that calls it adds the path.

fn plain_object<'v, 'a>(value: Option<&'v Value<'a>>) -> Result<&'v Object<'a>, String> {
    match value {
        Some(Value::Object(object)) => Ok(object),
        Some(Value::Array(_)) => Err("Expected plain object".into()),
        Some(other) => Err(expected("object", other)),
        None => Err("Expected object, got undefined".into()),
    }
}

fn string<'v>(value: &'v Value<'_>) -> Result<&'v str, String> {
    match value {
        Value::String(text) => Ok(text),
        _ => Err(expected("string", value)),
    }
}

fn boolean(value: &Value<'_>) -> Result<bool, String> {
    match value {
        Value::Bool(value) => Ok(*value),
        _ => Err(expected("boolean", value)),
    }
}

/// Stricter than Rocket.Chat, which accepts a name of white space only.
fn non_blank<'v>(value: &'v Value<'_>) -> Result<&'v str, String> {
    let text = string(value)?;
    if text.trim().is_empty() { Err("Expected a non-empty string".into()) } else { Ok(text) }
}

/// Stricter than Rocket.Chat, which accepts any string.
fn known_visibility(value: &Value<'_>) -> Result<Visibility, String> {
    match string(value)? {
        "public" => Ok(Visibility::Public),
        "private" => Ok(Visibility::Private),
        other => Err(format!("Expected 'public' or 'private', got '{other}'")),
    }
}

fn expected(wanted: &str, got: &Value<'_>) -> String {
    let got = match got {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        // JavaScript's `typeof` returns "object" for an array, too.
        Value::Array(_) | Value::Object(_) => "object",
    };
    format!("Expected {wanted}, got {got}")
}

fn missing(key: &str) -> String {
    format!("Missing key '{key}'")
}

/// Meteor adds the path only when it is not empty.
fn mismatch(what: String, path: &str) -> Error {
    Error::Mismatch(if path.is_empty() { what } else { format!("{what} in field {path}") })
}
