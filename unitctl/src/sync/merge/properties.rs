//! What holds for every merge of a unit.

use std::collections::BTreeSet;

use livechat_units::id::{UnitId, UserId};
use livechat_units::request::Visibility;
use proptest::prelude::*;

use super::tests::config;
use super::*;
use crate::sync::base::{UnitBase, UnitDelta, UnitIntent};
use crate::sync::model::{Side, UnitFacts, UnitView};

#[derive(Clone, Debug)]
struct Case {
    base: Option<UnitBase>,
    mongodb: UnitView,
    dynamodb: UnitView,
    no_base: NoBase,
    cannot_monitor: BTreeSet<UserId>,
}

impl Case {
    fn merge(&self) -> UnitMerge {
        let input = UnitInput {
            base: self.base.as_ref(),
            mongodb: &self.mongodb,
            dynamodb: &self.dynamodb,
            no_base: self.no_base,
            cannot_monitor: &self.cannot_monitor,
        };
        merge_unit(&unit_id(), &input)
    }

    /// The case after these changes, with the base that the sync stores then.
    fn after(&self, base: UnitFacts, to_mongodb: &UnitDelta, to_dynamodb: &UnitDelta) -> Self {
        let write = |view: &UnitView, delta: &UnitDelta| match delta.is_empty() {
            true => view.clone(),
            false => UnitView { facts: view.facts.with(delta), updated_at: delta.updated_at.clone() },
        };
        Self {
            base: Some(UnitBase::new(unit_id(), base)),
            mongodb: write(&self.mongodb, to_mongodb),
            dynamodb: write(&self.dynamodb, to_dynamodb),
            ..self.clone()
        }
    }
}

fn unit_id() -> UnitId {
    UnitId::parse("unit").expect("an id")
}

fn users() -> impl Strategy<Value = BTreeSet<UserId>> {
    let user = (0..4).prop_map(|index| UserId::parse(format!("user{index}")).expect("an id"));
    prop::collection::btree_set(user, 0..4)
}

fn name() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["A".to_owned(), "B".into(), "C".into()])
}

fn visibility() -> impl Strategy<Value = Visibility> {
    prop::sample::select(vec![Visibility::Public, Visibility::Private])
}

fn facts() -> impl Strategy<Value = UnitFacts> {
    (name(), visibility(), users()).prop_map(|(name, visibility, monitors)| UnitFacts {
        name,
        visibility,
        monitors,
    })
}

fn time() -> impl Strategy<Value = String> {
    (0..4).prop_map(|second| format!("2026-01-01T00:00:0{second}.000Z"))
}

fn view() -> impl Strategy<Value = UnitView> {
    (facts(), time()).prop_map(|(facts, updated_at)| UnitView { facts, updated_at })
}

fn intent() -> impl Strategy<Value = UnitIntent> {
    (prop::option::of(name()), prop::option::of(visibility()), users(), users(), time(), time()).prop_map(
        |(name, visibility, join, leave, updated_at, seen)| {
            let leave = &leave - &join;
            UnitIntent { delta: UnitDelta { name, visibility, join, leave, updated_at }, seen }
        },
    )
}

fn cases() -> impl Strategy<Value = Case> {
    let base = prop::option::weighted(0.8, (facts(), prop::option::of(intent())));
    let no_base = prop::sample::select(vec![
        NoBase::AsImported,
        NoBase::Later,
        NoBase::Prefer(Side::MongoDb),
        NoBase::Prefer(Side::DynamoDb),
    ]);
    (base, view(), view(), no_base, users()).prop_map(|(base, mongodb, dynamodb, no_base, cannot_monitor)| {
        let base = base.map(|(facts, intent)| UnitBase { intent, ..UnitBase::new(unit_id(), facts) });
        Case { base, mongodb, dynamodb, no_base, cannot_monitor }
    })
}

/// Every fact of a unit, with its value.
fn values(facts: &UnitFacts) -> Vec<Fact> {
    let mut values = vec![Fact::Name(facts.name.clone()), Fact::Visibility(facts.visibility)];
    values.extend((0..4).map(|index| {
        let user = UserId::parse(format!("user{index}")).expect("an id");
        let is_monitor = facts.monitors.contains(&user);
        Fact::Monitor(user, is_monitor)
    }));
    values
}

/// The users who monitor the unit in MongoDB alone, because they can't in DynamoDB.
fn open_users(merge: &UnitMerge) -> BTreeSet<UserId> {
    let users = merge.open.iter().map(|open| match &open.fact {
        Fact::Monitor(user, true) => user.clone(),
        other => panic!("{other} can't be open"),
    });
    users.collect()
}

proptest! {
    #![proptest_config(config(1000))]

    #[test]
    fn after_both_changes_both_sides_and_the_base_are_equal_except_for_open_facts(case in cases()) {
        let merge = case.merge();
        let after = case.after(merge.after(), &merge.to_mongodb, &merge.to_dynamodb);
        prop_assert_eq!(&after.mongodb.facts, &merge.target);
        let without_open =
            UnitFacts { monitors: &merge.target.monitors - &open_users(&merge), ..merge.target.clone() };
        prop_assert_eq!(&after.dynamodb.facts, &without_open);
        prop_assert_eq!(&merge.after(), &without_open);

        let again = after.merge();
        prop_assert!(again.is_empty());
        prop_assert_eq!((&again.before, &again.target), (&without_open, &merge.target));
        prop_assert_eq!((&again.open, again.overwritten.len()), (&merge.open, 0));
    }

    #[test]
    fn if_nothing_was_written_the_same_is_decided_again_and_no_loss_is_named_twice(case in cases()) {
        let merge = case.merge();
        let nothing = UnitDelta::default();
        let again = case.after(merge.before.clone(), &nothing, &nothing).merge();
        prop_assert_eq!(again, UnitMerge { overwritten: vec![], ..merge });
    }

    #[test]
    fn changes_in_parts_lead_to_the_same_target(case in cases()) {
        let target = case.merge().target;
        let mut case = case;
        for round in 0.. {
            prop_assert!(round < 10, "never done");
            let merge = case.merge();
            prop_assert_eq!(&merge.target, &target);
            prop_assert!(round == 0 || merge.overwritten.is_empty(), "named again: {:?}", merge.overwritten);
            if merge.is_empty() {
                break;
            }
            let (to_mongodb, to_dynamodb) = (merge.to_mongodb.first(1), merge.to_dynamodb.first(1));
            let base = merge.before.with(&to_mongodb).with(&to_dynamodb);
            case = case.after(base, &to_mongodb, &to_dynamodb);
        }
    }

    #[test]
    fn no_change_is_overwritten_without_being_named_and_nothing_else_is_named(mut case in cases()) {
        // Intents are settled by examples and by the model.
        if let Some(base) = &mut case.base {
            base.intent = None;
        }
        let merge = case.merge();
        let base = match (&case.base, case.no_base) {
            (Some(base), _) => Some(&base.facts),
            (None, NoBase::AsImported) => Some(&case.dynamodb.facts),
            (None, _) => None,
        };
        let sides = [
            (Side::MongoDb, &case.mongodb.facts, &merge.to_mongodb),
            (Side::DynamoDb, &case.dynamodb.facts, &merge.to_dynamodb),
        ];
        let mut expected = Vec::new();
        for (side, facts, delta) in sides {
            let bases = base.map(values);
            for (index, (old, new)) in values(facts).into_iter().zip(values(&facts.with(delta))).enumerate() {
                let is_change = bases.as_ref().is_none_or(|bases| bases[index] != old);
                if old != new && is_change {
                    expected.push((side, old, new));
                }
            }
        }
        let named: Vec<_> = merge
            .overwritten
            .iter()
            .map(|change| (change.side, change.overwritten.clone(), change.kept.clone()))
            .collect();
        prop_assert_eq!(expected.len(), named.len());
        prop_assert!(expected.iter().all(|expected| named.contains(expected)), "{expected:?}, but {named:?}");
    }

    #[test]
    fn a_monitor_who_could_not_be_carried_is_not_removed_and_is_carried_later(case in cases()) {
        let merge = case.merge();
        prop_assert!(merge.to_mongodb.leave.is_disjoint(&case.cannot_monitor));
        prop_assert!(merge.to_dynamodb.join.is_disjoint(&case.cannot_monitor));

        // They can be monitors from now on.
        let mut later = case.after(merge.after(), &merge.to_mongodb, &merge.to_dynamodb);
        later.cannot_monitor.clear();
        let later = later.merge();
        prop_assert_eq!(&later.to_dynamodb.join, &open_users(&merge));
        prop_assert!(later.to_mongodb.is_empty() && later.overwritten.is_empty() && later.open.is_empty());
    }

    #[test]
    fn times_never_go_back_and_a_write_to_mongodb_is_known_by_its_time(case in cases()) {
        let merge = case.merge();
        prop_assert!(merge.to_dynamodb.updated_at >= case.dynamodb.updated_at);
        prop_assert!(merge.to_mongodb.updated_at > case.mongodb.updated_at);
        let intent = UnitIntent::new(&merge.to_mongodb, &case.mongodb);
        let base = UnitBase { intent: Some(intent), ..UnitBase::new(unit_id(), merge.before.clone()) };
        let fence = base.fence(&case.mongodb);
        prop_assert!(fence.is_some_and(|fence| fence != merge.to_mongodb.updated_at));
        let written = case.after(merge.after(), &merge.to_mongodb, &UnitDelta::default()).mongodb;
        prop_assert_eq!(base.fence(&written).is_some(), merge.to_mongodb.is_empty());
    }
}
