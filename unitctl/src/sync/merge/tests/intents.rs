//! Units whose base has an intent.

use super::*;

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
    assert_eq!((merge.target.clone(), merge.overwritten), (facts("A", &[]), vec![]));
}

#[test]
fn an_intent_that_was_not_committed_is_not_the_base() {
    let fence = intended().fence(&view(facts("A", &[]), EARLY)).expect("it is pending");
    for time in [EARLY, &fence] {
        let merge = merge(&intended(), &view(facts("A", &[]), time), &view(facts("B", &["ann"]), LATE));
        assert_eq!((merge.to_mongodb.name.as_deref(), merge.to_mongodb.join), (Some("B"), users(&["ann"])));
        assert_eq!(merge.overwritten, vec![]);
    }
}

#[test]
fn if_it_is_unknown_whether_an_intent_was_committed_both_sides_count_as_changed() {
    let later = "2026-01-01T12:00:00.000Z";
    let (mongodb, dynamodb) = (private("A", &[]), facts("B", &["ann"]));
    let merge = merge(&intended(), &view(mongodb.clone(), later), &view(dynamodb, LATE));
    assert_eq!(merge.target, mongodb);
    assert_eq!(
        sentences(&merge.overwritten),
        [
            r#"unit u1: the name "B" in DynamoDB is overwritten with the name "A", as in MongoDB"#,
            "unit u1: user ann is a monitor in DynamoDB and is removed there, because the user is no monitor in MongoDB",
        ],
        "the visibility was not intended, so its base is known"
    );
}
