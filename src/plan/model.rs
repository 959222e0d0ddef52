//! A model of the two tables that evaluates conditions and applies actions; what plans are tested and fuzzed on.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use aws_sdk_dynamodb::types::AttributeValue;

use super::*;
use crate::action::FailedCondition;
use crate::item::{Item, Items};

/// What is stored, as far as plans read and write it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Model {
    pub(crate) units: BTreeMap<String, UnitModel>,
    /// Parent and ancestors of each department.
    pub(crate) departments: BTreeMap<String, (Option<String>, Option<Vec<String>>)>,
    /// Username, active and role of each user.
    pub(crate) users: BTreeMap<String, (String, bool, bool)>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct UnitModel {
    pub(crate) version: Option<u64>,
    pub(crate) ancestors: Vec<String>,
    pub(crate) monitors: BTreeMap<String, String>,
    pub(crate) rows: BTreeMap<String, String>,
    pub(crate) num_monitors: usize,
    pub(crate) departments: BTreeSet<String>,
    pub(crate) num_departments: usize,
}

impl Model {
    pub(crate) fn ancestors_within(&self, unit: &str) -> Vec<String> {
        std::iter::once(unit.to_owned()).chain(self.units[unit].ancestors.clone()).collect()
    }

    pub(crate) fn assert_invariants(&self) {
        for (id, unit) in &self.units {
            assert_eq!(unit.monitors, unit.rows, "monitors of {id}");
            assert_eq!(unit.num_monitors, unit.monitors.len(), "numMonitors of {id}");
            assert_eq!(unit.num_departments, unit.departments.len(), "numDepartments of {id}");
            let members: BTreeSet<String> = self
                .departments
                .iter()
                .filter(|(_, d)| d.0.as_ref() == Some(id))
                .map(|(id, _)| id.clone())
                .collect();
            assert_eq!(unit.departments, members, "departments of {id}");
            for member in members {
                assert_eq!(self.departments[&member].1, Some(self.ancestors_within(id)), "of {member}");
            }
        }
    }

    /// The item as DynamoDB would return it.
    pub(crate) fn item(&self, key: &Key) -> Option<Item> {
        let string = |text: &String| AttributeValue::S(text.clone());
        let list = |texts: &[String]| AttributeValue::L(texts.iter().map(string).collect());
        let mut item = key.attributes();
        match key {
            Key::Unit(id) => {
                let unit = self.units.get(id.as_str())?;
                if let Some(version) = unit.version {
                    item.insert("version".into(), AttributeValue::N(version.to_string()));
                }
                let monitors = unit.monitors.iter().map(|(id, name)| (id.clone(), string(name))).collect();
                item.insert("monitors".into(), AttributeValue::M(monitors));
                if !unit.departments.is_empty() {
                    let ids = unit.departments.iter().cloned().collect();
                    item.insert("departmentIds".into(), AttributeValue::Ss(ids));
                }
                item.insert("ancestors".into(), list(&unit.ancestors));
            }
            Key::Department(id) => {
                let (parent, ancestors) = self.departments.get(id.as_str())?;
                parent.iter().for_each(|parent| drop(item.insert("parentId".into(), string(parent))));
                ancestors.iter().for_each(|above| drop(item.insert("ancestors".into(), list(above))));
            }
            Key::User(id) => {
                let (username, active, is_monitor) = self.users.get(id.as_str())?;
                item.insert("username".into(), string(username));
                item.insert("active".into(), AttributeValue::Bool(*active));
                if *is_monitor {
                    item.insert("roles".into(), AttributeValue::Ss(vec![MONITOR_ROLE.into()]));
                }
            }
            Key::Token(_) | Key::Permission(_) | Key::Monitor(..) => return None,
        }
        Some(item)
    }

    /// All of the plan, or what each failed condition found.
    fn apply(&self, plan: &Plan) -> Result<Self, Vec<FailedCondition>> {
        let keys: BTreeSet<String> =
            plan.actions.iter().map(|action| format!("{:?}", action.key())).collect();
        assert_eq!(keys.len(), plan.actions.len(), "an item is touched twice");
        assert!(plan.actions.len() <= MAX_TRANSACTION_ACTIONS);

        let refused: Vec<_> = plan
            .actions
            .iter()
            .enumerate()
            .filter(|(_, action)| !self.holds(action))
            .map(|(place, action)| FailedCondition { action: place, item: self.item(&action.key()) })
            .collect();
        if !refused.is_empty() {
            return Err(refused);
        }
        let mut next = self.clone();
        plan.actions.iter().for_each(|action| next.write(action));
        Ok(next)
    }

    fn holds(&self, action: &Action) -> bool {
        let parent =
            |id: &DepartmentId| self.departments.get(id.as_str()).map(|department| department.0.as_deref());
        let lists = |unit: &UnitId, id: &DepartmentId| {
            self.units.get(unit.as_str()).is_some_and(|unit| unit.departments.contains(id.as_str()))
        };
        match action {
            Action::UpdateUnit(UnitChange { id, version, .. }) => {
                self.units.get(id.as_str()).is_some_and(|unit| unit.version == *version)
            }
            Action::PutMonitor { .. } | Action::DeleteMonitor { .. } => true,
            Action::JoinDepartment { id, from, .. } => parent(id) == Some(from.as_deref()),
            Action::LeaveDepartment { id, unit } | Action::CheckInUnit { id, unit } => {
                parent(id) == Some(Some(unit.as_str()))
            }
            Action::CheckNotInUnit { id, unit } => parent(id) != Some(Some(unit.as_str())),
            Action::ShrinkUnit { id, loses, lacks } => {
                loses.iter().all(|lost| lists(id, lost)) && !lacks.iter().any(|lacked| lists(id, lacked))
            }
            Action::CheckUnitLacks { id, departments } => {
                !departments.iter().any(|department| lists(id, department))
            }
        }
    }

    /// Carries out an action, which has to change something.
    fn write(&mut self, action: &Action) {
        match action {
            Action::UpdateUnit(UnitChange {
                id,
                monitors,
                departments,
                num_monitors,
                num_departments,
                ..
            }) => {
                let unit = self.units.get_mut(id.as_str()).expect("its condition holds");
                unit.version = Some(unit.version.unwrap_or(0) + 1);
                monitors.iter().for_each(|monitors| unit.monitors = monitors.clone());
                departments.iter().for_each(|departments| unit.departments = departments.clone());
                (unit.num_monitors, unit.num_departments) = (*num_monitors, *num_departments);
            }
            Action::PutMonitor { unit, monitor, username } => {
                let rows = &mut self.units.get_mut(unit.as_str()).expect("it is there").rows;
                let before = rows.insert(monitor.to_string(), username.clone());
                assert_ne!(before.as_ref(), Some(username), "{action:?} changes nothing");
            }
            Action::DeleteMonitor { unit, monitor } => {
                let rows = &mut self.units.get_mut(unit.as_str()).expect("it is there").rows;
                assert!(rows.remove(monitor.as_str()).is_some(), "{action:?} changes nothing");
            }
            Action::JoinDepartment { id, from, unit, ancestors } => {
                let department = (Some(unit.to_string()), Some(ancestors.clone()));
                let before = self.departments.insert(id.to_string(), department.clone());
                // Ancestors that were wrong may have been mended by another update since they were read.
                let is_mending = from.as_deref() == Some(unit.as_str());
                assert!(is_mending || before != Some(department), "{action:?} changes nothing");
            }
            Action::LeaveDepartment { id, .. } => {
                let before = self.departments.insert(id.to_string(), (None, None));
                assert_ne!(before, Some((None, None)), "{action:?} changes nothing");
            }
            Action::ShrinkUnit { id, loses, .. } => {
                let unit = self.units.get_mut(id.as_str()).expect("its condition holds");
                unit.version = Some(unit.version.unwrap_or(0) + 1);
                unit.num_departments -= loses.len();
                assert!(!loses.is_empty());
                loses.iter().for_each(|lost| assert!(unit.departments.remove(lost.as_str())));
            }
            Action::CheckInUnit { .. } | Action::CheckNotInUnit { .. } | Action::CheckUnitLacks { .. } => {}
        }
    }
}

/// Somebody who may see every unit.
pub(crate) fn caller() -> Caller {
    let id = UserId::parse("caller").expect("an id");
    Caller { id, is_restricted: false, item: Item::new() }
}

/// Loads every key from one of these states: a read of many items is no snapshot.
pub(crate) fn load<'a>(
    caller: &Caller,
    update: &'a Update,
    from: &mut dyn FnMut(&Key) -> Option<Item>,
) -> Loaded<'a> {
    let keys = crate::load::keys(update, &caller.id);
    let items = keys.iter().filter_map(|key| Some((key.partition(), from(key)?))).collect::<HashMap<_, _>>();
    Loaded::new(update, caller, Items::from(items))
}

/// Goes through plans as the function does, other updates coming between the tries.
pub(crate) fn run(
    caller: &Caller,
    model: &mut Model,
    mut loaded: Loaded<'_>,
    between: &[Update],
) -> Result<Plan, Error> {
    let mut between = between.iter();
    for _ in 0..40 {
        match plan(caller, &loaded)? {
            Next::Read(keys) => {
                let items = keys.iter().filter_map(|key| Some((key.partition(), model.item(key)?)));
                let items = Items::from(items.collect::<HashMap<_, _>>());
                loaded.add(keys, items);
            }
            Next::Write(plan) => {
                if let Some(other) = between.next() {
                    commit(model, other);
                }
                match model.apply(&plan) {
                    Ok(next) => {
                        *model = next;
                        return Ok(plan);
                    }
                    Err(failed) => loaded.apply_refusal(&plan, failed),
                }
            }
        }
    }
    panic!("the plans never come to an end");
}

/// An update that nothing disturbs.
pub(crate) fn commit(model: &mut Model, update: &Update) {
    let loaded = load(&caller(), update, &mut |key| model.item(key));
    let _row_9_to_11 = run(&caller(), model, loaded, &[]);
}

pub(crate) fn assert_is_as_asked(model: &Model, update: &Update) {
    let unit = &model.units[update.unit.as_str()];
    let listed: BTreeSet<String> = update.possible_departments().map(ToString::to_string).collect();
    assert_eq!(unit.departments, listed);
    let eligible = update.monitors.iter().filter_map(|id| {
        let (username, active, is_monitor) = model.users.get(id.as_str())?;
        (*active && *is_monitor).then(|| (id.to_string(), username.clone()))
    });
    assert_eq!(unit.monitors, eligible.collect());
}
