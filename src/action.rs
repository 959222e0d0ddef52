//! The actions of a transaction, as plain data: what a plan wants to write, and under which conditions.

use std::collections::{BTreeMap, BTreeSet};

use smol_str::SmolStr;

use crate::id::{DepartmentId, UnitId, UserId};
use crate::item::{Item, Key, Unit};
use crate::request::Visibility;

/// The actions of one transaction. The unit's action is the first. No two actions are on the same item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// At most [`MAX_TRANSACTION_ACTIONS`](crate::limits::MAX_TRANSACTION_ACTIONS).
    pub actions: Vec<Action>,
}

/// A change of one item, or a check of it, on the condition that the item is still as the plan assumes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Changes the updated unit. Condition: it exists with the version that was read.
    UpdateUnit(UnitChange),
    /// Adds a monitor, or stores a monitor's changed username. The condition on the unit's version guards it.
    PutMonitor {
        /// The unit.
        unit: UnitId,
        /// The monitor.
        monitor: UserId,
        /// The stored username, not the sent one.
        username: SmolStr,
    },
    /// Removes a monitor. The condition on the unit's version guards it.
    DeleteMonitor {
        /// The unit.
        unit: UnitId,
        /// The monitor.
        monitor: UserId,
    },
    /// Moves a department into the unit. Condition: it exists, and its `parentId` is still `from`.
    JoinDepartment {
        /// The department.
        id: DepartmentId,
        /// The `parentId` that was read.
        from: Option<SmolStr>,
        /// The unit that the department joins.
        unit: UnitId,
        /// The department's new `ancestors`: that unit's id and the unit's ancestors.
        ancestors: Vec<SmolStr>,
    },
    /// Takes a department out of the unit. Condition: it is still in the unit.
    LeaveDepartment {
        /// The department.
        id: DepartmentId,
        /// The unit that the department leaves.
        unit: UnitId,
    },
    /// Removes departments from the list of a losing unit. Condition: the unit lists all of `loses` and none of
    /// `lacks`.
    ShrinkUnit {
        /// The losing unit.
        id: UnitId,
        /// Departments that the unit lists and loses.
        loses: Vec<DepartmentId>,
        /// Departments whose `parentId` is the unit although the unit does not list them.
        lacks: Vec<DepartmentId>,
    },
    /// Writes nothing. Condition: the department is in the updated unit, which does not list it yet.
    CheckInUnit {
        /// The department.
        id: DepartmentId,
        /// The updated unit.
        unit: UnitId,
    },
    /// Writes nothing. Condition: the department is not in the updated unit, whose list loses it.
    CheckNotInUnit {
        /// The department.
        id: DepartmentId,
        /// The updated unit.
        unit: UnitId,
    },
    /// Writes nothing. Condition: the losing unit lists none of these departments, although it is their `parentId`.
    CheckUnitLacks {
        /// The losing unit.
        id: UnitId,
        /// The departments.
        departments: Vec<DepartmentId>,
    },
}

/// How the updated unit's item changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitChange {
    /// The unit.
    pub id: UnitId,
    /// The version that was read. `None` when the item has none.
    pub version: Option<u64>,
    /// The new name, if this transaction sets it.
    pub name: Option<String>,
    /// The new visibility, if this transaction sets it.
    pub visibility: Option<Visibility>,
    /// How the map of monitors changes.
    pub monitors: MonitorsChange,
    /// How the set of departments changes.
    pub departments: DepartmentsChange,
    /// The number of monitors after the change.
    pub num_monitors: usize,
    /// The number of departments after the change.
    pub num_departments: usize,
}

/// How a unit's map of monitors changes. Usernames are by user id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MonitorsChange {
    /// The map stays as it is.
    None,
    /// The map is replaced by this one.
    All(BTreeMap<SmolStr, SmolStr>),
    /// These entries change, and the others stay. The map exists and is not empty.
    Entries {
        /// Entries that are added or replaced.
        put: BTreeMap<SmolStr, SmolStr>,
        /// Entries that are removed.
        remove: BTreeSet<SmolStr>,
    },
}

/// How a unit's set of departments changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DepartmentsChange {
    /// The set stays as it is.
    None,
    /// The set is replaced by this one.
    All(BTreeSet<SmolStr>),
    /// These departments are added, and the others stay.
    Add(BTreeSet<SmolStr>),
    /// These departments are removed, and the others stay.
    Remove(BTreeSet<SmolStr>),
}

impl UnitChange {
    /// Changes the unit as the transaction changes its item.
    pub fn apply(&self, unit: &mut Unit) {
        unit.version = Some(unit.version.unwrap_or(0) + 1);
        if let Some(name) = &self.name {
            unit.name = Some(name.clone());
        }
        if let Some(visibility) = self.visibility {
            unit.visibility = Some(visibility.as_str().to_owned());
        }
        match &self.monitors {
            MonitorsChange::None => {}
            MonitorsChange::All(all) => unit.monitors.clone_from(all),
            MonitorsChange::Entries { put, remove } => {
                unit.monitors.retain(|id, _| !remove.contains(id));
                unit.monitors.extend(put.clone());
            }
        }
        match &self.departments {
            DepartmentsChange::None => {}
            DepartmentsChange::All(all) => unit.departments.clone_from(all),
            DepartmentsChange::Add(ids) => unit.departments.extend(ids.iter().cloned()),
            DepartmentsChange::Remove(ids) => unit.departments.retain(|id| !ids.contains(id)),
        }
    }
}

/// An action whose condition failed when its transaction was committed.
#[derive(Debug)]
pub struct FailedCondition {
    /// The action's index in the transaction.
    pub action: usize,
    /// The stored item at that moment. `None` if there is none.
    pub item: Option<Item>,
}

impl Action {
    /// The key of the item that the action changes or checks.
    pub fn key(&self) -> Key {
        match self {
            Self::UpdateUnit(UnitChange { id, .. })
            | Self::ShrinkUnit { id, .. }
            | Self::CheckUnitLacks { id, .. } => Key::Unit(id.clone()),
            Self::PutMonitor { unit, monitor, .. } | Self::DeleteMonitor { unit, monitor } => {
                Key::Monitor(unit.clone(), monitor.clone())
            }
            Self::JoinDepartment { id, .. }
            | Self::LeaveDepartment { id, .. }
            | Self::CheckInUnit { id, .. }
            | Self::CheckNotInUnit { id, .. } => Key::Department(id.clone()),
        }
    }

    /// True for a check that is needed only if a list was wrong before this update. If it does not fit into a
    /// transaction, it is left out in favour of changes that the client asked for.
    pub(crate) fn is_optional_check(&self) -> bool {
        matches!(self, Self::CheckUnitLacks { .. } | Self::CheckNotInUnit { .. })
    }

    /// True if the item is neither the unit, nor one of its monitors, nor a department that the body lists.
    pub(crate) fn is_on_unlisted_item(&self) -> bool {
        matches!(
            self,
            Self::ShrinkUnit { .. }
                | Self::CheckUnitLacks { .. }
                | Self::LeaveDepartment { .. }
                | Self::CheckNotInUnit { .. }
        )
    }
}
