//! The world of one test: a database of MongoDB with Rocket.Chat in it, the tables of DynamoDB, and the real binary.

// Not each test uses all of it.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use livechat_units::item::Item;
use livechat_units::{Function, Response};
use mongodb::options::ClientOptions;
use serde_json::Value;
use testing::dynamodb::{endpoint, new_tables_with_stream};
use testing::events::{set_caller, update_event};
use testing::items::{self, json_of, scan};
use unitctl::database::Database;
use unitctl::engine;
use unitctl::sync::mongodb::MongoDb;
use uuid::Uuid;

use crate::rocket_chat::RocketChat;

/// The workspace of the tests.
pub const UNIQUE_ID: &str = "uniqueIDofTheTests";

/// A database of MongoDB. It is dropped at the end of the test, also if the test fails.
pub struct Mongo {
    /// The URI with the name of the database.
    pub uri: String,
    pub db: mongodb::Database,
    pub rocket_chat: RocketChat,
}

/// MongoDB, and DynamoDB's tables.
pub struct World {
    pub mongo: Mongo,
    pub database: Database,
}

/// Creates an empty workspace. `None` if the test is left out, because there is no MongoDB.
pub async fn mongo() -> Option<Mongo> {
    let Some(server) = std::env::var("TEST_MONGODB_URI").ok().filter(|uri| !uri.is_empty()) else {
        println!("left out: TEST_MONGODB_URI is not set");
        return None;
    };
    Some(mongo_at(&server).await)
}

/// Creates an empty workspace on the server of this URI.
async fn mongo_at(server: &str) -> Mongo {
    let name = format!("sync_{}", Uuid::new_v4().simple());
    let uri = with_database(server, &name);
    let mut options = ClientOptions::parse(&uri).await.expect("TEST_MONGODB_URI is a URI");
    // The server closes connections that are idle for minutes, and not every write is repeated on another one.
    options.max_idle_time = Some(Duration::from_secs(30));
    let client = mongodb::Client::with_options(options).expect("the options are valid");
    let db = client.database(&name);
    let rocket_chat = RocketChat::new(db.clone());
    rocket_chat.set_up(UNIQUE_ID).await;
    Mongo { uri, db, rocket_chat }
}

/// Creates an empty workspace, and empty tables. `None` if the test is left out.
pub async fn world() -> Option<World> {
    let mongo = mongo().await?;
    Some(World { mongo, database: database().await })
}

/// Creates an empty workspace on the server of this URI, and empty tables.
pub async fn world_at(server: &str) -> World {
    World { mongo: mongo_at(server).await, database: database().await }
}

async fn database() -> Database {
    let client = Client::new(&engine::sdk_config(endpoint()));
    let tables = new_tables_with_stream(&client).await;
    Database { client, tables }
}

/// The URI of a server with another database.
pub fn with_database(uri: &str, name: &str) -> String {
    let (scheme, rest) = uri.split_once("://").expect("a URI has a scheme");
    let (rest, options) = rest.split_once('?').unwrap_or((rest, ""));
    let (hosts, database) = rest.split_once('/').unwrap_or((rest, ""));
    // The user of the URI is a user of the database that it names.
    let source = if !hosts.contains('@') || options.contains("authSource") {
        String::new()
    } else if database.is_empty() {
        "authSource=admin".into()
    } else {
        format!("authSource={database}")
    };
    let options: Vec<&str> = [options, &source].into_iter().filter(|options| !options.is_empty()).collect();
    format!("{scheme}://{hosts}/{name}?{}", options.join("&"))
}

impl Mongo {
    /// The sync's own view of the database.
    pub async fn connect(&self) -> MongoDb {
        MongoDb::connect(&self.uri).await.expect("it connects")
    }
}

impl Drop for Mongo {
    fn drop(&mut self) {
        let (uri, name) = (self.uri.clone(), self.db.name().to_owned());
        // The test's own runtime may be at its end.
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let client = mongodb::Client::with_uri_str(&uri).await.map_err(std::io::Error::other)?;
                let dropped =
                    tokio::time::timeout(Duration::from_secs(10), client.database(&name).drop()).await;
                dropped.map_err(std::io::Error::other)?.map_err(std::io::Error::other)
            })
        });
        // A test that stopped its server leaves the database behind.
        drop(dropping.join());
    }
}

impl World {
    pub fn rocket_chat(&self) -> &RocketChat {
        &self.mongo.rocket_chat
    }

    /// A command that runs the binary with the tables and the MongoDB of this test.
    pub fn command(&self, arguments: &[&str]) -> Command {
        self.command_at(endpoint(), arguments)
    }

    /// The same, with another endpoint of DynamoDB.
    pub fn command_at(&self, endpoint: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_unitctl"));
        command.args(["--endpoint", endpoint]);
        command.args(["--tokens-table", &self.database.tables.tokens]);
        command.args(["--livechat-table", &self.database.tables.livechat]);
        command.args(arguments);
        command.env("MONGODB_URI", &self.mongo.uri);
        // A local engine needs none of these, whatever they are on this machine.
        for name in ["AWS_ACCESS_KEY_ID", "AWS_PROFILE", "TOKENS_TABLE", "LIVECHAT_TABLE"] {
            command.env_remove(name);
        }
        command
    }

    /// Starts `unitctl sync` with these options.
    pub fn sync(&self, options: &[&str]) -> Process {
        let arguments: Vec<&str> = ["sync"].into_iter().chain(options.iter().copied()).collect();
        Process::start(self.command(&arguments))
    }

    /// Runs a command until it ends.
    pub fn run(&self, arguments: &[&str]) -> Run {
        let output = self.command(arguments).stdin(Stdio::null()).output().expect("it starts");
        let text = |bytes| String::from_utf8(bytes).expect("it prints UTF-8");
        Run {
            code: output.status.code().expect("no signal"),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }

    /// All items of both tables, by key, without the sync's own.
    pub async fn items(&self) -> BTreeMap<String, Value> {
        let mut items = self.all_items().await;
        items.retain(|key, _| !key.starts_with("SYNC#"));
        items
    }

    /// All items of both tables, by key.
    pub async fn all_items(&self) -> BTreeMap<String, Value> {
        let mut items = BTreeMap::new();
        for table in [&self.database.tables.tokens, &self.database.tables.livechat] {
            let all = scan(&self.database.client, table).await.expect("it is read");
            items.extend(all.into_iter().map(|item| (key(&item), json_of(&AttributeValue::M(item)))));
        }
        items
    }

    /// An item of the livechat table.
    pub async fn item(&self, pk: &str, sk: &str) -> Option<Value> {
        let get =
            self.database.client.get_item().table_name(&self.database.tables.livechat).consistent_read(true);
        let get = get.key("pk", AttributeValue::S(pk.into())).key("sk", AttributeValue::S(sk.into()));
        let item = get.send().await.expect("it is read").item?;
        Some(json_of(&AttributeValue::M(item)))
    }

    /// Stores an item. `{"set": [...]}` becomes a string set.
    pub async fn put(&self, item: Value) {
        let table = if item.get("pk").is_some() {
            &self.database.tables.livechat
        } else {
            &self.database.tables.tokens
        };
        items::put(&self.database.client, table, &[item]).await.expect("the item is written");
    }

    /// Deletes an item of the livechat table.
    pub async fn delete(&self, pk: &str, sk: &str) {
        let delete = self.database.client.delete_item().table_name(&self.database.tables.livechat);
        let delete = delete.key("pk", AttributeValue::S(pk.into())).key("sk", AttributeValue::S(sk.into()));
        delete.send().await.expect("it is deleted");
    }

    /// Sends an update through the function.
    pub async fn update(&self, unit: &str, user: &str, token: &str, body: &Value) -> Response {
        let function = Function::new(&engine::sdk_config(endpoint()), self.database.tables.clone());
        let mut event = update_event(unit, &body.to_string());
        set_caller(&mut event, token, user);
        let payload = serde_json::value::to_raw_value(&event).expect("an event is JSON");
        function.handle(lambda_http::LambdaEvent::new(payload, lambda_http::Context::default())).await
    }
}

/// The result of a run of the binary.
#[derive(Debug, PartialEq, Eq)]
pub struct Run {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// The binary in a process of its own. It is killed when this is dropped.
pub struct Process {
    child: Child,
    /// What it has printed, on both streams.
    lines: Arc<Mutex<Vec<String>>>,
    readers: Vec<JoinHandle<()>>,
}

impl Process {
    pub fn start(mut command: Command) -> Self {
        let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        let lines = Arc::new(Mutex::new(Vec::new()));
        let stdout = child.stdout.take().map(|pipe| reader(pipe, lines.clone()));
        let stderr = child.stderr.take().map(|pipe| reader(pipe, lines.clone()));
        Self { child, lines, readers: stdout.into_iter().chain(stderr).collect() }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal, such as `STOP`, `CONT` or `TERM`.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args([&format!("-{name}"), &self.id().to_string()]).status();
        assert!(status.expect("kill starts").success());
    }

    /// Ends it at once, as a machine does that loses its power.
    pub fn kill(&mut self) {
        self.child.kill().expect("it is killed");
        self.child.wait().expect("it has ended");
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("its state is known").is_none()
    }

    /// Waits until it ends.
    pub async fn end(&mut self, within: Duration) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("its state is known") {
                for reader in self.readers.drain(..) {
                    reader.join().expect("it reads");
                }
                return status;
            }
            assert!(start.elapsed() < within, "it still runs: {:#?}", self.printed());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The lines that it has printed so far.
    pub fn printed(&self) -> Vec<String> {
        self.lines.lock().expect("no panic").clone()
    }

    /// Waits until it has printed a line with this text.
    pub async fn prints(&self, within: Duration, text: &str) -> String {
        let found = || self.printed().into_iter().find(|line| line.contains(text));
        eventually(within, async || found().is_some()).await;
        found().expect("it is there")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn reader(pipe: impl std::io::Read + Send + 'static, lines: Arc<Mutex<Vec<String>>>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            lines.lock().expect("no panic").push(line);
        }
    })
}

/// Waits until a condition is true.
///
/// # Panics
/// It is not true in time.
#[track_caller]
pub fn eventually(within: Duration, condition: impl AsyncFn() -> bool) -> impl Future<Output = ()> {
    let place = std::panic::Location::caller();
    async move {
        let start = Instant::now();
        while !condition().await {
            assert!(start.elapsed() < within, "not within {within:?}: {place}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

fn key(item: &Item) -> String {
    let text = |name| item.get(name).and_then(|value| value.as_s().ok()).map_or("", String::as_str);
    format!("{}{} {}", text("hashedToken"), text("pk"), text("sk")).trim().to_owned()
}
