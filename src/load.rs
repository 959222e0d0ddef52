//! What the function knows of the stored items. It reads them once. After each refused or committed transaction it
//! brings its knowledge up to date.

use std::collections::{HashMap, HashSet};

use crate::action::{Action, FailedCondition, Transaction};
use crate::auth::Caller;
use crate::id::{DepartmentId, UnitId, UserId};
use crate::item::{Department, Item, Items, Key, LosingUnit, Stored, Unit, User};
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
    pub users: HashMap<UserId, Stored<User>>,
    /// The listed departments that exist, and those departments that leave the unit and were read. A listed department
    /// that is not here does not exist.
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
    /// What is known after the items with [`keys`] were read.
    pub fn new(update: &'a Update, caller: &Caller, items: Items) -> Self {
        let Items { unit, users, departments, .. } = items;
        let mut users: HashMap<_, _> = users.into_iter().collect();
        users.insert(caller.id.clone(), Stored::Present(caller.user.clone()));
        let departments = departments.into_iter().collect();
        Self { update, unit, users, departments, losing_units: HashMap::new() }
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
                    let parent_id = Some(unit.text().clone());
                    let department = Department { parent_id, ancestors: Some(ancestors.clone()) };
                    self.departments.insert(id.clone(), Stored::Present(department));
                }
                Action::LeaveDepartment { id, .. } => {
                    let department = Department { parent_id: None, ancestors: None };
                    self.departments.insert(id.clone(), Stored::Present(department));
                }
                Action::ShrinkUnit { id, loses, .. } => {
                    if let Some(Stored::Present(unit)) = self.losing_units.get_mut(id) {
                        unit.departments.retain(|id| !loses.iter().any(|lost| lost.text() == id));
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

    /// Takes over what DynamoDB has under a key. `None` if it has no item.
    pub fn store_item(&mut self, key: Key, item: Option<Item>) {
        match &key {
            Key::Unit(id) if *id == self.update.unit => self.unit = Stored::parse(&key, item, Unit::parse),
            Key::Unit(id) => {
                self.losing_units.insert(id.clone(), Stored::parse(&key, item, LosingUnit::parse));
            }
            Key::Department(id) => {
                self.departments.insert(id.clone(), Stored::parse(&key, item, Department::parse));
            }
            // No action has a condition on these items, so no refusal returns them.
            Key::User(_) | Key::Token(_) | Key::Permission(_) | Key::Monitor(..) => {}
        }
    }
}
