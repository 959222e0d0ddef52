//! What an operator reads when the connection to MongoDB can't be used, and what is read of a workspace.

use mongodb::bson::{Bson, doc};
use unitctl::sync::mongodb::{Cause, Identity, Kind, MongoDb};

use crate::world::{UNIQUE_ID, mongo, with_database};

#[tokio::test]
async fn what_is_wrong_with_a_uri_is_one_sentence() {
    let Some(mongo) = mongo().await else { return };
    let server = mongo.uri.replace(mongo.db.name(), "");
    for (uri, cause, sentence) in [
        (
            server.as_str(),
            Cause::Other,
            "The MongoDB URI names no database; write the database after the hosts, as in \
             mongodb://localhost:27017/rocketchat",
        ),
        (
            "mongodb://user:s@cret@localhost/rocketchat",
            Cause::Other,
            "The MongoDB URI is not valid; special characters in its user name and its password must be \
             percent-encoded",
        ),
        (
            // Port 9 is the discard service, which nobody runs.
            "mongodb://127.0.0.1:9/rocketchat",
            Cause::Unreachable,
            "MongoDB can't be reached: none of the servers of the URI answers as the primary",
        ),
    ] {
        let failure = MongoDb::connect(uri).await.expect_err("it can't connect");
        assert_eq!((failure.cause, failure.to_string().as_str()), (cause, sentence));
        assert!(!format!("{failure:?}").contains("cret"), "{failure:?}");
    }
}

#[tokio::test]
async fn a_workspace_is_known_by_its_settings() {
    let Some(mongo) = mongo().await else { return };
    let client = mongo.connect().await;
    let Identity { unique_id, replica_set, database } = client.workspace().await.expect("it is read");
    assert_eq!((unique_id.as_deref(), database.as_str()), (Some(UNIQUE_ID), mongo.db.name()));
    assert!(!replica_set.is_empty());

    let settings = mongo.rocket_chat.settings();
    settings.delete_one(doc! { "_id": "uniqueID" }).await.expect("it is deleted");
    assert_eq!(client.workspace().await.expect("it is read").unique_id, None);

    let days = |days| time::Duration::days(days);
    assert_eq!(client.login_expiration().await.expect("it is read"), days(90));
    for (value, expected) in [
        (Bson::Int32(7), days(7)),
        (Bson::Int64(7), days(7)),
        (Bson::Double(0.5), time::Duration::hours(12)),
        (Bson::Int32(0), days(90)),
        (Bson::from("7"), days(90)),
        (Bson::Double(f64::NAN), days(90)),
        (Bson::Double(f64::INFINITY), days(36_500)),
    ] {
        let set = doc! { "$set": { "value": value } };
        settings.update_one(doc! { "_id": "Accounts_LoginExpiration" }, set).await.expect("it is updated");
        assert_eq!(client.login_expiration().await.expect("it is read"), expected);
    }
}

#[tokio::test]
async fn all_documents_are_read_in_batches_whatever_type_their_ids_have() {
    let Some(mongo) = mongo().await else { return };
    let users = (0..1_200).map(|number| {
        let id = if number % 3 == 0 {
            Bson::ObjectId(mongodb::bson::oid::ObjectId::new())
        } else {
            Bson::from(format!("user{number}"))
        };
        doc! { "_id": id, "username": format!("u{number}"), "secret": "x", "services": { "password": "x" } }
    });
    mongo.rocket_chat.users().insert_many(users).await.expect("they are inserted");
    let client = mongo.connect().await;
    let mut batches = client.documents(Kind::Users);
    let mut ids = Vec::new();
    while let Some(batch) = batches.next().await.expect("it is read") {
        assert!(batch.len() <= 500, "{}", batch.len());
        for user in batch {
            assert_eq!(user.get("secret").or(user["services"].get("password")), None, "only what is used");
            let id = &user["_id"];
            ids.push(id.as_str().or(id["$oid"].as_str()).expect("a text").to_owned());
        }
    }
    assert_eq!(ids.len(), 1_200);
    assert_eq!(client.count(Kind::Users).await.expect("it is counted"), 1_200);

    let asked: Vec<String> = ids.iter().cloned().chain(["nobody".into(), "0".repeat(24)]).collect();
    let existing = client.existing(Kind::Users, &asked).await.expect("it is read");
    assert_eq!(existing.len(), 1_200);
    assert!(ids.iter().all(|id| existing.contains(id)));

    // A unit is no department, although it is in the same collection.
    let unit = mongo.rocket_chat.save_unit(None, "unit", "public", &[], &[]).await;
    let department = mongo.rocket_chat.create_department("department").await;
    let both = [unit.clone(), department.clone()];
    assert_eq!(client.existing(Kind::Units, &both).await.expect("it is read"), [unit].into());
    assert_eq!(client.existing(Kind::Departments, &both).await.expect("it is read"), [department].into());
}

#[test]
fn a_test_has_its_own_database_on_any_server() {
    for (uri, expected) in [
        ("mongodb://h:1", "mongodb://h:1/x?"),
        ("mongodb://h:1/?w=1", "mongodb://h:1/x?w=1"),
        ("mongodb://u:p@h:1,i:2/admin?w=1", "mongodb://u:p@h:1,i:2/x?w=1&authSource=admin"),
    ] {
        assert_eq!(with_database(uri, "x"), expected);
    }
}
