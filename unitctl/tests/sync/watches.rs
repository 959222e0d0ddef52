//! The change streams: each write of Rocket.Chat that matters is an event, the others are none, and a stream that breaks goes
//! on where it was or says that it can't.

use std::collections::BTreeSet;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use livechat_units::id::{DepartmentId, UnitId, UserId};
use mongodb::bson::{DateTime, Document, doc};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use unitctl::sync::model::Subject;
use unitctl::sync::mongodb::{Watch, WatchEvent, Watched, watch};

use crate::rocket_chat::{MAX_LOGIN_TOKENS, new_id};
use crate::world::{Mongo, mongo};

/// A server that is busy with other tests may take long.
const PATIENCE: Duration = Duration::from_secs(90);

/// Waits until a new stream begins after all writes so far. The server begins a stream before the oldest transaction that is not
/// committed yet, and this may be one of another test.
async fn all_written(mongo: &Mongo) {
    let write = async || {
        let id = new_id();
        mongo.rocket_chat.permissions().insert_one(doc! { "_id": &id }).await.expect("it is inserted");
        Subject::Permission(id)
    };
    let begin = Instant::now();
    loop {
        let before = write().await;
        let mut stream = Stream::opened(mongo, Watched::Permissions, None).await;
        let after = write().await;
        if stream.looks_until(&after).await == [(after.clone(), false)] {
            return;
        }
        assert!(begin.elapsed() < PATIENCE, "the write of {before} is not visible");
    }
}

/// A stream that is followed by a task of its own.
struct Stream {
    receiver: mpsc::Receiver<Watch>,
    /// The position of the newest event.
    token: Option<String>,
    was_open: bool,
    /// Whether it was open, and has to be opened again.
    is_interrupted: bool,
}

impl Stream {
    /// Follows a stream, and waits until it is open. Without a position, none of the writes before it is an event.
    async fn open(mongo: &Mongo, stream: Watched, start: Option<String>) -> Self {
        if start.is_none() {
            all_written(mongo).await;
        }
        Self::opened(mongo, stream, start).await
    }

    async fn opened(mongo: &Mongo, stream: Watched, start: Option<String>) -> Self {
        let mut stream = Self::start(mongo, stream, start).await;
        assert_eq!(stream.next().await, WatchEvent::Opened);
        stream
    }

    async fn start(mongo: &Mongo, stream: Watched, start: Option<String>) -> Self {
        let (sender, receiver) = mpsc::channel(100);
        tokio::spawn(watch(mongo.connect().await, stream, start, sender));
        Self::of(receiver)
    }

    fn of(receiver: mpsc::Receiver<Watch>) -> Self {
        Self { receiver, token: None, was_open: false, is_interrupted: false }
    }

    /// The next event. Positions of an idle stream are noted and left out. So are interruptions by a server that is too busy to
    /// answer, because the stream goes on after them.
    async fn next(&mut self) -> WatchEvent {
        loop {
            let event = timeout(PATIENCE, self.receiver.recv()).await.expect("an event comes");
            let event = event.expect("it never ends").event;
            match &event {
                WatchEvent::Idle { token } => self.token = Some(token.clone()),
                WatchEvent::Interrupted { .. } => self.is_interrupted = self.was_open,
                WatchEvent::Opened if self.is_interrupted => self.is_interrupted = false,
                WatchEvent::Opened => {
                    self.was_open = true;
                    return event;
                }
                WatchEvent::Look { token, .. }
                | WatchEvent::LookAtAllUnits { token }
                | WatchEvent::SettingsChanged { token } => {
                    self.token = Some(token.clone());
                    return event;
                }
                _ => return event,
            }
        }
    }

    /// The subjects of the next events, until the last one of these has come.
    async fn looks_until(&mut self, last: &Subject) -> Vec<(Subject, bool)> {
        let mut looks = Vec::new();
        loop {
            let event = self.next().await;
            let WatchEvent::Look { subjects, is_deletion, .. } = event else { panic!("{event:?}") };
            looks.extend(subjects.into_iter().map(|subject| (subject, is_deletion)));
            if looks.last().is_some_and(|(subject, _)| subject == last) {
                return looks;
            }
        }
    }
}

fn user(id: &str) -> Subject {
    Subject::User(UserId::parse(id).expect("an id"))
}

fn unit(id: &str) -> Subject {
    Subject::Unit(UnitId::parse(id).expect("an id"))
}

fn department(id: &str) -> Subject {
    Subject::Department(DepartmentId::parse(id).expect("an id"))
}

#[tokio::test]
async fn only_used_user_fields_make_events() {
    let Some(mongo) = mongo().await else { return };
    let rocket_chat = &mongo.rocket_chat;
    rocket_chat.create_user("before", "before", &[]).await;
    let mut stream = Stream::open(&mongo, Watched::Users, None).await;
    let end = user("end");
    macro_rules! events {
        ($($write:expr),+) => {{
            $($write.await;)+
            rocket_chat.users().insert_one(doc! { "_id": "end" }).await.expect("it is inserted");
            rocket_chat.users().delete_one(doc! { "_id": "end" }).await.expect("it is deleted");
            let mut looks = stream.looks_until(&end).await;
            looks.extend(stream.looks_until(&end).await);
            let deletions = looks.iter().filter(|(subject, deleted)| *deleted && *subject != end).count();
            looks.retain(|(subject, _)| *subject != end);
            (looks.iter().map(|(subject, _)| subject.to_string()).collect::<BTreeSet<_>>().len(), looks.len(), deletions)
        }};
    }
    // The number of users, events and deletions.
    assert_eq!(events!(rocket_chat.create_user("u", "u", &["livechat-monitor"])), (1, 2, 0));
    // The last login is no event.
    assert_eq!(events!(rocket_chat.log_in("u", "hash1")), (1, 1, 0));
    assert_eq!(events!(rocket_chat.log_in("u", "hash2")), (1, 1, 0));
    assert_eq!(events!(rocket_chat.log_out("u", "hash1")), (1, 1, 0));
    assert_eq!(
        events!(rocket_chat.log_in("u", "hash3"), rocket_chat.log_out_others("u", "hash3")),
        (1, 2, 0)
    );
    assert_eq!(events!(rocket_chat.add_personal_token("u", "hash4", "ci")), (1, 1, 0));
    assert_eq!(events!(rocket_chat.remove_personal_token("u", "ci")), (1, 1, 0));
    assert_eq!(events!(rocket_chat.expire_tokens(DateTime::now())), (1, 1, 0));
    assert_eq!(events!(rocket_chat.rename_user("u", "v")), (1, 1, 0));
    assert_eq!(events!(rocket_chat.add_roles("u", &["admin"])), (1, 1, 0));
    assert_eq!(events!(rocket_chat.remove_roles("u", &["admin"])), (1, 1, 0));
    rocket_chat.log_in("u", "hash5").await;
    assert_eq!(events!(rocket_chat.set_active("u", false)), (1, 3, 0), "with the login before it");
    let ids = ["u".to_owned(), "before".to_owned()];
    assert_eq!(events!(rocket_chat.change_presence(&ids, "away")), (0, 0, 0));
    // Fields that contain others, or whose names only begin like one that matters.
    let set = |fields| doc! { "$set": fields };
    let users = rocket_chat.users();
    let write = async |update| drop(users.update_one(doc! { "_id": "before" }, update).await.expect("ok"));
    assert_eq!(events!(write(set(doc! { "services": { "password": "x" } }))), (1, 1, 0));
    assert_eq!(events!(write(set(doc! { "services.resume": { "loginTokens": [] } }))), (1, 1, 0));
    assert_eq!(
        events!(write(set(doc! { "services.password": "y", "usernames": 1, "rolesets": 2 }))),
        (0, 0, 0)
    );
    assert_eq!(events!(write(doc! { "$unset": { "roles": 1 } })), (1, 1, 0));
    assert_eq!(events!(rocket_chat.delete_user("u")), (1, 1, 1));

    // Too many logins: the oldest ones are taken away by a write of its own.
    rocket_chat.create_user("w", "w", &[]).await;
    for number in 0..MAX_LOGIN_TOKENS {
        let when = DateTime::from_millis(DateTime::now().timestamp_millis() - 1_000_000 + number as i64);
        rocket_chat.log_in_at("w", &format!("old{number}"), when).await;
    }
    stream.looks_until(&user("w")).await;
    let (users, events, _) = events!(rocket_chat.log_in("w", "new"));
    assert_eq!(users, 1);
    assert!(events >= 2, "{events}");
    let user = rocket_chat.users().find_one(doc! { "_id": "w" }).await.expect("ok").expect("it is there");
    let resume =
        user.get_document("services").and_then(|services| services.get_document("resume")).expect("ok");
    assert_eq!(resume.get_array("loginTokens").expect("a list").len(), MAX_LOGIN_TOKENS);
}

#[tokio::test]
async fn permissions_and_the_settings_that_are_used_are_events() {
    let Some(mongo) = mongo().await else { return };
    let rocket_chat = &mongo.rocket_chat;
    let mut permissions = Stream::open(&mongo, Watched::Permissions, None).await;
    let permission = Subject::Permission("manage-livechat-units".into());
    rocket_chat.create_permission("manage-livechat-units", &["admin"]).await;
    rocket_chat.grant("manage-livechat-units", "livechat-manager").await;
    rocket_chat.revoke("manage-livechat-units", "admin").await;
    for _ in 0..3 {
        let event = permissions.next().await;
        assert!(
            matches!(&event, WatchEvent::Look { subjects, .. } if *subjects == [permission.clone()]),
            "{event:?}"
        );
    }

    let mut settings = Stream::open(&mongo, Watched::Settings, None).await;
    for (id, value) in [("Site_Name", 1), ("uniqueID", 2), ("Livechat_enabled", 3)] {
        let set = doc! { "$set": { "value": value } };
        rocket_chat.settings().update_one(doc! { "_id": id }, set).upsert(true).await.expect("ok");
    }
    rocket_chat.set_login_expiration(7).await;
    rocket_chat.set_login_expiration(7).await;
    for _ in 0..2 {
        let event = settings.next().await;
        assert!(matches!(event, WatchEvent::SettingsChanged { .. }), "{event:?}");
    }
    let more = timeout(Duration::from_millis(500), settings.next()).await;
    assert!(more.is_err(), "{more:?}");
}

#[tokio::test]
async fn events_of_units_departments_and_rows_name_what_to_look_at() {
    let Some(mongo) = mongo().await else { return };
    let rocket_chat = &mongo.rocket_chat;
    let old = rocket_chat.create_department("old").await;
    let old_unit = rocket_chat.save_unit(None, "old unit", "public", &[("m", "mm"), ("n", "nn")], &[]).await;
    let mut stream = Stream::open(&mongo, Watched::Departments, None).await;
    let mut rows = Stream::open(&mongo, Watched::UnitMonitors, None).await;

    // What was there before is looked up once.
    rocket_chat.archive_department(&old).await;
    assert_eq!(stream.looks_until(&department(&old)).await.len(), 1);
    rocket_chat.set_department_unit(&old, Some(&old_unit)).await;
    assert_eq!(
        stream.looks_until(&unit(&old_unit)).await,
        [(department(&old), false), (unit(&old_unit), false)]
    );
    rocket_chat.save_monitor(&old_unit, "m", "renamed").await;
    assert_eq!(rows.looks_until(&unit(&old_unit)).await, [(unit(&old_unit), false)]);
    let row = async |user: &str| {
        rocket_chat.unit_monitors().delete_one(doc! { "monitorId": user }).await.expect("it is deleted");
    };
    row("m").await;
    assert_eq!(rows.looks_until(&unit(&old_unit)).await, [(unit(&old_unit), true)]);
    // The row of the user n was never seen.
    row("n").await;
    let event = rows.next().await;
    assert!(matches!(event, WatchEvent::LookAtAllUnits { .. }), "{event:?}");
    rocket_chat.save_monitor(&old_unit, "o", "oo").await;
    row("o").await;
    assert_eq!(rows.looks_until(&unit(&old_unit)).await, [(unit(&old_unit), false)]);
    assert_eq!(rows.looks_until(&unit(&old_unit)).await, [(unit(&old_unit), true)]);

    let new = rocket_chat.create_department("new").await;
    rocket_chat.delete_department(&new).await;
    rocket_chat.delete_unit_document_first(&old_unit).await;
    assert_eq!(
        stream.looks_until(&department(&old)).await,
        [
            (department(&new), false),
            (department(&new), true),
            (unit(&old_unit), true),
            (department(&old), false)
        ]
    );

    // A user who is no monitor any more loses the rows of all units with one write.
    let units = [
        rocket_chat.save_unit(None, "one", "public", &[("q", "qq")], &[]).await,
        rocket_chat.save_unit(None, "two", "public", &[("q", "qq")], &[]).await,
    ];
    rows.looks_until(&unit(&units[1])).await;
    rocket_chat.create_user("q", "qq", &["livechat-monitor"]).await;
    rocket_chat.remove_monitor("q").await;
    for _ in &units {
        let event = rows.next().await;
        let WatchEvent::Look { subjects, is_deletion: true, .. } = &event else { panic!("{event:?}") };
        assert!(units.iter().any(|id| *subjects == [unit(id)]), "{event:?}");
    }

    // Another process reads the rows of a unit before one of them is deleted.
    let saved = rocket_chat.save_unit(None, "unit", "public", &[("p", "pp")], &[]).await;
    let client = mongo.connect().await;
    all_written(&mongo).await;
    let (sender, receiver) = mpsc::channel(100);
    tokio::spawn(watch(client.clone(), Watched::UnitMonitors, None, sender));
    let mut rows = Stream::of(receiver);
    assert_eq!(rows.next().await, WatchEvent::Opened);
    let id = UnitId::parse(saved.clone()).expect("an id");
    client.unit(&id, &BTreeSet::new()).await.expect("it is read");
    row("p").await;
    assert_eq!(rows.looks_until(&unit(&saved)).await, [(unit(&saved), true)]);
}

#[tokio::test]
async fn what_a_process_writes_in_a_transaction_is_an_event_for_other_processes_only() {
    let Some(mongo) = mongo().await else { return };
    let rocket_chat = &mongo.rocket_chat;
    let id = rocket_chat.save_unit(None, "unit", "public", &[("m", "mm")], &[]).await;
    let department_id = rocket_chat.create_department("department").await;
    let wrong = doc! { "$set": { "numMonitors": 7 } };
    rocket_chat.departments().update_one(doc! { "_id": &id }, wrong).await.expect("it is written");
    let mut of_other = Stream::open(&mongo, Watched::Departments, None).await;
    let client = mongo.connect().await;
    let (sender, receiver) = mpsc::channel(100);
    tokio::spawn(watch(client.clone(), Watched::Departments, None, sender));
    let mut of_own = Stream::of(receiver);
    assert_eq!(of_own.next().await, WatchEvent::Opened);

    let unit_id = UnitId::parse(id.clone()).expect("an id");
    let recounted = client.recount(std::slice::from_ref(&unit_id)).await.expect("it is written");
    assert_eq!(recounted, [unit_id]);
    rocket_chat.archive_department(&department_id).await;
    let department = department(&department_id);
    assert_eq!(of_own.looks_until(&department).await, [(department.clone(), false)]);
    let looks = of_other.looks_until(&department).await;
    assert_eq!(looks, [(unit(&id), false), (department, false)]);
}

#[tokio::test]
async fn a_stream_goes_on_from_a_stored_position() {
    let Some(mongo) = mongo().await else { return };
    let rocket_chat = &mongo.rocket_chat;
    let mut stream = Stream::open(&mongo, Watched::Users, None).await;
    rocket_chat.create_user("a", "a", &[]).await;
    stream.looks_until(&user("a")).await;
    let position = stream.token.clone();
    drop(stream);
    rocket_chat.create_user("b", "b", &[]).await;
    rocket_chat.delete_user("a").await;
    for _ in 0..2 {
        let mut stream = Stream::open(&mongo, Watched::Users, position.clone()).await;
        assert_eq!(stream.looks_until(&user("a")).await, [(user("b"), false), (user("a"), true)]);
    }
}

#[tokio::test]
async fn a_position_that_can_t_be_used_is_said_after_the_stream_is_open() {
    let Some(mongo) = mongo().await else { return };
    for (position, sentence) in [
        (token_text(doc! { "_data": "zz" }), None),
        (token_text(doc! { "other": 5 }), None),
        ("no token".into(), Some("The stored position of a change stream is damaged")),
    ] {
        let mut stream = Stream::open(&mongo, Watched::Users, Some(position)).await;
        let event = stream.next().await;
        let WatchEvent::Lost { reason } = event else { panic!("{event:?}") };
        assert!(sentence.is_none_or(|sentence| reason == sentence), "{reason}");
        let id = new_id();
        mongo.rocket_chat.create_user(&id, &id, &[]).await;
        assert_eq!(stream.looks_until(&user(&id)).await, [(user(&id), false)]);
    }
}

/// A position in the form in which positions are stored.
fn token_text(token: Document) -> String {
    BASE64_STANDARD.encode(token.to_vec().expect("it is BSON"))
}

/// `mongorestore --drop` drops a collection and writes it anew. A rename over a collection replaces it.
#[tokio::test]
async fn a_collection_that_is_dropped_or_replaced_is_followed_on() {
    let Some(mongo) = mongo().await else { return };
    let rocket_chat = &mongo.rocket_chat;
    rocket_chat.create_user("a", "a", &[]).await;
    let mut stream = Stream::open(&mongo, Watched::Users, None).await;
    let lost = || WatchEvent::Lost { reason: "The collection users was dropped or renamed".into() };

    rocket_chat.create_user("before", "before", &[]).await;
    stream.looks_until(&user("before")).await;
    let before_drop = stream.token.clone();
    rocket_chat.users().drop().await.expect("it is dropped");
    // The new documents come before the stream is open again.
    rocket_chat.create_user("b", "b", &[]).await;
    assert_eq!(stream.next().await, lost());
    let after_drop = stream.token.clone();
    assert_eq!(stream.next().await, WatchEvent::Opened);
    assert_eq!(stream.looks_until(&user("b")).await, [(user("b"), false)]);

    let client = mongo.db.client();
    let other: mongodb::Collection<Document> = mongo.db.collection("restored");
    other.insert_one(doc! { "_id": "c", "username": "c" }).await.expect("it is inserted");
    let (from, to) = (format!("{}.restored", mongo.db.name()), format!("{}.users", mongo.db.name()));
    let rename = doc! { "renameCollection": from, "to": to, "dropTarget": true };
    client.database("admin").run_command(rename).await.expect("it is renamed");
    assert_eq!(stream.next().await, lost());
    assert_eq!(stream.next().await, WatchEvent::Opened);
    rocket_chat.rename_user("c", "d").await;
    assert_eq!(stream.looks_until(&user("c")).await, [(user("c"), false)]);

    // A process that starts from a position before all of this.
    for position in [before_drop, after_drop] {
        let mut stream = Stream::open(&mongo, Watched::Users, position).await;
        for _ in 0..2 {
            assert_eq!(stream.next().await, lost());
            assert_eq!(stream.next().await, WatchEvent::Opened);
            let WatchEvent::Look { .. } = stream.next().await else { panic!("an event") };
        }
    }
}

#[tokio::test]
async fn an_idle_stream_moves_on() {
    let Some(mongo) = mongo().await else { return };
    let mut stream = Stream::start(&mongo, Watched::Users, None).await;
    let start = Instant::now();
    let mut positions = Vec::new();
    while positions.len() < 3 {
        mongo.rocket_chat.change_presence(&["nobody".into()], "away").await;
        let watch = timeout(PATIENCE, stream.receiver.recv()).await.expect("it says something");
        if let WatchEvent::Idle { token } = watch.expect("it never ends").event {
            positions.push(token);
        }
    }
    assert!(
        start.elapsed() > Duration::from_secs(3),
        "not more than once in two seconds: {:?}",
        start.elapsed()
    );
}

/// Presence and the like: 1,000 events a second for two seconds are no event here.
#[tokio::test]
async fn events_that_do_not_matter_are_left_out_by_the_server() {
    let Some(mongo) = mongo().await else { return };
    let users: Vec<String> = (0..1_000).map(|number| format!("user{number}")).collect();
    let documents = users.iter().map(|id| doc! { "_id": id, "username": id, "status": "x" });
    mongo.rocket_chat.users().insert_many(documents).await.expect("they are inserted");
    let mut stream = Stream::open(&mongo, Watched::Users, None).await;
    for status in ["away", "online", "busy"] {
        mongo.rocket_chat.change_presence(&users, status).await;
    }
    mongo.rocket_chat.rename_user("user7", "x").await;
    let start = Instant::now();
    assert_eq!(stream.looks_until(&user("user7")).await, [(user("user7"), false)]);
    println!("the event behind 3,000 others came after {:?}", start.elapsed());
}

#[tokio::test]
async fn a_stream_whose_events_are_not_wanted_any_more_ends() {
    let Some(mongo) = mongo().await else { return };
    let (sender, receiver) = mpsc::channel(1);
    let task = tokio::spawn(watch(mongo.connect().await, Watched::Users, None, sender));
    drop(receiver);
    timeout(PATIENCE, task).await.expect("it ends").expect("it does not panic");
}
