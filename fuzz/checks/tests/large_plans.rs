//! Properties of updates that need several transactions, on the model.

use std::collections::{BTreeMap, BTreeSet};

use checks::model::{DepartmentModel, Model, UnitModel, UserModel, assert_is_as_asked, caller, load, run};
use livechat_units::action::{Action, Transaction};
use livechat_units::auth::Caller;
use livechat_units::error::Error;
use livechat_units::id::{DepartmentId, UnitId, UserId};
use livechat_units::limits::MAX_TRANSACTION_ACTIONS;
use livechat_units::request::{ListedDepartment, Update, Visibility};
use proptest::collection::vec;
use proptest::prelude::*;

const UNITS: usize = 4;

/// Where a department or user is at first, and which updates list it. A case repeats a few of these patterns. So it can be
/// large and still shrink to a short one.
type Pattern = (u8, u8);

fn unit_id(n: usize) -> String {
    format!("u{n}")
}

fn bit(byte: u8, index: usize) -> bool {
    byte >> index & 1 == 1
}

/// A consistent model with this many departments and users. The low bits of a pattern's first byte say in which unit a
/// department is, and its bits say which units a user monitors.
fn model(departments: usize, users: usize, patterns: &[Pattern]) -> Model {
    let mut model = Model::default();
    for n in 0..UNITS {
        let monitors = (0..users).filter(|user| bit(patterns[user % patterns.len()].0, n));
        let monitors: BTreeMap<_, _> =
            monitors.map(|user| (format!("m{user}"), format!("name{user}"))).collect();
        let unit = UnitModel {
            name: "old name".into(),
            visibility: "public".into(),
            version: (n > 0).then_some(3),
            num_monitors: monitors.len(),
            monitor_items: monitors.clone(),
            monitors,
            ..UnitModel::default()
        };
        model.units.insert(unit_id(n), unit);
    }
    for n in 0..users {
        // Some monitors have a new username.
        let username = if n % 7 == 0 { format!("renamed{n}") } else { format!("name{n}") };
        model.users.insert(format!("m{n}"), UserModel { username, is_active: true, is_monitor: n % 11 != 0 });
    }
    for n in 0..departments {
        let place = usize::from(patterns[n % patterns.len()].0 % 8);
        let parent = (place < UNITS).then(|| unit_id(place));
        let ancestors = parent.as_ref().map(|parent| model.ancestors_within(parent));
        if let Some(unit) = parent.as_ref().and_then(|parent| model.units.get_mut(parent)) {
            unit.departments.insert(format!("d{n}"));
            unit.num_departments += 1;
        }
        model.departments.insert(format!("d{n}"), DepartmentModel { parent, ancestors });
    }
    model.assert_invariants();
    model
}

/// An update that lists the departments and users whose pattern has this bit.
fn update(unit: usize, departments: usize, users: usize, patterns: &[Pattern], list: usize) -> Update {
    let is_listed = |n: &usize| bit(patterns[n % patterns.len()].1, list);
    let monitors: Vec<UserId> =
        (0..users).filter(is_listed).filter_map(|n| UserId::parse(format!("m{n}"))).collect();
    Update {
        unit: UnitId::parse(unit_id(unit)).expect("an id"),
        name: format!("name of update {list}"),
        visibility: if list.is_multiple_of(2) { Visibility::Private } else { Visibility::Public },
        listed_monitors: monitors.len(),
        monitors,
        departments: (0..departments)
            .filter(is_listed)
            .map(|n| ListedDepartment::from(format!("d{n}").as_str()))
            .collect(),
    }
}

fn cases() -> impl Strategy<Value = (usize, usize, Vec<Pattern>)> {
    (0..400_usize, 0..200_usize, vec(any::<Pattern>(), 1..10))
}

/// The number of actions of the group that a transaction begins with.
fn first_group(transaction: &Transaction) -> usize {
    let Some(Action::JoinDepartment { from: Some(from), .. }) = transaction.actions.get(1) else { return 1 };
    let is_losing = |action: &Action| match action {
        Action::ShrinkUnit { id, .. } | Action::CheckUnitLacks { id, .. } => id.as_str() == from,
        _ => false,
    };
    if !transaction.actions.iter().any(is_losing) {
        return 1;
    }
    // One group may follow another from the same losing unit, so only the departments up to its action count.
    1 + transaction.actions[1..].iter().position(is_losing).expect("there is one")
}

fn joins(action: &Action) -> bool {
    matches!(action, Action::PutMonitor { .. } | Action::JoinDepartment { .. } | Action::CheckInUnit { .. })
}

fn leaves(action: &Action) -> bool {
    matches!(action, Action::DeleteMonitor { .. } | Action::LeaveDepartment { .. })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn every_transaction_leaves_consistent_data_and_the_last_completes_the_update(
        (departments, users, patterns) in cases(),
        list in 0..2_usize,
    ) {
        let model = model(departments, users, &patterns);
        let update = update(0, departments, users, &patterns, list);
        let loaded = load(&caller(), &update, &mut |key| model.item(key));
        let mut after = model.clone();
        let committed = run(&caller(), &mut after, loaded, &[], MAX_TRANSACTION_ACTIONS);
        prop_assert!(committed.result.is_ok());
        committed.states.iter().for_each(Model::assert_invariants);
        assert_is_as_asked(&after, &update);

        let transactions = &committed.transactions;
        for pair in transactions.windows(2) {
            prop_assert!(pair[0].actions.len() + first_group(&pair[1]) > MAX_TRANSACTION_ACTIONS);
        }
        // Access is taken away before it is given.
        let actions: Vec<&Action> = transactions.iter().flat_map(|transaction| &transaction.actions).collect();
        if transactions.len() > 1 {
            let first_join = actions.iter().position(|action| joins(action)).unwrap_or(usize::MAX);
            let last_leave = actions.iter().rposition(|action| leaves(action)).unwrap_or(0);
            prop_assert!(last_leave < first_join);
        }
        let units: Vec<&UnitModel> = committed.states.iter().map(|state| &state.units["u0"]).collect();
        let (last, before) = units.split_last().expect("there is a transaction");
        prop_assert_eq!(&last.visibility, update.visibility.as_str());
        // The first transaction sets `private`. The last one sets `public` and a longer name.
        let expected = if list.is_multiple_of(2) { "private" } else { "public" };
        prop_assert!(before.iter().all(|unit| unit.visibility == expected));
        prop_assert!(before.iter().all(|unit| unit.name == "old name"));
        for (count, unit) in units.iter().enumerate() {
            prop_assert_eq!(unit.version, Some(count as u64 + 1));
        }
    }

    #[test]
    fn other_updates_between_the_transactions_are_merged_or_end_with_busy(
        (departments, users, patterns) in cases(),
        others in vec((0..UNITS, 1..4_usize), 0..6),
    ) {
        let mut model = model(departments, users, &patterns);
        let update = update(0, departments, users, &patterns, 0);
        let others: Vec<Update> = others
            .into_iter()
            .map(|(unit, list)| self::update(unit, departments, users, &patterns, list))
            .collect();
        let loaded = load(&caller(), &update, &mut |key| model.item(key));
        let committed = run(&caller(), &mut model, loaded, &others, MAX_TRANSACTION_ACTIONS);
        committed.states.iter().for_each(Model::assert_invariants);
        match committed.result {
            Ok(()) => assert_is_as_asked(committed.states.last().expect("a transaction"), &update),
            Err(Error::Busy) => prop_assert!(!committed.transactions.is_empty()),
            Err(error) => prop_assert!(false, "{:?}", error),
        }
        // Without other updates, the repeated request goes on from the present state and ends.
        let loaded = load(&caller(), &update, &mut |key| model.item(key));
        prop_assert!(run(&caller(), &mut model, loaded, &[], MAX_TRANSACTION_ACTIONS).result.is_ok());
        assert_is_as_asked(&model, &update);
    }

    #[test]
    fn a_transaction_that_is_too_large_is_divided(
        (departments, users, patterns) in cases(),
        max_actions in 3..MAX_TRANSACTION_ACTIONS,
    ) {
        let mut model = model(departments, users, &patterns);
        let update = update(0, departments, users, &patterns, 0);
        let loaded = load(&caller(), &update, &mut |key| model.item(key));
        let committed = run(&caller(), &mut model, loaded, &[], max_actions);
        prop_assert!(committed.result.is_ok());
        committed.states.iter().for_each(Model::assert_invariants);
        prop_assert!(committed.transactions.iter().all(|transaction| transaction.actions.len() <= max_actions));
        assert_is_as_asked(&model, &update);
    }

    #[test]
    fn a_restricted_caller_leaves_with_the_last_transaction(
        (departments, users, patterns) in cases(),
    ) {
        let mut model = model(departments, users, &patterns);
        let unit = model.units.get_mut("u0").expect("it exists");
        unit.monitors.insert("caller".into(), "caller".into());
        unit.monitor_items.insert("caller".into(), "caller".into());
        unit.num_monitors += 1;
        let id = UserId::parse("caller").expect("an id");
        let caller = Caller { is_restricted: true, id, ..caller() };
        let update = update(0, departments, users, &patterns, 0);
        let loaded = load(&caller, &update, &mut |key| model.item(key));
        let committed = run(&caller, &mut model, loaded, &[], MAX_TRANSACTION_ACTIONS);
        prop_assert!(committed.result.is_ok());
        assert_is_as_asked(&model, &update);
        let states = &committed.states;
        prop_assert!(
            states[..states.len() - 1].iter().all(|state| state.units["u0"].monitors.contains_key("caller"))
        );
    }
}

/// A unit that would be too large after one of the transactions is refused before anything is written.
#[test]
fn a_unit_that_would_outgrow_its_item_is_refused_at_once() {
    let mut model = Model::default();
    model.units.insert("u0".into(), UnitModel::default());
    let ids: Vec<String> = (0..1_000).map(|n| format!("{n:0>500}")).collect();
    for id in &ids {
        model.departments.insert(id.clone(), DepartmentModel::default());
    }
    let update = Update {
        unit: UnitId::parse("u0").expect("an id"),
        name: "name".into(),
        visibility: Visibility::Public,
        listed_monitors: 0,
        monitors: Vec::new(),
        departments: ids.iter().map(|id| ListedDepartment::from(id.as_str())).collect(),
    };
    let loaded = load(&caller(), &update, &mut |key| model.item(key));
    let committed = run(&caller(), &mut model, loaded, &[], MAX_TRANSACTION_ACTIONS);
    assert!(matches!(committed.result, Err(Error::UnitTooLarge)), "{:?}", committed.result);
    assert!(committed.transactions.is_empty());
    let distinct: BTreeSet<&DepartmentId> = update.possible_departments().collect();
    assert_eq!(distinct.len(), 1_000);
}
