//! What `check` reads of the stored items. Each attribute may be absent or invalid.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_dynamodb::types::AttributeValue;
use livechat_units::id::{DepartmentId, UnitId, UserId};
use livechat_units::item::Item;

use crate::arguments::is_hash;
use crate::origin::{REV, SOURCE, TOKENS};
use crate::timestamp::is_canonical;

/// An attribute as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attribute<T> {
    /// The item does not have it.
    Absent,
    /// Its type or its value is not one that the data model (docs/data-model.md) allows.
    Invalid,
    /// Its value.
    Valid(T),
}

/// An item of the livechat table. Its key says what it is.
#[derive(Debug)]
pub enum StoredItem {
    /// A unit.
    Unit(UnitId, Unit),
    /// A unit's monitor.
    Monitor(UnitId, UserId, Monitor),
    /// A department.
    Department(DepartmentId, Department),
    /// A user.
    User(User),
    /// The list of a user's tokens that came from Rocket.Chat.
    UserTokens(UserTokens),
    /// A permission.
    Permission(Permission),
    /// An item whose key has the form of one of the above, but whose id is empty or too long.
    InvalidId,
    /// Any other item: other functions may store items in the table, too.
    Other,
}

/// A unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// `name`.
    pub name: Attribute<String>,
    /// `visibility`: "public" or "private".
    pub visibility: Attribute<String>,
    /// `type`: "u".
    pub kind: Attribute<String>,
    /// `numMonitors`.
    pub num_monitors: Attribute<u64>,
    /// `numDepartments`.
    pub num_departments: Attribute<u64>,
    /// `monitors`: usernames by user id.
    pub monitors: Attribute<BTreeMap<String, String>>,
    /// `departmentIds`.
    pub departments: Attribute<BTreeSet<String>>,
    /// `ancestors`.
    pub ancestors: Attribute<Vec<String>>,
    /// `version`.
    pub version: Attribute<u64>,
    /// `_updatedAt`.
    pub updated_at: Attribute<String>,
    /// `rev`.
    pub rev: Attribute<u64>,
    /// `importedVersion`.
    pub imported_version: Attribute<u64>,
}

/// A unit's monitor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Monitor {
    /// `unitId`.
    pub unit_id: Attribute<String>,
    /// `monitorId`.
    pub monitor_id: Attribute<String>,
    /// `username`.
    pub username: Attribute<String>,
    /// `_updatedAt`.
    pub updated_at: Attribute<String>,
}

/// A department.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Department {
    /// `name`.
    pub name: Attribute<String>,
    /// `parentId`.
    pub parent_id: Attribute<String>,
    /// `ancestors`.
    pub ancestors: Attribute<Vec<String>>,
    /// `_updatedAt`.
    pub updated_at: Attribute<String>,
    /// `rev`.
    pub rev: Attribute<u64>,
}

/// A user.
#[derive(Debug)]
pub struct User {
    /// `username`.
    pub username: Attribute<String>,
    /// `roles`.
    pub roles: Attribute<BTreeSet<String>>,
    /// `active`.
    pub active: Attribute<bool>,
}

/// The list of a user's tokens that came from Rocket.Chat.
#[derive(Debug)]
pub struct UserTokens {
    /// `hashes`: each 32 bytes in base64.
    pub hashes: Attribute<BTreeSet<String>>,
    /// `rev`.
    pub rev: Attribute<u64>,
    /// `deletedAt`, in epoch seconds.
    pub deleted_at: Attribute<u64>,
}

/// A permission.
#[derive(Debug)]
pub struct Permission {
    /// `roles`.
    pub roles: Attribute<BTreeSet<String>>,
    /// `rev`.
    pub rev: Attribute<u64>,
}

/// A login token.
#[derive(Debug)]
pub struct Token {
    /// `hashedToken`: 32 bytes in base64.
    pub hash: Attribute<String>,
    /// `userId`.
    pub user_id: Attribute<String>,
    /// `expiresAt`, in epoch seconds.
    pub expires_at: Attribute<f64>,
    /// `createdAt`, `type`, `name` and `source`, which the function does not read.
    pub for_information: [(&'static str, Attribute<String>); 4],
}

impl<T> Attribute<T> {
    /// The value, if it is valid.
    pub fn valid(&self) -> Option<&T> {
        match self {
            Self::Valid(value) => Some(value),
            Self::Absent | Self::Invalid => None,
        }
    }

    /// The attribute's name, if its value is invalid. It may be absent.
    pub fn name_if_invalid(&self, name: &'static str) -> Option<&'static str> {
        matches!(self, Self::Invalid).then_some(name)
    }

    /// The attribute's name, unless it has a valid value.
    pub fn name_unless_valid(&self, name: &'static str) -> Option<&'static str> {
        self.valid().is_none().then_some(name)
    }

    fn read(item: &Item, name: &str, convert: impl FnOnce(&AttributeValue) -> Option<T>) -> Self {
        match item.get(name) {
            None => Self::Absent,
            Some(value) => convert(value).map_or(Self::Invalid, Self::Valid),
        }
    }
}

impl StoredItem {
    /// Reads an item of the livechat table.
    pub fn read(item: &Item) -> Self {
        let key = |name: &str| item.get(name).and_then(|value| value.as_s().ok()).map_or("", String::as_str);
        let (Some((partition, id)), sort) = (key("pk").split_once('#'), key("sk")) else {
            return Self::Other;
        };
        let stored = match (partition, sort.split_once('#').unwrap_or((sort, ""))) {
            ("UNIT", ("UNIT", "")) => UnitId::parse(id).map(|id| Self::Unit(id, Unit::read(item))),
            ("UNIT", ("MONITOR", monitor)) => UnitId::parse(id)
                .zip(UserId::parse(monitor))
                .map(|(unit, monitor)| Self::Monitor(unit, monitor, Monitor::read(item))),
            ("DEPARTMENT", ("DEPARTMENT", "")) => {
                DepartmentId::parse(id).map(|id| Self::Department(id, Department::read(item)))
            }
            ("USER", ("USER", "")) => UserId::parse(id).map(|_| {
                Self::User(User {
                    username: string(item, "username"),
                    roles: set(item, "roles"),
                    active: Attribute::read(item, "active", |value| value.as_bool().ok().copied()),
                })
            }),
            ("USER", (TOKENS, "")) => UserId::parse(id).map(|_| Self::UserTokens(UserTokens::read(item))),
            ("PERMISSION", ("PERMISSION", "")) => UserId::parse(id)
                .map(|_| Self::Permission(Permission { roles: set(item, "roles"), rev: number(item, REV) })),
            _ => return Self::Other,
        };
        stored.unwrap_or(Self::InvalidId)
    }
}

impl Unit {
    fn read(item: &Item) -> Self {
        let monitors = Attribute::read(item, "monitors", |value| {
            let entries = value.as_m().ok()?.iter();
            entries.map(|(id, username)| Some((id.clone(), username.as_s().ok()?.clone()))).collect()
        });
        Self {
            name: string(item, "name"),
            visibility: valid(item, "visibility", |text| ["public", "private"].contains(&text)),
            kind: valid(item, "type", |text| text == "u"),
            num_monitors: number(item, "numMonitors"),
            num_departments: number(item, "numDepartments"),
            monitors,
            departments: set(item, "departmentIds"),
            ancestors: list(item, "ancestors"),
            version: number(item, "version"),
            updated_at: valid(item, "_updatedAt", is_canonical),
            rev: number(item, REV),
            imported_version: number(item, "importedVersion"),
        }
    }
}

impl Monitor {
    fn read(item: &Item) -> Self {
        Self {
            unit_id: string(item, "unitId"),
            monitor_id: string(item, "monitorId"),
            username: string(item, "username"),
            updated_at: valid(item, "_updatedAt", is_canonical),
        }
    }
}

impl Department {
    fn read(item: &Item) -> Self {
        Self {
            name: string(item, "name"),
            parent_id: string(item, "parentId"),
            ancestors: list(item, "ancestors"),
            updated_at: valid(item, "_updatedAt", is_canonical),
            rev: number(item, REV),
        }
    }
}

impl UserTokens {
    fn read(item: &Item) -> Self {
        let hashes = match set(item, "hashes") {
            Attribute::Valid(hashes) if !hashes.iter().all(|hash| is_hash(hash)) => Attribute::Invalid,
            hashes => hashes,
        };
        Self { hashes, rev: number(item, REV), deleted_at: number(item, "deletedAt") }
    }
}

impl Token {
    /// Reads an item of the tokens table.
    pub fn read(item: &Item) -> Self {
        Self {
            hash: valid(item, "hashedToken", is_hash),
            user_id: valid(item, "userId", |id| UserId::parse(id).is_some()),
            expires_at: number(item, "expiresAt"),
            for_information: ["createdAt", "type", "name", SOURCE].map(|name| (name, string(item, name))),
        }
    }
}

fn string(item: &Item, name: &str) -> Attribute<String> {
    Attribute::read(item, name, |value| value.as_s().ok().cloned())
}

fn valid(item: &Item, name: &str, is_valid: impl FnOnce(&str) -> bool) -> Attribute<String> {
    Attribute::read(item, name, |value| value.as_s().ok().filter(|text| is_valid(text)).cloned())
}

fn number<T: std::str::FromStr>(item: &Item, name: &str) -> Attribute<T> {
    Attribute::read(item, name, |value| value.as_n().ok()?.parse().ok())
}

fn set(item: &Item, name: &str) -> Attribute<BTreeSet<String>> {
    Attribute::read(item, name, |value| Some(value.as_ss().ok()?.iter().cloned().collect()))
}

fn list(item: &Item, name: &str) -> Attribute<Vec<String>> {
    Attribute::read(item, name, |value| {
        value.as_l().ok()?.iter().map(|member| member.as_s().ok().cloned()).collect()
    })
}
