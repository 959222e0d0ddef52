//! What an update writes: a pure function of what was read and what the client asked for.
//!
//! Items are read at different moments while others write. Every fact that the plan relies on is a condition of one of
//! its actions, so if the transaction commits, all of these facts were true at that moment.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::action::{Action, Plan, UnitChange};
use crate::auth::Caller;
use crate::error::Error;
use crate::id::{DepartmentId, UnitId, UserId};
use crate::item::{Corrupt, Department, Key, MONITOR_ROLE, Stored, Unit, User};
use crate::limits::{MAX_ITEM_BYTES, MAX_TRANSACTION_ACTIONS};
use crate::load::Loaded;
use crate::request::{ListedDepartment, Update};

/// The next step of an update.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// Commit this plan.
    Write(Plan),
    /// The plan may have too many actions, and these items decide it. Read them and plan again.
    Read(Vec<Key>),
}

/// Plans the update that `loaded` was read for.
///
/// # Errors
/// The caller may not see the unit, or there is no such unit; a listed department does not exist; there are too many
/// changes; the unit would be too large; or an item is corrupt. The first of these that applies.
pub fn plan(caller: &Caller, loaded: &Loaded) -> Result<Next, Error> {
    let update = loaded.update;
    let unit = loaded.unit.get()?.ok_or(Error::UnitNotFound)?;
    if caller.is_restricted && !unit.monitors.contains_key(caller.id.as_str()) {
        return Err(Error::UnitNotFound);
    }
    require_all_departments(&update.departments, &loaded.departments)?;

    let mut builder = PlanBuilder::default();
    let departments = builder.plan_departments(unit, loaded)?;
    let monitors = builder.plan_monitors(update, unit, &loaded.users)?;
    let num_departments = departments.len();
    let is_too_large = min_unit_bytes(update, &monitors, &departments, unit) > MAX_ITEM_BYTES;
    builder.changes.insert(
        0,
        Action::UpdateUnit(UnitChange {
            id: update.unit.clone(),
            version: unit.version,
            name: update.name.clone(),
            visibility: update.visibility,
            monitors: (monitors != unit.monitors).then(|| monitors.clone()),
            departments: (departments != unit.departments).then_some(departments),
            num_monitors: monitors.len(),
            num_departments,
        }),
    );

    let actions = match builder.into_actions() {
        Ok(actions) => actions,
        Err(TooMany { unread, .. }) if !unread.is_empty() => return Ok(Next::Read(unread)),
        Err(TooMany { changes, .. }) => return Err(Error::TooManyChanges(changes)),
    };
    if is_too_large {
        return Err(Error::UnitTooLarge);
    }
    Ok(Next::Write(Plan { actions, monitors, num_departments }))
}

/// The listed users who may be monitors: their stored usernames, by user id.
///
/// # Errors
/// A user's item is corrupt, or a monitor has no username.
fn eligible_monitors(
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

/// Collects the actions of a plan.
#[derive(Default)]
struct PlanBuilder {
    /// The changes that the client asked for, and the checks without which they would be wrong.
    changes: Vec<Action>,
    /// Checks that guard against lists that were wrong before this update.
    checks: Vec<Action>,
    /// Items that were not read. The changes assume that they are as they should be, and their conditions prove it.
    unread: Vec<Key>,
}

/// A plan has more changes than a transaction can hold.
struct TooMany {
    changes: usize,
    unread: Vec<Key>,
}

impl PlanBuilder {
    /// Plans the departments that join the unit, leave it, or are taken from other units. Returns the unit's new list.
    fn plan_departments(&mut self, unit: &Unit, loaded: &Loaded) -> Result<BTreeSet<String>, Error> {
        let update = loaded.update;
        let wanted: BTreeSet<String> = update.possible_departments().map(ToString::to_string).collect();
        for (losing_unit, departments) in self.plan_joining(unit, loaded)? {
            self.take_from(losing_unit, departments, loaded)?;
        }
        for id in unit.departments.difference(&wanted).filter_map(DepartmentId::parse) {
            self.plan_leaving(id, &update.unit, loaded)?;
        }
        Ok(wanted)
    }

    /// Plans the departments that join the unit. Returns those that are in other units, by the unit they are in.
    fn plan_joining(
        &mut self,
        unit: &Unit,
        loaded: &Loaded,
    ) -> Result<BTreeMap<UnitId, Vec<DepartmentId>>, Error> {
        let update = loaded.update;
        let mut ancestors = vec![update.unit.to_string()];
        ancestors.extend_from_slice(&unit.ancestors);

        let mut taken: BTreeMap<UnitId, Vec<DepartmentId>> = BTreeMap::new();
        for id in update.possible_departments() {
            let department = loaded.departments.get(id).map(Stored::get).transpose()?.flatten();
            let Some(department) = department else { continue };
            let parent = department.parent_id.as_deref();
            let is_here = parent == Some(update.unit.as_str());
            if is_here && department.ancestors.as_ref() == Some(&ancestors) {
                if !unit.departments.contains(id.as_str()) {
                    self.changes.push(Action::CheckInUnit { id: id.clone(), unit: update.unit.clone() });
                }
                continue;
            }
            self.changes.push(Action::JoinDepartment {
                id: id.clone(),
                from: department.parent_id.clone(),
                unit: update.unit.clone(),
                ancestors: ancestors.clone(),
            });
            if let Some(other) = parent.filter(|_| !is_here).and_then(UnitId::parse) {
                taken.entry(other).or_default().push(id.clone());
            }
        }
        Ok(taken)
    }

    /// Removes departments from the list of the unit that they come from.
    fn take_from(
        &mut self,
        id: UnitId,
        departments: Vec<DepartmentId>,
        loaded: &Loaded,
    ) -> Result<(), Error> {
        let Some(losing_unit) = loaded.losing_units.get(&id) else {
            self.unread.push(Key::Unit(id.clone()));
            self.changes.push(Action::ShrinkUnit { id, loses: departments, lacks: Vec::new() });
            return Ok(());
        };
        // A deleted unit never comes back, so there is nothing to check.
        let Some(losing_unit) = losing_unit.get()? else { return Ok(()) };
        let (loses, lacks): (Vec<_>, Vec<_>) =
            departments.into_iter().partition(|id| losing_unit.departments.contains(id.as_str()));
        if loses.is_empty() {
            self.checks.push(Action::CheckUnitLacks { id, departments: lacks });
        } else {
            self.changes.push(Action::ShrinkUnit { id, loses, lacks });
        }
        Ok(())
    }

    /// Plans for a department that the unit lists and the body does not. If the department is gone or in another unit by
    /// now, it is only dropped from the unit's list.
    fn plan_leaving(&mut self, id: DepartmentId, unit: &UnitId, loaded: &Loaded) -> Result<(), Error> {
        let unit = unit.clone();
        let Some(department) = loaded.departments.get(&id) else {
            self.unread.push(Key::Department(id.clone()));
            self.changes.push(Action::LeaveDepartment { id, unit });
            return Ok(());
        };
        // A deleted department never comes back, so there is nothing to check.
        let Some(department) = department.get()? else { return Ok(()) };
        if department.parent_id.as_deref() == Some(unit.as_str()) {
            self.changes.push(Action::LeaveDepartment { id, unit });
        } else {
            self.checks.push(Action::CheckNotInUnit { id, unit });
        }
        Ok(())
    }

    /// Plans the monitors who join, leave or have a new username. Returns the unit's new monitors.
    fn plan_monitors(
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
                self.changes.push(Action::PutMonitor { unit: update.unit.clone(), monitor, username });
            }
        }
        let leaving = unit.monitors.keys().filter(|id| !wanted.contains_key(*id));
        for monitor in leaving.filter_map(UserId::parse) {
            self.changes.push(Action::DeleteMonitor { unit: update.unit.clone(), monitor });
        }
        Ok(wanted)
    }

    /// The actions of the transaction. The checks guard against inconsistencies from before this update. When they don't
    /// fit, they are left out, because the changes that the client asked for come first.
    fn into_actions(mut self) -> Result<Vec<Action>, TooMany> {
        if self.changes.len() > MAX_TRANSACTION_ACTIONS {
            return Err(TooMany { changes: self.changes.len(), unread: self.unread });
        }
        self.changes.append(&mut self.checks);
        self.changes.truncate(MAX_TRANSACTION_ACTIONS);
        Ok(self.changes)
    }
}

/// Row 10 of docs/contract.md.
///
/// # Errors
/// The listed departments that do not exist, in the order of the body.
fn require_all_departments(
    listed: &[ListedDepartment],
    departments: &HashMap<DepartmentId, Stored<Department>>,
) -> Result<(), Error> {
    let exists = |id: &DepartmentId| departments.get(id).is_some_and(Stored::exists);
    let missing: Vec<String> = listed
        .iter()
        .filter(|listed| !listed.possible().is_some_and(exists))
        .map(|listed| listed.as_str().to_owned())
        .collect();
    if missing.is_empty() { Ok(()) } else { Err(Error::DepartmentsNotFound(missing)) }
}

/// A lower bound of the unit's size in bytes: the attributes that the function writes. The item may have other
/// attributes, so DynamoDB can refuse a unit that passes here.
fn min_unit_bytes(
    update: &Update,
    monitors: &BTreeMap<String, String>,
    departments: &BTreeSet<String>,
    unit: &Unit,
) -> usize {
    let monitors = monitors.iter().map(|(id, username)| id.len() + username.len());
    let ids = departments.iter().chain(&unit.ancestors).map(String::len);
    update.name.len() + monitors.sum::<usize>() + ids.sum::<usize>()
}

#[cfg(any(test, fuzzing))]
pub(crate) mod model;
#[cfg(test)]
mod tests;
