//! The stored items: their keys, and the attributes of each that the function reads.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use aws_sdk_dynamodb::types::AttributeValue;

use crate::attributes::Attributes;
use crate::id::{DepartmentId, UnitId, UserId};

/// An item as DynamoDB gives it.
pub type Item = HashMap<String, AttributeValue>;

/// The permission that updating a unit needs.
pub const PERMISSION: &str = "manage-livechat-units";

/// The role that makes a user a monitor.
pub const MONITOR_ROLE: &str = "livechat-monitor";

/// The key of a stored item.
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

/// An item with an attribute of a wrong type. The function reads the attribute, and docs/data-model.md gives it another
/// type.
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

/// The items that a read found, by partition key. No two kinds of item that the function reads share a partition.
#[derive(Debug, Default)]
pub struct Items(HashMap<String, Item>);

impl From<HashMap<String, Item>> for Items {
    fn from(by_partition: HashMap<String, Item>) -> Self {
        Self(by_partition)
    }
}

impl Items {
    /// Removes and returns the item with this key.
    pub fn take(&mut self, key: &Key) -> Option<Item> {
        self.0.remove(&key.partition())
    }

    /// Adds the items of another read.
    pub fn extend(&mut self, items: Self) {
        self.0.extend(items.0);
    }
}

/// What a read found under a key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Stored<T> {
    /// There is no item with this key.
    #[default]
    Absent,
    /// The item.
    Present(T),
    /// The item exists and can't be used.
    Corrupt(Corrupt),
}

impl<T> Stored<T> {
    /// Parses an item that a read found, if it found one.
    pub fn parse(
        key: &Key,
        item: Option<Item>,
        parse: impl FnOnce(&Key, Item) -> Result<T, Corrupt>,
    ) -> Self {
        match item.map(|item| parse(key, item)) {
            None => Self::Absent,
            Some(Ok(item)) => Self::Present(item),
            Some(Err(corrupt)) => Self::Corrupt(corrupt),
        }
    }

    /// The item, or `None` if there is none.
    ///
    /// # Errors
    /// The item is corrupt.
    pub fn get(&self) -> Result<Option<&T>, Corrupt> {
        match self {
            Self::Absent => Ok(None),
            Self::Present(item) => Ok(Some(item)),
            Self::Corrupt(corrupt) => Err(corrupt.clone()),
        }
    }

    /// True if there is an item, corrupt or not.
    pub fn exists(&self) -> bool {
        !matches!(self, Self::Absent)
    }
}

/// A login token.
#[derive(Clone, Debug)]
pub struct Token {
    /// The user who logged in. A token without `userId` authenticates no user.
    pub user_id: Option<String>,
    /// Epoch seconds; `None` for personal access tokens, which don't expire. A wrong type is an error of this attribute
    /// alone, so that only the token's user sees it: any other user is refused before the expiry is looked at.
    pub expires_at: Result<Option<f64>, Corrupt>,
}

/// A Rocket.Chat user.
#[derive(Clone, Debug)]
pub struct User {
    /// Every user who is a monitor needs one.
    pub username: Option<String>,
    /// The ids of the roles.
    pub roles: BTreeSet<String>,
    /// False when deactivated.
    pub active: bool,
}

/// The roles that hold a permission.
#[derive(Clone, Debug)]
pub struct Permission {
    /// The ids of the roles.
    pub roles: BTreeSet<String>,
}

/// The unit that the request updates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// Grows by one with every committed change. `None` counts as version 0.
    pub version: Option<u64>,
    /// Username by the monitor's user id.
    pub monitors: BTreeMap<String, String>,
    /// The departments' ids.
    pub departments: BTreeSet<String>,
    /// The units above this one, nearest first.
    pub ancestors: Vec<String>,
}

/// A department.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Department {
    /// The unit that the department is in.
    pub parent_id: Option<String>,
    /// The parent unit's id, followed by the ancestors of that unit.
    pub ancestors: Option<Vec<String>>,
}

/// A unit that loses departments to the unit that the request updates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LosingUnit {
    /// The departments' ids.
    pub departments: BTreeSet<String>,
}

impl Token {
    /// Reads a login token's item.
    ///
    /// # Errors
    /// An attribute has a wrong type.
    pub fn parse(key: &Key, item: Item) -> Result<Self, Corrupt> {
        let mut item = Attributes::new(key, item);
        Ok(Self { user_id: item.string("userId")?, expires_at: item.number("expiresAt") })
    }
}

impl User {
    /// Reads a user's item.
    ///
    /// # Errors
    /// An attribute has a wrong type.
    pub fn parse(key: &Key, item: Item) -> Result<Self, Corrupt> {
        let mut item = Attributes::new(key, item);
        Ok(Self {
            username: item.string("username")?,
            roles: item.string_set("roles")?,
            active: item.boolean("active")?.unwrap_or(true),
        })
    }

    /// True if the user holds the role with this id.
    pub fn has_role(&self, role: &str) -> bool {
        self.roles.contains(role)
    }
}

impl Permission {
    /// Reads a permission's item.
    ///
    /// # Errors
    /// An attribute has a wrong type.
    pub fn parse(key: &Key, item: Item) -> Result<Self, Corrupt> {
        Ok(Self { roles: Attributes::new(key, item).string_set("roles")? })
    }
}

impl Unit {
    /// Reads a unit's item.
    ///
    /// # Errors
    /// An attribute has a wrong type.
    pub fn parse(key: &Key, item: Item) -> Result<Self, Corrupt> {
        let mut item = Attributes::new(key, item);
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
    /// An attribute has a wrong type.
    pub fn parse(key: &Key, item: Item) -> Result<Self, Corrupt> {
        let mut item = Attributes::new(key, item);
        Ok(Self { parent_id: item.string("parentId")?, ancestors: item.string_list("ancestors")? })
    }
}

impl LosingUnit {
    /// Reads a losing unit's item.
    ///
    /// # Errors
    /// An attribute has a wrong type.
    pub fn parse(key: &Key, item: Item) -> Result<Self, Corrupt> {
        Ok(Self { departments: Attributes::new(key, item).string_set("departmentIds")? })
    }
}
