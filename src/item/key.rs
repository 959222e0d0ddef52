//! The keys of the stored items, and what a read found under them.

use std::borrow::Cow;
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
    /// A permission, by its id. The function reads only [`PERMISSION`](crate::item::PERMISSION).
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
        self.partition_parts().concat()
    }

    /// The two parts of the partition key's value: the kind of item, and the id.
    pub(crate) fn partition_parts(&self) -> [&str; 2] {
        match self {
            Self::Token(hash) => ["", hash],
            Self::User(id) => ["USER#", id.as_str()],
            Self::Permission(id) => ["PERMISSION#", id],
            Self::Unit(id) | Self::Monitor(id, _) => ["UNIT#", id.as_str()],
            Self::Department(id) => ["DEPARTMENT#", id.as_str()],
        }
    }

    /// The sort key's value. `None` for tokens, which have a table of their own with a partition key only.
    pub(crate) fn sort(&self) -> Option<Cow<'static, str>> {
        Some(match self {
            Self::Token(_) => return None,
            Self::User(_) => "USER".into(),
            Self::Permission(_) => "PERMISSION".into(),
            Self::Unit(_) => "UNIT".into(),
            Self::Monitor(_, user) => format!("MONITOR#{user}").into(),
            Self::Department(_) => "DEPARTMENT".into(),
        })
    }

    /// The name of the partition key's attribute.
    pub(crate) fn partition_name(&self) -> &'static str {
        if let Self::Token(_) = self { "hashedToken" } else { "pk" }
    }

    /// The key of an item in the livechat table that the function reads, from its partition key. `None` if the partition
    /// key has no known form. No two kinds of item that the function reads share a partition.
    pub fn of_partition(partition: &str) -> Option<Self> {
        let (kind, id) = partition.split_once('#')?;
        match kind {
            "USER" => UserId::parse(id).map(Self::User),
            "PERMISSION" => Some(Self::Permission(id.to_owned())),
            "UNIT" => UnitId::parse(id).map(Self::Unit),
            "DEPARTMENT" => DepartmentId::parse(id).map(Self::Department),
            _ => None,
        }
    }

    /// The key attributes.
    pub fn attributes(&self) -> Item {
        let partition = (self.partition_name().to_owned(), AttributeValue::S(self.partition()));
        let sort = self.sort().map(|text| ("sk".to_owned(), AttributeValue::S(text.into_owned())));
        [partition].into_iter().chain(sort).collect()
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
    pub fn parse<A>(key: &Key, item: Option<A>, parse: impl FnOnce(&Key, A) -> Result<T, Corrupt>) -> Self {
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

    /// Takes over what another read found, if it found an item.
    pub(super) fn replace_if_exists(&mut self, other: Self) {
        if other.exists() {
            *self = other;
        }
    }

    /// True if there is an item, corrupt or not.
    pub fn exists(&self) -> bool {
        !matches!(self, Self::Absent)
    }
}
