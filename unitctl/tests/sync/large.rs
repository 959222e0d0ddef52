//! What takes many writes: a department with many rooms, and a unit with hundreds of monitors and departments.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mongodb::bson::{DateTime, Document, doc};

use crate::following::{SOON, TOKEN, body, dynamodb_unit, following, unit_facts, workspace};
use crate::rocket_chat::new_id;
use crate::world::{World, eventually};

/// Rooms of the department that moves. They take several queries and many writes.
const ROOMS: usize = 2_000;

/// Monitors of the large unit, and departments of it. Together they take several transactions on each side.
const MEMBERS: usize = 300;

/// Many writes take their time, on a machine that runs other tests.
const PATIENCE: Duration = Duration::from_secs(300);

#[tokio::test(flavor = "multi_thread")]
async fn all_rooms_of_a_department_follow_it_while_messages_change_them() {
    let Some((world, departments)) = workspace().await else { return };
    let rocket_chat = world.rocket_chat();
    let [sales, support, _] = [&departments[0], &departments[1], &departments[2]];
    let north = rocket_chat.save_unit(None, "North", "private", &[("mona", "mona")], &[sales]).await;
    let south = rocket_chat.save_unit(None, "South", "private", &[("mike", "mike")], &[support]).await;
    let ids: Vec<String> = (0..ROOMS).map(|_| new_id()).collect();
    let rooms = ids.iter().enumerate().map(|(number, id)| {
        let now = DateTime::now();
        doc! {
            "_id": id, "t": "l", "departmentId": sales, "departmentAncestors": [&north], "msgs": 0, "_updatedAt": now,
            "open": number % 10 == 0,
        }
    });
    rocket_chat.rooms().insert_many(rooms.collect::<Vec<Document>>()).await.expect("they are inserted");
    let other = rocket_chat.create_room(support, true).await;
    let _sync = following(&world, &[]).await;

    let is_done = Arc::new(AtomicBool::new(false));
    let messages = tokio::spawn({
        let (rocket_chat, is_done) = (rocket_chat.clone(), is_done.clone());
        let open: Vec<String> = ids.iter().step_by(10).cloned().collect();
        async move {
            let mut sent = 0;
            for room in open.iter().cycle() {
                rocket_chat.send_message(room).await;
                sent += 1;
                // Some fifty a second.
                tokio::time::sleep(Duration::from_millis(20)).await;
                if is_done.load(Ordering::Acquire) {
                    break;
                }
            }
            sent
        }
    });
    let count = async |filter| {
        // To count them keeps the server busy.
        tokio::time::sleep(Duration::from_millis(300)).await;
        rocket_chat.rooms().count_documents(filter).await.expect("it is read")
    };
    // To another unit, and to none.
    let update = body("South", "private", &["mike"], &[support, sales]);
    assert_eq!(world.update(&south, "boss", TOKEN, &update).await.status_code, 200);
    let moved = doc! { "departmentId": sales, "departmentAncestors": [&south] };
    eventually(PATIENCE, async || count(moved.clone()).await == ROOMS as u64).await;
    assert!(rocket_chat.may_see("mike", &ids[0]).await && !rocket_chat.may_see("mona", &ids[0]).await);
    let update = body("South", "private", &["mike"], &[support]);
    assert_eq!(world.update(&south, "boss", TOKEN, &update).await.status_code, 200);
    let left = doc! { "departmentId": sales, "departmentAncestors": { "$exists": false } };
    eventually(PATIENCE, async || count(left.clone()).await == ROOMS as u64).await;
    is_done.store(true, Ordering::Release);
    let sent: i64 = messages.await.expect("it sends");

    // No message was lost, and no room of another department was changed.
    let open = doc! { "departmentId": sales, "open": true };
    let mut cursor = rocket_chat.rooms().find(open).await.expect("they are found");
    let mut counted = 0;
    while cursor.advance().await.expect("it is read") {
        counted += i64::from(cursor.current().get_i32("msgs").expect("a number"));
    }
    assert_eq!(counted, sent);
    assert!(rocket_chat.may_see("mike", &other).await);
    counters(&world, &north, 1, 0).await;
    counters(&world, &south, 1, 1).await;
    is_the_same(&world).await;
}

/// The room of the department can't be written for a while, because a transaction has changed it. So the rooms are not done.
#[tokio::test(flavor = "multi_thread")]
async fn changes_of_a_unit_do_not_wait_for_the_rooms_of_its_departments() {
    let Some((world, departments)) = workspace().await else { return };
    let rocket_chat = world.rocket_chat();
    let [sales, support, _] = [&departments[0], &departments[1], &departments[2]];
    let unit = rocket_chat.save_unit(None, "North", "private", &[("mona", "mona")], &[sales]).await;
    let room = rocket_chat.create_room(support, true).await;
    let sync = following(&world, &[]).await;

    let mut session = rocket_chat.db.client().start_session().await.expect("it starts");
    session.start_transaction().await.expect("it starts");
    let rooms = rocket_chat.rooms();
    let change = rooms.update_one(doc! { "_id": &room }, doc! { "$inc": { "msgs": 1 } });
    change.session(&mut session).await.expect("it is updated");
    let members = [sales.as_str(), support.as_str()];
    for name in ["with one more", "renamed"] {
        let update = body(name, "private", &["mona"], &members);
        assert_eq!(world.update(&unit, "boss", TOKEN, &update).await.status_code, 200);
        eventually(SOON, async || {
            let unit = rocket_chat.unit(&unit).await.expect("it is there");
            unit.get_str("name").ok() == Some(name) && unit.get_i32("numDepartments").ok() == Some(2)
        })
        .await;
    }
    assert!(!rocket_chat.may_see("mona", &room).await);
    // No look at the unit has waited for the room until it failed.
    let of_unit = format!("\"subject\":\"unit {unit}\"");
    let failed = |line: &String| line.contains("\"level\":\"ERROR\"") && line.contains(&of_unit);
    assert!(!sync.printed().iter().any(failed), "{:#?}", sync.printed());
    session.abort_transaction().await.expect("it is aborted");
    eventually(PATIENCE, async || rocket_chat.may_see("mona", &room).await).await;
    is_the_same(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unit_with_hundreds_of_members_is_created_changed_and_deleted() {
    let Some((world, _)) = workspace().await else { return };
    let rocket_chat = world.rocket_chat();
    let users: Vec<String> = (0..MEMBERS).map(|number| format!("monitor{number:03}")).collect();
    let documents = users.iter().map(|id| {
        doc! {
            "_id": id, "username": id, "active": true, "roles": ["livechat-monitor"], "_updatedAt": DateTime::now(),
            "services": {},
        }
    });
    rocket_chat.users().insert_many(documents.collect::<Vec<_>>()).await.expect("they are inserted");
    let departments: Vec<String> = (0..MEMBERS).map(|_| new_id()).collect();
    let documents = departments.iter().map(|id| {
        doc! { "_id": id, "name": id, "enabled": true, "numAgents": 0, "_updatedAt": DateTime::now() }
    });
    rocket_chat.departments().insert_many(documents.collect::<Vec<_>>()).await.expect("they are inserted");
    let _sync = following(&world, &[]).await;

    for document_first in [true, false] {
        let monitors: Vec<(&str, &str)> = users.iter().map(|id| (id.as_str(), id.as_str())).collect();
        let all: Vec<&str> = departments.iter().map(String::as_str).collect();
        let unit = rocket_chat.save_unit(None, "Large", "private", &monitors, &all).await;
        eventually(PATIENCE, async || facts(&world, &unit).await == Some(("Large".into(), MEMBERS, MEMBERS)))
            .await;
        counters(&world, &unit, MEMBERS, MEMBERS).await;
        is_the_same(&world).await;

        // Two thirds leave through the function.
        let third = MEMBERS / 3;
        let monitors: Vec<&str> = users[..third].iter().map(String::as_str).collect();
        let update = body("Smaller", "public", &monitors, &all[..third]);
        assert_eq!(world.update(&unit, "boss", TOKEN, &update).await.status_code, 200);
        counters(&world, &unit, third, third).await;
        assert_eq!(facts(&world, &unit).await, Some(("Smaller".into(), third, third)));
        is_the_same(&world).await;

        if document_first {
            rocket_chat.delete_unit_document_first(&unit).await;
        } else {
            rocket_chat.delete_unit_rows_first(&unit).await;
        }
        eventually(PATIENCE, async || dynamodb_unit(&world, &unit).await.is_none()).await;
        let items = world.items().await;
        let of_unit: BTreeSet<&String> = items
            .iter()
            .filter(|(key, item)| {
                key.starts_with(&format!("UNIT#{unit}")) || item["parentId"] == unit.as_str()
            })
            .map(|(key, _)| key)
            .collect();
        assert!(of_unit.is_empty(), "{of_unit:?}");
        is_the_same(&world).await;
    }
}

/// A unit in DynamoDB: its name, and the numbers of its monitors and departments.
async fn facts(world: &World, unit: &str) -> Option<(String, usize, usize)> {
    let (name, _, monitors, departments) = unit_facts(world, unit).await?;
    Some((name, monitors.len(), departments.len()))
}

/// Waits until a unit in MongoDB has these counters, as many rows, and as many departments.
async fn counters(world: &World, unit: &str, monitors: usize, departments: usize) {
    let rocket_chat = world.rocket_chat();
    eventually(PATIENCE, async || {
        let document = rocket_chat.unit(unit).await.expect("it is there");
        let inside = rocket_chat.departments().count_documents(doc! { "parentId": unit }).await;
        let number = |name| document.get_i32(name).ok().and_then(|number| usize::try_from(number).ok());
        number("numMonitors") == Some(monitors)
            && number("numDepartments") == Some(departments)
            && rocket_chat.monitors(unit).await.len() == monitors
            && inside.expect("they are counted") == departments as u64
    })
    .await;
}

/// Waits until a check finds no difference between both sides.
async fn is_the_same(world: &World) {
    eventually(PATIENCE, async || world.run(&["check", "--mongodb-uri"]).code == 0).await;
}
