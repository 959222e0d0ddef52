//! The stored items: their keys, and what this function reads of each.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use aws_sdk_dynamodb::types::AttributeValue;

use crate::id::{DepartmentId, UnitId, UserId};

/// An item as DynamoDB gives it.
pub type Item = HashMap<String, AttributeValue>;

/// The permission that updating a unit needs.
pub const PERMISSION: &str = "manage-livechat-units";

/// The role that makes a user a monitor.
pub const MONITOR_ROLE: &str = "livechat-monitor";

/// The key of an item that is read or written.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Key {
    /// A login token, by its hash.
    Token(String),
    /// A user.
    User(UserId),
    /// A permission, by its id; [`PERMISSION`] is the one that the function reads.
    Permission(String),
    /// A unit.
    Unit(UnitId),
    /// One monitor of a unit.
    Monitor(UnitId, UserId),
    /// A department.
    Department(DepartmentId),
}

impl Key {
    /// The partition key's value.
    pub fn partition(&self) -> String {
        match self {
            Self::Token(hash) => hash.clone(),
            Self::User(id) => format!("USER#{id}"),
            Self::Permission(id) => format!("PERMISSION#{id}"),
            Self::Unit(id) | Self::Monitor(id, _) => format!("UNIT#{id}"),
            Self::Department(id) => format!("DEPARTMENT#{id}"),
        }
    }

    /// The key attributes. Tokens have a table of their own with a partition key only.
    pub fn attributes(&self) -> Item {
        let partition = AttributeValue::S(self.partition());
        let sort = match self {
            Self::Token(_) => return Item::from([("hashedToken".into(), partition)]),
            Self::User(_) => "USER".into(),
            Self::Permission(_) => "PERMISSION".into(),
            Self::Unit(_) => "UNIT".into(),
            Self::Monitor(_, user) => format!("MONITOR#{user}"),
            Self::Department(_) => "DEPARTMENT".into(),
        };
        Item::from([("pk".into(), partition), ("sk".into(), AttributeValue::S(sort))])
    }
}

/// An attribute that is read has another type than the design gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Corrupt {
    /// The item's partition key.
    pub item: String,
    /// The attribute's name.
    pub attribute: &'static str,
}

impl fmt::Display for Corrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "corrupt item {}: attribute {}", self.item, self.attribute)
    }
}

impl std::error::Error for Corrupt {}

/// A login token. An absent `userId` is nobody's.
#[derive(Clone, Debug)]
pub struct Token {
    /// Whose it is.
    pub user_id: Option<String>,
    /// Epoch seconds; absent for personal access tokens, which don't expire. Corrupt or not is for its owner
    /// only to learn.
    pub expires_at: Result<Option<f64>, Corrupt>,
}

/// A user of Rocket.Chat's.
#[derive(Clone, Debug)]
pub struct User {
    /// Needed only of monitors.
    pub username: Option<String>,
    /// The ids of the roles.
    pub roles: BTreeSet<String>,
    /// False when deactivated.
    pub active: bool,
}

/// Who holds a permission.
#[derive(Clone, Debug)]
pub struct Permission {
    /// The ids of the roles.
    pub roles: BTreeSet<String>,
}

/// The unit that is updated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// Grows by one with every change; absent is version 0.
    pub version: Option<u64>,
    /// Username by the monitor's user id.
    pub monitors: BTreeMap<String, String>,
    /// The departments' ids.
    pub departments: BTreeSet<String>,
    /// The units above this one, nearest first.
    pub ancestors: Vec<String>,
}

/// What is read of a department.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Department {
    /// The unit that it is in.
    pub parent_id: Option<String>,
    /// That unit and its ancestors.
    pub ancestors: Option<Vec<String>>,
}

/// What is read of a unit that loses departments to the updated one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtherUnit {
    /// The departments' ids.
    pub departments: BTreeSet<String>,
}

impl Token {
    /// Reads a login token's item.
    ///
    /// # Errors
    /// An attribute has another type than the design gives it.
    pub fn parse(key: &Key, item: Item) -> Result<Self, Corrupt> {
        let mut item = Reader::new(key, item);
        Ok(Self { user_id: item.string("userId")?, expires_at: item.number("expiresAt") })
    }
}

impl User {
    /// Reads a user's item.
    ///
    /// # Errors
    /// An attribute has another type than the design gives it.
    pub fn parse(key: &Key, item: Item) -> Result<Self, Corrupt> {
        let mut item = Reader::new(key, item);
        Ok(Self {
            username: item.string("username")?,
            roles: item.string_set("roles")?,
            active: item.boolean("active")?.unwrap_or(true),
        })
    }

    /// Whether the user holds the role of this id.
    pub fn has_role(&self, role: &str) -> bool {
        self.roles.contains(role)
    }
}

impl Permission {
    /// Reads a permission's item.
    ///
    /// # Errors
    /// An attribute has another type than the design gives it.
    pub fn parse(key: &Key, item: Item) -> Result<Self, Corrupt> {
        Ok(Self { roles: Reader::new(key, item).string_set("roles")? })
    }
}

impl Unit {
    /// Reads a unit's item.
    ///
    /// # Errors
    /// An attribute has another type than the design gives it.
    pub fn parse(key: &Key, item: Item) -> Result<Self, Corrupt> {
        let mut item = Reader::new(key, item);
        Ok(Self {
            version: item.number("version")?,
            monitors: item.string_map("monitors")?,
            departments: item.string_set("departmentIds")?,
            ancestors: item.string_list("ancestors")?.unwrap_or_default(),
        })
    }
}

impl Department {
    /// Reads a department's item.
    ///
    /// # Errors
    /// An attribute has another type than the design gives it.
    pub fn parse(key: &Key, item: Item) -> Result<Self, Corrupt> {
        let mut item = Reader::new(key, item);
        Ok(Self { parent_id: item.string("parentId")?, ancestors: item.string_list("ancestors")? })
    }
}

impl OtherUnit {
    /// Reads a unit that loses departments's item.
    ///
    /// # Errors
    /// An attribute has another type than the design gives it.
    pub fn parse(key: &Key, item: Item) -> Result<Self, Corrupt> {
        Ok(Self { departments: Reader::new(key, item).string_set("departmentIds")? })
    }
}

/// Takes attributes out of an item, each of just the type that the design gives it.
struct Reader<'a> {
    key: &'a Key,
    item: Item,
}

impl<'a> Reader<'a> {
    fn new(key: &'a Key, item: Item) -> Self {
        Self { key, item }
    }

    /// `None` when absent; what `convert` refuses is corrupt.
    fn take<T>(
        &mut self,
        attribute: &'static str,
        convert: impl FnOnce(AttributeValue) -> Option<T>,
    ) -> Result<Option<T>, Corrupt> {
        let Some(value) = self.item.remove(attribute) else { return Ok(None) };
        let corrupt = || Corrupt { item: self.key.partition(), attribute };
        convert(value).map(Some).ok_or_else(corrupt)
    }

    fn string(&mut self, attribute: &'static str) -> Result<Option<String>, Corrupt> {
        self.take(attribute, string)
    }

    fn boolean(&mut self, attribute: &'static str) -> Result<Option<bool>, Corrupt> {
        self.take(attribute, |value| value.as_bool().ok().copied())
    }

    fn number<T: std::str::FromStr>(&mut self, attribute: &'static str) -> Result<Option<T>, Corrupt> {
        self.take(attribute, |value| value.as_n().ok()?.parse().ok())
    }

    /// Empty when absent, since DynamoDB has no empty sets.
    fn string_set(&mut self, attribute: &'static str) -> Result<BTreeSet<String>, Corrupt> {
        let set = self.take(attribute, |value| match value {
            AttributeValue::Ss(members) => Some(members.into_iter().collect()),
            _ => None,
        })?;
        Ok(set.unwrap_or_default())
    }

    fn string_list(&mut self, attribute: &'static str) -> Result<Option<Vec<String>>, Corrupt> {
        self.take(attribute, |value| match value {
            AttributeValue::L(members) => members.into_iter().map(string).collect(),
            _ => None,
        })
    }

    fn string_map(&mut self, attribute: &'static str) -> Result<BTreeMap<String, String>, Corrupt> {
        let map = self.take(attribute, |value| match value {
            AttributeValue::M(entries) => {
                entries.into_iter().map(|(name, value)| Some((name, string(value)?))).collect()
            }
            _ => None,
        })?;
        Ok(map.unwrap_or_default())
    }
}

fn string(value: AttributeValue) -> Option<String> {
    match value {
        AttributeValue::S(text) => Some(text),
        _ => None,
    }
}
