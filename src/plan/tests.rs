//! Properties of plans, on a model of the two tables that evaluates conditions and applies actions.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use aws_sdk_dynamodb::types::AttributeValue;
use proptest::collection::{btree_set, vec};
use proptest::prelude::*;

use super::*;
use crate::item::Item;

const UNITS: usize = 4;
const DEPARTMENTS: usize = 8;
const USERS: usize = 6;

/// What is stored, as far as plans read and write it.
#[derive(Clone, Debug, Default, PartialEq)]
struct Model {
    units: BTreeMap<String, UnitModel>,
    /// Parent and ancestors of each department.
    departments: BTreeMap<String, (Option<String>, Option<Vec<String>>)>,
    /// Username, active and role of each user.
    users: BTreeMap<String, (String, bool, bool)>,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct UnitModel {
    version: Option<u64>,
    ancestors: Vec<String>,
    monitors: BTreeMap<String, String>,
    rows: BTreeMap<String, String>,
    num_monitors: usize,
    departments: BTreeSet<String>,
    num_departments: usize,
}

impl Model {
    fn ancestors_within(&self, unit: &str) -> Vec<String> {
        std::iter::once(unit.to_owned()).chain(self.units[unit].ancestors.clone()).collect()
    }

    fn assert_invariants(&self) {
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
    fn item(&self, key: &Key) -> Option<Item> {
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
    fn apply(&self, plan: &Plan) -> Result<Self, Vec<(usize, Option<Item>)>> {
        let keys: BTreeSet<String> =
            plan.actions.iter().map(|action| format!("{:?}", action.key())).collect();
        assert_eq!(keys.len(), plan.actions.len(), "an item is touched twice");
        assert!(plan.actions.len() <= MAX_ACTIONS);

        let refused: Vec<_> = plan
            .actions
            .iter()
            .enumerate()
            .filter(|(_, action)| !self.holds(action))
            .map(|(place, action)| (place, self.item(&action.key())))
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
            Action::UpdateUnit { id, version, .. } => {
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

    fn write(&mut self, action: &Action) {
        let before = self.clone();
        match action {
            Action::UpdateUnit { id, monitors, departments, num_monitors, num_departments, .. } => {
                let unit = self.units.get_mut(id.as_str()).expect("its condition holds");
                unit.version = Some(unit.version.unwrap_or(0) + 1);
                monitors.iter().for_each(|monitors| unit.monitors = monitors.clone());
                departments.iter().for_each(|departments| unit.departments = departments.clone());
                (unit.num_monitors, unit.num_departments) = (*num_monitors, *num_departments);
            }
            Action::PutMonitor { unit, monitor, username } => {
                let rows = &mut self.units.get_mut(unit.as_str()).expect("it is there").rows;
                rows.insert(monitor.to_string(), username.clone());
            }
            Action::DeleteMonitor { unit, monitor } => {
                self.units.get_mut(unit.as_str()).expect("it is there").rows.remove(monitor.as_str());
            }
            Action::JoinDepartment { id, unit, ancestors, .. } => {
                let department = (Some(unit.to_string()), Some(ancestors.clone()));
                self.departments.insert(id.to_string(), department);
            }
            Action::LeaveDepartment { id, .. } => {
                self.departments.insert(id.to_string(), (None, None));
            }
            Action::ShrinkUnit { id, loses, .. } => {
                let unit = self.units.get_mut(id.as_str()).expect("its condition holds");
                unit.version = Some(unit.version.unwrap_or(0) + 1);
                unit.num_departments -= loses.len();
                loses.iter().for_each(|lost| assert!(unit.departments.remove(lost.as_str())));
            }
            Action::CheckInUnit { .. } | Action::CheckNotInUnit { .. } | Action::CheckUnitLacks { .. } => {
                return;
            }
        }
        assert_ne!(*self, before, "{action:?} changes nothing");
    }
}

fn caller() -> Caller {
    let id = UserId::parse("caller").expect("an id");
    Caller { id, is_restricted: false, item: Item::new() }
}

/// Loads every key from one of these states: a read of many items is no snapshot.
fn load(update: &Update, from: &mut dyn FnMut(&Key) -> Option<Item>) -> Loaded {
    let keys = crate::load::keys(update, &caller().id);
    let items = keys.iter().filter_map(|key| Some((key.partition(), from(key)?))).collect::<HashMap<_, _>>();
    Loaded::new(update, &caller(), crate::store::Items::from(items))
}

/// Goes through plans as the function does, other updates coming between the tries.
fn run(model: &mut Model, update: &Update, mut loaded: Loaded, between: &[Update]) -> Result<Plan, Error> {
    let mut between = between.iter();
    for _ in 0..40 {
        match plan(&caller(), update, &loaded)? {
            Next::Read(keys) => {
                let items = keys.iter().filter_map(|key| Some((key.partition(), model.item(key)?)));
                let items = crate::store::Items::from(items.collect::<HashMap<_, _>>());
                loaded.add(keys, items, update);
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
                    Err(refused) => loaded.correct(&plan, refused, update),
                }
            }
        }
    }
    panic!("the plans never come to an end");
}

/// An update that nothing disturbs.
fn commit(model: &mut Model, update: &Update) {
    let loaded = load(update, &mut |key| model.item(key));
    let _row_9_or_10 = run(model, update, loaded, &[]);
}

fn assert_is_as_asked(model: &Model, update: &Update) {
    let unit = &model.units[update.unit.as_str()];
    let listed: BTreeSet<String> = update.departments.iter().flatten().map(ToString::to_string).collect();
    assert_eq!(unit.departments, listed);
    let eligible = update.monitors.iter().filter_map(|id| {
        let (username, active, is_monitor) = model.users.get(id.as_str())?;
        (*active && *is_monitor).then(|| (id.to_string(), username.clone()))
    });
    assert_eq!(unit.monitors, eligible.collect());
}

/// 1 + changed monitors + changed departments + units that lose some, counted from the outcome.
fn changes(before: &Model, after: &Model, unit: &str) -> usize {
    let (old, new) = (&before.units[unit].rows, &after.units[unit].rows);
    let ids: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let monitors = ids.iter().filter(|id| old.get(**id) != new.get(**id)).count();
    let departments =
        after.departments.iter().filter(|(id, now)| before.departments.get(*id) != Some(now)).count();
    let others =
        after.units.iter().filter(|(id, now)| *id != unit && before.units.get(*id) != Some(now)).count();
    1 + monitors + departments + others
}

fn unit_name(n: usize) -> String {
    format!("u{n}")
}

prop_compose! {
    /// Any state in which the invariants hold.
    fn models()(
        users in vec((any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>()), USERS),
        parents in vec(proptest::option::weighted(0.9, proptest::option::of(0..UNITS)), DEPARTMENTS),
        units in vec((proptest::option::of(0..3_u64), any::<bool>(), btree_set(0..USERS, 0..USERS)), UNITS),
    ) -> Model {
        let mut model = Model::default();
        for (n, (exists, active, is_monitor, renamed)) in users.into_iter().enumerate() {
            let username = if renamed { format!("renamed{n}") } else { format!("name{n}") };
            if exists {
                model.users.insert(format!("m{n}"), (username, active, is_monitor));
            }
        }
        for (n, (version, has_ancestors, monitors)) in units.into_iter().enumerate() {
            let monitors: BTreeMap<_, _> = monitors.into_iter().map(|m| (format!("m{m}"), format!("name{m}"))).collect();
            model.units.insert(unit_name(n), UnitModel {
                version,
                ancestors: if has_ancestors { vec!["above".into()] } else { vec![] },
                num_monitors: monitors.len(),
                rows: monitors.clone(),
                monitors,
                ..UnitModel::default()
            });
        }
        for (n, parent) in parents.into_iter().enumerate() {
            let id = format!("d{n}");
            let Some(parent) = parent else { continue };
            let parent = parent.map(unit_name);
            let ancestors = parent.as_ref().map(|parent| model.ancestors_within(parent));
            if let Some(unit) = parent.as_ref().and_then(|parent| model.units.get_mut(parent)) {
                unit.departments.insert(id.clone());
                unit.num_departments += 1;
            }
            model.departments.insert(id, (parent, ancestors));
        }
        model.assert_invariants();
        model
    }
}

fn updates_of(unit: impl Strategy<Value = usize>) -> impl Strategy<Value = Update> {
    let lists = (btree_set(0..USERS, 0..USERS), btree_set(0..DEPARTMENTS, 0..DEPARTMENTS));
    (unit, lists).prop_map(|(unit, (monitors, departments))| Update {
        unit: UnitId::parse(unit_name(unit)).expect("an id"),
        name: "name".into(),
        visibility: Visibility::Public,
        listed_monitors: monitors.len(),
        monitors: monitors.into_iter().filter_map(|n| UserId::parse(format!("m{n}"))).collect(),
        departments: departments
            .into_iter()
            .filter_map(|n| DepartmentId::parse(format!("d{n}")))
            .map(Ok)
            .collect(),
    })
}

fn updates() -> impl Strategy<Value = Update> {
    updates_of(0..UNITS)
}

/// Leaves only departments that exist, so that row 10 does not end most cases.
fn only_existing(mut update: Update, model: &Model) -> Update {
    update.departments.retain(|id| id.as_ref().is_ok_and(|id| model.departments.contains_key(id.as_str())));
    update
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn an_undisturbed_plan_does_what_was_asked_and_no_more(model in models(), update in updates()) {
        let update = only_existing(update, &model);
        let loaded = load(&update, &mut |key| model.item(key));
        let mut after = model.clone();
        let plan = run(&mut after, &update, loaded, &[]).expect("unit and departments exist");
        after.assert_invariants();
        assert_is_as_asked(&after, &update);
        prop_assert_eq!(plan.actions.len(), changes(&model, &after, update.unit.as_str()));
        prop_assert_eq!(&plan.monitors, &after.units[update.unit.as_str()].monitors);
        prop_assert_eq!(plan.num_departments, after.units[update.unit.as_str()].num_departments);

        // Asked again, it moves the version and nothing else.
        let mut again = after.clone();
        let loaded = load(&update, &mut |key| again.item(key));
        let plan = run(&mut again, &update, loaded, &[]).expect("as before");
        prop_assert_eq!(plan.actions.len(), 1);
    }

    #[test]
    fn torn_reads_and_others_between_the_tries_do_no_harm(
        model in models(),
        update in updates(),
        earlier in vec(updates_of(0..2_usize), 0..6),
        between in vec(updates_of(0..3_usize), 0..6),
        picks in vec(any::<prop::sample::Index>(), 32),
    ) {
        let update = only_existing(update, &model);
        let mut history = vec![model];
        for other in &earlier {
            let mut next = history.last().expect("it starts with one").clone();
            commit(&mut next, &only_existing(other.clone(), &history[0]));
            history.push(next);
        }
        // Each item comes from any moment of the history.
        let mut picks = picks.iter().cycle();
        let loaded = load(&update, &mut |key| picks.next().and_then(|pick| pick.get(&history).item(key)));
        let mut now = history.pop().expect("it starts with one");
        let between: Vec<_> = between.into_iter().map(|other| only_existing(other, &now)).collect();
        run(&mut now, &update, loaded, &between).expect("unit and departments exist");
        now.assert_invariants();
        assert_is_as_asked(&now, &update);
    }

    #[test]
    fn what_was_inconsistent_about_the_unit_is_healed(
        model in models(),
        update in updates(),
        behind in vec((0..DEPARTMENTS, proptest::option::of(proptest::option::of(0..UNITS))), 0..4),
    ) {
        // Somebody deletes or moves departments and tells no unit.
        let mut model = model;
        for (n, change) in behind {
            match change {
                None => drop(model.departments.remove(&format!("d{n}"))),
                Some(parent) => {
                    let parent = parent.map(unit_name);
                    let ancestors = parent.as_ref().map(|parent| model.ancestors_within(parent));
                    model.departments.insert(format!("d{n}"), (parent, ancestors));
                }
            }
        }
        let update = only_existing(update, &model);
        let loaded = load(&update, &mut |key| model.item(key));
        run(&mut model, &update, loaded, &[]).expect("unit and departments exist");
        assert_is_as_asked(&model, &update);
        let unit = &model.units[update.unit.as_str()];
        prop_assert_eq!(unit.num_departments, unit.departments.len());
        for id in &unit.departments {
            prop_assert_eq!(model.departments[id].0.as_deref(), Some(update.unit.as_str()));
        }
    }
}
