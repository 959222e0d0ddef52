//! What others write while a unit or its rooms are read and written.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::TryStreamExt;
use mongodb::bson::{Bson, Document, doc};
use unitctl::sync::mongodb::{Cause, Kind, MongoDb, MongoWritten};

use super::{department, nothing, place, read, unit, user};
use crate::world::{Mongo, mongo};

/// Each of Rocket.Chat's saves moves a department and a monitor together. No read may show one without the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_shows_a_transaction_whole_or_not_at_all() {
    let Some(mongo) = mongo().await else { return };
    let (client, rocket_chat) = (mongo.connect().await, &mongo.rocket_chat);
    let a = rocket_chat.create_department("a").await;
    let id = rocket_chat.save_unit(None, "Sales", "public", &[], &[]).await;
    let is_done = Arc::new(AtomicBool::new(false));
    let writer = tokio::spawn({
        let (client, id, a, is_done) = (mongo.connect().await, id.clone(), a.clone(), is_done.clone());
        async move {
            for number in 0..20 {
                let seen = read(&client, &id, &[&a]).await;
                let joins = number % 2 == 0;
                let mut write = nothing(&id, seen);
                let monitors = if joins { &mut write.join } else { &mut write.leave };
                monitors.insert(user("m"));
                write.usernames.insert(user("m"), "mm".into());
                write.places.extend([place(&a, joins.then_some(id.as_str()))]);
                write.name = Some(if joins { "in" } else { "out" }.into());
                assert_eq!(client.write_unit(&write).await.expect("it is written"), MongoWritten::Committed);
            }
            is_done.store(true, Ordering::Release);
        }
    });
    let mut states = BTreeSet::new();
    while !is_done.load(Ordering::Acquire) {
        let snapshot = read(&client, &id, &[&a]).await;
        let count = snapshot.members(&unit(&id)).count();
        let found = snapshot.unit.expect("it is there").expect("it is whole");
        let numbers = (found.record.num_monitors, found.record.num_departments);
        states.insert((found.view.facts.name, found.view.facts.monitors.len(), count, numbers));
    }
    writer.await.expect("it writes");
    let whole =
        |name: &str, count: usize| (name.to_owned(), count, count, (Some(count as i64), Some(count as i64)));
    let allowed = BTreeSet::from([whole("Sales", 0), whole("in", 1), whole("out", 0)]);
    assert!(states.is_subset(&allowed) && states.len() > 1, "{states:?}");
}

#[tokio::test]
async fn a_write_is_refused_if_anything_changed_that_the_decision_was_based_on() {
    let Some(mongo) = mongo().await else { return };
    let (client, rocket_chat) = (mongo.connect().await, &mongo.rocket_chat);
    let (a, b) = (rocket_chat.create_department("a").await, rocket_chat.create_department("b").await);
    let other = rocket_chat.save_unit(None, "Other", "public", &[], &[]).await;
    for change in
        ["name", "monitor", "department joins", "place", "time", "deleted", "place's unit is deleted"]
    {
        let id = rocket_chat.save_unit(None, "Sales", "private", &[("m", "mm")], &[&a]).await;
        rocket_chat.set_department_unit(&b, None).await;
        let mut write = nothing(&id, read(&client, &id, &[&b]).await);
        write.name = Some("Support".into());
        write.places.extend([place(&a, None)]);
        match change {
            "name" => {
                drop(rocket_chat.save_unit(Some(&id), "Another", "private", &[("m", "mm")], &[&a]).await)
            }
            "monitor" => rocket_chat.save_monitor(&id, "n", "nn").await,
            "department joins" => rocket_chat.set_department_unit(&b, Some(&id)).await,
            "place" => rocket_chat.set_department_unit(&a, Some(&other)).await,
            "time" => rocket_chat.change_department(&a, "changed").await,
            "deleted" => rocket_chat.delete_unit_rows_first(&id).await,
            _ => write.places.extend([place(&b, Some("absent"))]),
        }
        let before = state(&mongo).await;
        assert_eq!(client.write_unit(&write).await.expect("it answers"), MongoWritten::Refused, "{change}");
        assert_eq!(state(&mongo).await, before, "{change}");
    }
}

/// All units, departments and rows.
async fn state(mongo: &Mongo) -> Vec<Document> {
    use futures_util::TryStreamExt;
    let mut all = Vec::new();
    for collection in [mongo.rocket_chat.departments(), mongo.rocket_chat.unit_monitors()] {
        let documents: Vec<Document> = collection
            .find(doc! {})
            .await
            .expect("they are found")
            .try_collect()
            .await
            .expect("they are read");
        all.extend(documents);
    }
    all
}

/// A transaction that meets another one is tried again, and in the end it is refused.
#[tokio::test]
async fn a_write_that_always_meets_another_one_is_refused() {
    let Some(mongo) = mongo().await else { return };
    let (client, rocket_chat) = (mongo.connect().await, &mongo.rocket_chat);
    let id = rocket_chat.save_unit(None, "Sales", "private", &[], &[]).await;
    let mut write = nothing(&id, read(&client, &id, &[]).await);
    write.name = Some("Support".into());

    let mut other = mongo.db.client().start_session().await.expect("it starts");
    other.start_transaction().await.expect("it starts");
    let update = doc! { "$set": { "name": "Other" } };
    let departments = rocket_chat.departments();
    departments.update_one(doc! { "_id": &id }, update).session(&mut other).await.expect("it is updated");
    assert_eq!(client.write_unit(&write).await.expect("it answers"), MongoWritten::Refused);
    other.abort_transaction().await.expect("it is aborted");
    assert_eq!(client.write_unit(&write).await.expect("it is written"), MongoWritten::Committed);
}

/// Two writers and Rocket.Chat's own saves at the same time: every write counts or is refused, and a recount is right.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_writers_lose_nothing() {
    let Some(mongo) = mongo().await else { return };
    let rocket_chat = &mongo.rocket_chat;
    let id = rocket_chat.save_unit(None, "Sales", "private", &[], &[]).await;
    let mut departments = Vec::new();
    for number in 0..12 {
        departments.push(rocket_chat.create_department(&number.to_string()).await);
    }
    let writers = (0..3).map(|writer| {
        let (uri, id, own) =
            (mongo.uri.clone(), id.clone(), departments[writer * 4..writer * 4 + 4].to_vec());
        let rocket_chat = rocket_chat.clone();
        tokio::spawn(async move {
            let client = MongoDb::connect(&uri).await.expect("it connects");
            for number in own {
                if writer == 2 {
                    rocket_chat.set_department_unit(&number, Some(&id)).await;
                    continue;
                }
                loop {
                    let mut write = nothing(&id, read(&client, &id, &[&number]).await);
                    write.join.insert(user(&number));
                    write.usernames.insert(user(&number), "x".into());
                    write.places.extend([place(&number, Some(&id))]);
                    if client.write_unit(&write).await.expect("it answers") == MongoWritten::Committed {
                        break;
                    }
                }
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.expect("it writes");
    }
    let client = mongo.connect().await;
    client.recount(&[unit(&id)]).await.expect("it is counted");
    assert_eq!(client.recount(&[unit(&id)]).await.expect("it is counted"), [], "it is right now");
    let found = rocket_chat.unit(&id).await.expect("it is there");
    assert_eq!((found.get_i32("numMonitors"), found.get_i32("numDepartments")).0.expect("a count"), 8);
    assert_eq!(found.get_i32("numDepartments").expect("a count"), 12);
    assert_eq!(read(&client, &id, &[]).await.members(&unit(&id)).count(), 12);
    assert_eq!(client.count(Kind::UnitMonitors).await.expect("it is counted"), 8);
}

/// Rooms are written in batches, while messages change the open ones.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_go_on_while_many_rooms_are_written() {
    let Some(mongo) = mongo().await else { return };
    let (client, rocket_chat) = (mongo.connect().await, &mongo.rocket_chat);
    let a = rocket_chat.create_department("a").await;
    let count = 3_000;
    let rooms = (0..count).map(|number| {
        let id = if number % 2 == 0 { Bson::from(format!("r{number}")) } else { Bson::Int32(number) };
        doc! { "_id": id, "t": "l", "departmentId": &a, "open": number < 50, "msgs": 0 }
    });
    rocket_chat.rooms().insert_many(rooms).await.expect("they are inserted");
    let is_done = Arc::new(AtomicBool::new(false));
    let messages = tokio::spawn({
        let (rocket_chat, is_done) = (rocket_chat.clone(), is_done.clone());
        async move {
            let mut sent = 0;
            while !is_done.load(Ordering::Acquire) {
                rocket_chat.send_message(&format!("r{}", sent % 25 * 2)).await;
                sent += 1;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            sent
        }
    });
    let mut failures = 0;
    let written = loop {
        match client.write_rooms(&department(&a), Some(&unit("u"))).await {
            Ok(written) => break written,
            // A server that is busy with other tests may not answer in time. What it has written before is not counted again.
            Err(failure) if failure.cause == Cause::Unreachable && failures < 10 => failures += 1,
            Err(failure) => panic!("{failure}"),
        }
    };
    is_done.store(true, Ordering::Release);
    let sent: i32 = messages.await.expect("they are sent");
    assert!(written == count as u64 || failures > 0, "{written}");
    assert!(sent > 0);
    let right = doc! { "departmentAncestors": ["u"] };
    assert_eq!(rocket_chat.rooms().count_documents(right).await.expect("ok"), count as u64);
}

/// A department may have hundreds of thousands of closed rooms, and people work in the open ones.
#[tokio::test]
async fn open_rooms_are_written_before_closed_ones() {
    let Some(mongo) = mongo().await else { return };
    let (client, rocket_chat) = (mongo.connect().await, &mongo.rocket_chat);
    let a = rocket_chat.create_department("a").await;
    let (count, open) = (500, 20);
    // As in Rocket.Chat, the newest rooms are the open ones, and a closed room has no field `open`.
    let rooms = (0..count).map(|number| {
        let mut room = doc! { "_id": format!("r{number:03}"), "t": "l", "departmentId": &a };
        if number >= count - open {
            room.insert("open", true);
        }
        room
    });
    rocket_chat.rooms().insert_many(rooms).await.expect("they are inserted");
    for place in [Some(unit("u")), None] {
        let written = client.write_rooms(&department(&a), place.as_ref()).await.expect("they are written");
        assert_eq!(written, count);
        let written_at = async |filter: Document| {
            let rooms = rocket_chat.rooms().find(filter).await.expect("they are found");
            let rooms: Vec<Document> = rooms.try_collect().await.expect("they are read");
            let times = rooms.iter().map(|room| *room.get_datetime("_updatedAt").expect("a time"));
            times.collect::<Vec<_>>()
        };
        let last_open = written_at(doc! { "open": true }).await.into_iter().max();
        let first_closed = written_at(doc! { "open": { "$exists": false } }).await.into_iter().min();
        assert!(last_open <= first_closed, "{last_open:?} {first_closed:?}");
    }
}
