//! Units with a base.

use super::*;

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
        assert_eq!((merge.overwritten, merge.open), (vec![], vec![]));
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
    assert_eq!(merge.overwritten, vec![]);
}

#[test]
fn if_both_sides_changed_a_fact_to_different_values_the_later_one_counts_and_the_other_is_named() {
    let base = base(facts("A", &[]));
    let (one, other) = (facts("B", &[]), facts("C", &[]));
    let mongodb_later = merge(&base, &view(one.clone(), LATE), &view(other.clone(), EARLY));
    assert_eq!(mongodb_later.to_dynamodb.name.as_deref(), Some("B"));
    assert_eq!(mongodb_later.to_dynamodb.updated_at, LATE);
    assert!(mongodb_later.to_mongodb.is_empty());
    let expected = r#"unit u1: the name "C" in DynamoDB is overwritten with the name "B", as in MongoDB"#;
    assert_eq!(sentences(&mongodb_later.overwritten), [expected]);
    assert_eq!((&mongodb_later.before, &mongodb_later.after()), (&other, &one));

    let dynamodb_later = merge(&base, &view(one.clone(), EARLY), &view(other.clone(), LATE));
    assert_eq!(dynamodb_later.to_mongodb.name.as_deref(), Some("C"));
    assert_eq!(dynamodb_later.to_mongodb.updated_at, LATE);
    assert!(dynamodb_later.to_dynamodb.is_empty());
    let expected = r#"unit u1: the name "B" in MongoDB is overwritten with the name "C", as in DynamoDB"#;
    assert_eq!(sentences(&dynamodb_later.overwritten), [expected]);
    assert_eq!((&dynamodb_later.before, &dynamodb_later.after()), (&one, &other));
}

#[test]
fn equal_times_go_to_mongodb() {
    let merge = merge(&base(facts("A", &[])), &view(facts("B", &[]), LATE), &view(facts("C", &[]), LATE));
    assert_eq!(merge.target.name, "B");
    assert_eq!(merge.overwritten.len(), 1);
}

#[test]
fn if_both_sides_changed_a_fact_to_the_same_value_it_is_the_base() {
    let changed = private("B", &["bob"]);
    let merge =
        merge(&base(facts("A", &["ann"])), &view(changed.clone(), LATE), &view(changed.clone(), EARLY));
    assert!(merge.is_empty());
    assert_eq!((merge.before, merge.overwritten), (changed, vec![]));
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
    let bases = [facts("A", &["guest"]), facts("A", &[])];
    let (with, without) = (view(facts("A", &["guest"]), EARLY), view(facts("A", &[]), LATE));
    for facts in bases {
        let merge = merge(&base(facts), &with, &without);
        assert!(merge.is_empty());
        assert_eq!(merge.target.monitors, users(&["guest"]));
        assert_eq!(merge.before.monitors, users(&[]), "so that the user joins as soon as it is possible");
        let sentence = "unit u1: the monitor guest in MongoDB can\'t be carried to DynamoDB, because the user does not have the \
                        role of a monitor there";
        assert_eq!(merge.open.iter().map(OpenFact::to_string).collect::<Vec<_>>(), [sentence]);
    }
    for no_base in [NoBase::AsImported, NoBase::Later, NoBase::Prefer(Side::DynamoDb)] {
        let merge = merge_with(None, &with, &without, no_base);
        assert_eq!(
            (merge.is_empty(), merge.open.len(), merge.overwritten.len()),
            (true, 1, 0),
            "{no_base:?}"
        );
    }
}

#[test]
fn a_monitor_whom_dynamodb_has_although_it_cannot_have_new_ones_is_no_open_fact() {
    let (with, without) = (facts("A", &["guest"]), facts("A", &[]));
    let equal = merge(&base(with.clone()), &view(with.clone(), EARLY), &view(with.clone(), EARLY));
    assert_eq!((equal.is_empty(), equal.before, equal.open), (true, with.clone(), vec![]));
    let removed = merge(&base(with.clone()), &view(without.clone(), LATE), &view(with.clone(), EARLY));
    assert_eq!(removed.to_dynamodb.leave, users(&["guest"]));
    let added = merge(&base(without.clone()), &view(without, LATE), &view(with, EARLY));
    assert_eq!(added.to_mongodb.join, users(&["guest"]));
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
    let sentence = "unit u1: the monitor bob in MongoDB can\'t be carried to DynamoDB, because the unit would be too large \
                    for one item there";
    assert_eq!(merge.open[0].to_string(), sentence);
}

#[test]
fn monitors_whom_a_write_to_dynamodb_leaves_out_are_not_in_the_base() {
    let old = facts("A", &["guest"]);
    let merge = merge(&base(old.clone()), &view(facts("B", &["guest"]), LATE), &view(old, EARLY));
    let base = merge.after_dynamodb(&merge.to_dynamodb, &users(&["guest"]));
    assert_eq!(base, facts("B", &[]));
}
