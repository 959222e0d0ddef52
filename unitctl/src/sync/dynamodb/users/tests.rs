//! Users on a real engine, and decisions that need none.

use std::collections::BTreeSet;

use livechat_units::id::UserId;
use livechat_units::item::Key;
use serde_json::{Value, json};
use time::macros::datetime;
use time::{Duration, OffsetDateTime};

use super::*;
use crate::database::Database;
use crate::import::document::Document;
use crate::sync::dynamodb::testing::{database, items, put};
use crate::sync::dynamodb::{Decision, Written};
use crate::sync::model::Removal;

const NOW: OffsetDateTime = datetime!(2026-11-26 12:00 UTC);

const OPTIONS: Options = Options { lifetime: Duration::days(90), now: NOW, removal: Removal::Missing };

fn id(text: &str) -> UserId {
    UserId::parse(text).expect("an id")
}

/// The hash of a token, by a letter.
fn hash(letter: char) -> String {
    format!("{}=", letter.to_string().repeat(42) + "A")
}

/// A login that was made so many days ago.
fn login(letter: char, days: i64) -> Value {
    let made = (NOW - Duration::days(days)).unix_timestamp() * 1000;
    json!({ "hashedToken": hash(letter), "when": { "$date": { "$numberLong": made.to_string() } } })
}

fn user(id: &str, tokens: &[Value]) -> Value {
    let resume = json!({ "loginTokens": tokens });
    json!({ "_id": id, "username": "rosa", "roles": ["livechat-monitor"], "active": true, "services": { "resume": resume } })
}

fn document(value: &Value) -> Option<Document> {
    value.as_object().cloned()
}

/// Looks at a user whose document in MongoDB is this, and writes what differs.
async fn look(database: &Database, id: &str, value: &Value, options: &Options) -> Decision<UserWrite> {
    let decision = decision(database, id, value, options).await;
    if let Some(write) = &decision.write {
        assert_eq!(super::write(database, write).await.expect("it is written"), Written::Committed);
    }
    decision
}

async fn decision(database: &Database, id: &str, value: &Value, options: &Options) -> Decision<UserWrite> {
    let id = self::id(id);
    let mut stored = read(database, std::slice::from_ref(&id)).await.expect("it is read");
    let stored = stored.get_mut(&id).expect("every id is in the result");
    let found = Found::parse(document(value), options.removal, options.lifetime);
    read_named(database, &mut [(stored, &found)]).await.expect("it is read");
    decide(stored, found, options)
}

/// The attributes of an item that has been stored, without those of its key.
fn attributes(items: &std::collections::BTreeMap<String, Value>, key: &str) -> Value {
    let mut item = items.get(key).unwrap_or_else(|| panic!("{key} is stored: {items:?}")).clone();
    let fields = item.as_object_mut().expect("an item");
    fields.retain(|name, _| !["pk", "sk", "hashedToken"].contains(&name.as_str()));
    item
}

fn rev(items: &std::collections::BTreeMap<String, Value>, id: &str) -> u64 {
    items[&format!("USER#{id} TOKENS")]["rev"].as_u64().expect("a number")
}

#[tokio::test]
async fn a_user_is_brought_with_tokens_and_nothing_is_written_a_second_time() {
    let database = database().await;
    let document = user("u", &[login('a', 1), login('b', 89)]);
    assert!(look(&database, "u", &document, &OPTIONS).await.write.is_some());
    let stored = items(&database).await;
    assert_eq!(
        attributes(&stored, "USER#u USER"),
        json!({ "username": "rosa", "roles": { "set": ["livechat-monitor"] }, "active": true })
    );
    let end = (NOW + Duration::days(89)).unix_timestamp();
    assert_eq!(
        attributes(&stored, &hash('a')),
        json!({ "userId": "u", "createdAt": "2026-11-25T12:00:00.000Z", "expiresAt": end })
    );
    let list = attributes(&stored, "USER#u TOKENS");
    assert_eq!(list["hashes"], json!({ "set": [hash('a'), hash('b')] }));
    assert_eq!(rev(&stored, "u"), NOW.unix_timestamp().unsigned_abs() * 1000);

    assert!(look(&database, "u", &document, &OPTIONS).await.write.is_none());
    assert_eq!(items(&database).await, stored);
}

#[tokio::test]
async fn a_revoked_token_is_deleted_and_a_new_one_stored_in_one_write() {
    let database = database().await;
    look(&database, "u", &user("u", &[login('a', 1), login('b', 1)]), &OPTIONS).await;
    let before = items(&database).await;
    look(&database, "u", &user("u", &[login('b', 1), login('c', 1)]), &OPTIONS).await;
    let stored = items(&database).await;
    assert_eq!(rev(&stored, "u"), rev(&before, "u") + 1);
    assert!(!stored.contains_key(&hash('a')));
    assert_eq!(stored[&hash('b')], before[&hash('b')]);
    assert!(stored.contains_key(&hash('c')));
    let list = attributes(&stored, "USER#u TOKENS");
    assert_eq!(list["hashes"], json!({ "set": [hash('b'), hash('c')] }));
}

#[tokio::test]
async fn a_write_is_refused_if_another_process_has_written_the_user_meanwhile() {
    let database = database().await;
    look(&database, "u", &user("u", &[login('a', 1)]), &OPTIONS).await;
    // This process has read both sides, and is paused.
    let paused = decision(&database, "u", &user("u", &[login('a', 1), login('b', 1)]), &OPTIONS).await;
    // Meanwhile the token is revoked, and another process says so.
    look(&database, "u", &user("u", &[]), &OPTIONS).await;
    let stored = items(&database).await;
    let late = write(&database, &paused.write.expect("a write")).await.expect("it is answered");
    assert_eq!(late, Written::Refused);
    assert_eq!(items(&database).await, stored);
}

#[tokio::test]
async fn a_deleted_user_cannot_be_written_from_an_older_read() {
    let database = database().await;
    let document = user("u", &[login('a', 1)]);
    look(&database, "u", &document, &OPTIONS).await;
    let paused = decision(&database, "u", &user("u", &[login('a', 2)]), &OPTIONS).await;
    look(&database, "u", &Value::Null, &OPTIONS).await;
    let stored = items(&database).await;
    assert_eq!(stored.len(), 1, "{stored:?}");
    let list = attributes(&stored, "USER#u TOKENS");
    assert_eq!(list["deletedAt"], NOW.unix_timestamp());
    assert_eq!(list.get("hashes"), None);
    assert_eq!(write(&database, &paused.write.expect("a write")).await.expect("an answer"), Written::Refused);
    assert!(look(&database, "u", &Value::Null, &OPTIONS).await.write.is_none());

    // A day later it is forgotten, unless the user is there again.
    let stored_user =
        async || read(&database, &[id("u")]).await.expect("it is read").remove(&id("u")).expect("u");
    assert!(!stored_user().await.is_forgettable(NOW + Duration::hours(23)));
    let old = stored_user().await;
    assert!(old.is_forgettable(NOW + Duration::hours(25)));
    look(&database, "u", &document, &OPTIONS).await;
    assert_eq!(forget(&database, &old).await.expect("an answer"), Written::Refused);
    assert!(!stored_user().await.is_forgettable(NOW + Duration::hours(25)));
    let list = attributes(&items(&database).await, "USER#u TOKENS");
    assert_eq!(list.get("deletedAt"), None);
    look(&database, "u", &Value::Null, &OPTIONS).await;
    assert_eq!(forget(&database, &stored_user().await).await.expect("an answer"), Written::Committed);
    assert!(items(&database).await.is_empty());
}

#[tokio::test]
async fn the_event_of_a_deletion_leaves_a_list_even_if_nothing_was_stored() {
    let database = database().await;
    // This process has read nothing on this side, and the user on the other, and is paused.
    let paused = decision(&database, "u", &user("u", &[login('a', 1)]), &OPTIONS).await;
    // A look for another reason leaves nothing.
    assert!(decision(&database, "u", &Value::Null, &OPTIONS).await.write.is_none());
    let stored = read(&database, &[id("u")]).await.expect("it is read").remove(&id("u")).expect("u");
    let deleted = decide(&stored, Found::Absent { was_deleted: true }, &OPTIONS).write.expect("a write");
    assert_eq!(write(&database, &deleted).await.expect("an answer"), Written::Committed);
    assert_eq!(write(&database, &paused.write.expect("a write")).await.expect("an answer"), Written::Refused);
    assert_eq!(items(&database).await.into_keys().collect::<Vec<_>>(), ["USER#u TOKENS"]);
}

#[tokio::test]
async fn a_user_without_a_list_whom_mongodb_does_not_have_stays_with_tokens_of_unitctl() {
    let database = database().await;
    put(&database, json!({ "pk": "USER#o", "sk": "USER", "username": "operator" })).await;
    put(&database, json!({ "hashedToken": hash('o'), "userId": "o", "source": "unitctl" })).await;
    let before = items(&database).await;
    assert!(look(&database, "o", &Value::Null, &OPTIONS).await.write.is_none());
    assert_eq!(items(&database).await, before);

    // A token without `source` that Rocket.Chat does not have is a revoked one, whoever has it.
    put(&database, json!({ "hashedToken": hash('r'), "userId": "o" })).await;
    let mut stored = read(&database, &[id("o")]).await.expect("it is read").remove(&id("o")).expect("o");
    assert!(!stored.lists(&hash('r')));
    let scanned = crate::sync::dynamodb::testing::item(&json!({ "hashedToken": hash('r'), "userId": "o" }));
    let own = json!({ "hashedToken": hash('o'), "userId": "o", "source": "unitctl" });
    stored.add_tokens([scanned, crate::sync::dynamodb::testing::item(&own)]);
    let absent = || Found::Absent { was_deleted: false };
    let held_back = decide(&stored, absent(), &Options { removal: Removal::HeldBack, ..OPTIONS });
    assert!(held_back.is_held_back && held_back.write.is_none());
    let write = decide(&stored, absent(), &OPTIONS).write.expect("a write");
    assert_eq!(write.orphans().collect::<Vec<_>>(), ["the token rrrrrr... of user o"]);
    assert_eq!(write.to_string(), "user o: 1 token deleted");
    assert_eq!(super::write(&database, &write).await.expect("an answer"), Written::Committed);
    assert_eq!(items(&database).await, before);
}

#[tokio::test]
async fn a_removal_may_be_held_back_and_a_revoked_token_never_is() {
    let database = database().await;
    look(&database, "u", &user("u", &[login('a', 1)]), &OPTIONS).await;
    let before = items(&database).await;
    let careful = Options { removal: Removal::HeldBack, ..OPTIONS };
    let decision = look(&database, "u", &Value::Null, &careful).await;
    assert!(decision.is_held_back && decision.write.is_none());
    assert_eq!(items(&database).await, before);
    assert!(look(&database, "u", &user("u", &[]), &careful).await.write.is_some());
    assert!(!items(&database).await.contains_key(&hash('a')));
}

#[tokio::test]
async fn tables_without_token_lists_get_them() {
    let database = database().await;
    let rosa = json!({
        "pk": "USER#u", "sk": "USER", "username": "rosa", "active": true,
        "roles": { "set": ["livechat-monitor"] },
    });
    put(&database, rosa).await;
    let end = (NOW + Duration::days(89)).unix_timestamp();
    let token = json!({
        "hashedToken": hash('a'), "userId": "u", "createdAt": "2026-11-25T12:00:00.000Z", "expiresAt": end,
    });
    put(&database, token).await;
    // A login without `when` counts from the time at which an import brought it.
    put(
        &database,
        json!({ "hashedToken": hash('w'), "userId": "u", "createdAt": "2026-11-01T00:00:00.000Z" }),
    )
    .await;
    let without_when = json!({ "hashedToken": hash('w') });
    let document = user("u", &[login('a', 1), without_when]);
    look(&database, "u", &document, &OPTIONS).await;
    let stored = items(&database).await;
    let list = attributes(&stored, "USER#u TOKENS");
    assert_eq!(list["hashes"], json!({ "set": [hash('a'), hash('w')] }));
    let end = datetime!(2027-01-30 00:00 UTC).unix_timestamp();
    assert_eq!(
        attributes(&stored, &hash('w')),
        json!({ "userId": "u", "createdAt": "2026-11-01T00:00:00.000Z", "expiresAt": end })
    );
    assert!(look(&database, "u", &document, &OPTIONS).await.write.is_none());
    // It has expired and is gone: it does not begin anew.
    let later = Options { now: NOW + Duration::days(100), ..OPTIONS };
    let table = &database.tables.tokens;
    let delete = database.client.delete_item().table_name(table);
    delete.set_key(Some(Key::Token(hash('w')).attributes())).send().await.expect("it is deleted");
    look(&database, "u", &document, &later).await;
    assert!(!items(&database).await.contains_key(&hash('w')));
    assert!(look(&database, "u", &document, &later).await.write.is_none());
}

#[tokio::test]
async fn an_expired_token_is_not_brought_and_is_no_difference() {
    let database = database().await;
    let document = user("u", &[login('a', 91), login('b', 1)]);
    look(&database, "u", &document, &OPTIONS).await;
    let stored = items(&database).await;
    assert!(!stored.contains_key(&hash('a')));
    // The setting is changed: a shorter life ends sessions here, too, and a longer one brings them back.
    look(&database, "u", &document, &Options { lifetime: Duration::hours(12), ..OPTIONS }).await;
    let end = (NOW - Duration::hours(12)).unix_timestamp();
    assert_eq!(items(&database).await[&hash('b')]["expiresAt"], end);
    look(&database, "u", &document, &Options { lifetime: Duration::days(100), ..OPTIONS }).await;
    let stored = items(&database).await;
    assert_eq!(stored[&hash('a')]["expiresAt"], (NOW + Duration::days(9)).unix_timestamp());
    assert_eq!(stored[&hash('b')]["expiresAt"], (NOW + Duration::days(99)).unix_timestamp());
    // Later both have expired. Whether they are still stored makes no difference.
    let later = Options { now: NOW + Duration::days(200), ..OPTIONS };
    let later = Options { lifetime: Duration::days(100), ..later };
    assert!(look(&database, "u", &document, &later).await.write.is_none());
    let delete = database.client.delete_item().table_name(&database.tables.tokens);
    delete.set_key(Some(Key::Token(hash('b')).attributes())).send().await.expect("it is deleted");
    assert!(look(&database, "u", &document, &later).await.write.is_none());
}

#[tokio::test]
async fn a_token_of_unitctl_or_of_another_user_is_left_alone() {
    let database = database().await;
    put(&database, json!({ "hashedToken": hash('o'), "userId": "u", "source": "unitctl" })).await;
    put(&database, json!({ "hashedToken": hash('x'), "userId": "other" })).await;
    let before = items(&database).await;
    let document = user("u", &[login('o', 1), login('x', 1), login('a', 1)]);
    let decision = look(&database, "u", &document, &OPTIONS).await;
    assert_eq!(decision.problems.len(), 2);
    let stored = items(&database).await;
    assert_eq!(attributes(&stored, "USER#u TOKENS")["hashes"], json!({ "set": [hash('a')] }));
    for letter in ['o', 'x'] {
        assert_eq!(stored[&hash(letter)], before[&hash(letter)]);
    }
    assert!(look(&database, "u", &document, &OPTIONS).await.write.is_none());
    // The operator makes a token of the same hash between the read and the write.
    let with_new = user("u", &[login('a', 1), login('n', 1)]);
    let paused = self::decision(&database, "u", &with_new, &OPTIONS).await;
    put(&database, json!({ "hashedToken": hash('n'), "userId": "u", "source": "unitctl" })).await;
    assert_eq!(write(&database, &paused.write.expect("a write")).await.expect("an answer"), Written::Refused);
}

#[tokio::test]
async fn of_a_document_that_cant_be_used_only_revoked_tokens_are_removed() {
    let database = database().await;
    look(&database, "u", &user("u", &[login('a', 1), login('b', 1)]), &OPTIONS).await;
    let before = items(&database).await;
    let mut broken = user("u", &[login('b', 1), login('c', 1)]);
    broken["roles"] = json!("admin");
    let decision = look(&database, "u", &broken, &OPTIONS).await;
    assert_eq!(decision.problems, ["roles is a string and not an array of strings"]);
    let stored = items(&database).await;
    assert_eq!(stored["USER#u USER"], before["USER#u USER"]);
    assert!(!stored.contains_key(&hash('a')) && !stored.contains_key(&hash('c')));
    assert_eq!(attributes(&stored, "USER#u TOKENS")["hashes"], json!({ "set": [hash('b')] }));
    assert!(look(&database, "u", &broken, &OPTIONS).await.write.is_none());
    // Rocket.Chat may understand what can't be read here.
    broken["services"]["resume"]["loginTokens"] = json!({ "hashedToken": hash('b') });
    assert!(look(&database, "u", &broken, &OPTIONS).await.write.is_none());
    broken["services"] = json!({});
    look(&database, "u", &broken, &OPTIONS).await;
    assert!(!items(&database).await.contains_key(&hash('b')));
}

/// A token with a letter and a number.
fn numbered(letter: char, number: usize, days: i64) -> Value {
    let mut token = login(letter, days);
    token["hashedToken"] = json!(numbered_hash(letter, number));
    token
}

fn numbered_hash(letter: char, number: usize) -> String {
    format!("{}{number:04}A=", letter.to_string().repeat(38))
}

#[tokio::test]
async fn very_many_tokens_take_several_transactions_and_each_leaves_the_user_in_order() {
    let database = database().await;
    let old: Vec<Value> = (0..150).map(|number| numbered('a', number, 1)).collect();
    look(&database, "u", &user("u", &old), &OPTIONS).await;
    let before = items(&database).await;
    assert_eq!(before.len(), 152);

    let new: Vec<Value> =
        (0..50).map(|number| numbered('a', number, 2)).chain((0..150).map(|n| numbered('b', n, 1))).collect();
    let mut document = user("u", &new);
    document["active"] = json!(false);
    let decision = decision(&database, "u", &document, &OPTIONS).await.write.expect("a write");
    let transactions = decision.transactions(&database.tables).expect("they are complete");
    assert_eq!(transactions.iter().map(Vec::len).collect::<Vec<_>>(), [100, 100, 100, 5]);
    for (place, actions) in transactions.into_iter().enumerate() {
        assert!(crate::requests::transact(&database, actions).await.expect("an answer"));
        let stored = items(&database).await;
        assert_eq!(rev(&stored, "u"), rev(&before, "u") + place as u64 + 1);
        // The user is deactivated, and access is taken away, first.
        assert_eq!(stored["USER#u USER"]["active"], false);
        let revoked = (50..150).filter(|number| stored.contains_key(&numbered_hash('a', *number))).count();
        assert_eq!(revoked, [2, 0, 0, 0][place]);
        let new = (0..150).filter(|number| stored.contains_key(&numbered_hash('b', *number))).count();
        assert!(new == 0 || revoked == 0, "{new} new ones and {revoked} revoked ones");
        let listed = attributes(&stored, "USER#u TOKENS")["hashes"]["set"].clone();
        let listed: BTreeSet<&str> =
            listed.as_array().expect("a set").iter().filter_map(Value::as_str).collect();
        let tokens: BTreeSet<&str> =
            stored.keys().map(String::as_str).filter(|key| !key.starts_with("USER#")).collect();
        assert_eq!(listed, tokens);
    }
    assert!(look(&database, "u", &document, &OPTIONS).await.write.is_none());

    // The process ends in the middle of the next write. What is left is found.
    let write = self::decision(&database, "u", &Value::Null, &OPTIONS).await.write.expect("a write");
    let first = write.transactions(&database.tables).expect("they are complete").remove(0);
    assert!(crate::requests::transact(&database, first).await.expect("an answer"));
    let stored = items(&database).await;
    assert!(!stored.contains_key("USER#u USER"));
    assert_eq!(stored["USER#u TOKENS"].get("deletedAt"), None);
    look(&database, "u", &Value::Null, &OPTIONS).await;
    assert_eq!(items(&database).await.into_keys().collect::<Vec<_>>(), ["USER#u TOKENS"]);
}

/// Decides about these users, as they are stored now.
async fn decisions(database: &Database, users: &[Value]) -> Vec<UserWrite> {
    let mut writes = Vec::new();
    for value in users {
        let id = value["_id"].as_str().expect("an id");
        writes.extend(decision(database, id, value, &OPTIONS).await.write);
    }
    writes
}

#[tokio::test]
async fn many_users_are_written_together_as_each_would_be_alone() {
    let (together, alone) = (database().await, database().await);
    let users: Vec<Value> =
        (0..90).map(|number| user(&format!("u{number}"), &[numbered('t', number, 1)])).collect();
    let writes = decisions(&together, &users).await;
    assert_eq!(writes.len(), 90);
    let results = write_together(&together, &writes).await.expect("they are written");
    assert_eq!(results, [Written::Committed; 90]);
    for value in &users {
        look(&alone, value["_id"].as_str().expect("an id"), value, &OPTIONS).await;
    }
    assert_eq!(items(&together).await, items(&alone).await);
    assert!(decisions(&together, &users).await.is_empty());
}

#[tokio::test]
async fn a_user_who_was_changed_meanwhile_is_refused_with_those_of_the_same_transaction_only() {
    let database = database().await;
    let users: Vec<Value> =
        (0..90).map(|number| user(&format!("u{number}"), &[numbered('t', number, 1)])).collect();
    let writes = decisions(&database, &users).await;
    look(&database, "u40", &user("u40", &[]), &OPTIONS).await;
    let results = write_together(&database, &writes).await.expect("the others are written");
    // A transaction has a hundred actions, and each user takes three.
    let refused: Vec<usize> = results
        .iter()
        .enumerate()
        .filter(|(_, result)| **result == Written::Refused)
        .map(|(n, _)| n)
        .collect();
    assert_eq!(refused, (33..66).collect::<Vec<_>>());
    let stored = items(&database).await;
    assert!(!stored.contains_key("USER#u41 USER") && stored.contains_key("USER#u66 USER"));
    assert_eq!(attributes(&stored, "USER#u40 TOKENS").get("hashes"), None);
}

#[tokio::test]
async fn two_users_with_the_same_token_are_not_in_the_same_transaction() {
    let database = database().await;
    let users = [user("u", &[login('a', 1)]), user("v", &[login('a', 1)]), user("w", &[login('b', 1)])];
    let writes = decisions(&database, &users).await;
    let results = write_together(&database, &writes).await.expect("DynamoDB takes the transactions");
    // The transactions are sent at the same time. The token is the user's whose transaction comes first.
    let owner = match results[..2] {
        [Written::Committed, Written::Refused] => "u",
        [Written::Refused, Written::Committed] => "v",
        _ => panic!("{results:?}"),
    };
    assert_eq!(attributes(&items(&database).await, &hash('a'))["userId"], owner);
}
