//! Permissions on a real engine.

use serde_json::{Value, json};
use time::macros::datetime;

use super::*;
use crate::sync::dynamodb::testing::{database, items, put};

const NOW: OffsetDateTime = datetime!(2026-11-26 12:00 UTC);
const ID: &str = "manage-livechat-units";
const KEY: &str = "PERMISSION#manage-livechat-units PERMISSION";

async fn decision(database: &Database, document: &Value, removal: Removal) -> Decision<PermissionWrite> {
    let stored = read(database, &[ID.to_owned()]).await.expect("it is read");
    decide(ID, stored[ID].as_ref(), document.as_object().cloned(), removal, NOW)
}

async fn look(database: &Database, document: &Value) {
    let write = decision(database, document, Removal::Missing).await.write.expect("a write");
    assert_eq!(super::write(database, &write).await.expect("an answer"), Written::Committed);
}

#[tokio::test]
async fn a_permission_is_created_changed_and_deleted() {
    let database = database().await;
    let with = |roles: &[&str]| json!({ "_id": ID, "roles": roles });
    look(&database, &with(&["admin"])).await;
    let stored = items(&database).await;
    let rev = stored[KEY]["rev"].as_u64().expect("a number");
    assert_eq!(stored[KEY]["roles"], json!({ "set": ["admin"] }));
    assert!(decision(&database, &with(&["admin"]), Removal::Missing).await.write.is_none());

    // A process that has read an older state is refused.
    let paused =
        decision(&database, &with(&["admin", "user"]), Removal::Missing).await.write.expect("a write");
    look(&database, &with(&[])).await;
    let stored = items(&database).await;
    assert_eq!(stored[KEY].get("roles"), None);
    assert_eq!(stored[KEY]["rev"], rev + 1);
    assert_eq!(write(&database, &paused).await.expect("an answer"), Written::Refused);

    let held_back = decision(&database, &Value::Null, Removal::HeldBack).await;
    assert!(held_back.is_held_back && held_back.write.is_none());
    look(&database, &Value::Null).await;
    assert!(items(&database).await.is_empty());
    assert!(decision(&database, &Value::Null, Removal::Missing).await.write.is_none());
}

#[tokio::test]
async fn the_operators_own_permission_stays_until_rocket_chat_has_one_of_its_id() {
    let database = database().await;
    put(
        &database,
        json!({ "pk": "PERMISSION#manage-livechat-units", "sk": "PERMISSION", "roles": { "set": ["x"] } }),
    )
    .await;
    let before = items(&database).await;
    assert!(decision(&database, &Value::Null, Removal::Missing).await.write.is_none());
    let broken = decision(&database, &json!({ "_id": ID, "roles": 5 }), Removal::Missing).await;
    assert!(broken.write.is_none());
    assert_eq!(broken.problems, ["roles is a number and not an array of strings"]);
    assert_eq!(items(&database).await, before);
    look(&database, &json!({ "_id": ID, "roles": ["x"] })).await;
    assert_eq!(items(&database).await[KEY]["rev"], 1);
}
