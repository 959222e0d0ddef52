//! Units without a base.

use super::*;

#[test]
fn without_a_base_equal_sides_are_the_base() {
    let both = private("A", &["ann"]);
    let merge = merge_with(None, &view(both.clone(), EARLY), &view(both.clone(), LATE), NoBase::Later);
    assert_eq!((merge.is_empty(), merge.before, merge.overwritten), (true, both, vec![]));
}

#[test]
fn without_a_base_a_unit_that_is_as_imported_gets_mongodbs_changes() {
    let (imported, now) = (facts("A", &["ann"]), private("B", &["bob"]));
    let merge =
        merge_with(None, &view(now.clone(), EARLY), &view(imported.clone(), LATE), NoBase::AsImported);
    assert_eq!((merge.to_mongodb.is_empty(), &merge.target, &merge.overwritten), (true, &now, &vec![]));
    assert_eq!((merge.before.clone(), merge.after()), (imported, now));
}

#[test]
fn without_a_base_a_unit_is_taken_whole_from_the_later_side_and_each_discarded_fact_is_named() {
    let (one, other) = (facts("A", &["ann", "bob"]), private("B", &["bob", "cid"]));
    let later = merge_with(None, &view(one.clone(), EARLY), &view(other.clone(), LATE), NoBase::Later);
    assert_eq!((later.target, later.to_dynamodb.is_empty()), (other.clone(), true));
    assert_eq!(
        sentences(&later.overwritten),
        [
            r#"unit u1: the name "A" in MongoDB is overwritten with the name "B", as in DynamoDB"#,
            "unit u1: the visibility public in MongoDB is overwritten with the visibility private, as in DynamoDB",
            "unit u1: user ann is a monitor in MongoDB and is removed there, because the user is no monitor in DynamoDB",
            "unit u1: user cid is no monitor in MongoDB and becomes one there, because the user is a monitor in DynamoDB",
        ]
    );
    let equal_times = merge_with(None, &view(one.clone(), LATE), &view(other.clone(), LATE), NoBase::Later);
    assert_eq!((equal_times.target, equal_times.overwritten.len()), (one.clone(), 4));
    for (side, target) in [(Side::MongoDb, &one), (Side::DynamoDb, &other)] {
        let (one, other) = (view(one.clone(), EARLY), view(other.clone(), LATE));
        let preferred = merge_with(None, &one, &other, NoBase::Prefer(side));
        assert_eq!((&preferred.target, preferred.overwritten.len()), (target, 4));
    }
}

#[test]
fn with_a_base_the_operators_preference_does_not_count() {
    let base = base(facts("A", &[]));
    let (one, other) = (view(facts("B", &[]), LATE), view(facts("C", &[]), EARLY));
    let merge = merge_with(Some(&base), &one, &other, NoBase::Prefer(Side::DynamoDb));
    assert_eq!(merge.target.name, "B");
}
