//! What is taken of Rocket.Chat's documents: each parsed once, with a reason when it can't be used.

use std::collections::BTreeSet;

use aws_sdk_dynamodb::types::AttributeValue;
use livechat_units::id::{DepartmentId, UnitId, UserId};
use livechat_units::item::{Item, Key, MONITOR_ROLE};
use serde_json::Value;
use time::{Duration, OffsetDateTime};

use super::documents::Document;
use super::extended_json::{attribute, date, integer, text};
use crate::arguments::{is_hash, rfc3339};

/// DynamoDB's largest item, in bytes of attribute names and values.
pub const MAX_ITEM_BYTES: usize = 400 * 1024;

/// A document of `users`.
pub struct User {
    /// Its `_id`.
    pub id: UserId,
    /// The user's item.
    pub item: Item,
    /// The items of the login tokens, or why one can't be used.
    pub tokens: Vec<Result<Item, String>>,
    /// What matters when the user is listed as a unit's monitor.
    pub monitor: MonitorUser,
}

/// A user as far as a unit's monitors go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MonitorUser {
    /// Monitors need one.
    pub username: Option<String>,
    /// Not deactivated.
    pub active: bool,
    /// Holds the role `livechat-monitor`.
    pub has_role: bool,
}

/// A document of `rocketchat_livechat_department`: of type "u" it is a unit, else a department.
pub enum UnitOrDepartment {
    /// A unit.
    Unit(Unit),
    /// A department.
    Department(Department),
}

/// A unit as it was exported.
#[derive(Clone, Debug)]
pub struct Unit {
    /// Its `_id`.
    pub id: UnitId,
    /// Its name.
    pub name: String,
    /// `None` when it is neither "public" nor "private".
    pub visibility: Option<String>,
    /// The count that Rocket.Chat kept, if it did.
    pub num_monitors: Option<i64>,
    /// The count that Rocket.Chat kept, if it did.
    pub num_departments: Option<i64>,
    /// The units above it, nearest first.
    pub ancestors: Vec<String>,
    /// Its last change.
    pub updated_at: Option<String>,
    /// Every other field.
    pub other: Item,
}

/// A department as it was exported.
#[derive(Clone, Debug)]
pub struct Department {
    /// Its `_id`.
    pub id: DepartmentId,
    /// Where it is.
    pub place: Place,
    /// Its last change.
    pub updated_at: Option<String>,
    /// Every field but its place and the time.
    pub other: Item,
}

/// Where a department is: in a unit, or in none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The unit.
    pub parent_id: Option<String>,
    /// The unit and its ancestors.
    pub ancestors: Vec<String>,
}

/// A document of `rocketchat_livechat_unit_monitors`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitMonitor {
    /// The unit.
    pub unit: UnitId,
    /// The monitor.
    pub monitor: UserId,
    /// What Rocket.Chat copied of the user when the monitor was added.
    pub username: Option<String>,
    /// The row's last change.
    pub updated_at: Option<String>,
}

impl User {
    /// Reads a user and their login tokens, which expire `lifetime` after they were made.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(mut document: Document, lifetime: Duration) -> Result<Self, String> {
        let id = UserId::parse(take_id(&mut document)?).ok_or(BAD_ID)?;
        let username = take_text(&mut document, "username")?;
        let roles = take_texts(&mut document, "roles")?.into_iter().collect::<BTreeSet<_>>();
        let active = match document.get("active") {
            None | Some(Value::Null) => None,
            Some(Value::Bool(active)) => Some(*active),
            Some(other) => return Err(wrong("active", other, "true or false")),
        };
        let tokens = document
            .get("services")
            .and_then(|services| services.get("resume")?.get("loginTokens")?.as_array())
            .map(|tokens| {
                let token = |(place, token)| {
                    parse_token(token, &id, lifetime)
                        .map_err(|reason| format!("login token {place}: {reason}"))
                };
                tokens.iter().enumerate().map(token).collect()
            });
        let monitor = MonitorUser {
            username: username.clone(),
            active: active.unwrap_or(true),
            has_role: roles.contains(MONITOR_ROLE),
        };

        let mut item = Key::User(id.clone()).attributes();
        if let Some(username) = username {
            item.insert("username".into(), AttributeValue::S(username));
        }
        if let Some(active) = active {
            item.insert("active".into(), AttributeValue::Bool(active));
        }
        insert_set(&mut item, "roles", roles);
        check_size(&item)?;
        Ok(Self { id, item, tokens: tokens.unwrap_or_default(), monitor })
    }
}

fn parse_token(token: &Value, user: &UserId, lifetime: Duration) -> Result<Item, String> {
    let hash = token.get("hashedToken").and_then(Value::as_str).ok_or("no hashedToken")?;
    if !is_hash(hash) {
        return Err("hashedToken is no SHA-256 in base64".into());
    }
    let mut item = Key::Token(hash.into()).attributes();
    item.insert("userId".into(), AttributeValue::S(user.to_string()));
    let kind = token.get("type").and_then(Value::as_str);
    let when = token.get("when").map(date).transpose().map_err(|reason| format!("when: {reason}"))?;
    if kind != Some("personalAccessToken") {
        let when = when.ok_or("no date in when, and so no end")?;
        let end: OffsetDateTime = when.checked_add(lifetime).ok_or("it ends too late")?;
        item.insert("expiresAt".into(), AttributeValue::N(end.unix_timestamp().to_string()));
    }
    let created = when.or_else(|| token.get("createdAt").and_then(|created| date(created).ok()));
    let created = created.map(rfc3339);
    let name = token.get("name").and_then(Value::as_str).map(str::to_owned);
    for (attribute, value) in [("createdAt", created), ("type", kind.map(str::to_owned)), ("name", name)] {
        if let Some(value) = value {
            item.insert(attribute.into(), AttributeValue::S(value));
        }
    }
    check_size(&item)?;
    Ok(item)
}

/// Reads a document of `rocketchat_permissions` as its item.
///
/// # Errors
/// What is wrong with it.
pub fn parse_permission(mut document: Document) -> Result<Item, String> {
    let id = take_id(&mut document)?;
    if UserId::parse(id.as_str()).is_none() {
        return Err(BAD_ID.into());
    }
    let mut item = Key::Permission(id).attributes();
    insert_set(&mut item, "roles", take_texts(&mut document, "roles")?.into_iter().collect());
    check_size(&item)?;
    Ok(item)
}

impl UnitOrDepartment {
    /// Reads a unit or a department.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(mut document: Document) -> Result<Self, String> {
        let is_unit = document.get("type").and_then(Value::as_str) == Some("u");
        let id = take_id(&mut document)?;
        let ancestors = take_texts(&mut document, "ancestors")?;
        let updated_at = take_date(&mut document, "_updatedAt")?;
        if is_unit {
            let id = UnitId::parse(id).ok_or(BAD_ID)?;
            let name = take_text(&mut document, "name")?.ok_or("no name")?;
            let visibility = take_text(&mut document, "visibility")?;
            let visibility = visibility.filter(|value| ["public", "private"].contains(&value.as_str()));
            let num_monitors = document.remove("numMonitors").as_ref().and_then(integer);
            let num_departments = document.remove("numDepartments").as_ref().and_then(integer);
            for made_anew in ["type", "monitors", "departmentIds", "version", "importedVersion"] {
                document.remove(made_anew);
            }
            let other = other(document)?;
            Ok(Self::Unit(Unit {
                id,
                name,
                visibility,
                num_monitors,
                num_departments,
                ancestors,
                updated_at,
                other,
            }))
        } else {
            let id = DepartmentId::parse(id).ok_or(BAD_ID)?;
            if !matches!(document.get("name"), Some(Value::String(_))) {
                return Err("no name".into());
            }
            let place = Place { parent_id: take_text(&mut document, "parentId")?, ancestors };
            Ok(Self::Department(Department { id, place, updated_at, other: other(document)? }))
        }
    }
}

impl Department {
    /// The department's item, in another place than it was exported from, perhaps.
    pub fn item(self, place: &Place) -> Item {
        let mut item = self.other;
        item.extend(Key::Department(self.id).attributes());
        item.insert("_updatedAt".into(), AttributeValue::S(self.updated_at.unwrap_or_else(long_ago)));
        if let Some(parent) = &place.parent_id {
            item.insert("parentId".into(), AttributeValue::S(parent.clone()));
            item.insert("ancestors".into(), texts(&place.ancestors));
        }
        item
    }
}

impl UnitMonitor {
    /// Reads a unit's monitor.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(mut document: Document) -> Result<Self, String> {
        let mut required = |name: &str| take_text(&mut document, name)?.ok_or_else(|| format!("no {name}"));
        let unit = UnitId::parse(required("unitId")?).ok_or("unitId is empty or over 512 bytes")?;
        let monitor = UserId::parse(required("monitorId")?).ok_or("monitorId is empty or over 512 bytes")?;
        Ok(Self {
            unit,
            monitor,
            username: take_text(&mut document, "username")?,
            updated_at: take_date(&mut document, "_updatedAt")?,
        })
    }
}

/// The time of what has none: Rocket.Chat's documents all have one, and the time of the import would
/// make every import another.
pub fn long_ago() -> String {
    rfc3339(OffsetDateTime::UNIX_EPOCH)
}

/// A list of strings.
pub fn texts(values: &[String]) -> AttributeValue {
    AttributeValue::L(values.iter().cloned().map(AttributeValue::S).collect())
}

/// A set of strings, if there are any: DynamoDB has no empty sets.
pub fn insert_set(item: &mut Item, name: &str, members: BTreeSet<String>) {
    if !members.is_empty() {
        item.insert(name.into(), AttributeValue::Ss(members.into_iter().collect()));
    }
}

/// # Errors
/// The item is larger than DynamoDB takes: one such item fails a whole batch.
pub fn check_size(item: &Item) -> Result<(), String> {
    let bytes: usize = item.iter().map(|(name, value)| name.len() + bytes(value)).sum();
    if bytes > MAX_ITEM_BYTES {
        Err(format!("{bytes} bytes, and an item holds {MAX_ITEM_BYTES}"))
    } else {
        Ok(())
    }
}

/// By "DynamoDB item sizes and formats".
fn bytes(value: &AttributeValue) -> usize {
    match value {
        AttributeValue::S(text) => text.len(),
        AttributeValue::N(digits) => digits.len().div_ceil(2) + 1,
        AttributeValue::B(blob) => blob.as_ref().len(),
        AttributeValue::Ss(members) => members.iter().map(String::len).sum(),
        AttributeValue::L(values) => 3 + values.iter().map(|value| 1 + bytes(value)).sum::<usize>(),
        AttributeValue::M(values) => {
            3 + values.iter().map(|(name, value)| 1 + name.len() + bytes(value)).sum::<usize>()
        }
        _ => 1,
    }
}

const BAD_ID: &str = "_id is empty or over 512 bytes";

fn take_id(document: &mut Document) -> Result<String, String> {
    let id = document.remove("_id").ok_or("no _id")?;
    text(&id).map(str::to_owned).ok_or_else(|| wrong("_id", &id, "a string"))
}

/// `None` when absent or null, which Rocket.Chat does not tell apart either.
fn take_text(document: &mut Document, name: &str) -> Result<Option<String>, String> {
    match document.remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match text(&value) {
            Some(text) => Ok(Some(text.to_owned())),
            None => Err(wrong(name, &value, "a string")),
        },
    }
}

fn take_texts(document: &mut Document, name: &str) -> Result<Vec<String>, String> {
    match document.remove(name) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(value) => {
            let texts =
                value.as_array().and_then(|values| values.iter().map(text).collect::<Option<Vec<_>>>());
            let texts = texts.ok_or_else(|| wrong(name, &value, "an array of strings"))?;
            Ok(texts.into_iter().map(str::to_owned).collect())
        }
    }
}

fn take_date(document: &mut Document, name: &str) -> Result<Option<String>, String> {
    match document.remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match date(&value) {
            Ok(moment) => Ok(Some(rfc3339(moment))),
            Err(reason) => Err(format!("{name}: {reason}")),
        },
    }
}

fn other(document: Document) -> Result<Item, String> {
    let attributes = document.into_iter().map(|(name, value)| {
        if ["pk", "sk"].contains(&name.as_str()) {
            return Err(format!("a field {name}, which is the name of a key attribute"));
        }
        let attribute = attribute(&value).map_err(|reason| format!("{name}: {reason}"))?;
        Ok((name, attribute))
    });
    let item: Item = attributes.collect::<Result<_, _>>()?;
    check_size(&item)?;
    Ok(item)
}

/// Names a value by its kind and not by its text, which may be anything.
fn wrong(name: &str, value: &Value, expected: &str) -> String {
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    };
    format!("{name} is {kind} and not {expected}")
}
