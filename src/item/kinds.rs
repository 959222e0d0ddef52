//! The kinds of stored items that the function reads, with the attributes that it needs of each.

use std::collections::{BTreeMap, BTreeSet};

use smol_str::SmolStr;

use super::attributes::{Attributes, ItemParser};
use super::key::{Corrupt, Key};

/// The permission that updating a unit needs.
pub const PERMISSION: &str = "manage-livechat-units";

/// The role that makes a user a monitor.
pub const MONITOR_ROLE: &str = "livechat-monitor";

/// A login token.
#[derive(Clone, Debug)]
pub struct Token {
    /// The user who logged in. A token without `userId` authenticates no user.
    pub user_id: Option<SmolStr>,
    /// Epoch seconds. `None` for personal access tokens, which don't expire. If the value has a wrong type, the error
    /// is kept here and the rest of the item is parsed. So another user who sends this token is refused as with any
    /// other token, and only the token's own user gets the error.
    pub expires_at: Result<Option<f64>, Corrupt>,
}

/// A Rocket.Chat user.
#[derive(Clone, Debug)]
pub struct User {
    /// The username. A listed monitor without one is a corrupt item.
    pub username: Option<SmolStr>,
    /// The ids of the roles, in no order.
    pub roles: Vec<SmolStr>,
    /// False when deactivated.
    pub active: bool,
}

/// The roles that hold a permission.
#[derive(Clone, Debug)]
pub struct Permission {
    /// The ids of the roles, in no order.
    pub roles: Vec<SmolStr>,
}

/// The unit that the request updates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// The name. `None` when it is absent or not a string. The next update stores a new one.
    pub name: Option<String>,
    /// The visibility. `None` when it is absent or not a string. The next update stores a new one.
    pub visibility: Option<String>,
    /// Grows by one with every committed change. `None` counts as version 0.
    pub version: Option<u64>,
    /// The monitors: each user id with the username.
    pub monitors: BTreeMap<SmolStr, SmolStr>,
    /// The departments' ids.
    pub departments: BTreeSet<SmolStr>,
    /// The units above this one, nearest first.
    pub ancestors: Vec<SmolStr>,
}

/// A department.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Department {
    /// The unit that the department is in.
    pub parent_id: Option<SmolStr>,
    /// The parent unit's id, followed by the ancestors of that unit.
    pub ancestors: Option<Vec<SmolStr>>,
}

/// A unit that loses departments to the unit that the request updates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LosingUnit {
    /// The departments' ids.
    pub departments: BTreeSet<SmolStr>,
}

impl Token {
    /// Reads a login token's item.
    ///
    /// # Errors
    /// An attribute has a wrong type.
    pub fn parse(key: &Key, item: impl Attributes) -> Result<Self, Corrupt> {
        let mut item = ItemParser::new(key, item);
        Ok(Self { user_id: item.string("userId")?, expires_at: item.number("expiresAt") })
    }
}

impl User {
    /// Reads a user's item.
    ///
    /// # Errors
    /// An attribute has a wrong type.
    pub fn parse(key: &Key, item: impl Attributes) -> Result<Self, Corrupt> {
        let mut item = ItemParser::new(key, item);
        Ok(Self {
            username: item.string("username")?,
            roles: item.string_set("roles")?,
            active: item.boolean("active")?.unwrap_or(true),
        })
    }

    /// True if the user holds the role with this id.
    pub fn has_role(&self, role: &str) -> bool {
        self.roles.iter().any(|held| held == role)
    }
}

impl Permission {
    /// Reads a permission's item.
    ///
    /// # Errors
    /// An attribute has a wrong type.
    pub fn parse(key: &Key, item: impl Attributes) -> Result<Self, Corrupt> {
        Ok(Self { roles: ItemParser::new(key, item).string_set("roles")? })
    }
}

impl Unit {
    /// Reads a unit's item.
    ///
    /// # Errors
    /// An attribute has a wrong type.
    pub fn parse(key: &Key, item: impl Attributes) -> Result<Self, Corrupt> {
        let mut item = ItemParser::new(key, item);
        Ok(Self {
            name: item.lenient_string("name"),
            visibility: item.lenient_string("visibility"),
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
    pub fn parse(key: &Key, item: impl Attributes) -> Result<Self, Corrupt> {
        let mut item = ItemParser::new(key, item);
        Ok(Self { parent_id: item.string("parentId")?, ancestors: item.string_list("ancestors")? })
    }
}

impl LosingUnit {
    /// Reads a losing unit's item.
    ///
    /// # Errors
    /// An attribute has a wrong type.
    pub fn parse(key: &Key, item: impl Attributes) -> Result<Self, Corrupt> {
        Ok(Self { departments: ItemParser::new(key, item).string_set("departmentIds")? })
    }
}
