//! A unit is read in one snapshot and written in one transaction, as Rocket.Chat would have saved it.

mod meanwhile;

use std::collections::{BTreeMap, BTreeSet};

use livechat_units::id::{DepartmentId, UnitId, UserId};
use livechat_units::request::Visibility;
use mongodb::bson::{Bson, DateTime, Document, doc};
use unitctl::sync::mongodb::{Asked, Cause, MongoDb, MongoWritten, PlaceWrite, UnitSnapshot, UnitWrite};

use crate::rocket_chat::Leaving;
use crate::world::{Mongo, mongo};

/// A time that is later than all that Rocket.Chat writes in these tests.
const LATER: &str = "2121-12-06T14:40:59.478Z";

fn unit(id: &str) -> UnitId {
    UnitId::parse(id).expect("an id")
}

fn department(id: &str) -> DepartmentId {
    DepartmentId::parse(id).expect("an id")
}

fn user(id: &str) -> UserId {
    UserId::parse(id).expect("an id")
}

async fn read(client: &MongoDb, id: &str, also: &[&str]) -> UnitSnapshot {
    let mut failures = 0;
    loop {
        match client.unit(&unit(id), &also.iter().map(|id| department(id)).collect()).await {
            Ok(snapshot) => return snapshot,
            // A server that is busy with other tests may not answer in time.
            Err(failure) if failure.cause == Cause::Unreachable && failures < 10 => failures += 1,
            Err(failure) => panic!("{failure}"),
        }
    }
}

/// What a snapshot says, in a form that can be compared.
fn essence(snapshot: &UnitSnapshot, id: &str) -> String {
    let found = snapshot.unit.as_ref().map(|found| found.as_ref().map(|found| (&found.view, &found.rows)));
    let departments = snapshot.departments.iter();
    let places: Vec<_> =
        departments.map(|(id, found)| (id, found.as_ref().map(|found| &found.view))).collect();
    format!("{found:?} {places:?} {:?}", snapshot.members(&unit(id)).collect::<Vec<_>>())
}

/// A write that changes nothing.
fn nothing(id: &str, seen: UnitSnapshot) -> UnitWrite {
    UnitWrite {
        id: unit(id),
        seen,
        name: None,
        visibility: None,
        join: BTreeSet::new(),
        leave: BTreeSet::new(),
        usernames: BTreeMap::new(),
        places: BTreeMap::new(),
        updated_at: Some(LATER.into()),
    }
}

/// A department's new place.
fn place(id: &str, to: Option<&str>) -> (DepartmentId, PlaceWrite) {
    (department(id), PlaceWrite { place: to.map(unit), updated_at: LATER.into() })
}

fn later() -> DateTime {
    DateTime::parse_rfc3339_str(LATER).expect("a time")
}

async fn four_departments(mongo: &Mongo) -> [String; 4] {
    let create = |name| mongo.rocket_chat.create_department(name);
    [create("a").await, create("b").await, create("c").await, create("d").await]
}

async fn department_of(mongo: &Mongo, id: &str) -> Document {
    mongo.rocket_chat.department(id).await.expect("it is there")
}

#[tokio::test]
async fn a_unit_is_read_with_its_rows_and_departments() {
    let Some(mongo) = mongo().await else { return };
    let (client, rocket_chat) = (mongo.connect().await, &mongo.rocket_chat);
    let (a, b, c) = (
        rocket_chat.create_department("a").await,
        rocket_chat.create_department("b").await,
        rocket_chat.create_department("c").await,
    );
    let id = rocket_chat.save_unit(None, "Sales", "private", &[("m", "mm"), ("n", "nn")], &[&a]).await;
    // A user with two rows counts once. A row of nobody does not count.
    let rows =
        [doc! { "unitId": &id, "monitorId": "m", "username": "mm" }, doc! { "unitId": &id, "username": "x" }];
    rocket_chat.unit_monitors().insert_many(rows).await.expect("they are inserted");

    let snapshot = read(&client, &id, &[&b, "absent"]).await;
    let found = snapshot.unit.as_ref().expect("it is there").as_ref().expect("it is whole");
    assert_eq!((found.view.facts.name.as_str(), found.view.facts.visibility), ("Sales", Visibility::Private));
    assert_eq!(found.view.facts.monitors, [user("m"), user("n")].into());
    assert_eq!(found.rows.len(), 3);
    assert_eq!(snapshot.departments.keys().collect::<Vec<_>>(), [&department(&a), &department(&b)]);
    assert_eq!(snapshot.members(&unit(&id)).collect::<Vec<_>>(), [&department(&a)]);

    // A unit is no department, and a department no unit.
    assert!(read(&client, &a, &[]).await.unit.is_none());
    assert!(read(&client, "absent", &[&id, &c]).await.departments.keys().eq([&department(&c)]));

    for leaving in [Leaving::Null, Leaving::Unset] {
        let rocket_chat = crate::rocket_chat::RocketChat { leaving, ..rocket_chat.clone() };
        rocket_chat.save_unit(Some(&id), "Sales", "odd", &[], &[&b]).await;
        let snapshot = read(&client, &id, &[&a]).await;
        assert_eq!(snapshot.members(&unit(&id)).collect::<Vec<_>>(), [&department(&b)]);
        let left = snapshot.departments[&department(&a)].as_ref().expect("it is whole");
        assert_eq!(left.view.place, None, "{leaving:?}");
        // Nobody may see more than before because a value is unknown.
        let found = snapshot.unit.expect("it is there").expect("it is whole");
        assert_eq!(found.view.facts.visibility, Visibility::Private);
        rocket_chat.save_unit(Some(&id), "Sales", "private", &[], &[&a]).await;
    }

    rocket_chat
        .departments()
        .update_one(doc! { "_id": &id }, doc! { "$unset": { "name": 1 } })
        .await
        .expect("ok");
    let broken = read(&client, &id, &[]).await.unit.expect("it is there").expect_err("it has no name");
    assert_eq!(broken, "no name");
}

#[tokio::test]
async fn several_units_are_read_as_if_each_was_read_alone() {
    let Some(mongo) = mongo().await else { return };
    let (client, rocket_chat) = (mongo.connect().await, &mongo.rocket_chat);
    let departments = four_departments(&mongo).await;
    let [a, b, c, d] = departments.each_ref().map(String::as_str);
    let sales = rocket_chat.save_unit(None, "Sales", "private", &[("m", "mm")], &[a]).await;
    let support =
        rocket_chat.save_unit(None, "Support", "public", &[("m", "mm"), ("n", "nn")], &[b, c]).await;
    // Each with departments of its own, of another one and of none.
    let asked: [(&str, &[&str]); 4] =
        [(&sales, &[b, d]), (&support, &[b]), ("absent", &[a, &sales]), (d, &[])];
    let all =
        asked.map(|(id, also)| Asked { id: unit(id), also: also.iter().map(|id| department(id)).collect() });
    let together = client.units(&all).await.expect("they are read");
    assert_eq!(together.len(), asked.len());
    for (found, (id, also)) in together.iter().zip(asked) {
        let alone = read(&client, id, also).await;
        assert_eq!(essence(found, id), essence(&alone, id), "{id}");
    }
    let found = together[0].departments.keys().collect::<Vec<_>>();
    let mut expected = [a, b, d].map(department);
    expected.sort();
    assert_eq!(found, expected.iter().collect::<Vec<_>>());
    assert_eq!(together[1].members(&unit(&support)).count(), 2);
    assert!(together[2].unit.is_none());
}

#[tokio::test]
async fn a_unit_is_written_as_rocket_chat_saves_it() {
    let Some(mongo) = mongo().await else { return };
    let (client, rocket_chat) = (mongo.connect().await, &mongo.rocket_chat);
    let departments = four_departments(&mongo).await;
    let [a, b, c, d] = departments.each_ref().map(String::as_str);
    let losing = rocket_chat.save_unit(None, "Losing", "public", &[], &[c, d]).await;
    let id = rocket_chat.save_unit(None, "Sales", "private", &[("m", "mm"), ("n", "old")], &[a]).await;
    // What an older version left: a double row with an object id, wrong counters, wrong ancestors.
    let double = doc! { "unitId": &id, "monitorId": "m", "username": "mm" };
    rocket_chat.unit_monitors().insert_one(double).await.expect("it is inserted");
    let wrong = doc! { "$set": { "numMonitors": 9, "numDepartments": 9, "extra": "stays" } };
    rocket_chat.departments().update_one(doc! { "_id": &id }, wrong).await.expect("it is updated");

    let seen = read(&client, &id, &[b, c]).await;
    let mut write = nothing(&id, seen);
    write.name = Some("Support".into());
    write.visibility = Some(Visibility::Public);
    write.join = [user("o")].into();
    write.leave = [user("x")].into();
    write.usernames = [(user("o"), "oo".into()), (user("n"), "nn".into())].into();
    write.places = [place(a, None), place(b, Some(&id)), place(c, Some(&id))].into();
    assert_eq!(client.write_unit(&write).await.expect("it is written"), MongoWritten::Committed);

    assert_eq!(
        rocket_chat.unit(&id).await,
        Some(doc! {
            "_id": &id,
            "name": "Support",
            "visibility": "public",
            "type": "u",
            "numMonitors": 3_i32,
            "numDepartments": 2_i32,
            "_updatedAt": later(),
            "extra": "stays",
        })
    );
    let pair = |id: &str, name: &str| (id.to_owned(), name.to_owned());
    assert_eq!(rocket_chat.monitors(&id).await, [pair("m", "mm"), pair("n", "nn"), pair("o", "oo")]);
    let row =
        rocket_chat.unit_monitors().find_one(doc! { "unitId": &id, "monitorId": "o" }).await.expect("ok");
    let mut row = row.expect("it is there");
    assert_eq!(row.remove("_id").and_then(|id| Some(id.as_str()?.len())), Some(24), "as BaseRaw makes ids");
    assert_eq!(row, doc! { "monitorId": "o", "unitId": &id, "username": "oo", "_updatedAt": later() });

    let left = department_of(&mongo, a).await;
    assert!(left.get("parentId").or(left.get("ancestors")).is_none(), "{left}");
    for joined in [b, c] {
        let joined = department_of(&mongo, joined).await;
        assert_eq!(joined.get_str("parentId").expect("it is there"), id);
        assert_eq!(joined.get_array("ancestors").expect("it is there"), &[Bson::from(id.as_str())]);
        assert_eq!(joined.get("_updatedAt"), Some(&Bson::from(later())));
        assert_eq!(joined.get("enabled"), Some(&Bson::from(true)), "other fields stay");
    }
    let losing = rocket_chat.unit(&losing).await.expect("it is there");
    assert_eq!(losing.get("numDepartments"), Some(&Bson::Int32(1)));
    // By its time other writes of the sync to it are judged.
    assert_ne!(losing.get("_updatedAt"), Some(&Bson::from(later())));

    // Rocket.Chat itself changes the same unit afterwards.
    rocket_chat.save_unit(Some(&id), "Sales", "private", &[("m", "mm")], &[a]).await;
    assert_eq!(rocket_chat.monitors(&id).await, [pair("m", "mm")]);
    // A time that is not the latest does not go back.
    let mut write = nothing(&id, read(&client, &id, &[]).await);
    write.name = Some("Support".into());
    write.updated_at = Some("2001-01-01T00:00:00.000Z".into());
    assert_eq!(client.write_unit(&write).await.expect("it is written"), MongoWritten::Committed);
    let unit = rocket_chat.unit(&id).await.expect("it is there");
    assert!(
        unit.get_datetime("_updatedAt").expect("a time")
            > &DateTime::parse_rfc3339_str("2020-01-01T00:00:00Z").expect("ok")
    );
}

/// Nothing else of the unit changes.
#[tokio::test]
async fn a_department_s_place_is_written_without_a_change_of_the_unit() {
    let Some(mongo) = mongo().await else { return };
    let (client, rocket_chat) = (mongo.connect().await, &mongo.rocket_chat);
    let a = rocket_chat.create_department("a").await;
    let id = rocket_chat.save_unit(None, "Sales", "private", &[("m", "mm")], &[]).await;
    let before = rocket_chat.unit(&id).await.expect("it is there");

    let mut write = nothing(&id, read(&client, &id, &[&a]).await);
    write.updated_at = None;
    write.places = [place(&a, Some(&id))].into();
    assert_eq!(client.write_unit(&write).await.expect("it is written"), MongoWritten::Committed);
    let mut expected = before.clone();
    expected.insert("numDepartments", 1_i32);
    assert_eq!(rocket_chat.unit(&id).await, Some(expected));
}

/// A stamp makes a write impossible that another process decided before.
#[tokio::test]
async fn a_stamp_is_set_only_on_what_was_seen() {
    let Some(mongo) = mongo().await else { return };
    let (client, rocket_chat) = (mongo.connect().await, &mongo.rocket_chat);
    let a = rocket_chat.create_department("a").await;
    let id = rocket_chat.save_unit(None, "Sales", "private", &[], &[&a]).await;
    let snapshot = read(&client, &id, &[]).await;
    let mut write = nothing(&id, snapshot.clone());
    write.name = Some("Support".into());
    let seen = snapshot.unit.expect("it is there").expect("it is whole").view.updated_at;
    assert!(client.stamp_unit(&unit(&id), &seen, LATER).await.expect("it is written"));
    assert!(!client.stamp_unit(&unit(&id), &seen, LATER).await.expect("it answers"));
    assert!(!client.stamp_department(&department(&id), LATER, LATER).await.expect("a unit is no department"));
    assert_eq!(client.write_unit(&write).await.expect("it answers"), MongoWritten::Refused);

    let seen = snapshot.departments[&department(&a)].as_ref().expect("it is whole").view.updated_at.clone();
    assert!(client.stamp_department(&department(&a), &seen, LATER).await.expect("it is written"));
    let unset = doc! { "$unset": { "_updatedAt": 1 } };
    rocket_chat.departments().update_one(doc! { "_id": &a }, unset).await.expect("it is updated");
    let seen = read(&client, &id, &[]).await.departments[&department(&a)]
        .as_ref()
        .expect("ok")
        .view
        .updated_at
        .clone();
    assert!(client.stamp_department(&department(&a), &seen, LATER).await.expect("it is written"));
    assert_eq!(department_of(&mongo, &a).await.get("_updatedAt"), Some(&Bson::from(later())));
}

#[tokio::test]
async fn rooms_follow_their_department_as_in_rocket_chat() {
    let Some(mongo) = mongo().await else { return };
    let (client, rocket_chat) = (mongo.connect().await, &mongo.rocket_chat);
    let (a, b) = (rocket_chat.create_department("a").await, rocket_chat.create_department("b").await);
    let id = rocket_chat.save_unit(None, "Sales", "private", &[("m", "mm")], &[&a]).await;
    let open = rocket_chat.create_room(&a, true).await;
    let (closed, elsewhere) =
        (rocket_chat.create_room(&b, false).await, rocket_chat.create_room(&b, true).await);
    assert!(rocket_chat.may_see("m", &open).await && !rocket_chat.may_see("m", &closed).await);

    // The department b joins the unit, and a leaves it.
    let mut write = nothing(&id, read(&client, &id, &[&b]).await);
    write.places = [place(&a, None), place(&b, Some(&id))].into();
    assert_eq!(client.write_unit(&write).await.expect("it is written"), MongoWritten::Committed);
    assert_eq!(client.write_rooms(&department(&b), Some(&unit(&id))).await.expect("they are written"), 2);
    assert_eq!(client.write_rooms(&department(&a), None).await.expect("they are written"), 1);
    for (room, may_see) in [(&open, false), (&closed, true), (&elsewhere, true)] {
        assert_eq!(rocket_chat.may_see("m", room).await, may_see, "{room}");
    }
    // A second time there is nothing to do.
    assert_eq!(client.write_rooms(&department(&b), Some(&unit(&id))).await.expect("they are written"), 0);
    assert_eq!(client.write_rooms(&department(&a), None).await.expect("they are written"), 0);
}
