//! The changes of an update, in groups. All changes of one group are in the same transaction.

use std::collections::{BTreeMap, BTreeSet};

use smol_str::SmolStr;

use crate::action::Action;
use crate::auth::Caller;
use crate::error::Error;
use crate::id::{DepartmentId, UnitId, UserId};
use crate::item::{Stored, Unit};
use crate::limits::MAX_TRANSACTION_ACTIONS;
use crate::load::Loaded;

/// The maximum number of departments that one group takes from a losing unit. Each of them needs one action. Two more
/// actions of the same transaction change the updated unit and the losing unit.
const MAX_TAKEN: usize = MAX_TRANSACTION_ACTIONS - 2;

/// The order of the groups, if the update takes several transactions. Access is taken away before it is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// Monitors and departments leave the unit.
    Leave,
    /// Monitors and departments join the unit.
    Join,
    /// The caller leaves the unit. A restricted caller sees only their own units, so any later transaction of theirs
    /// would be refused.
    CallerLeaves,
}

/// Actions that have to be in the same transaction.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) stage: Stage,
    /// Empty if only the unit's own item changes.
    pub(super) actions: Vec<Action>,
    /// Departments that leave the unit's list without an action, because they no longer exist.
    pub(super) dropped_departments: Vec<SmolStr>,
    /// Monitors who leave the unit's map without an action, because no user and no item can have these ids.
    pub(super) dropped_monitors: Vec<SmolStr>,
}

/// All groups of an update.
pub(super) struct Groups(pub(super) Vec<Group>);

impl Group {
    fn of(stage: Stage, actions: Vec<Action>) -> Self {
        Self { stage, actions, dropped_departments: Vec::new(), dropped_monitors: Vec::new() }
    }

    /// Divides a group that takes several departments from a losing unit into two such groups. `None` for any other
    /// group, because it can't be divided.
    pub(super) fn halves(self) -> Option<(Self, Self)> {
        let (mut joins, others): (Vec<Action>, Vec<Action>) =
            self.actions.into_iter().partition(|action| matches!(action, Action::JoinDepartment { .. }));
        let [losing_unit] = &others[..] else { return None };
        if joins.len() < 2 {
            return None;
        }
        let second = joins.split_off(joins.len() / 2);
        let half = |joins: Vec<Action>| {
            let keys: BTreeSet<_> = joins.iter().filter_map(joining_department).cloned().collect();
            let actions = joins.into_iter().chain(restricted_to(losing_unit, &keys)).collect();
            Self::of(self.stage, actions)
        };
        Some((half(joins), half(second)))
    }
}

fn joining_department(action: &Action) -> Option<&DepartmentId> {
    match action {
        Action::JoinDepartment { id, .. } => Some(id),
        _ => None,
    }
}

/// The part of a losing unit's action that is about these departments.
fn restricted_to(losing_unit: &Action, departments: &BTreeSet<DepartmentId>) -> Option<Action> {
    let only = |ids: &[DepartmentId]| ids.iter().filter(|id| departments.contains(id)).cloned().collect();
    match losing_unit {
        Action::ShrinkUnit { id, loses, lacks } => Some(losing_unit_action(id, only(loses), only(lacks))),
        Action::CheckUnitLacks { id, departments } => {
            Some(losing_unit_action(id, Vec::new(), only(departments)))
        }
        _ => None,
    }
}

fn losing_unit_action(id: &UnitId, loses: Vec<DepartmentId>, lacks: Vec<DepartmentId>) -> Action {
    if loses.is_empty() {
        Action::CheckUnitLacks { id: id.clone(), departments: lacks }
    } else {
        Action::ShrinkUnit { id: id.clone(), loses, lacks }
    }
}

impl Groups {
    /// The groups that turn the loaded state into the wanted one.
    pub(super) fn new(
        caller: &Caller,
        unit: &Unit,
        loaded: &Loaded,
        monitors: &BTreeMap<SmolStr, SmolStr>,
    ) -> Result<Self, Error> {
        let mut groups = Self(Vec::new());
        for (losing_unit, departments) in groups.add_joining_departments(unit, loaded)? {
            groups.add_taken_departments(losing_unit, departments, loaded)?;
        }
        groups.add_leaving_departments(unit, loaded)?;
        groups.add_monitors(caller, unit, &loaded.update.unit, monitors);
        Ok(groups)
    }

    fn add(&mut self, stage: Stage, action: Action) {
        self.0.push(Group::of(stage, vec![action]));
    }

    /// Adds the departments that join the unit and are in no other unit. Returns the departments that are in other
    /// units, by the unit that they are in.
    fn add_joining_departments(
        &mut self,
        unit: &Unit,
        loaded: &Loaded,
    ) -> Result<BTreeMap<UnitId, Vec<Action>>, Error> {
        let update = loaded.update;
        let mut ancestors = vec![update.unit.text().clone()];
        ancestors.extend_from_slice(&unit.ancestors);

        let mut taken: BTreeMap<UnitId, Vec<Action>> = BTreeMap::new();
        for id in update.possible_departments() {
            let department = loaded.departments.get(id).map(Stored::get).transpose()?.flatten();
            let Some(department) = department else { continue };
            let parent = department.parent_id.as_deref();
            let is_here = parent == Some(update.unit.as_str());
            if is_here && department.ancestors.as_ref() == Some(&ancestors) {
                if !unit.departments.contains(id.as_str()) {
                    let check = Action::CheckInUnit { id: id.clone(), unit: update.unit.clone() };
                    self.add(Stage::Join, check);
                }
                continue;
            }
            let join = Action::JoinDepartment {
                id: id.clone(),
                from: department.parent_id.clone(),
                unit: update.unit.clone(),
                ancestors: ancestors.clone(),
            };
            match parent.filter(|_| !is_here).and_then(UnitId::parse) {
                Some(losing_unit) => taken.entry(losing_unit).or_default().push(join),
                None => self.add(Stage::Join, join),
            }
        }
        Ok(taken)
    }

    /// Adds departments that are taken from one losing unit, together with the change of that unit's list.
    fn add_taken_departments(
        &mut self,
        losing_unit: UnitId,
        joins: Vec<Action>,
        loaded: &Loaded,
    ) -> Result<(), Error> {
        let stored = loaded.losing_units.get(&losing_unit).map(Stored::get).transpose()?;
        for joins in joins.chunks(MAX_TAKEN) {
            let ids: Vec<DepartmentId> = joins.iter().filter_map(joining_department).cloned().collect();
            let (loses, lacks) = match stored {
                // The unit was not read. The plan assumes that its list is right, and the action's condition checks
                // that.
                None => (ids, Vec::new()),
                // A deleted unit never comes back, so there is nothing to change or to check.
                Some(None) => {
                    joins.iter().for_each(|join| self.add(Stage::Join, join.clone()));
                    continue;
                }
                Some(Some(unit)) => ids.into_iter().partition(|id| unit.departments.contains(id.as_str())),
            };
            let mut actions = joins.to_vec();
            actions.push(losing_unit_action(&losing_unit, loses, lacks));
            self.0.push(Group::of(Stage::Join, actions));
        }
        Ok(())
    }

    /// Adds the departments that the unit lists and the body does not. A department that no longer exists, or is in
    /// another unit by now, is only removed from the unit's list.
    fn add_leaving_departments(&mut self, unit: &Unit, loaded: &Loaded) -> Result<(), Error> {
        let update = loaded.update;
        let listed: BTreeSet<&str> = update.possible_departments().map(DepartmentId::as_str).collect();
        let mut dropped_departments = Vec::new();
        for id in unit.departments.iter().filter(|id| !listed.contains(id.as_str())) {
            let Some(id) = DepartmentId::parse(id.clone()) else {
                // No department can have this id.
                dropped_departments.push(id.clone());
                continue;
            };
            let unit = update.unit.clone();
            match loaded.departments.get(&id).map(Stored::get).transpose()? {
                // The department was not read. The plan assumes that it is in the unit, and the action's condition
                // checks that.
                None => self.add(Stage::Leave, Action::LeaveDepartment { id, unit }),
                // A deleted department never comes back, so there is nothing to check.
                Some(None) => dropped_departments.push(id.text().clone()),
                Some(Some(department)) if department.parent_id.as_deref() == Some(unit.as_str()) => {
                    self.add(Stage::Leave, Action::LeaveDepartment { id, unit });
                }
                Some(Some(_)) => self.add(Stage::Leave, Action::CheckNotInUnit { id, unit }),
            }
        }
        if !dropped_departments.is_empty() {
            self.0.push(Group { dropped_departments, ..Group::of(Stage::Leave, Vec::new()) });
        }
        Ok(())
    }

    /// Adds the monitors who join, leave or have a new username.
    fn add_monitors(
        &mut self,
        caller: &Caller,
        unit: &Unit,
        unit_id: &UnitId,
        wanted: &BTreeMap<SmolStr, SmolStr>,
    ) {
        for (id, username) in wanted {
            if unit.monitors.get(id) != Some(username)
                && let Some(monitor) = UserId::parse(id.clone())
            {
                let username = username.clone();
                self.add(Stage::Join, Action::PutMonitor { unit: unit_id.clone(), monitor, username });
            }
        }
        let mut dropped_monitors = Vec::new();
        for id in unit.monitors.keys().filter(|id| !wanted.contains_key(id.as_str())) {
            let Some(monitor) = UserId::parse(id.clone()) else {
                dropped_monitors.push(id.clone());
                continue;
            };
            let is_caller = caller.is_restricted && monitor == caller.id;
            let stage = if is_caller { Stage::CallerLeaves } else { Stage::Leave };
            self.add(stage, Action::DeleteMonitor { unit: unit_id.clone(), monitor });
        }
        if !dropped_monitors.is_empty() {
            self.0.push(Group { dropped_monitors, ..Group::of(Stage::Leave, Vec::new()) });
        }
    }
}
