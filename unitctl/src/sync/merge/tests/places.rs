//! The places of departments.

use super::*;

fn department_id() -> DepartmentId {
    DepartmentId::parse("d1").expect("an id")
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
    assert_eq!(moved.overwritten, None);

    let removed = place(Some(&base), &in_unit("u1", LATE), &in_no_unit(EARLY));
    assert_eq!((removed.target, removed.before), (None, unit_in("u1")));
    assert_eq!((removed.write_to, removed.updated_at.as_str()), (Some(Side::MongoDb), JUST_AFTER_LATE));

    let both = place(Some(&base), &in_unit("u2", LATE), &in_unit("u2", EARLY));
    assert_eq!((both.write_to, both.before, both.overwritten), (None, unit_in("u2"), None));
}

#[test]
fn a_department_that_both_sides_moved_follows_the_later_one() {
    let base = department_base(unit_in("u1"));
    let later = place(Some(&base), &in_no_unit(EARLY), &in_unit("u2", LATE));
    assert_eq!((later.write_to, later.target, later.before), (Some(Side::MongoDb), unit_in("u2"), None));
    assert_eq!(later.updated_at, LATE);
    let sentence = "department d1: its place in no unit in MongoDB is overwritten with its place in unit u2, as in DynamoDB";
    assert_eq!(later.overwritten.expect("a value is overwritten").to_string(), sentence);

    let equal_times = place(Some(&base), &in_no_unit(LATE), &in_unit("u2", LATE));
    assert_eq!((equal_times.write_to, equal_times.target), (Some(Side::DynamoDb), None));
}

#[test]
fn a_department_without_a_base_is_decided_as_its_units_are() {
    let (early, late) = (in_unit("u1", EARLY), in_unit("u2", LATE));
    let merge = |no_base| merge_place(&department_id(), None, &early, &late, no_base);
    let as_imported = merge(NoBase::AsImported);
    assert_eq!(
        (as_imported.target, as_imported.before, as_imported.overwritten),
        (unit_in("u1"), unit_in("u2"), None)
    );
    let later = merge(NoBase::Later);
    assert_eq!((later.target, later.overwritten.is_some()), (unit_in("u2"), true));
    let preferred = merge(NoBase::Prefer(Side::MongoDb));
    assert_eq!((preferred.target, preferred.overwritten.is_some()), (unit_in("u1"), true));
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
    assert_eq!(
        (pending.write_to, pending.target, pending.overwritten),
        (Some(Side::MongoDb), unit_in("u2"), None)
    );
    let unknown = place(Some(&base), &in_unit("u1", LATE), &in_unit("u2", EARLY));
    assert_eq!((unknown.target, unknown.overwritten.is_some()), (unit_in("u1"), true));
}
