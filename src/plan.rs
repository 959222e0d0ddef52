//! What an update writes: a pure function of what was loaded and what was asked.
//!
//! A plan rests on what was read at different moments, and other updates go on meanwhile. So everything
//! that it rests on is a condition of one of its actions, and a plan that commits is one that was true.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::auth::Caller;
use crate::error::{Error, MAX_ACTIONS};
use crate::id::{DepartmentId, UnitId, UserId};
use crate::item::{Corrupt, Department, Key, MONITOR_ROLE, Unit, User};
use crate::load::{Found, Loaded};
use crate::update::{Update, Visibility};

/// DynamoDB's largest item, in bytes of attribute names and values.
const MAX_ITEM_BYTES: usize = 400 * 1024;

/// What to do next.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// Commit this.
    Write(Plan),
    /// The plan has too many changes if these items are as they are taken to be: read them and plan again.
    Read(Vec<Key>),
}

/// The actions of one transaction, the unit's first, each on another item.
#[derive(Debug, PartialEq, Eq)]
pub struct Plan {
    /// At most [`MAX_ACTIONS`].
    pub actions: Vec<Action>,
    /// The unit's monitors once it is committed: usernames by user id.
    pub monitors: BTreeMap<String, String>,
    /// How many departments the unit has once it is committed.
    pub num_departments: usize,
}

/// One item's change, or its check, under the condition that it is still what the plan takes it to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// The unit, if it exists with this version.
    UpdateUnit {
        /// The unit.
        id: UnitId,
        /// The version that was read; `None` when the item has none.
        version: Option<u64>,
        /// Its new name.
        name: String,
        /// Its new visibility.
        visibility: Visibility,
        /// All its monitors, if they change.
        monitors: Option<BTreeMap<String, String>>,
        /// All its departments, if they change.
        departments: Option<BTreeSet<String>>,
        /// The count of its monitors.
        num_monitors: usize,
        /// The count of its departments.
        num_departments: usize,
    },
    /// A monitor who joins, or whose username changed. The unit's version guards it.
    PutMonitor {
        /// The unit.
        unit: UnitId,
        /// The monitor.
        monitor: UserId,
        /// The stored username, not the sent one.
        username: String,
    },
    /// A monitor who leaves. The unit's version guards it.
    DeleteMonitor {
        /// The unit.
        unit: UnitId,
        /// The monitor.
        monitor: UserId,
    },
    /// A department that joins, if it exists and is still where it was.
    JoinDepartment {
        /// The department.
        id: DepartmentId,
        /// The `parentId` that was read.
        from: Option<String>,
        /// The unit that it joins.
        unit: UnitId,
        /// That unit and its ancestors.
        ancestors: Vec<String>,
    },
    /// A department that leaves, if it is still in the unit.
    LeaveDepartment {
        /// The department.
        id: DepartmentId,
        /// The unit that it leaves.
        unit: UnitId,
    },
    /// Another unit that loses departments, if it lists `loses` and none of `lacks`.
    ShrinkUnit {
        /// The other unit.
        id: UnitId,
        /// The departments that it lists and loses.
        loses: Vec<DepartmentId>,
        /// Departments that say they are in it, and that it does not list.
        lacks: Vec<DepartmentId>,
    },
    /// Nothing is written: the department is in this unit, which does not list it yet.
    CheckInUnit {
        /// The department.
        id: DepartmentId,
        /// The unit that it has to be in.
        unit: UnitId,
    },
    /// Nothing is written: the department, dropped from this unit's list, is not in it.
    CheckNotInUnit {
        /// The department.
        id: DepartmentId,
        /// The unit that it must not be in.
        unit: UnitId,
    },
    /// Nothing is written: the other unit does not list these departments, which come from it.
    CheckUnitLacks {
        /// The other unit.
        id: UnitId,
        /// The departments.
        departments: Vec<DepartmentId>,
    },
}

impl Action {
    /// The item that it is about.
    pub fn key(&self) -> Key {
        match self {
            Self::UpdateUnit { id, .. } | Self::ShrinkUnit { id, .. } | Self::CheckUnitLacks { id, .. } => {
                Key::Unit(id.clone())
            }
            Self::PutMonitor { unit, monitor, .. } | Self::DeleteMonitor { unit, monitor } => {
                Key::Monitor(unit.clone(), monitor.clone())
            }
            Self::JoinDepartment { id, .. }
            | Self::LeaveDepartment { id, .. }
            | Self::CheckInUnit { id, .. }
            | Self::CheckNotInUnit { id, .. } => Key::Department(id.clone()),
        }
    }

    /// Whether it is about an item other than the unit, its monitors, and the departments that the body lists.
    pub(crate) fn is_unlisted(&self) -> bool {
        matches!(
            self,
            Self::ShrinkUnit { .. }
                | Self::CheckUnitLacks { .. }
                | Self::LeaveDepartment { .. }
                | Self::CheckNotInUnit { .. }
        )
    }
}

/// Plans the update.
///
/// # Errors
/// The unit is not there for this caller, a listed department does not exist, the changes are too many or
/// the unit too large, or an item is corrupt; the first that applies.
pub fn plan(caller: &Caller, update: &Update, loaded: &Loaded) -> Result<Next, Error> {
    let unit = found(&loaded.unit)?.ok_or(Error::UnitNotFound)?;
    if caller.is_restricted && !unit.monitors.contains_key(caller.id.as_str()) {
        return Err(Error::UnitNotFound);
    }
    all_exist(&update.departments, &loaded.departments)?;

    let mut draft = Draft::default();
    let departments = draft.departments(update, unit, loaded)?;
    let monitors = draft.monitors(update, unit, &loaded.users)?;
    let num_departments = departments.len();
    let outgrown = least_bytes(update, &monitors, &departments, unit) > MAX_ITEM_BYTES;
    draft.writes.insert(
        0,
        Action::UpdateUnit {
            id: update.unit.clone(),
            version: unit.version,
            name: update.name.clone(),
            visibility: update.visibility,
            monitors: (monitors != unit.monitors).then(|| monitors.clone()),
            departments: (departments != unit.departments).then_some(departments),
            num_monitors: monitors.len(),
            num_departments,
        },
    );

    let actions = match draft.actions() {
        Ok(actions) => actions,
        Err(TooMany { unread, .. }) if !unread.is_empty() => return Ok(Next::Read(unread)),
        Err(TooMany { changes, .. }) => return Err(Error::TooManyChanges(changes)),
    };
    if outgrown {
        return Err(Error::UnitTooLarge);
    }
    Ok(Next::Write(Plan { actions, monitors, num_departments }))
}

/// The listed users who may be monitors, by id, with their stored usernames.
///
/// # Errors
/// A user's item is corrupt, or a monitor has no username.
pub(crate) fn eligible_monitors(
    listed: &[UserId],
    users: &HashMap<UserId, Result<User, Corrupt>>,
) -> Result<BTreeMap<String, String>, Error> {
    let mut monitors = BTreeMap::new();
    for id in listed {
        let Some(user) = users.get(id) else { continue };
        let user = user.as_ref().map_err(Corrupt::clone)?;
        if user.active && user.has_role(MONITOR_ROLE) {
            let nameless = || Corrupt { item: Key::User(id.clone()).partition(), attribute: "username" };
            monitors.insert(id.to_string(), user.username.clone().ok_or_else(nameless)?);
        }
    }
    Ok(monitors)
}

/// The actions as they come up.
#[derive(Default)]
struct Draft {
    /// The unit's changes, and the one check without which the plan would be wrong.
    writes: Vec<Action>,
    /// Checks on what other items' lists would otherwise be trusted for.
    checks: Vec<Action>,
    /// Items taken to be as the writes need them, without having been read.
    unread: Vec<Key>,
}

/// More actions than a transaction holds.
struct TooMany {
    changes: usize,
    unread: Vec<Key>,
}

impl Draft {
    /// Departments that join, leave, or are taken from other units. Returns the unit's resulting list.
    fn departments(
        &mut self,
        update: &Update,
        unit: &Unit,
        loaded: &Loaded,
    ) -> Result<BTreeSet<String>, Error> {
        let mut ancestors = vec![update.unit.to_string()];
        ancestors.extend_from_slice(&unit.ancestors);

        let mut wanted = BTreeSet::new();
        let mut taken: BTreeMap<UnitId, Vec<DepartmentId>> = BTreeMap::new();
        for id in update.departments.iter().flatten() {
            wanted.insert(id.to_string());
            let Some(department) = loaded.departments.get(id).map(found).transpose()?.flatten() else {
                continue; // `all_exist` has refused it
            };
            let parent = department.parent_id.as_deref();
            let is_here = parent == Some(update.unit.as_str());
            if is_here && department.ancestors.as_ref() == Some(&ancestors) {
                if !unit.departments.contains(id.as_str()) {
                    self.writes.push(Action::CheckInUnit { id: id.clone(), unit: update.unit.clone() });
                }
                continue;
            }
            self.writes.push(Action::JoinDepartment {
                id: id.clone(),
                from: department.parent_id.clone(),
                unit: update.unit.clone(),
                ancestors: ancestors.clone(),
            });
            if let Some(other) = parent.filter(|_| !is_here).and_then(UnitId::parse) {
                taken.entry(other).or_default().push(id.clone());
            }
        }
        for (other, departments) in taken {
            self.take_from(other, departments, loaded)?;
        }
        for id in unit.departments.difference(&wanted).filter_map(DepartmentId::parse) {
            self.leave(id, &update.unit, loaded)?;
        }
        Ok(wanted)
    }

    /// The unit that these departments come from loses those that it lists.
    fn take_from(
        &mut self,
        id: UnitId,
        departments: Vec<DepartmentId>,
        loaded: &Loaded,
    ) -> Result<(), Error> {
        let Some(other) = loaded.others.get(&id) else {
            self.unread.push(Key::Unit(id.clone()));
            self.writes.push(Action::ShrinkUnit { id, loses: departments, lacks: Vec::new() });
            return Ok(());
        };
        // A unit that is gone stays gone: nothing to check.
        let Some(other) = found(other)? else { return Ok(()) };
        let (loses, lacks): (Vec<_>, Vec<_>) =
            departments.into_iter().partition(|id| other.departments.contains(id.as_str()));
        if loses.is_empty() {
            self.checks.push(Action::CheckUnitLacks { id, departments: lacks });
        } else {
            self.writes.push(Action::ShrinkUnit { id, loses, lacks });
        }
        Ok(())
    }

    /// A department that the unit lists and the body does not. If it proves gone, or another unit's by
    /// now, it is only dropped from the list.
    fn leave(&mut self, id: DepartmentId, unit: &UnitId, loaded: &Loaded) -> Result<(), Error> {
        let unit = unit.clone();
        let Some(department) = loaded.departments.get(&id) else {
            self.unread.push(Key::Department(id.clone()));
            self.writes.push(Action::LeaveDepartment { id, unit });
            return Ok(());
        };
        // A department that is gone stays gone: nothing to check.
        let Some(department) = found(department)? else { return Ok(()) };
        if department.parent_id.as_deref() == Some(unit.as_str()) {
            self.writes.push(Action::LeaveDepartment { id, unit });
        } else {
            self.checks.push(Action::CheckNotInUnit { id, unit });
        }
        Ok(())
    }

    /// Monitors that join, leave or were renamed. Returns the unit's resulting monitors.
    fn monitors(
        &mut self,
        update: &Update,
        unit: &Unit,
        users: &HashMap<UserId, Result<User, Corrupt>>,
    ) -> Result<BTreeMap<String, String>, Error> {
        let wanted = eligible_monitors(&update.monitors, users)?;
        for (id, username) in &wanted {
            if unit.monitors.get(id) != Some(username)
                && let Some(monitor) = UserId::parse(id)
            {
                let username = username.clone();
                self.writes.push(Action::PutMonitor { unit: update.unit.clone(), monitor, username });
            }
        }
        let leaving = unit.monitors.keys().filter(|id| !wanted.contains_key(*id));
        for monitor in leaving.filter_map(UserId::parse) {
            self.writes.push(Action::DeleteMonitor { unit: update.unit.clone(), monitor });
        }
        Ok(wanted)
    }

    /// The transaction. Checks guard against an inconsistency that two lists had before this update; when
    /// they don't fit, they give way to the changes that were asked for.
    fn actions(mut self) -> Result<Vec<Action>, TooMany> {
        if self.writes.len() > MAX_ACTIONS {
            return Err(TooMany { changes: self.writes.len(), unread: self.unread });
        }
        self.writes.append(&mut self.checks);
        self.writes.truncate(MAX_ACTIONS);
        Ok(self.writes)
    }
}

/// Row 10 of the contract: all unknown ids, in the order of the body.
fn all_exist(
    listed: &[Result<DepartmentId, String>],
    departments: &HashMap<DepartmentId, Found<Department>>,
) -> Result<(), Error> {
    let unknown: Vec<String> = listed
        .iter()
        .filter_map(|listed| match listed {
            Ok(id) if departments.get(id).is_some_and(Option::is_some) => None,
            Ok(id) => Some(id.to_string()),
            Err(impossible) => Some(impossible.clone()),
        })
        .collect();
    if unknown.is_empty() { Ok(()) } else { Err(Error::DepartmentsNotFound(unknown)) }
}

/// The item's least size: what this function writes. Attributes that it does not know come on top, so
/// DynamoDB has the last word.
fn least_bytes(
    update: &Update,
    monitors: &BTreeMap<String, String>,
    departments: &BTreeSet<String>,
    unit: &Unit,
) -> usize {
    let monitors = monitors.iter().map(|(id, username)| id.len() + username.len());
    let ids = departments.iter().chain(&unit.ancestors).map(String::len);
    update.name.len() + monitors.sum::<usize>() + ids.sum::<usize>()
}

fn found<T>(found: &Found<T>) -> Result<Option<&T>, Error> {
    match found {
        None => Ok(None),
        Some(Ok(item)) => Ok(Some(item)),
        Some(Err(corrupt)) => Err(corrupt.clone().into()),
    }
}

#[cfg(any(test, fuzzing))]
pub(crate) mod model;
#[cfg(test)]
mod tests;
