//! What needs a server of its own: users and rights, a standalone server, an oplog that is short, and servers that stop. The
//! tests need the variable TEST_MONGODB_SERVER, the path of SecantusDB's program, which `.ci/mongodb` sets.

mod injected;

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use livechat_units::id::UserId;
use mongodb::bson::oid::ObjectId;
use mongodb::bson::{Bson, Document, doc};
use mongodb::options::ClientOptions;
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::time::timeout;
use unitctl::sync::model::Subject;
use unitctl::sync::mongodb::{Access, Cause, Kind, MongoDb, Watch, WatchEvent, Watched, watch};

/// A server on a busy machine may take long.
const PATIENCE: Duration = Duration::from_secs(120);

/// A server that is stopped when this is dropped.
struct Server {
    child: Child,
    port: u16,
    data: TempDir,
}

impl Server {
    /// Starts a server. `None` if the test is left out.
    async fn start(options: &[&str]) -> Option<Self> {
        let Some(program) = program() else {
            println!("left out: TEST_MONGODB_SERVER is not set");
            return None;
        };
        let mut attempts = 0;
        loop {
            let data = TempDir::new().expect("there is room");
            let port = free_port();
            let child = spawn(&program, port, &data, options);
            let mut server = Self { child, port, data };
            if server.listens().await {
                return Some(server);
            }
            // Another process may have taken the port meanwhile.
            attempts += 1;
            assert!(attempts < 3, "it does not start");
        }
    }

    /// Stops it in order, and starts it again with its data.
    async fn restart(&mut self, options: &[&str], between: impl Future<Output = ()>) {
        self.signal("TERM");
        self.child.wait().expect("it ends");
        between.await;
        self.child = spawn(&program().expect("it was set before"), self.port, &self.data, options);
        assert!(self.listens().await, "it does not start again");
    }

    /// Waits until it listens. Returns false if it has ended.
    async fn listens(&mut self) -> bool {
        let begin = Instant::now();
        while begin.elapsed() < PATIENCE {
            if self.child.try_wait().expect("its state is known").is_some() {
                return false;
            }
            if tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await.is_ok() {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("it does not listen");
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status();
        assert!(status.expect("kill starts").success());
    }

    fn uri(&self, user: &str) -> String {
        format!("mongodb://{user}127.0.0.1:{}/rocketchat?authSource=admin", self.port)
    }

    /// Its URI, without a user and a database.
    fn address(&self) -> String {
        format!("mongodb://127.0.0.1:{}", self.port)
    }

    /// A client without the sync's settings.
    async fn client(&self) -> mongodb::Client {
        let options = ClientOptions::parse(self.address()).await.expect("a URI");
        mongodb::Client::with_options(options).expect("they are options")
    }

    async fn insert_users(&self, ids: impl Iterator<Item = impl Into<Bson>>) {
        let users: mongodb::Collection<Document> =
            self.client().await.database("rocketchat").collection("users");
        users
            .insert_many(ids.map(|id| doc! { "_id": id.into(), "username": "x" }))
            .await
            .expect("they are inserted");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn program() -> Option<String> {
    std::env::var("TEST_MONGODB_SERVER").ok().filter(|program| !program.is_empty())
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a port is free")
        .port()
}

fn spawn(program: &str, port: u16, data: &TempDir, options: &[&str]) -> Child {
    Command::new(program)
        .args(["--host", "127.0.0.1", "--port", &port.to_string(), "--log-level", "ERROR", "--storage-path"])
        .arg(data.path())
        .args(options)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts")
}

/// The next event of a stream that is not only its position.
async fn next(receiver: &mut mpsc::Receiver<Watch>) -> WatchEvent {
    loop {
        let watch = timeout(PATIENCE, receiver.recv()).await.expect("an event comes");
        match watch.expect("it never ends").event {
            WatchEvent::Idle { .. } => {}
            event => return event,
        }
    }
}

/// Reads until the event of this user.
async fn until_user(receiver: &mut mpsc::Receiver<Watch>, id: &str) -> Vec<WatchEvent> {
    let user = Subject::User(UserId::parse(id).expect("an id"));
    let mut events = Vec::new();
    loop {
        let event = next(receiver).await;
        let is_last = matches!(&event, WatchEvent::Look { subjects, .. } if subjects.contains(&user));
        events.push(event);
        if is_last {
            return events;
        }
    }
}

#[tokio::test]
async fn a_password_or_a_right_that_is_refused_is_one_sentence() {
    let Some(mut server) = Server::start(&[]).await else { return };
    let admin = server.client().await.database("admin");
    for (user, role) in [("reader", "read"), ("writer", "readWrite"), ("nobody", "other")] {
        let database = if role == "other" { "elsewhere" } else { "rocketchat" };
        let role = if role == "other" { "read" } else { role };
        let roles = vec![doc! { "role": role, "db": database }];
        admin.run_command(doc! { "createUser": user, "pwd": "secret", "roles": roles }).await.expect("ok");
    }
    server.restart(&["--auth"], async {}).await;

    let failure = MongoDb::connect(&server.uri("reader:wrong@")).await.expect_err("the password is wrong");
    assert_eq!(failure.to_string(), "MongoDB refuses the user name or the password of the URI");
    assert_eq!(failure.cause, Cause::Other);

    let mongo = MongoDb::connect(&server.uri("nobody:secret@")).await.expect("it connects");
    let failure = mongo.login_expiration().await.expect_err("it may not read");
    let sentence = "The MongoDB user lacks the right `find` on the collection rocketchat_settings";
    assert_eq!(failure.to_string(), sentence);
    let (sender, mut receiver) = mpsc::channel(10);
    tokio::spawn(watch(mongo, Watched::Users, None, sender));
    let sentence = "The MongoDB user lacks the right `changeStream` on the collection users";
    assert_eq!(next(&mut receiver).await, WatchEvent::Interrupted { reason: sentence.into() });

    // This server does not list the rights of its users, so they are found by trying.
    let mongo = MongoDb::connect(&server.uri("reader:secret@")).await.expect("it connects");
    mongo.check_rights(Access::ReadAndWrite).await.expect("it is not known");
    mongo.login_expiration().await.expect("it may read");
    let writer = MongoDb::connect(&server.uri("writer:secret@")).await.expect("it connects");
    writer.check_rights(Access::ReadAndWrite).await.expect("it may write");
}

#[tokio::test]
async fn a_standalone_server_is_refused_in_one_sentence() {
    let Some(server) = Server::start(&["--standalone"]).await else { return };
    let failure = MongoDb::connect(&server.uri("")).await.expect_err("it is no replica set");
    assert_eq!(
        failure.to_string(),
        "MongoDB is a standalone server, which has no change streams; it has to be a replica set, as for Rocket.Chat \
         itself"
    );
}

#[tokio::test]
async fn a_position_that_left_the_oplog_is_lost() {
    let Some(server) = Server::start(&["--oplog-max-entries", "50"]).await else { return };
    let mongo = MongoDb::connect(&server.uri("")).await.expect("it connects");
    let (sender, mut receiver) = mpsc::channel(10);
    let task = tokio::spawn(watch(mongo.clone(), Watched::Users, None, sender));
    assert_eq!(next(&mut receiver).await, WatchEvent::Opened);
    server.insert_users(["a".to_owned()].into_iter()).await;
    let event = next(&mut receiver).await;
    let WatchEvent::Look { token, .. } = event else { panic!("{event:?}") };
    drop(receiver);
    task.await.expect("it ends");

    for batch in 0..3 {
        server.insert_users((0..1_000).map(|number| format!("b{batch}-{number}"))).await;
    }
    let (sender, mut receiver) = mpsc::channel(10);
    tokio::spawn(watch(mongo, Watched::Users, Some(token), sender));
    assert_eq!(next(&mut receiver).await, WatchEvent::Opened);
    let reason = "The position of a change stream is older than MongoDB's oplog".into();
    assert_eq!(next(&mut receiver).await, WatchEvent::Lost { reason });
    server.insert_users(["c".to_owned()].into_iter()).await;
    assert_eq!(until_user(&mut receiver, "c").await.len(), 1);
}

/// A stream on which nothing happens for so long that its first position leaves the oplog. Presence changes all the time.
#[tokio::test]
async fn an_idle_stream_keeps_a_position_that_the_oplog_has() {
    let Some(server) = Server::start(&["--oplog-max-entries", "50"]).await else { return };
    let mongo = MongoDb::connect(&server.uri("")).await.expect("it connects");
    server.insert_users((0..1_000).map(|number| format!("user{number}"))).await;
    let (sender, mut receiver) = mpsc::channel(10);
    let task = tokio::spawn(watch(mongo.clone(), Watched::Users, None, sender));
    assert_eq!(next(&mut receiver).await, WatchEvent::Opened);
    let users: mongodb::Collection<Document> =
        server.client().await.database("rocketchat").collection("users");
    for status in ["away", "online", "busy"] {
        users.update_many(doc! {}, doc! { "$set": { "status": status } }).await.expect("they are updated");
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    // What is said after this was read from the server after the updates.
    while receiver.try_recv().is_ok() {}
    // The stream has read all of them when its position stays the same.
    let mut positions: Vec<String> = Vec::new();
    while positions.last_chunk().is_none_or(|[before, last]| before != last) {
        let watch = timeout(PATIENCE, receiver.recv()).await.expect("it says something");
        if let WatchEvent::Idle { token } = watch.expect("it never ends").event {
            positions.push(token);
        }
    }
    let position = positions.pop();
    drop(receiver);
    task.await.expect("it ends");

    let (sender, mut receiver) = mpsc::channel(10);
    tokio::spawn(watch(mongo, Watched::Users, position, sender));
    assert_eq!(next(&mut receiver).await, WatchEvent::Opened);
    server.insert_users(["c".to_owned()].into_iter()).await;
    let events = until_user(&mut receiver, "c").await;
    assert_eq!(events.len(), 1, "nothing was lost: {events:?}");
}

#[tokio::test]
async fn a_stream_goes_on_after_its_server_was_away() {
    let Some(mut server) = Server::start(&[]).await else { return };
    let mongo = MongoDb::connect(&server.uri("")).await.expect("it connects");
    let (sender, mut receiver) = mpsc::channel(100);
    tokio::spawn(watch(mongo.clone(), Watched::Users, None, sender));
    assert_eq!(next(&mut receiver).await, WatchEvent::Opened);
    server.insert_users(["a".to_owned()].into_iter()).await;
    until_user(&mut receiver, "a").await;

    let user = UserId::parse("a").expect("an id");
    let (client, id) = (mongo.clone(), user.clone());
    let away = async move {
        let failure = client.user(&id).await.expect_err("it is away");
        assert_eq!(failure.cause, Cause::Unreachable, "{failure}");
        tokio::time::sleep(Duration::from_secs(2)).await;
    };
    server.restart(&[], away).await;
    server.insert_users(["b".to_owned()].into_iter()).await;
    let events = until_user(&mut receiver, "b").await;
    assert!(!events.iter().any(|event| matches!(event, WatchEvent::Lost { .. })), "{events:?}");
    assert!(mongo.user(&user).await.expect("it is read").is_some());
}

#[tokio::test]
async fn a_full_pass_goes_on_after_its_server_was_away() {
    let Some(mut server) = Server::start(&[]).await else { return };
    let mongo = MongoDb::connect(&server.uri("")).await.expect("it connects");
    server.insert_users((0..600).map(|number| format!("user{number:04}"))).await;
    // Object ids come after strings.
    server.insert_users((0..600).map(|_| ObjectId::new())).await;
    let mut batches = mongo.documents(Kind::Users);
    let (mut read, mut failures, mut batch_number) = (Vec::new(), 0, 0);
    loop {
        match batches.next().await {
            Ok(Some(batch)) => {
                read.extend(batch);
                batch_number += 1;
                // After the first 250 documents the rest has ids of both types, and after 750 it has object ids only.
                if batch_number == 1 || batch_number == 3 {
                    server.restart(&[], async {}).await;
                }
            }
            Ok(None) => break,
            Err(failure) => {
                failures += 1;
                assert!(failures < 30, "{failure}");
            }
        }
    }
    assert!(failures >= 2, "it was away twice");
    let ids = read.iter().map(|user| &user["_id"]);
    let ids: Vec<&str> = ids.map(|id| id.as_str().or(id["$oid"].as_str()).expect("an id")).collect();
    assert_eq!(ids.len(), 1_200);
    let (strings, object_ids) = ids.split_at(600);
    assert!(strings.iter().all(|id| id.starts_with("user")), "strings come first");
    assert!(strings.is_sorted() && object_ids.is_sorted(), "in order");
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), 1_200, "each one once");
}

/// A server that does not answer, as when its machine hangs.
#[tokio::test]
async fn a_server_that_is_frozen_is_waited_for() {
    let Some(server) = Server::start(&[]).await else { return };
    let mongo = MongoDb::connect(&server.uri("")).await.expect("it connects");
    let (sender, mut receiver) = mpsc::channel(100);
    tokio::spawn(watch(mongo.clone(), Watched::Users, None, sender));
    assert_eq!(next(&mut receiver).await, WatchEvent::Opened);
    server.insert_users(["a".to_owned()].into_iter()).await;
    until_user(&mut receiver, "a").await;

    server.signal("STOP");
    let user = UserId::parse("a").expect("an id");
    let failure = mongo.user(&user).await.expect_err("it is frozen");
    assert_eq!(failure.cause, Cause::Unreachable, "{failure}");
    let event = next(&mut receiver).await;
    assert!(matches!(event, WatchEvent::Interrupted { .. }), "{event:?}");
    server.signal("CONT");
    server.insert_users(["b".to_owned()].into_iter()).await;
    let events = until_user(&mut receiver, "b").await;
    assert!(!events.iter().any(|event| matches!(event, WatchEvent::Lost { .. })), "{events:?}");
}

/// The URI's own options must not weaken what is read and written.
#[tokio::test]
async fn reads_and_writes_are_of_the_primary_and_the_majority_whatever_the_uri_says() {
    let Some(server) = Server::start(&[]).await else { return };
    let uri = server.uri("") + "&readPreference=secondary&readConcernLevel=local&w=1&journal=false";
    let mongo = MongoDb::connect(&uri).await.expect("it connects");
    server.insert_users(["a".to_owned()].into_iter()).await;
    // There is no secondary, so a read from one would find no server.
    assert!(mongo.user(&UserId::parse("a").expect("an id")).await.expect("it is read").is_some());
}
