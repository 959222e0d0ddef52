//! Properties of random plans on the model.

use std::collections::{BTreeMap, BTreeSet};

use checks::model::{
    DepartmentModel, Model, UnitModel, UserModel, assert_is_as_asked, caller, commit, load, run,
};
use livechat_units::id::{DepartmentId, UnitId, UserId};
use livechat_units::item::Key;
use livechat_units::limits::MAX_TRANSACTION_ACTIONS;
use livechat_units::request::{ListedDepartment, Update, Visibility};
use proptest::collection::{btree_set, vec};
use proptest::prelude::*;

const UNITS: usize = 4;
const DEPARTMENTS: usize = 8;
const USERS: usize = 6;

/// The number of changes between two models: the unit, monitors, departments and losing units.
fn changes(before: &Model, after: &Model, unit: &str) -> usize {
    let (old, new) = (&before.units[unit].monitor_items, &after.units[unit].monitor_items);
    let ids: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let monitors = ids.iter().filter(|id| old.get(**id) != new.get(**id)).count();
    let departments =
        after.departments.iter().filter(|(id, now)| before.departments.get(*id) != Some(now)).count();
    let others =
        after.units.iter().filter(|(id, now)| *id != unit && before.units.get(*id) != Some(now)).count();
    1 + monitors + departments + others
}

fn unit_id(n: usize) -> String {
    format!("u{n}")
}

prop_compose! {
    /// Any model in which the invariants hold.
    fn models()(
        users in vec((any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>()), USERS),
        parents in vec(proptest::option::weighted(0.9, proptest::option::of(0..UNITS)), DEPARTMENTS),
        units in vec((proptest::option::of(0..3_u64), any::<bool>(), btree_set(0..USERS, 0..USERS)), UNITS),
    ) -> Model {
        let mut model = Model::default();
        for (n, (exists, is_active, is_monitor, renamed)) in users.into_iter().enumerate() {
            let username = if renamed { format!("renamed{n}") } else { format!("name{n}") };
            if exists {
                model.users.insert(format!("m{n}"), UserModel { username, is_active, is_monitor });
            }
        }
        for (n, (version, has_ancestors, monitors)) in units.into_iter().enumerate() {
            let monitors: BTreeMap<_, _> = monitors.into_iter().map(|m| (format!("m{m}"), format!("name{m}"))).collect();
            model.units.insert(unit_id(n), UnitModel {
                version,
                ancestors: if has_ancestors { vec!["above".into()] } else { vec![] },
                num_monitors: monitors.len(),
                monitor_items: monitors.clone(),
                monitors,
                ..UnitModel::default()
            });
        }
        for (n, parent) in parents.into_iter().enumerate() {
            let id = format!("d{n}");
            let Some(parent) = parent else { continue };
            let parent = parent.map(unit_id);
            let ancestors = parent.as_ref().map(|parent| model.ancestors_within(parent));
            if let Some(unit) = parent.as_ref().and_then(|parent| model.units.get_mut(parent)) {
                unit.departments.insert(id.clone());
                unit.num_departments += 1;
            }
            model.departments.insert(id, DepartmentModel { parent, ancestors });
        }
        model.assert_invariants();
        model
    }
}

fn updates_of(unit: impl Strategy<Value = usize>) -> impl Strategy<Value = Update> {
    let lists = (btree_set(0..USERS, 0..USERS), btree_set(0..DEPARTMENTS, 0..DEPARTMENTS));
    (unit, lists).prop_map(|(unit, (monitors, departments))| Update {
        unit: UnitId::parse(unit_id(unit)).expect("an id"),
        name: "name".into(),
        visibility: Visibility::Public,
        listed_monitors: monitors.len(),
        monitors: monitors.into_iter().filter_map(|n| UserId::parse(format!("m{n}"))).collect(),
        departments: departments
            .into_iter()
            .map(|n| ListedDepartment::from(format!("d{n}").as_str()))
            .collect(),
    })
}

fn updates() -> impl Strategy<Value = Update> {
    updates_of(0..UNITS)
}

/// Removes departments that do not exist, so that row 10 of the contract does not end most cases.
fn with_existing_departments(mut update: Update, model: &Model) -> Update {
    update.departments.retain(|id| model.departments.contains_key(id.as_str()));
    update
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_plan_does_what_was_asked_and_no_more(model in models(), update in updates()) {
        let update = with_existing_departments(update, &model);
        let loaded = load(&caller(), &update, &mut |key| model.item(key));
        let mut after = model.clone();
        let committed = run(&caller(), &mut after, loaded, &[], MAX_TRANSACTION_ACTIONS);
        committed.result.expect("unit and departments exist");
        after.assert_invariants();
        assert_is_as_asked(&after, &update);
        let [transaction] = &committed.transactions[..] else { panic!("{} transactions", committed.transactions.len()) };
        prop_assert_eq!(transaction.actions.len(), changes(&model, &after, update.unit.as_str()));

        // The same update once more changes only the version.
        let mut again = after.clone();
        let loaded = load(&caller(), &update, &mut |key| again.item(key));
        let committed = run(&caller(), &mut again, loaded, &[], MAX_TRANSACTION_ACTIONS);
        committed.result.expect("as before");
        prop_assert_eq!(committed.transactions.len(), 1);
        prop_assert_eq!(committed.transactions[0].actions.len(), 1);
    }

    #[test]
    fn plans_stay_correct_when_other_updates_come_between(
        model in models(),
        update in updates(),
        earlier in vec(updates_of(0..2_usize), 0..6),
        between in vec(updates_of(0..3_usize), 0..6),
        picks in vec(any::<prop::sample::Index>(), 32),
    ) {
        let update = with_existing_departments(update, &model);
        let mut history = vec![model];
        for other in &earlier {
            let mut next = history.last().expect("it starts with one").clone();
            commit(&mut next, &with_existing_departments(other.clone(), &history[0]));
            history.push(next);
        }
        // Each item is read at a random moment of the history.
        let mut picks = picks.iter().cycle();
        let loaded = load(&caller(), &update, &mut |key| picks.next().and_then(|pick| pick.get(&history).item(key)));
        let mut now = history.pop().expect("it starts with one");
        let between: Vec<_> = between.into_iter().map(|other| with_existing_departments(other, &now)).collect();
        run(&caller(), &mut now, loaded, &between, MAX_TRANSACTION_ACTIONS).result.expect("unit and departments exist");
        now.assert_invariants();
        assert_is_as_asked(&now, &update);
    }

    #[test]
    fn inconsistent_departments_of_the_unit_are_corrected(
        model in models(),
        update in updates(),
        changes in vec((0..DEPARTMENTS, proptest::option::of(proptest::option::of(0..UNITS))), 0..4),
    ) {
        // Another program deletes or moves departments without changing the units.
        let mut model = model;
        for (n, change) in changes {
            match change {
                None => drop(model.departments.remove(&format!("d{n}"))),
                Some(parent) => {
                    let parent = parent.map(unit_id);
                    let ancestors = parent.as_ref().map(|parent| model.ancestors_within(parent));
                    model.departments.insert(format!("d{n}"), DepartmentModel { parent, ancestors });
                }
            }
        }
        let update = with_existing_departments(update, &model);
        let loaded = load(&caller(), &update, &mut |key| model.item(key));
        run(&caller(), &mut model, loaded, &[], MAX_TRANSACTION_ACTIONS).result.expect("unit and departments exist");
        assert_is_as_asked(&model, &update);
        let unit = &model.units[update.unit.as_str()];
        prop_assert_eq!(unit.num_departments, unit.departments.len());
        for id in &unit.departments {
            prop_assert_eq!(model.departments[id].parent.as_deref(), Some(update.unit.as_str()));
        }
    }
}

/// Some departments are in units that do not list them, and some departments in the unit's list do not exist. The function
/// learns each of these facts from one refused transaction, and must not forget it at the next one.
#[test]
fn items_from_a_refused_transaction_are_kept_after_the_next() {
    let names = |prefix: &str| (0..3).map(|n| format!("{prefix}{n}")).collect::<Vec<_>>();
    let mut model = Model::default();
    let listed = names("gone").into_iter().collect::<BTreeSet<_>>();
    let unit = UnitModel { num_departments: 3, departments: listed, ..UnitModel::default() };
    model.units.insert("u".into(), unit);
    for (department, unit) in names("d").into_iter().zip(names("other")) {
        let parent = Some(unit.clone());
        model.departments.insert(department, DepartmentModel { parent, ancestors: None });
        model.units.insert(unit, UnitModel::default());
    }
    let update = Update {
        unit: UnitId::parse("u").expect("an id"),
        name: "name".into(),
        visibility: Visibility::Public,
        listed_monitors: 0,
        monitors: Vec::new(),
        departments: names("d").iter().map(|id| ListedDepartment::from(id.as_str())).collect(),
    };
    let unlisted_items = [Key::Unit(UnitId::parse("other0").expect("an id"))];
    let unlisted_items = unlisted_items.into_iter().chain(DepartmentId::parse("gone0").map(Key::Department));
    for known in unlisted_items {
        let mut loaded = load(&caller(), &update, &mut |key| model.item(key));
        let item = model.item(&known);
        loaded.store_item(known, item);
        let mut after = model.clone();
        run(&caller(), &mut after, loaded, &[], MAX_TRANSACTION_ACTIONS)
            .result
            .expect("unit and departments exist");
        assert_is_as_asked(&after, &update);
    }
}
