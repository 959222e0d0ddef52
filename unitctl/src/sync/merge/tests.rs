//! Each rule of the merge, by example.

use livechat_units::id::{DepartmentId, UnitId};

use super::*;
use crate::sync::base::{DepartmentBase, PlaceIntent, UnitIntent};
use crate::sync::model::PlaceView;

const EARLY: &str = "2026-01-01T10:00:00.000Z";
const LATE: &str = "2026-01-01T11:00:00.000Z";
/// What a write to MongoDB sets if the winner's time is not later than the one that MongoDB has.
const JUST_AFTER_LATE: &str = "2026-01-01T11:00:00.002Z";

fn user(id: &str) -> UserId {
    UserId::parse(id).unwrap()
}

fn users(ids: &[&str]) -> BTreeSet<UserId> {
    ids.iter().map(|id| user(id)).collect()
}

fn unit_id() -> UnitId {
    UnitId::parse("u1").unwrap()
}

fn unit_in(id: &str) -> Place {
    Some(UnitId::parse(id).unwrap())
}

fn facts(name: &str, monitors: &[&str]) -> UnitFacts {
    UnitFacts { name: name.into(), visibility: Visibility::Public, monitors: users(monitors) }
}

fn private(name: &str, monitors: &[&str]) -> UnitFacts {
    UnitFacts { visibility: Visibility::Private, ..facts(name, monitors) }
}

fn view(facts: UnitFacts, updated_at: &str) -> UnitView {
    UnitView { facts, updated_at: updated_at.into() }
}

fn base(facts: UnitFacts) -> UnitBase {
    UnitBase { rev: 3, ..UnitBase::new(unit_id(), facts) }
}

fn merge_with(
    base: Option<&UnitBase>,
    mongodb: &UnitView,
    dynamodb: &UnitView,
    no_base: NoBase,
) -> UnitMerge {
    let cannot_monitor = &users(&["nobody"]);
    merge_unit(&unit_id(), &UnitInput { base, mongodb, dynamodb, no_base, cannot_monitor })
}

fn merge(base: &UnitBase, mongodb: &UnitView, dynamodb: &UnitView) -> UnitMerge {
    merge_with(Some(base), mongodb, dynamodb, NoBase::Later)
}

fn sentences(lost: &[Lost]) -> Vec<String> {
    lost.iter().map(Lost::to_string).collect()
}

#[test]
fn without_a_difference_there_is_nothing_to_do() {
    let base = base(facts("A", &["ann"]));
    let merge = merge(&base, &view(facts("A", &["ann"]), EARLY), &view(facts("A", &["ann"]), LATE));
    assert!(merge.is_empty(), "a different time is no difference");
    assert_eq!((&merge.target, &merge.before, merge.after()), (&base.facts, &base.facts, base.facts.clone()));
}

#[test]
fn if_only_one_side_differs_from_the_base_the_other_side_gets_the_change() {
    let base = base(facts("A", &["ann", "bob"]));
    let changed = private("B", &["bob", "cid"]);
    let delta = UnitDelta {
        name: Some("B".into()),
        visibility: Some(Visibility::Private),
        join: users(&["cid"]),
        leave: users(&["ann"]),
        updated_at: LATE.into(),
    };

    // The times don't matter for this.
    let from_mongodb = merge(&base, &view(changed.clone(), EARLY), &view(base.facts.clone(), LATE));
    assert_eq!(from_mongodb.to_dynamodb, delta);
    assert!(from_mongodb.to_mongodb.is_empty());
    let from_dynamodb = merge(&base, &view(base.facts.clone(), EARLY), &view(changed.clone(), LATE));
    assert_eq!(from_dynamodb.to_mongodb, delta);
    assert!(from_dynamodb.to_dynamodb.is_empty());
    for merge in [from_mongodb, from_dynamodb] {
        assert_eq!((&merge.target, &merge.before, &merge.after()), (&changed, &base.facts, &changed));
        assert_eq!((merge.lost, merge.open), (vec![], vec![]));
    }
}

#[test]
fn changes_of_different_facts_are_both_kept() {
    let base = base(facts("A", &["ann", "bob"]));
    let merge =
        merge(&base, &view(facts("B", &["ann"]), LATE), &view(private("A", &["ann", "bob", "cid"]), EARLY));
    assert_eq!(merge.target, private("B", &["ann", "cid"]));
    assert_eq!((&merge.before, merge.after()), (&base.facts, merge.target.clone()));
    assert_eq!((merge.to_dynamodb.name, merge.to_dynamodb.leave), (Some("B".into()), users(&["bob"])));
    assert_eq!(merge.to_mongodb.visibility, Some(Visibility::Private));
    assert_eq!(merge.to_mongodb.join, users(&["cid"]));
    assert_eq!(merge.lost, vec![]);
}

#[test]
fn if_both_sides_changed_a_fact_to_different_values_the_later_one_counts_and_the_other_is_named() {
    let base = base(facts("A", &[]));
    let (one, other) = (facts("B", &[]), facts("C", &[]));
    let mongodb_later = merge(&base, &view(one.clone(), LATE), &view(other.clone(), EARLY));
    assert_eq!(mongodb_later.to_dynamodb.name.as_deref(), Some("B"));
    assert_eq!(mongodb_later.to_dynamodb.updated_at, LATE);
    assert!(mongodb_later.to_mongodb.is_empty());
    let expected =
        r#"unit u1: DynamoDB had the name "C"; this is overwritten, since MongoDB has the name "B""#;
    assert_eq!(sentences(&mongodb_later.lost), [expected]);
    assert_eq!((&mongodb_later.before, &mongodb_later.after()), (&other, &one));

    let dynamodb_later = merge(&base, &view(one.clone(), EARLY), &view(other.clone(), LATE));
    assert_eq!(dynamodb_later.to_mongodb.name.as_deref(), Some("C"));
    assert_eq!(dynamodb_later.to_mongodb.updated_at, LATE);
    assert!(dynamodb_later.to_dynamodb.is_empty());
    let expected =
        r#"unit u1: MongoDB had the name "B"; this is overwritten, since DynamoDB has the name "C""#;
    assert_eq!(sentences(&dynamodb_later.lost), [expected]);
    assert_eq!((&dynamodb_later.before, &dynamodb_later.after()), (&one, &other));
}

#[test]
fn equal_times_go_to_mongodb() {
    let merge = merge(&base(facts("A", &[])), &view(facts("B", &[]), LATE), &view(facts("C", &[]), LATE));
    assert_eq!(merge.target.name, "B");
    assert_eq!(merge.lost.len(), 1);
}

#[test]
fn if_both_sides_changed_a_fact_to_the_same_value_it_is_the_base() {
    let changed = private("B", &["bob"]);
    let merge =
        merge(&base(facts("A", &["ann"])), &view(changed.clone(), LATE), &view(changed.clone(), EARLY));
    assert!(merge.is_empty());
    assert_eq!((merge.before, merge.lost), (changed, vec![]));
}

#[test]
fn mongodb_never_gets_an_earlier_time_nor_the_one_that_it_has() {
    let base = base(facts("A", &[]));
    for time in [EARLY, LATE] {
        let merge = merge(&base, &view(facts("A", &["ann"]), LATE), &view(facts("B", &[]), time));
        assert_eq!(merge.to_mongodb.updated_at, JUST_AFTER_LATE);
        assert_eq!(merge.to_dynamodb.updated_at, LATE);
    }
}

#[test]
fn a_monitor_whom_dynamodb_cannot_have_stays_open_and_is_never_removed() {
    let bases = [facts("A", &["nobody"]), facts("A", &[])];
    let (with, without) = (view(facts("A", &["nobody"]), EARLY), view(facts("A", &[]), LATE));
    for facts in bases {
        let merge = merge(&base(facts), &with, &without);
        assert!(merge.is_empty());
        assert_eq!(merge.target.monitors, users(&["nobody"]));
        assert_eq!(merge.before.monitors, users(&[]), "so that the user joins as soon as it is possible");
        let sentence = "unit u1: MongoDB has user nobody as a monitor; DynamoDB can't have this, since that user is no \
                        monitor there";
        assert_eq!(merge.open.iter().map(OpenFact::to_string).collect::<Vec<_>>(), [sentence]);
    }
    for no_base in [NoBase::AsImported, NoBase::Later, NoBase::Prefer(Side::DynamoDb)] {
        let merge = merge_with(None, &with, &without, no_base);
        assert_eq!((merge.is_empty(), merge.open.len(), merge.lost.len()), (true, 1, 0), "{no_base:?}");
    }
}

#[test]
fn a_monitor_whom_dynamodb_has_although_it_cannot_have_new_ones_is_no_open_fact() {
    let (with, without) = (facts("A", &["nobody"]), facts("A", &[]));
    let equal = merge(&base(with.clone()), &view(with.clone(), EARLY), &view(with.clone(), EARLY));
    assert_eq!((equal.is_empty(), equal.before, equal.open), (true, with.clone(), vec![]));
    let removed = merge(&base(with.clone()), &view(without.clone(), LATE), &view(with.clone(), EARLY));
    assert_eq!(removed.to_dynamodb.leave, users(&["nobody"]));
    let added = merge(&base(without.clone()), &view(without, LATE), &view(with, EARLY));
    assert_eq!(added.to_mongodb.join, users(&["nobody"]));
}

#[test]
fn a_unit_that_is_too_large_for_new_monitors_gets_the_rest_of_the_change() {
    let old = facts("A", &["ann"]);
    let merge = merge(&base(old.clone()), &view(facts("B", &["bob"]), LATE), &view(old, EARLY))
        .without_joins(&Subject::Unit(unit_id()));
    assert_eq!(merge.to_dynamodb.name.as_deref(), Some("B"));
    assert_eq!((&merge.to_dynamodb.join, &merge.to_dynamodb.leave), (&users(&[]), &users(&["ann"])));
    assert_eq!(merge.after(), facts("B", &[]));
    assert_eq!(merge.target.monitors, users(&["bob"]));
    let sentence = "unit u1: MongoDB has user bob as a monitor; DynamoDB can't have this, since the unit would be too \
                    large for an item";
    assert_eq!(merge.open[0].to_string(), sentence);
}

#[test]
fn monitors_whom_a_write_to_dynamodb_leaves_out_are_not_in_the_base() {
    let old = facts("A", &["nobody"]);
    let merge = merge(&base(old.clone()), &view(facts("B", &["nobody"]), LATE), &view(old, EARLY));
    let base = merge.after_dynamodb(&merge.to_dynamodb, &users(&["nobody"]));
    assert_eq!(base, facts("B", &[]));
}

#[test]
fn without_a_base_equal_sides_are_the_base() {
    let both = private("A", &["ann"]);
    let merge = merge_with(None, &view(both.clone(), EARLY), &view(both.clone(), LATE), NoBase::Later);
    assert_eq!((merge.is_empty(), merge.before, merge.lost), (true, both, vec![]));
}

#[test]
fn without_a_base_a_unit_that_is_as_imported_gets_mongodbs_changes() {
    let (imported, now) = (facts("A", &["ann"]), private("B", &["bob"]));
    let merge =
        merge_with(None, &view(now.clone(), EARLY), &view(imported.clone(), LATE), NoBase::AsImported);
    assert_eq!((merge.to_mongodb.is_empty(), &merge.target, &merge.lost), (true, &now, &vec![]));
    assert_eq!((merge.before.clone(), merge.after()), (imported, now));
}

#[test]
fn without_a_base_a_unit_is_taken_whole_from_the_later_side_and_each_discarded_fact_is_named() {
    let (one, other) = (facts("A", &["ann", "bob"]), private("B", &["bob", "cid"]));
    let later = merge_with(None, &view(one.clone(), EARLY), &view(other.clone(), LATE), NoBase::Later);
    assert_eq!((later.target, later.to_dynamodb.is_empty()), (other.clone(), true));
    assert_eq!(
        sentences(&later.lost),
        [
            r#"unit u1: MongoDB had the name "A"; this is overwritten, since DynamoDB has the name "B""#,
            "unit u1: MongoDB had the visibility public; this is overwritten, since DynamoDB has the visibility private",
            "unit u1: MongoDB had user ann as a monitor; this is overwritten, since DynamoDB has user ann not as a monitor",
            "unit u1: MongoDB had user cid not as a monitor; this is overwritten, since DynamoDB has user cid as a monitor",
        ]
    );
    let equal_times = merge_with(None, &view(one.clone(), LATE), &view(other.clone(), LATE), NoBase::Later);
    assert_eq!((equal_times.target, equal_times.lost.len()), (one.clone(), 4));
    for (side, target) in [(Side::MongoDb, &one), (Side::DynamoDb, &other)] {
        let (one, other) = (view(one.clone(), EARLY), view(other.clone(), LATE));
        let preferred = merge_with(None, &one, &other, NoBase::Prefer(side));
        assert_eq!((&preferred.target, preferred.lost.len()), (target, 4));
    }
}

#[test]
fn with_a_base_the_operators_preference_does_not_count() {
    let base = base(facts("A", &[]));
    let (one, other) = (view(facts("B", &[]), LATE), view(facts("C", &[]), EARLY));
    let merge = merge_with(Some(&base), &one, &other, NoBase::Prefer(Side::DynamoDb));
    assert_eq!(merge.target.name, "B");
}

/// A base with the intent to give MongoDB's unit the name "B" and the monitor ann.
fn intended() -> UnitBase {
    let delta = UnitDelta {
        name: Some("B".into()),
        join: users(&["ann"]),
        updated_at: LATE.into(),
        ..UnitDelta::default()
    };
    let seen = view(facts("A", &[]), EARLY);
    UnitBase { intent: Some(UnitIntent::new(&delta, &seen)), ..base(facts("A", &[])) }
}

#[test]
fn a_committed_intent_is_the_base_although_it_was_undone_meanwhile() {
    // DynamoDB has its old name again, and a monitor's row was removed without a change of the unit's document.
    let merge = merge(&intended(), &view(facts("B", &[]), LATE), &view(facts("A", &["ann"]), LATE));
    assert_eq!(merge.to_mongodb.name.as_deref(), Some("A"));
    assert_eq!(merge.to_dynamodb.leave, users(&["ann"]));
    assert_eq!((merge.target.clone(), merge.lost), (facts("A", &[]), vec![]));
}

#[test]
fn an_intent_that_was_not_committed_is_not_the_base() {
    let fence = intended().fence(&view(facts("A", &[]), EARLY)).unwrap();
    for time in [EARLY, &fence] {
        let merge = merge(&intended(), &view(facts("A", &[]), time), &view(facts("B", &["ann"]), LATE));
        assert_eq!((merge.to_mongodb.name.as_deref(), merge.to_mongodb.join), (Some("B"), users(&["ann"])));
        assert_eq!(merge.lost, vec![]);
    }
}

#[test]
fn if_it_is_unknown_whether_an_intent_was_committed_both_sides_count_as_changed() {
    let later = "2026-01-01T12:00:00.000Z";
    let (mongodb, dynamodb) = (private("A", &[]), facts("B", &["ann"]));
    let merge = merge(&intended(), &view(mongodb.clone(), later), &view(dynamodb, LATE));
    assert_eq!(merge.target, mongodb);
    assert_eq!(
        sentences(&merge.lost),
        [
            r#"unit u1: DynamoDB had the name "B"; this is overwritten, since MongoDB has the name "A""#,
            "unit u1: DynamoDB had user ann as a monitor; this is overwritten, since MongoDB has user ann not as a monitor",
        ],
        "the visibility was not intended, so its base is known"
    );
}

fn department_id() -> DepartmentId {
    DepartmentId::parse("d1").unwrap()
}

fn in_unit(id: &str, updated_at: &str) -> PlaceView {
    PlaceView { place: unit_in(id), updated_at: updated_at.into() }
}

fn in_no_unit(updated_at: &str) -> PlaceView {
    PlaceView { place: None, updated_at: updated_at.into() }
}

fn department_base(place: Place) -> DepartmentBase {
    DepartmentBase::new(department_id(), place)
}

fn place(base: Option<&DepartmentBase>, mongodb: &PlaceView, dynamodb: &PlaceView) -> PlaceMerge {
    merge_place(&department_id(), base, mongodb, dynamodb, NoBase::Later)
}

#[test]
fn a_department_follows_the_side_that_moved_it() {
    let base = department_base(unit_in("u1"));
    let equal = place(Some(&base), &in_unit("u1", EARLY), &in_unit("u1", LATE));
    assert_eq!((equal.write_to, equal.before), (None, unit_in("u1")));

    let moved = place(Some(&base), &in_unit("u2", EARLY), &in_unit("u1", LATE));
    assert_eq!((moved.target, moved.before), (unit_in("u2"), unit_in("u1")));
    assert_eq!((moved.write_to, moved.updated_at.as_str()), (Some(Side::DynamoDb), LATE));
    assert_eq!(moved.lost, None);

    let removed = place(Some(&base), &in_unit("u1", LATE), &in_no_unit(EARLY));
    assert_eq!((removed.target, removed.before), (None, unit_in("u1")));
    assert_eq!((removed.write_to, removed.updated_at.as_str()), (Some(Side::MongoDb), JUST_AFTER_LATE));

    let both = place(Some(&base), &in_unit("u2", LATE), &in_unit("u2", EARLY));
    assert_eq!((both.write_to, both.before, both.lost), (None, unit_in("u2"), None));
}

#[test]
fn a_department_that_both_sides_moved_follows_the_later_one() {
    let base = department_base(unit_in("u1"));
    let later = place(Some(&base), &in_no_unit(EARLY), &in_unit("u2", LATE));
    assert_eq!((later.write_to, later.target, later.before), (Some(Side::MongoDb), unit_in("u2"), None));
    assert_eq!(later.updated_at, LATE);
    let sentence = "department d1: MongoDB had the department in no unit; this is overwritten, since DynamoDB has the \
                    department in unit u2";
    assert_eq!(later.lost.unwrap().to_string(), sentence);

    let equal_times = place(Some(&base), &in_no_unit(LATE), &in_unit("u2", LATE));
    assert_eq!((equal_times.write_to, equal_times.target), (Some(Side::DynamoDb), None));
}

#[test]
fn a_department_without_a_base_is_decided_as_its_units_are() {
    let (early, late) = (in_unit("u1", EARLY), in_unit("u2", LATE));
    let merge = |no_base| merge_place(&department_id(), None, &early, &late, no_base);
    let as_imported = merge(NoBase::AsImported);
    assert_eq!(
        (as_imported.target, as_imported.before, as_imported.lost),
        (unit_in("u1"), unit_in("u2"), None)
    );
    let later = merge(NoBase::Later);
    assert_eq!((later.target, later.lost.is_some()), (unit_in("u2"), true));
    let preferred = merge(NoBase::Prefer(Side::MongoDb));
    assert_eq!((preferred.target, preferred.lost.is_some()), (unit_in("u1"), true));
}

#[test]
fn a_departments_intent_is_settled_as_a_units_is() {
    let intent = PlaceIntent {
        place: unit_in("u2"),
        seen: EARLY.into(),
        updated_at: "2026-01-01T10:30:00.000Z".into(),
    };
    let base = DepartmentBase { intent: Some(intent), ..department_base(unit_in("u1")) };
    let committed = place(Some(&base), &in_unit("u2", "2026-01-01T10:30:00.000Z"), &in_unit("u1", LATE));
    assert_eq!((committed.write_to, committed.target), (Some(Side::MongoDb), unit_in("u1")));
    let pending = place(Some(&base), &in_unit("u1", EARLY), &in_unit("u2", LATE));
    assert_eq!((pending.write_to, pending.target, pending.lost), (Some(Side::MongoDb), unit_in("u2"), None));
    let unknown = place(Some(&base), &in_unit("u1", LATE), &in_unit("u2", EARLY));
    assert_eq!((unknown.target, unknown.lost.is_some()), (unit_in("u1"), true));
}
