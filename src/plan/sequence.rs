//! The transactions of an update, one after the other.
//!
//! If all changes fit into one transaction, there is one. Otherwise each transaction holds the unit and as many groups
//! of changes as fit, and leaves the data consistent. See "Large updates" in docs/contract.md.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::groups::{Group, Groups};
use smol_str::SmolStr;

use crate::action::{Action, DepartmentsChange, MonitorsChange, Transaction, UnitChange};
use crate::id::DepartmentId;
use crate::item::{Stored, Unit};
use crate::limits::MAX_TRANSACTION_ACTIONS;
use crate::load::Loaded;
use crate::request::{Update, Visibility};

/// What is left to do of an update.
#[derive(Clone, Debug)]
pub struct Sequence {
    /// The groups of each transaction.
    transactions: VecDeque<Vec<Group>>,
    /// The unit's monitors after the update, if one transaction carries out all of it. `None` if the update takes
    /// several transactions, because each of them changes only some monitors.
    all_monitors: Option<BTreeMap<SmolStr, SmolStr>>,
}

impl Sequence {
    pub(super) fn new(Groups(mut groups): Groups, monitors: BTreeMap<SmolStr, SmolStr>) -> Self {
        let actions = groups.iter().flat_map(|group| &group.actions);
        let changes = 1 + actions.filter(|action| !action.is_optional_check()).count();
        if changes <= MAX_TRANSACTION_ACTIONS {
            return Self { transactions: VecDeque::from([groups]), all_monitors: Some(monitors) };
        }
        // A stable sort, so that equal inputs give equal transactions. In each stage, groups of several actions come first:
        // departments that are taken from another unit. A refusal shows the units of the departments in its transaction. The
        // next plan takes these departments together, so its transactions have room for departments that are not known yet.
        groups.sort_by_key(|group| (group.stage, group.actions.len() <= 1));
        let mut transactions = VecDeque::new();
        let mut transaction = Vec::new();
        let mut actions = 1;
        for group in groups {
            if actions + group.actions.len() > MAX_TRANSACTION_ACTIONS {
                transactions.push_back(std::mem::take(&mut transaction));
                actions = 1;
            }
            actions += group.actions.len();
            transaction.push(group);
        }
        transactions.push_back(transaction);
        Self { transactions, all_monitors: None }
    }

    /// True if several transactions are left.
    pub fn is_large(&self) -> bool {
        self.transactions.len() > 1
    }

    /// The next transaction, from the state that `loaded` has now. `None` when the update is done.
    pub fn next_transaction(&self, loaded: &Loaded) -> Option<Transaction> {
        let groups = self.transactions.front()?;
        let Stored::Present(unit) = &loaded.unit else { return None };
        let change = match &self.all_monitors {
            Some(monitors) => whole_change(loaded.update, unit, monitors),
            None => self.partial_change(loaded.update, unit, groups),
        };
        let mut actions = vec![Action::UpdateUnit(change)];
        actions.extend(groups.iter().flat_map(|group| &group.actions).cloned());
        if self.all_monitors.is_some() {
            // Optional checks are the last actions. Checks that don't fit are left out.
            actions[1..].sort_by_key(order_in_one_transaction);
            actions.truncate(MAX_TRANSACTION_ACTIONS);
        }
        Some(Transaction { actions })
    }

    /// The unit's change in one of several transactions. The last one sets name and visibility, with two exceptions: the
    /// first one sets a shorter name, and a visibility that takes access away.
    fn partial_change(&self, update: &Update, unit: &Unit, groups: &[Group]) -> UnitChange {
        let is_last = !self.is_large();
        let is_name_due = is_last || is_name_first(update, unit);
        let is_visibility_due = is_last
            || (update.visibility == Visibility::Private
                && unit.visibility.as_deref() != Some(Visibility::Private.as_str()));
        let monitors = monitors_change(unit, groups);
        let departments = departments_change(unit, groups);
        UnitChange {
            id: update.unit.clone(),
            version: unit.version,
            name: is_name_due.then(|| update.name.clone()),
            visibility: is_visibility_due.then_some(update.visibility),
            monitors: monitors.change,
            num_monitors: monitors.count_afterwards,
            departments: departments.change,
            num_departments: departments.count_afterwards,
        }
    }

    /// Removes the next transaction, which has been committed.
    pub fn pop(&mut self) {
        self.transactions.pop_front();
    }

    /// Divides the next transaction into two, because DynamoDB refused it as too large. Each half gets half of its
    /// groups. If it has only one group, the group is divided. Returns false if that is not possible.
    pub fn halve(&mut self) -> bool {
        let Some(mut groups) = self.transactions.pop_front() else { return false };
        self.all_monitors = None;
        groups.sort_by_key(|group| group.stage);
        let (first, second) = match groups.len() {
            0 => return false,
            1 => match groups.remove(0).halves() {
                Some((first, second)) => (vec![first], vec![second]),
                None => return false,
            },
            len => {
                let second = groups.split_off(len / 2);
                (groups, second)
            }
        };
        self.transactions.push_front(second);
        self.transactions.push_front(first);
        true
    }

    /// The groups of each transaction that is left.
    pub(super) fn transactions(&self) -> impl Iterator<Item = &[Group]> {
        self.transactions.iter().map(Vec::as_slice)
    }
}

/// The order of the actions after the unit's, if one transaction holds all of them.
fn order_in_one_transaction(action: &Action) -> u8 {
    match action {
        Action::UpdateUnit(_) | Action::JoinDepartment { .. } | Action::CheckInUnit { .. } => 0,
        Action::ShrinkUnit { .. } => 1,
        Action::LeaveDepartment { .. } => 2,
        Action::PutMonitor { .. } => 3,
        Action::DeleteMonitor { .. } => 4,
        Action::CheckUnitLacks { .. } | Action::CheckNotInUnit { .. } => 5,
    }
}

/// True if the first transaction sets the name. A shorter name is set by the first transaction, and a longer one by the
/// last. So between the transactions the unit has the shorter of the two names, and its item is not larger than
/// necessary.
pub(super) fn is_name_first(update: &Update, unit: &Unit) -> bool {
    unit.name.as_ref().is_some_and(|name| update.name.len() < name.len())
}

/// The unit's change when one transaction carries out the whole update.
fn whole_change(update: &Update, unit: &Unit, monitors: &BTreeMap<SmolStr, SmolStr>) -> UnitChange {
    let departments: BTreeSet<SmolStr> = update.possible_departments().map(|id| id.text().clone()).collect();
    UnitChange {
        id: update.unit.clone(),
        version: unit.version,
        name: Some(update.name.clone()),
        visibility: Some(update.visibility),
        num_monitors: monitors.len(),
        num_departments: departments.len(),
        monitors: if *monitors == unit.monitors {
            MonitorsChange::None
        } else {
            MonitorsChange::All(monitors.clone())
        },
        departments: if departments == unit.departments {
            DepartmentsChange::None
        } else {
            DepartmentsChange::All(departments)
        },
    }
}

/// How one of a unit's lists changes.
struct ListChange<T> {
    change: T,
    /// The number of the list's members after the change.
    count_afterwards: usize,
}

/// How these groups change the unit's monitors.
fn monitors_change(unit: &Unit, groups: &[Group]) -> ListChange<MonitorsChange> {
    let mut put = BTreeMap::new();
    let mut remove = BTreeSet::new();
    for group in groups {
        remove.extend(group.dropped_monitors.iter().cloned());
        for action in &group.actions {
            match action {
                Action::PutMonitor { monitor, username, .. } => {
                    put.insert(monitor.text().clone(), username.clone());
                }
                Action::DeleteMonitor { monitor, .. } => {
                    remove.insert(monitor.text().clone());
                }
                _ => {}
            }
        }
    }
    let joining = put.keys().filter(|id| !unit.monitors.contains_key(id.as_str())).count();
    let count_afterwards = unit.monitors.len() + joining - remove.len();
    let change = match (put.is_empty(), remove.is_empty()) {
        (true, true) => MonitorsChange::None,
        // The stored item may have no map yet.
        _ if unit.monitors.is_empty() => MonitorsChange::All(put),
        _ => MonitorsChange::Entries { put, remove },
    };
    ListChange { change, count_afterwards }
}

/// How these groups change the unit's departments.
fn departments_change(unit: &Unit, groups: &[Group]) -> ListChange<DepartmentsChange> {
    let mut add = BTreeSet::new();
    let mut remove = BTreeSet::new();
    let text = |id: &DepartmentId| id.text().clone();
    for group in groups {
        remove.extend(group.dropped_departments.iter().cloned());
        for action in &group.actions {
            match action {
                Action::JoinDepartment { id, .. } | Action::CheckInUnit { id, .. } => add.insert(text(id)),
                Action::LeaveDepartment { id, .. } | Action::CheckNotInUnit { id, .. } => {
                    remove.insert(text(id))
                }
                _ => false,
            };
        }
    }
    add.retain(|id| !unit.departments.contains(id));
    let count_afterwards = unit.departments.len() + add.len() - remove.len();
    let change = match (add.is_empty(), remove.is_empty()) {
        (true, true) => DepartmentsChange::None,
        (false, true) => DepartmentsChange::Add(add),
        (true, false) => DepartmentsChange::Remove(remove),
        // One update expression can't add to a set and delete from it.
        (false, false) => {
            let staying = unit.departments.difference(&remove).cloned();
            DepartmentsChange::All(staying.chain(add).collect())
        }
    };
    ListChange { change, count_afterwards }
}
