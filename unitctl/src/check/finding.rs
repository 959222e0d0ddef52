//! What a check can find: a violated rule, the items concerned, and the repair.

use std::collections::BTreeMap;
use std::fmt;

use livechat_units::id::{DepartmentId, UnitId, UserId};
use livechat_units::item::Key;
use serde::Serialize;

use super::items::{Department, Monitor, Unit};

/// Items that are checked together, because the rules connect them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// A unit, its monitors, the departments in it, and the departments that it lists.
    Unit(UnitId),
    /// A department that is in no unit.
    Department(DepartmentId),
}

/// The items of a scope, as they were read.
#[derive(Clone, Debug, Default)]
pub struct Group {
    /// The unit, if it exists.
    pub unit: Option<Unit>,
    /// The items of its monitors.
    pub monitors: BTreeMap<UserId, Monitor>,
    /// The departments that are in the unit or that it lists. `None` stands for a department that does not exist.
    pub departments: BTreeMap<DepartmentId, Option<Department>>,
}

/// A violation of a rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// The rule.
    pub rule: Rule,
    /// The keys of the items concerned: partition key and sort key.
    pub items: Vec<String>,
    /// A description of the violation.
    pub violation: String,
    /// The repair; `None` if the data does not show what is right.
    #[serde(skip)]
    pub repair: Option<Repair>,
}

/// The rules: the invariants of the data model (docs/data-model.md) that one state of the data can violate.
///
/// There is one more invariant: each change of a unit increments its version. One state of the data can't show that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Rule {
    /// The attributes of an item have the right types and possible values.
    Shape,
    /// `numMonitors`, `monitors` and the monitors' items agree.
    Monitors,
    /// `numDepartments`, `departmentIds` and the departments' `parentId` agree.
    Departments,
    /// The unit of a department exists, and the department's `ancestors` are the unit and the unit's ancestors.
    Places,
}

/// The repair of one finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Repair {
    /// Set attributes of the unit that every repair of the unit sets. The text names them.
    SetInUnit(String),
    /// Set the unit's `monitors` to these usernames by user id, which come from the monitors' items.
    SetMonitors(BTreeMap<String, String>),
    /// Write the item of a monitor, with this username.
    PutMonitor(UserId, String),
    /// Delete the item of a monitor.
    DeleteMonitor(UserId),
    /// Add the department to the unit's list.
    AddToList(DepartmentId),
    /// Remove the department from the unit's list. Its id may be invalid.
    RemoveFromList(String),
    /// Set the department's `ancestors`.
    SetAncestors(DepartmentId, Vec<String>),
    /// Take the department out of its unit.
    RemoveFromUnit(DepartmentId),
    /// Set the department's `_updatedAt`.
    SetUpdatedAt(DepartmentId),
}

impl Repair {
    /// Whether every repair of the unit includes this one.
    pub fn is_part_of_every_unit_repair(&self) -> bool {
        matches!(self, Self::SetInUnit(_) | Self::SetMonitors(_))
    }
}

impl Finding {
    /// Whether a finding of another read has the same rule and the same items.
    pub fn is_same(&self, other: &Self) -> bool {
        self.rule == other.rule && self.items == other.items
    }
}

/// A key as it is printed: the partition key, and the sort key if there is one.
pub fn printed(key: &Key) -> String {
    let attributes = key.attributes();
    let text = |name: &str| attributes.get(name).and_then(|value| value.as_s().ok()).cloned();
    match text("sk") {
        Some(sort) => format!("{} {sort}", key.partition()),
        None => key.partition(),
    }
}

/// What the repair does, as the predicate of a sentence.
impl fmt::Display for Repair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SetInUnit(what) => write!(f, "set {what}"),
            Self::SetMonitors(monitors) => {
                write!(f, "set monitors to the monitors that have items: {}", monitors.len())
            }
            Self::PutMonitor(monitor, username) => write!(f, "write the item of {monitor}, {username}"),
            Self::DeleteMonitor(monitor) => write!(f, "delete the item of {monitor}"),
            Self::AddToList(department) => write!(f, "add department {department} to the list"),
            Self::RemoveFromList(department) => write!(f, "remove department {department} from the list"),
            Self::SetAncestors(_, ancestors) => write!(f, "set ancestors to {}", ancestors.join(", ")),
            Self::RemoveFromUnit(_) => f.write_str("remove parentId and ancestors"),
            Self::SetUpdatedAt(_) => f.write_str("set _updatedAt to now"),
        }
    }
}
