use std::collections::BTreeSet;

use aws_sdk_dynamodb::types::{AttributeValue, TransactWriteItem};
use livechat_units::id::{DepartmentId, UnitId, UserId};
use livechat_units::item::Item;
use livechat_units::request::Visibility;
use proptest::prelude::*;

use super::*;
use crate::database::Database;
use crate::engine::sdk_config;
use crate::origin::{department_base_key, unit_base_key};
use crate::requests::transact;
use crate::sync::model::{Place, UnitFacts, UnitView};

fn user(id: &str) -> UserId {
    UserId::parse(id).expect("an id")
}

fn unit_id() -> UnitId {
    UnitId::parse("unit1").expect("an id")
}

fn department_id() -> DepartmentId {
    DepartmentId::parse("department1").expect("an id")
}

fn facts() -> UnitFacts {
    UnitFacts {
        name: "Sales".into(),
        visibility: Visibility::Private,
        monitors: [user("ann"), user("bob")].into(),
    }
}

fn string(text: &str) -> AttributeValue {
    AttributeValue::S(text.into())
}

fn item_of(action: TransactWriteItem) -> Item {
    action.put.expect("it is a put").item
}

#[test]
fn a_units_base_is_an_item_of_its_own() {
    let item = item_of(UnitBase::new(unit_id(), facts()).put("table").expect("the action is complete"));
    let expected = Item::from([
        ("pk".into(), string("SYNC#UNIT#unit1")),
        ("sk".into(), string("BASE")),
        ("rev".into(), AttributeValue::N("1".into())),
        ("name".into(), string("Sales")),
        ("visibility".into(), string("private")),
        ("monitors".into(), AttributeValue::Ss(vec!["ann".into(), "bob".into()])),
    ]);
    assert_eq!(item, expected);
}

#[test]
fn a_departments_base_is_an_item_of_its_own() {
    let base = DepartmentBase { rooms: true, ..DepartmentBase::new(department_id(), Some(unit_id())) };
    let expected = Item::from([
        ("pk".into(), string("SYNC#DEPARTMENT#department1")),
        ("sk".into(), string("BASE")),
        ("rev".into(), AttributeValue::N("1".into())),
        ("parentId".into(), string("unit1")),
        ("rooms".into(), AttributeValue::Bool(true)),
    ]);
    assert_eq!(item_of(base.put("table").expect("the action is complete")), expected);
}

#[test]
fn an_item_that_an_operator_has_edited_is_an_error() {
    let good = item_of(UnitBase::new(unit_id(), facts()).put("table").expect("the action is complete"));
    let edits = [
        ("rev", string("1")),
        ("rev", AttributeValue::N("0".into())),
        ("name", AttributeValue::Null(true)),
        ("visibility", string("secret")),
        ("monitors", AttributeValue::Ss(vec![String::new()])),
        ("monitors", string("ann")),
        ("intent", string("none")),
        ("intent", AttributeValue::M(Item::from([("seen".into(), string("2026"))]))),
    ];
    for (attribute, value) in edits {
        let mut item = good.clone();
        item.insert(attribute.into(), value.clone());
        assert!(UnitBase::parse(unit_id(), item).is_err(), "{attribute}: {value:?}");
    }
    for attribute in ["rev", "name", "visibility"] {
        let mut item = good.clone();
        item.remove(attribute);
        assert!(UnitBase::parse(unit_id(), item).is_err(), "without {attribute}");
    }

    let good =
        item_of(DepartmentBase::new(department_id(), None).put("table").expect("the action is complete"));
    for (attribute, value) in
        [("parentId", string("")), ("rooms", string("true")), ("intent", string("none"))]
    {
        let mut item = good.clone();
        item.insert(attribute.into(), value.clone());
        assert!(DepartmentBase::parse(department_id(), item).is_err(), "{attribute}: {value:?}");
    }
}

#[test]
fn the_first_part_of_a_change_has_the_monitors_who_leave_first() {
    let delta = UnitDelta {
        name: Some("Support".into()),
        join: [user("ann"), user("bob")].into(),
        leave: [user("yan"), user("zoe")].into(),
        ..UnitDelta::default()
    };
    let leave_one = UnitDelta { join: [].into(), leave: [user("yan")].into(), ..delta.clone() };
    let join_one = UnitDelta { join: [user("ann")].into(), ..delta.clone() };
    assert_eq!(delta.first(1), leave_one);
    assert_eq!(delta.first(3), join_one);
    assert_eq!(delta.first(9), delta);
}

#[test]
fn an_intent_is_judged_by_the_time_of_mongodbs_document() {
    let seen = UnitView { facts: facts(), updated_at: "2026-01-01T00:00:00.000Z".into() };
    let delta = UnitDelta {
        name: Some("Support".into()),
        updated_at: "2026-01-01T00:00:05.000Z".into(),
        ..UnitDelta::default()
    };
    let base = UnitBase { intent: Some(UnitIntent::new(&delta, &seen)), ..UnitBase::new(unit_id(), facts()) };
    let at = |time: &str| {
        let view = UnitView { updated_at: format!("2026-01-01T00:00:{time}Z"), ..seen.clone() };
        (base.intent.as_ref().expect("there is an intent").state(&view), base.fence(&view))
    };
    let fence = Some("2026-01-01T00:00:00.001Z".to_owned());
    assert_eq!(at("00.000"), (IntentState::Pending, fence));
    assert_eq!(at("00.001"), (IntentState::Void, None));
    assert_eq!(at("05.000"), (IntentState::Committed, None));
    assert_eq!(at("04.000"), (IntentState::Unknown, None));
    assert_eq!(at("06.000"), (IntentState::Unknown, None));
}

fn a_place() -> impl Strategy<Value = Place> {
    prop::option::of(".{1,9}".prop_map(|id| UnitId::parse(id).expect("an id")))
}

fn users() -> impl Strategy<Value = BTreeSet<UserId>> {
    prop::collection::btree_set(".{1,9}".prop_map(|id| UserId::parse(id).expect("an id")), 0..4)
}

fn visibility() -> impl Strategy<Value = Visibility> {
    prop::sample::select(vec![Visibility::Public, Visibility::Private])
}

fn unit_intent() -> impl Strategy<Value = UnitIntent> {
    (prop::option::of(".*"), prop::option::of(visibility()), users(), users(), ".*", ".*").prop_map(
        |(name, visibility, join, leave, updated_at, seen)| UnitIntent {
            delta: UnitDelta { name, visibility, join, leave, updated_at },
            seen,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_units_base_is_read_as_it_was_written(
        (name, visibility, monitors) in (".*", visibility(), users()),
        intent in prop::option::of(unit_intent()),
        rev in 0..9_u64,
    ) {
        let facts = UnitFacts { name, visibility, monitors };
        let base = UnitBase { id: unit_id(), rev, facts, intent };
        let read = UnitBase::parse(unit_id(), item_of(base.put("table").expect("the action is complete"))).expect("the item can be read");
        prop_assert_eq!(read, UnitBase { rev: rev + 1, ..base });
    }

    #[test]
    fn a_departments_base_is_read_as_it_was_written(
        place in a_place(),
        intent in prop::option::of((a_place(), ".*", ".*")),
        (rooms, rev) in (any::<bool>(), 0..9_u64),
    ) {
        let intent = intent.map(|(place, seen, updated_at)| PlaceIntent { place, seen, updated_at });
        let base = DepartmentBase { id: department_id(), rev, place, intent, rooms };
        let read = DepartmentBase::parse(department_id(), item_of(base.put("table").expect("the action is complete"))).expect("the item can be read");
        prop_assert_eq!(read, DepartmentBase { rev: rev + 1, ..base });
    }
}

#[tokio::test]
async fn a_base_is_written_only_if_nobody_else_has_written_it_since_it_was_read() {
    let client = aws_sdk_dynamodb::Client::new(&sdk_config(testing::dynamodb::endpoint()));
    let tables = testing::dynamodb::new_tables(&client).await;
    let database = Database { client, tables };
    let table = database.tables.livechat.as_str();

    let new = UnitBase::new(unit_id(), facts());
    assert!(
        transact(&database, vec![new.put(table).expect("the action is complete")])
            .await
            .expect("DynamoDB answers")
    );
    assert!(
        !transact(&database, vec![new.put(table).expect("the action is complete")])
            .await
            .expect("DynamoDB answers"),
        "it exists now"
    );

    let mut stored = database.get_all(vec![unit_base_key(&unit_id())]).await.expect("DynamoDB answers");
    let read = UnitBase::parse(unit_id(), stored.pop().expect("it is stored")).expect("the item can be read");
    assert_eq!(read, UnitBase { rev: 1, ..new });
    assert!(
        transact(&database, vec![read.put(table).expect("the action is complete")])
            .await
            .expect("DynamoDB answers")
    );
    assert!(
        !transact(&database, vec![read.put(table).expect("the action is complete")])
            .await
            .expect("DynamoDB answers"),
        "its rev is 2 now"
    );
    assert!(
        !transact(&database, vec![read.delete(table).expect("the action is complete")])
            .await
            .expect("DynamoDB answers"),
        "its rev is 2 now"
    );
    let read = UnitBase { rev: 2, ..read };
    assert!(
        transact(&database, vec![read.delete(table).expect("the action is complete")])
            .await
            .expect("DynamoDB answers")
    );
    assert!(
        !transact(&database, vec![read.put(table).expect("the action is complete")])
            .await
            .expect("DynamoDB answers"),
        "it is deleted now"
    );

    let new = DepartmentBase::new(department_id(), None);
    assert!(
        transact(&database, vec![new.put(table).expect("the action is complete")])
            .await
            .expect("DynamoDB answers")
    );
    let stored =
        database.get_all(vec![department_base_key(&department_id())]).await.expect("DynamoDB answers");
    let read = DepartmentBase::parse(department_id(), stored.into_iter().next().expect("it is stored"))
        .expect("the item can be read");
    assert_eq!(read, DepartmentBase { rev: 1, ..new });
    assert!(
        transact(&database, vec![read.delete(table).expect("the action is complete")])
            .await
            .expect("DynamoDB answers")
    );
}
