//! The first start: in which state both sides may be, and what a pass may not do.

use std::time::Duration;

use futures_util::TryStreamExt;
use mongodb::bson::{Document, doc};
use serde_json::json;

use crate::following::{HASH, SOON, TOKEN, body, following, unit_facts, workspace};
use crate::world::{World, eventually, with_database};

/// A full pass that writes. Returns the exit code and what it printed.
async fn once(world: &World, options: &[&str]) -> (i32, String) {
    let run = world.run(&[&["sync", "--once"], options].concat());
    (run.code, run.stdout + &run.stderr)
}

/// Two units with members, in MongoDB and in DynamoDB.
async fn synced() -> Option<(World, Vec<String>, [String; 2])> {
    let (world, departments) = workspace().await?;
    let rocket_chat = world.rocket_chat();
    let monitors = [("mona", "mona"), ("mike", "mike")];
    let north = rocket_chat.save_unit(None, "North", "private", &monitors, &[&departments[0]]).await;
    let south = rocket_chat.save_unit(None, "South", "public", &[], &[&departments[1]]).await;
    let (code, printed) = once(&world, &[]).await;
    assert_eq!(code, 0, "{printed}");
    Some((world, departments, [north, south]))
}

fn name_of(unit: &Option<Document>) -> Option<&str> {
    unit.as_ref()?.get_str("name").ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_pass_writes_nothing() {
    let Some((world, _, [north, _])) = synced().await else { return };
    let before = world.all_items().await;
    let (code, printed) = once(&world, &[]).await;
    assert_eq!(code, 0, "{printed}");
    assert!(!printed.contains("wrote to"), "{printed}");
    assert_eq!(world.all_items().await, before);
    // The stored data is in order, and the same as in MongoDB.
    let check = world.run(&["check", "--mongodb-uri"]);
    assert_eq!(check.code, 0, "{check:?}");
    assert!(check.stdout.ends_with("sound\nthe same as in MongoDB\n"), "{check:?}");
    // A difference is named.
    world.rocket_chat().save_unit(Some(&north), "Arctic", "private", &[], &[]).await;
    let check = world.run(&["check", "--mongodb-uri", &world.mongo.uri]);
    assert_eq!(check.code, 3, "{check:?}");
    assert!(
        check.stdout.contains(r#"a sync would write to DynamoDB: the name is now "Arctic""#),
        "{check:?}"
    );
}

/// In Rocket.Chat, a unit may be saved while one of its monitors is deleted. The row of the monitor stays then.
#[tokio::test(flavor = "multi_thread")]
async fn a_monitor_who_is_gone_and_has_a_row_on_both_sides_is_no_difference() {
    let Some((world, _, [north, _])) = synced().await else { return };
    let rocket_chat = world.rocket_chat();
    rocket_chat.delete_user("mike").await;
    rocket_chat.save_monitor(&north, "mike", "mike").await;
    let (code, printed) = once(&world, &[]).await;
    assert_eq!(code, 0, "{printed}");
    assert_eq!(world.item("USER#mike", "USER").await, None);
    assert_eq!(
        world.item(&format!("UNIT#{north}"), "UNIT").await.expect("it is there")["numMonitors"],
        json!(2)
    );
    let check = world.run(&["check", "--mongodb-uri"]);
    assert_eq!(check.code, 0, "{check:?}");
    assert!(check.stdout.ends_with("sound\nthe same as in MongoDB\n"), "{check:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_writes_nothing_on_either_side() {
    let Some((world, departments)) = workspace().await else { return };
    let rocket_chat = world.rocket_chat();
    rocket_chat.save_unit(None, "North", "private", &[("mona", "mona")], &[&departments[0]]).await;
    let run = world.run(&["sync", "--once", "--dry-run"]);
    assert_eq!(run.code, 0, "{run:?}");
    assert!(run.stdout.contains(r#"would write to DynamoDB: the unit \"North\" is created"#), "{run:?}");
    assert!(world.all_items().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_both_sides_while_nothing_ran_are_both_kept() {
    let Some((world, departments, [north, south])) = synced().await else { return };
    let rocket_chat = world.rocket_chat();
    let update = body("Arctic", "private", &["mona", "mike"], &[&departments[0], &departments[2]]);
    assert_eq!(world.update(&north, "boss", TOKEN, &update).await.status_code, 200);
    rocket_chat.save_unit(Some(&north), "North", "public", &[("mona", "mona")], &[&departments[0]]).await;
    rocket_chat.save_unit(Some(&south), "Deep South", "public", &[], &[]).await;
    let (code, printed) = once(&world, &[]).await;
    assert_eq!(code, 0, "{printed}");
    assert!(!printed.contains("WARN"), "{printed}");
    let (name, visibility, monitors, of_north) = unit_facts(&world, &north).await.expect("it is there");
    assert_eq!((name.as_str(), visibility.as_str()), ("Arctic", "public"));
    assert_eq!(monitors, ["mona".to_owned()].into());
    assert_eq!(of_north, [departments[0].clone(), departments[2].clone()].into());
    let unit = rocket_chat.unit(&north).await;
    assert_eq!(name_of(&unit), Some("Arctic"));
    assert_eq!(unit.and_then(|unit| unit.get_i32("numDepartments").ok()), Some(2));
    assert_eq!(unit_facts(&world, &south).await.expect("it is there").0, "Deep South");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_later_change_of_the_same_fact_counts_and_the_other_is_named() {
    let Some((world, departments, [north, _])) = synced().await else { return };
    let rocket_chat = world.rocket_chat();
    let departments: Vec<&str> = vec![&departments[0]];
    let monitors = [("mona", "mona"), ("mike", "mike")];
    rocket_chat.save_unit(Some(&north), "Mongo's name", "private", &monitors, &departments).await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    let update = body("Dynamo's name", "private", &["mona", "mike"], &departments);
    assert_eq!(world.update(&north, "boss", TOKEN, &update).await.status_code, 200);
    let (code, printed) = once(&world, &[]).await;
    assert_eq!(code, 0, "{printed}");
    assert!(printed.contains("WARN") && printed.contains("Mongo's name"), "{printed}");
    assert_eq!(name_of(&rocket_chat.unit(&north).await), Some("Dynamo's name"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_imported_workspace_that_changed_on_both_sides_is_merged() {
    let Some((world, departments, [north, south])) = synced().await else { return };
    let rocket_chat = world.rocket_chat();
    // As after an import: no bases.
    forget_bases(&world).await;
    // Of a unit that is as imported, DynamoDB's state is the base: what differs was changed in MongoDB.
    rocket_chat.save_unit(Some(&south), "Deep South", "public", &[], &[&departments[1]]).await;
    // Of another one, the side with the later change is taken whole.
    let update = body("Arctic", "private", &["mike"], &[&departments[0]]);
    assert_eq!(world.update(&north, "boss", TOKEN, &update).await.status_code, 200);
    let (code, printed) = once(&world, &[]).await;
    assert_eq!(code, 0, "{printed}");
    assert_eq!(unit_facts(&world, &south).await.expect("it is there").0, "Deep South");
    assert_eq!(name_of(&rocket_chat.unit(&north).await), Some("Arctic"));
    assert_eq!(rocket_chat.monitors(&north).await.len(), 1);
    assert!(printed.contains("WARN") && printed.contains("North") && printed.contains("mona"), "{printed}");

    // --prefer decides otherwise.
    forget_bases(&world).await;
    let update = body("Polar", "private", &["mike"], &[&departments[0]]);
    assert_eq!(world.update(&north, "boss", TOKEN, &update).await.status_code, 200);
    let (code, printed) = once(&world, &["--prefer", "mongodb"]).await;
    assert_eq!(code, 0, "{printed}");
    assert_eq!(unit_facts(&world, &north).await.expect("it is there").0, "Arctic");
}

async fn forget_bases(world: &World) {
    let bases: Vec<String> =
        world.all_items().await.into_keys().filter(|key| key.starts_with("SYNC#")).collect();
    for key in bases {
        let Some((pk, sk)) = key.split_once(' ') else { continue };
        if sk == "BASE" {
            world.delete(pk, sk).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_database_removes_nothing() {
    let Some((world, departments, [north, _])) = synced().await else { return };
    let rocket_chat = world.rocket_chat();
    let before = world.items().await;
    for collection in [
        rocket_chat.users(),
        rocket_chat.permissions(),
        rocket_chat.departments(),
        rocket_chat.unit_monitors(),
    ] {
        collection.drop().await.expect("it is dropped");
    }
    let (code, printed) = once(&world, &[]).await;
    assert_eq!(code, 3, "{printed}");
    assert!(printed.contains("--allow-removals"), "{printed}");
    assert_eq!(world.items().await, before);
    let check = world.run(&["check", "--mongodb-uri"]);
    assert_eq!(check.code, 3, "{check:?}");
    let (code, printed) = once(&world, &["--allow-removals"]).await;
    assert_eq!(code, 0, "{printed}");
    assert_eq!(unit_facts(&world, &north).await, None);
    assert!(world.item(&format!("DEPARTMENT#{}", departments[0]), "DEPARTMENT").await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_half_restored_database_removes_nothing_and_brings_what_is_there() {
    let Some((world, _, [north, _])) = synced().await else { return };
    let rocket_chat = world.rocket_chat();
    rocket_chat.unit_monitors().delete_many(doc! {}).await.expect("they are deleted");
    rocket_chat.create_user("nina", "nina", &["livechat-monitor"]).await;
    let (code, printed) = once(&world, &[]).await;
    assert_eq!(code, 3, "{printed}");
    assert!(printed.contains("MongoDB has no monitors of units"), "{printed}");
    assert_eq!(unit_facts(&world, &north).await.expect("it is there").2.len(), 2);
    assert!(world.item("USER#nina", "USER").await.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_held_back_is_removed_soon_after_a_restore_has_ended() {
    let Some((world, ..)) = synced().await else { return };
    let rocket_chat = world.rocket_chat();
    let found = rocket_chat.unit_monitors().find(doc! { "monitorId": "mona" }).await.expect("it is found");
    let rows_of_mona: Vec<Document> = found.try_collect().await.expect("they are read");
    rocket_chat.unit_monitors().delete_many(doc! {}).await.expect("they are deleted");
    let process = following(&world, &[]).await;
    process.prints(SOON, "MongoDB has no monitors of units").await;
    rocket_chat.delete_user("mike").await;
    let mike = async || world.item("USER#mike", "USER").await;
    // Without the guard, it takes less than a second.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(mike().await.is_some());
    rocket_chat.unit_monitors().insert_many(rows_of_mona).await.expect("they are inserted");
    // The next regular pass is a day away.
    eventually(SOON, async || mike().await.is_none()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_small_workspace_one_deletion_is_carried() {
    let Some((world, departments, [north, south])) = synced().await else { return };
    let rocket_chat = world.rocket_chat();
    rocket_chat.save_unit(None, "East", "public", &[], &[]).await;
    assert_eq!(once(&world, &[]).await.0, 0);
    rocket_chat.delete_unit_rows_first(&south).await;
    rocket_chat.save_unit(Some(&north), "North", "private", &[("mona", "mona")], &[&departments[0]]).await;
    let (code, printed) = once(&world, &[]).await;
    assert_eq!(code, 0, "{printed}");
    assert_eq!(unit_facts(&world, &south).await, None);
    assert_eq!(unit_facts(&world, &north).await.expect("it is there").2.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_did_not_come_from_rocket_chat_stays() {
    let Some((world, ..)) = synced().await else { return };
    assert_eq!(
        world.run(&["user", "put", "robot", "--username", "robot", "--role", "livechat-manager"]).code,
        0
    );
    assert_eq!(world.run(&["token", "create", "--user", "robot"]).code, 0);
    assert_eq!(world.run(&["token", "create", "--user", "boss"]).code, 0);
    let before = world.items().await;
    let (code, printed) = once(&world, &["--allow-removals"]).await;
    assert_eq!(code, 0, "{printed}");
    assert_eq!(world.items().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_department_in_an_operators_own_unit_stays_open() {
    let Some((world, departments, [north, south])) = synced().await else { return };
    world
        .put(json!({
            "pk": "UNIT#own", "sk": "UNIT", "_id": "own", "name": "Own", "visibility": "private", "type": "u",
            "numMonitors": 0, "numDepartments": 0, "monitors": {}, "version": 0,
            "_updatedAt": "2026-11-01T00:00:00.000Z",
        }))
        .await;
    let update = body("Own", "private", &[], &[&departments[0]]);
    assert_eq!(world.update("own", "boss", TOKEN, &update).await.status_code, 200);
    let (code, printed) = once(&world, &[]).await;
    assert_eq!(code, 3, "{printed}");
    let open = format!(
        "department {} is in the unit, which MongoDB does not have, so MongoDB's place stays as it is",
        departments[0]
    );
    assert!(printed.contains(&open), "{printed}");
    let department = world.rocket_chat().department(&departments[0]).await.expect("it is there");
    assert_eq!(department.get_str("parentId").ok(), Some(north.as_str()));
    assert_eq!(unit_facts(&world, "own").await.expect("it stays").3.len(), 1);
    // In no unit, MongoDB's department still is not where DynamoDB has it.
    world.rocket_chat().set_department_unit(&departments[0], None).await;
    let (code, printed) = once(&world, &[]).await;
    assert_eq!(code, 3, "{printed}");
    assert!(printed.contains(&open), "{printed}");
    assert_eq!(unit_facts(&world, "own").await.expect("it stays").3.len(), 1);
    // In another unit it is, by a later change of both sides.
    world.rocket_chat().set_department_unit(&departments[0], Some(&south)).await;
    let (code, printed) = once(&world, &[]).await;
    assert_eq!(code, 0, "{printed}");
    assert!(unit_facts(&world, "own").await.expect("it stays").3.is_empty());
    assert!(unit_facts(&world, &south).await.expect("it is there").3.contains(&departments[0]));
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_that_were_imported_before_there_were_lists_of_tokens() {
    let Some((world, ..)) = synced().await else { return };
    // As the first version imported them: no TOKENS, no rev, and a token that was revoked since.
    world.delete("USER#boss", "TOKENS").await;
    let revoked = livechat_units::hashed_token("revoked");
    let expires = 4_000_000_000_u64;
    world.put(json!({ "hashedToken": revoked, "userId": "boss", "expiresAt": expires })).await;
    let (code, printed) = once(&world, &[]).await;
    assert_eq!(code, 0, "{printed}");
    let items = world.items().await;
    assert!(!items.contains_key(&revoked), "{items:#?}");
    assert!(items.contains_key(HASH) && items.contains_key("USER#boss TOKENS"), "{items:#?}");
    assert!(printed.contains("of user boss is removed") && !printed.contains(&revoked), "{printed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_workspace_is_refused_and_a_moved_one_has_to_be_named() {
    let Some((world, ..)) = synced().await else { return };
    let rocket_chat = world.rocket_chat();
    let before = world.all_items().await;
    let set_id = async |id: &str| {
        let update = doc! { "$set": { "value": id } };
        rocket_chat.settings().update_one(doc! { "_id": "uniqueID" }, update).await.expect("it is written");
    };
    let own = rocket_chat
        .settings()
        .find_one(doc! { "_id": "uniqueID" })
        .await
        .expect("it is read")
        .expect("it is there");
    let own = own.get_str("value").expect("a text").to_owned();
    set_id("another").await;
    for options in [&[][..], &["--moved"]] {
        let (code, printed) = once(&world, options).await;
        assert_eq!(code, 1, "{printed}");
        assert!(printed.contains("these tables belong to another workspace"), "{printed}");
    }
    set_id("").await;
    let (code, printed) = once(&world, &[]).await;
    assert_eq!(code, 1, "{printed}");
    assert!(printed.contains("no setting uniqueID"), "{printed}");
    set_id(&own).await;
    assert_eq!(world.all_items().await, before);

    // The same workspace in another database.
    let copy = with_database(&world.mongo.uri, &format!("{}_copy", rocket_chat.name()));
    rocket_chat.copy_to(&format!("{}_copy", rocket_chat.name())).await;
    let run = |options: &[&str]| {
        let run = world.run(&[&["sync", "--once", "--mongodb-uri", &copy], options].concat());
        (run.code, run.stdout + &run.stderr)
    };
    let (code, printed) = run(&[]);
    assert_eq!(code, 1, "{printed}");
    assert!(printed.contains("--moved"), "{printed}");
    let (code, printed) = run(&["--moved"]);
    rocket_chat.drop_copy(&format!("{}_copy", rocket_chat.name())).await;
    assert_eq!(code, 0, "{printed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn from_mongodb_writes_nothing_there() {
    let Some((world, departments, [north, _])) = synced().await else { return };
    let rocket_chat = world.rocket_chat();
    let _sync = following(&world, &["--from-mongodb"]).await;
    let update = body("Arctic", "private", &["mona", "mike"], &[&departments[0], &departments[2]]);
    assert_eq!(world.update(&north, "boss", TOKEN, &update).await.status_code, 200);
    _sync.prints(SOON, "not written to MongoDB: the name is now").await;
    rocket_chat.save_monitor(&north, "mona", "mona").await;
    rocket_chat.remove_monitor("mike").await;
    eventually(SOON, async || {
        unit_facts(&world, &north).await.is_some_and(|(.., monitors, _)| monitors.len() == 1)
    })
    .await;
    assert_eq!(name_of(&rocket_chat.unit(&north).await), Some("North"));
    assert_eq!(unit_facts(&world, &north).await.expect("it is there").0, "Arctic");
}
