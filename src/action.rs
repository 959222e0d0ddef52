//! The actions of a transaction, as plain data: what a plan wants to write, and under which conditions.

use std::collections::{BTreeMap, BTreeSet};

use crate::id::{DepartmentId, UnitId, UserId};
use crate::item::{Item, Key};
use crate::request::Visibility;

/// The actions of one transaction. The unit's action is the first. No two actions are on the same item.
#[derive(Debug, PartialEq, Eq)]
pub struct Plan {
    /// At most [`MAX_TRANSACTION_ACTIONS`](crate::limits::MAX_TRANSACTION_ACTIONS).
    pub actions: Vec<Action>,
    /// The unit's monitors after the transaction: usernames by user id.
    pub monitors: BTreeMap<String, String>,
    /// The number of the unit's departments after the transaction.
    pub num_departments: usize,
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
        username: String,
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
        from: Option<String>,
        /// The unit that the department joins.
        unit: UnitId,
        /// The department's new `ancestors`: that unit's id and the unit's ancestors.
        ancestors: Vec<String>,
    },
    /// Takes a department out of the unit. Condition: it is still in the unit.
    LeaveDepartment {
        /// The department.
        id: DepartmentId,
        /// The unit that the department leaves.
        unit: UnitId,
    },
    /// Removes departments from the list of a losing unit. Condition: the unit lists all of `loses` and none of `lacks`.
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
    /// Writes nothing. Condition: the department is not in the updated unit, which drops it from its list.
    CheckNotInUnit {
        /// The department.
        id: DepartmentId,
        /// The updated unit.
        unit: UnitId,
    },
    /// Writes nothing. Condition: the losing unit lists none of these departments, whose `parentId` it is.
    CheckUnitLacks {
        /// The losing unit.
        id: UnitId,
        /// The departments.
        departments: Vec<DepartmentId>,
    },
}

/// The new state of the updated unit's item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitChange {
    /// The unit.
    pub id: UnitId,
    /// The version that was read. `None` when the item has none.
    pub version: Option<u64>,
    /// The new name.
    pub name: String,
    /// The new visibility.
    pub visibility: Visibility,
    /// All monitors, if they change.
    pub monitors: Option<BTreeMap<String, String>>,
    /// All departments, if they change.
    pub departments: Option<BTreeSet<String>>,
    /// The number of monitors.
    pub num_monitors: usize,
    /// The number of departments.
    pub num_departments: usize,
}

/// An action whose condition failed when its transaction was committed.
#[derive(Debug)]
pub struct FailedCondition {
    /// The action's index in the plan.
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
