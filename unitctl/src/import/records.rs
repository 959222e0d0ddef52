//! Rocket.Chat's permissions, units, departments and unit monitors, as far as they are imported. Each document is parsed
//! once. If it can't be used, the error has the reason.

use std::collections::BTreeSet;

use aws_sdk_dynamodb::types::AttributeValue;
use livechat_units::id::{DepartmentId, UnitId, UserId};
use livechat_units::item::{Item, Key};
use serde_json::Value;
use time::OffsetDateTime;

use super::document::Document;
use super::extended_json::{Attributes, attributes, integer, text};
use super::fields::{BAD_ID, take, take_date, take_id, take_text, take_texts};
use super::item_size::{check_bytes, check_size, item_bytes, value_bytes};
use crate::origin::REV;
use crate::timestamp::rfc3339;

/// The size of `rev` in an item: its name and a number of up to 20 digits.
pub const REV_BYTES: usize = 3 + 13;

/// A document of `rocketchat_livechat_department`: a unit if it has the type "u", else a department.
pub enum UnitOrDepartment {
    /// A unit.
    Unit(Box<Unit>),
    /// A department.
    Department(Department),
}

/// A unit as it was exported.
#[derive(Clone, Debug)]
pub struct Unit {
    /// Its `_id`.
    pub id: UnitId,
    /// The line of its document. The first line is 1.
    pub line: u64,
    /// Its name.
    pub name: String,
    /// "public" or "private". If it is neither, the error is what the document has instead.
    pub visibility: Result<&'static str, String>,
    /// The count that Rocket.Chat stored, if there is one.
    pub num_monitors: Option<i64>,
    /// The count that Rocket.Chat stored, if there is one.
    pub num_departments: Option<i64>,
    /// The units above it, nearest first.
    pub ancestors: Vec<String>,
    /// Its last change.
    pub updated_at: Option<String>,
    /// Every other field.
    pub other: Item,
    /// The fields and values that were left out or are stored as text.
    pub changes: Vec<String>,
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
    /// Every field except its place and the time of its last change.
    pub other: Item,
    /// The fields and values that were left out or are stored as text.
    pub changes: Vec<String>,
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
    /// The username when the monitor was added.
    pub username: Option<String>,
    /// The row's last change.
    pub updated_at: Option<String>,
}

/// Reads a document of `rocketchat_permissions` as its item.
///
/// # Errors
/// What is wrong with it.
pub fn parse_permission(mut document: Document) -> Result<Item, String> {
    let mut item = Key::Permission(take_id(&mut document)?).attributes();
    insert_set(&mut item, "roles", take_texts(&mut document, "roles")?.into_iter().collect());
    check_bytes(item_bytes(&item) + REV_BYTES)?;
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
            let name = take_text(&mut document, "name")?.ok_or("no name")?;
            let visibility = visibility(take(&mut document, "visibility"));
            let num_monitors = document.remove("numMonitors").as_ref().and_then(integer);
            let num_departments = document.remove("numDepartments").as_ref().and_then(integer);
            for made_anew in ["type", "monitors", "departmentIds", "version", "importedVersion"] {
                document.remove(made_anew);
            }
            let Attributes { item: other, changes } = other_fields(document)?;
            Ok(Self::Unit(Box::new(Unit {
                id: UnitId::parse(id).ok_or(BAD_ID)?,
                line: 0,
                name,
                visibility,
                num_monitors,
                num_departments,
                ancestors,
                updated_at,
                other,
                changes,
            })))
        } else {
            let id = DepartmentId::parse(id).ok_or(BAD_ID)?;
            if document.get("name").is_none_or(|name| text(name).is_none()) {
                return Err("no name".into());
            }
            let place = Place { parent_id: take_text(&mut document, "parentId")?, ancestors };
            let Attributes { item: other, changes } = other_fields(document)?;
            let department = Department { id, place, updated_at, other, changes };
            check_bytes(department.bytes_without_place())?;
            Ok(Self::Department(department))
        }
    }
}

/// Rocket.Chat itself writes lower case only. Another value must not make the unit visible to more people than
/// intended.
fn visibility(value: Option<Value>) -> Result<&'static str, String> {
    let Some(value) = value else { return Err("absent".into()) };
    match value.as_str().map(str::to_ascii_lowercase).as_deref() {
        Some("public") => Ok("public"),
        Some("private") => Ok("private"),
        Some("") => Err("empty".into()),
        Some(_) => Err("neither public nor private".into()),
        None => Err("not a string".into()),
    }
}

impl Department {
    /// The size of the department's item without its place.
    pub fn bytes_without_place(&self) -> usize {
        let key = item_bytes(&Key::Department(self.id.clone()).attributes());
        let updated_at = "_updatedAt".len() + self.updated_at.as_ref().map_or(24, String::len);
        item_bytes(&self.other) + key + updated_at + REV_BYTES
    }

    /// The department's item in this place, without `rev`.
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

impl Place {
    /// How many bytes it takes in a department's item.
    pub fn bytes(&self) -> usize {
        match &self.parent_id {
            None => 0,
            Some(parent) => {
                "parentId".len() + parent.len() + "ancestors".len() + value_bytes(&texts(&self.ancestors))
            }
        }
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

/// The time of a document that has none. All of Rocket.Chat's documents have one. The time of the import can't be used,
/// because then every import would change the item.
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

/// The fields that neither the function nor this tool reads.
fn other_fields(mut document: Document) -> Result<Attributes, String> {
    let mut changes = Vec::new();
    for reserved in ["pk", "sk", REV] {
        if document.remove(reserved).is_some() {
            changes.push(format!(
                "left out a field {reserved}: the item has an attribute of this name for itself"
            ));
        }
    }
    let other = attributes(&document);
    check_size(&other.item)?;
    changes.extend(other.changes);
    Ok(Attributes { item: other.item, changes })
}

/// A string attribute.
pub fn string(text: &str) -> AttributeValue {
    AttributeValue::S(text.to_owned())
}
