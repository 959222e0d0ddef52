//! What is known of the stored items: read at first, then corrected by what refused transactions tell.

use std::collections::HashMap;

use crate::auth::Caller;
use crate::id::{DepartmentId, UnitId, UserId};
use crate::item::{Corrupt, Department, Item, Key, OtherUnit, Unit, User};
use crate::plan::{Action, Plan};
use crate::store::Items;
use crate::update::Update;

/// An item that was looked for: `None` when there is none. One that is corrupt matters only when its
/// turn comes, since an earlier row of the contract may answer first.
pub type Found<T> = Option<Result<T, Corrupt>>;

/// What is known of the stored items.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The unit.
    pub unit: Found<Unit>,
    /// The listed users that exist.
    pub users: HashMap<UserId, Result<User, Corrupt>>,
    /// All listed departments, and of those that leave the ones that were read.
    pub departments: HashMap<DepartmentId, Found<Department>>,
    /// Of the units that listed departments come from, those that were read.
    pub others: HashMap<UnitId, Found<OtherUnit>>,
}

/// Every key that an update wants read, but the caller's own user, who is read anyway.
pub(crate) fn keys(update: &Update, caller: &UserId) -> Vec<Key> {
    let departments = update.departments.iter().flatten().cloned().map(Key::Department);
    let monitors = update.monitors.iter().filter(|id| *id != caller).cloned().map(Key::User);
    [Key::Unit(update.unit.clone())].into_iter().chain(departments).chain(monitors).collect()
}

impl Loaded {
    /// What the items read by [`keys`] say.
    pub fn new(update: &Update, caller: &Caller, mut items: Items) -> Self {
        let mut loaded = Self::default();
        for key in keys(update, &caller.id) {
            let item = items.take(&key);
            loaded.learn(key, item, update);
        }
        loaded.learn(Key::User(caller.id.clone()), Some(caller.item.clone()), update);
        loaded
    }

    /// Items that were read later.
    pub(crate) fn add(&mut self, keys: Vec<Key>, mut items: Items, update: &Update) {
        for key in keys {
            let item = items.take(&key);
            self.learn(key, item, update);
        }
    }

    /// A refused transaction is also the re-read: it gives the items whose conditions failed.
    ///
    /// A list and its members are only comparable when the list was read last. So if the unit or a department
    /// that the body lists is not as it was known, what was known of items that the body does not list is
    /// dropped. Otherwise it is kept: two of those items that take turns in refusing would have no end.
    pub(crate) fn correct(&mut self, plan: &Plan, refused: Vec<(usize, Option<Item>)>, update: &Update) {
        let is_unlisted = |place: usize| plan.actions.get(place).is_some_and(Action::is_unlisted);
        if !refused.iter().all(|(place, _)| is_unlisted(*place)) {
            self.others.clear();
            self.departments.retain(|id, _| update.departments.iter().flatten().any(|listed| listed == id));
        }
        for (place, item) in refused {
            if let Some(key) = plan.actions.get(place).map(Action::key) {
                self.learn(key, item, update);
            }
        }
    }

    fn learn(&mut self, key: Key, item: Option<Item>, update: &Update) {
        match &key {
            Key::Unit(id) if *id == update.unit => self.unit = item.map(|item| Unit::parse(&key, item)),
            Key::Unit(id) => {
                self.others.insert(id.clone(), item.map(|item| OtherUnit::parse(&key, item)));
            }
            Key::Department(id) => {
                self.departments.insert(id.clone(), item.map(|item| Department::parse(&key, item)));
            }
            Key::User(id) => {
                if let Some(item) = item {
                    self.users.insert(id.clone(), User::parse(&key, item));
                }
            }
            // Judged by `auth`, or written without a condition.
            Key::Token(_) | Key::Permission(_) | Key::Monitor(..) => {}
        }
    }
}
