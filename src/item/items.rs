//! The items that a read found, parsed.

use super::attributes::Attributes;
use super::key::{Item, Key, Stored};
use super::kinds::{Department, Permission, Token, Unit, User};
use crate::id::{DepartmentId, UserId};

/// The items that a read found. A read asks for one token, one permission and one unit at most.
#[derive(Debug, Default)]
pub struct Items {
    /// The login token.
    pub token: Stored<Token>,
    /// The permission.
    pub permission: Stored<Permission>,
    /// The unit.
    pub unit: Stored<Unit>,
    /// The users that exist.
    pub users: Vec<(UserId, Stored<User>)>,
    /// The departments that exist.
    pub departments: Vec<(DepartmentId, Stored<Department>)>,
}

impl Items {
    /// Parses an item and adds it.
    pub fn add(&mut self, key: Key, item: impl Attributes) {
        match &key {
            Key::Token(_) => self.token = Stored::parse(&key, Some(item), Token::parse),
            Key::Permission(_) => self.permission = Stored::parse(&key, Some(item), Permission::parse),
            Key::Unit(_) => self.unit = Stored::parse(&key, Some(item), Unit::parse),
            Key::User(_) => {
                let user = Stored::parse(&key, Some(item), User::parse);
                if let Key::User(id) = key {
                    self.users.push((id, user));
                }
            }
            Key::Department(_) => {
                let department = Stored::parse(&key, Some(item), Department::parse);
                if let Key::Department(id) = key {
                    self.departments.push((id, department));
                }
            }
            // No update reads the items of monitors.
            Key::Monitor(..) => {}
        }
    }

    /// Adds the items of another read.
    pub fn extend(&mut self, other: Self) {
        let Self { token, permission, unit, users, departments } = other;
        self.token.replace_if_exists(token);
        self.permission.replace_if_exists(permission);
        self.unit.replace_if_exists(unit);
        self.users.extend(users);
        self.departments.extend(departments);
    }
}

impl FromIterator<(Key, Item)> for Items {
    fn from_iter<I: IntoIterator<Item = (Key, Item)>>(items: I) -> Self {
        let mut all = Self::default();
        items.into_iter().for_each(|(key, item)| all.add(key, item));
        all
    }
}
