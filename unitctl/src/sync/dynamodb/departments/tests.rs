//! Departments on a real engine.

use serde_json::{Value, json};
use time::macros::datetime;

use super::*;
use crate::sync::dynamodb::testing::{database, items, put};

const NOW: OffsetDateTime = datetime!(2026-11-26 12:00 UTC);
const KEY: &str = "DEPARTMENT#d DEPARTMENT";

fn id() -> DepartmentId {
    DepartmentId::parse("d").expect("an id")
}

fn document(description: &str) -> Value {
    let updated_at = json!({ "$date": { "$numberLong": "1764150000000" } });
    json!({
        "_id": "d", "name": "Sales", "description": description, "parentId": "elsewhere",
        "ancestors": ["elsewhere"], "_updatedAt": updated_at,
    })
}

async fn decision(database: &Database, document: &Value, removal: Removal) -> Decision<DepartmentWrite> {
    let stored = read(database, &[id()]).await.expect("it is read");
    decide(&id(), stored[&id()].as_ref(), document.as_object().cloned(), removal, NOW)
}

async fn look(database: &Database, document: &Value) {
    let write = decision(database, document, Removal::Missing).await.write.expect("a write");
    assert_eq!(super::write(database, &write, None).await.expect("an answer"), Written::Committed);
}

/// The department and another one in a unit.
async fn unit_with_departments(database: &Database) {
    let stored = json!({
        "pk": "UNIT#u", "sk": "UNIT", "name": "North", "visibility": "public", "type": "u", "monitors": {},
        "numMonitors": 0, "numDepartments": 2, "departmentIds": { "set": ["d", "e"] }, "version": 3, "rev": 1,
        "_updatedAt": "2026-11-25T00:00:00.000Z",
    });
    put(database, stored).await;
    for id in ["d", "e"] {
        let key = format!("DEPARTMENT#{id}");
        let department = json!({
            "pk": key, "sk": "DEPARTMENT", "name": "Sales", "parentId": "u", "ancestors": ["u"],
            "_updatedAt": "2026-11-25T00:00:00.000Z", "rev": 1,
        });
        put(database, department).await;
        put(database, json!({ "pk": format!("SYNC#DEPARTMENT#{id}"), "sk": "BASE", "rev": 1 })).await;
    }
}

#[tokio::test]
async fn a_department_is_created_in_no_unit_with_its_base() {
    let database = database().await;
    let write = decision(&database, &document("one"), Removal::Missing).await.write.expect("a write");
    assert!(write.creates());
    let base = condition::put(&database.tables.livechat, department_base_key(&id())).expect("complete");
    assert_eq!(super::write(&database, &write, Some(base)).await.expect("an answer"), Written::Committed);
    let stored = items(&database).await;
    assert_eq!(
        stored[KEY],
        json!({
            "pk": "DEPARTMENT#d", "sk": "DEPARTMENT", "name": "Sales", "description": "one",
            "_updatedAt": "2025-11-26T09:40:00.000Z", "rev": NOW.unix_timestamp() * 1000,
        })
    );
    assert!(stored.contains_key("SYNC#DEPARTMENT#d BASE"));
    // Where it is in MongoDB, and when it was changed there, is no difference here.
    assert!(decision(&database, &document("one"), Removal::Missing).await.write.is_none());
    // It was created twice.
    assert_eq!(super::write(&database, &write, None).await.expect("an answer"), Written::Refused);
}

#[tokio::test]
async fn fields_change_and_the_place_stays_whatever_the_function_does_meanwhile() {
    let database = database().await;
    unit_with_departments(&database).await;
    look(&database, &document("one")).await;
    let stored = items(&database).await;
    let expected = json!({
        "pk": "DEPARTMENT#d", "sk": "DEPARTMENT", "name": "Sales", "description": "one", "parentId": "u",
        "ancestors": ["u"], "_updatedAt": "2026-11-25T00:00:00.000Z", "rev": 2,
    });
    assert_eq!(stored[KEY], expected);

    // Between the read and the write the function moves it, repairs its ancestors, or takes it out of its unit.
    for (name, value) in
        [("parentId", json!("v")), ("ancestors", json!(["u", "w"])), ("parentId", Value::Null)]
    {
        let paused = decision(&database, &document("two"), Removal::Missing).await.write.expect("a write");
        let mut moved = expected.clone();
        moved[name] = value;
        moved.as_object_mut().expect("an item").retain(|_, value| !value.is_null());
        put(&database, moved.clone()).await;
        assert_eq!(write(&database, &paused, None).await.expect("an answer"), Written::Refused);
        assert_eq!(items(&database).await[KEY], moved);
        put(&database, expected.clone()).await;
    }
}

#[tokio::test]
async fn a_deleted_department_leaves_its_unit_in_the_same_transaction() {
    let database = database().await;
    unit_with_departments(&database).await;
    let held_back = decision(&database, &Value::Null, Removal::HeldBack).await;
    assert!(held_back.is_held_back && held_back.write.is_none());
    look(&database, &Value::Null).await;
    let stored = items(&database).await;
    assert_eq!(
        stored.keys().map(String::as_str).collect::<Vec<_>>(),
        ["DEPARTMENT#e DEPARTMENT", "SYNC#DEPARTMENT#e BASE", "UNIT#u UNIT"]
    );
    let unit = &stored["UNIT#u UNIT"];
    assert_eq!(unit["departmentIds"], json!({ "set": ["e"] }));
    assert_eq!((&unit["numDepartments"], &unit["version"]), (&json!(1), &json!(4)));
    // When the unit was changed decides between names, and no name was changed.
    assert_eq!(unit["_updatedAt"], "2026-11-25T00:00:00.000Z");
    assert!(decision(&database, &Value::Null, Removal::Missing).await.write.is_none());
}

#[tokio::test]
async fn a_deletion_is_refused_if_the_function_moves_the_department_meanwhile() {
    let database = database().await;
    unit_with_departments(&database).await;
    let paused = decision(&database, &Value::Null, Removal::Missing).await.write.expect("a write");
    let mut moved = items(&database).await[KEY].clone();
    moved["parentId"] = json!("v");
    put(&database, moved).await;
    let before = items(&database).await;
    assert_eq!(write(&database, &paused, None).await.expect("an answer"), Written::Refused);
    assert_eq!(items(&database).await, before);
}

#[tokio::test]
async fn a_unit_that_is_gone_or_does_not_list_the_department_does_not_block_its_deletion() {
    let database = database().await;
    let department = json!({
        "pk": "DEPARTMENT#d", "sk": "DEPARTMENT", "name": "Sales", "parentId": "u", "ancestors": ["u"],
        "_updatedAt": "x", "rev": 1,
    });
    put(&database, department.clone()).await;
    look(&database, &Value::Null).await;
    assert!(items(&database).await.is_empty());
    put(&database, department).await;
    put(&database, json!({ "pk": "UNIT#u", "sk": "UNIT", "numDepartments": 0, "version": 1 })).await;
    look(&database, &Value::Null).await;
    let stored = items(&database).await;
    assert_eq!(stored.len(), 1);
    assert_eq!(stored["UNIT#u UNIT"]["version"], 1);
}

#[tokio::test]
async fn the_operators_own_department_stays_until_rocket_chat_has_one_of_its_id() {
    let database = database().await;
    let own = json!({
        "pk": "DEPARTMENT#d", "sk": "DEPARTMENT", "name": "Own", "parentId": "u", "ancestors": ["u"],
        "_updatedAt": "x",
    });
    put(&database, own).await;
    assert!(decision(&database, &Value::Null, Removal::Missing).await.write.is_none());
    let broken = decision(&database, &json!({ "_id": "d" }), Removal::Missing).await;
    assert_eq!((broken.write.is_none(), broken.problems), (true, vec!["no name".to_owned()]));
    look(&database, &document("one")).await;
    let stored = items(&database).await;
    assert_eq!((&stored[KEY]["rev"], &stored[KEY]["name"]), (&json!(1), &json!("Sales")));
    assert_eq!((&stored[KEY]["parentId"], &stored[KEY]["_updatedAt"]), (&json!("u"), &json!("x")));
}
