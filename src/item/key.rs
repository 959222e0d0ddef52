//! The keys of the stored items, and what a read found under them.

use std::collections::HashMap;
use std::fmt;

use aws_sdk_dynamodb::types::AttributeValue;

use crate::id::{DepartmentId, UnitId, UserId};

/// An item as DynamoDB gives it.
pub type Item = HashMap<String, AttributeValue>;

/// The key of a stored item.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Key {
    /// A login token, by its hash.
    Token(String),
    /// A user.
    User(UserId),
    /// A permission, by its id. The function reads only [`PERMISSION`](super::PERMISSION).
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

/// An item that can't be used: an attribute that the function needs is missing, or its type is not the one in
/// docs/data-model.md.
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
