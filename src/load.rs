//! What the function knows of the stored items. It reads them once. After each refused or committed transaction it
//! brings its knowledge up to date.

use std::collections::{HashMap, HashSet};

use crate::action::{Action, FailedCondition, Transaction};
use crate::auth::Caller;
use crate::id::{DepartmentId, UnitId, UserId};
use crate::item::{Corrupt, Department, Item, Items, Key, LosingUnit, Stored, Unit, User};
use crate::request::Update;

/// The items that an update depends on, as far as they are known. A corrupt item is an error only when the plan needs
/// it, because another answer may come first in the order of docs/contract.md.
#[derive(Clone, Debug)]
pub struct Loaded<'a> {
    /// The update that the items were read for.
    pub update: &'a Update,
    /// The unit.
    pub unit: Stored<Unit>,
    /// The listed users that exist.
    pub users: HashMap<UserId, Result<User, Corrupt>>,
    /// All listed departments, and those departments that leave the unit and were read.
    pub departments: HashMap<DepartmentId, Stored<Department>>,
    /// Those units that lose departments and were read.
    pub losing_units: HashMap<UnitId, Stored<LosingUnit>>,
}

/// The keys of all items that an update needs, except the caller's user, who is read for authentication anyway.
pub fn keys(update: &Update, caller: &UserId) -> Vec<Key> {
    let departments = update.possible_departments().cloned().map(Key::Department);
    let monitors = update.monitors.iter().filter(|id| *id != caller).cloned().map(Key::User);
    [Key::Unit(update.unit.clone())].into_iter().chain(departments).chain(monitors).collect()
}

impl<'a> Loaded<'a> {
    /// Parses the items that were read by [`keys`].
    pub fn new(update: &'a Update, caller: &Caller, items: Items) -> Self {
        let mut loaded = Self {
            update,
            unit: Stored::Absent,
            users: HashMap::new(),
            departments: HashMap::new(),
            losing_units: HashMap::new(),
        };
        loaded.add(keys(update, &caller.id), items);
        loaded.store_item(Key::User(caller.id.clone()), Some(caller.item.clone()));
        loaded
    }

    /// Adds the items with these keys, which were read later.
    pub fn add(&mut self, keys: Vec<Key>, mut items: Items) {
        for key in keys {
            let item = items.take(&key);
            self.store_item(key, item);
        }
    }

    /// Takes over the items that a refused transaction returned, so that they need not be read again.
    ///
    /// Unlisted items are the losing units and the departments that leave. If the unit or a listed department has
    /// changed, what is known of the unlisted items may be out of date, so all of them are forgotten. The next plan
    /// then assumes that they are right, and the conditions check that.
    ///
    /// If only unlisted items have changed, nothing is forgotten. If they were forgotten, the update might never end:
    /// if two unlisted items are not as the plan assumes, each refusal could return one of them and make the function
    /// forget the other.
    pub fn apply_refusal(&mut self, transaction: &Transaction, failed: Vec<FailedCondition>) {
        let is_unlisted = |failed: &FailedCondition| {
            transaction.actions.get(failed.action).is_some_and(Action::is_on_unlisted_item)
        };
        if !failed.iter().all(is_unlisted) {
            self.losing_units.clear();
            let listed: HashSet<&DepartmentId> = self.update.possible_departments().collect();
            self.departments.retain(|id, _| listed.contains(id));
        }
        for FailedCondition { action, item } in failed {
            if let Some(key) = transaction.actions.get(action).map(Action::key) {
                self.store_item(key, item);
            }
        }
    }

    /// Applies the changes of a committed transaction, so that nothing has to be read again.
    pub fn apply_commit(&mut self, transaction: &Transaction) {
        for action in &transaction.actions {
            match action {
                Action::UpdateUnit(change) => {
                    if let Stored::Present(unit) = &mut self.unit {
                        change.apply(unit);
                    }
                }
                Action::JoinDepartment { id, unit, ancestors, .. } => {
                    let department =
                        Department { parent_id: Some(unit.to_string()), ancestors: Some(ancestors.clone()) };
                    self.departments.insert(id.clone(), Stored::Present(department));
                }
                Action::LeaveDepartment { id, .. } => {
                    let department = Department { parent_id: None, ancestors: None };
                    self.departments.insert(id.clone(), Stored::Present(department));
                }
                Action::ShrinkUnit { id, loses, .. } => {
                    if let Some(Stored::Present(unit)) = self.losing_units.get_mut(id) {
                        unit.departments.retain(|id| !loses.iter().any(|lost| lost.as_str() == id));
                    }
                }
                Action::PutMonitor { .. }
                | Action::DeleteMonitor { .. }
                | Action::CheckInUnit { .. }
                | Action::CheckNotInUnit { .. }
                | Action::CheckUnitLacks { .. } => {}
            }
        }
    }

    fn store_item(&mut self, key: Key, item: Option<Item>) {
        match &key {
            Key::Unit(id) if *id == self.update.unit => self.unit = Stored::parse(&key, item, Unit::parse),
            Key::Unit(id) => {
                self.losing_units.insert(id.clone(), Stored::parse(&key, item, LosingUnit::parse));
            }
            Key::Department(id) => {
                self.departments.insert(id.clone(), Stored::parse(&key, item, Department::parse));
            }
            Key::User(id) => {
                if let Some(item) = item {
                    self.users.insert(id.clone(), User::parse(&key, item));
                }
            }
            // `auth` reads tokens and permissions. Monitor items are written without a condition.
            Key::Token(_) | Key::Permission(_) | Key::Monitor(..) => {}
        }
    }
}
