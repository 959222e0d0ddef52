//! A workspace in MongoDB, the same documents as mongoexport would write them, and tables.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{StreamSpecification, StreamViewType};
use livechat_units::{Function, Tables};
use mongodb::bson::{DateTime, Document, doc};
use mongodb::options::ClientOptions;
use serde_json::Value;
use tempfile::TempDir;
use testing::dynamodb::{endpoint, new_tables};
use testing::events::{set_caller, update_body, update_event};
use unitctl::database::Database;
use unitctl::engine;

use crate::measure::{Process, Run};
use crate::rocket_chat::RocketChat;
use crate::world::{Mongo, mongo};

/// Documents in one insert.
const IN_INSERT: usize = 1_000;
const MONITORS_IN_UNIT: usize = 3;
const DEPARTMENTS_IN_UNIT: usize = 10;
/// Of so many users one has personal tokens, this number.
const PERSONAL: (usize, usize) = (10, 3);
/// The user who sends updates. The user's token is "0", as [`hash`] makes it.
const CALLER: usize = 0;

/// How large a workspace is.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    pub is_quick: bool,
    pub users: usize,
    pub departments: usize,
    pub units: usize,
    pub rooms: usize,
}

impl Size {
    pub fn new(is_quick: bool) -> Self {
        let part = if is_quick { 10 } else { 1 };
        Self {
            is_quick,
            users: 100_000 / part,
            departments: 10_000 / part,
            units: 1_000 / part,
            rooms: 200_000 / part,
        }
    }
}

pub struct Workspace {
    pub size: Size,
    pub mongo: Mongo,
    pub client: Client,
    /// The tables that the parts after `pass` use.
    pub tables: Tables,
    pub folder: TempDir,
    /// The number of documents that an import reads.
    pub documents: usize,
    function: Function,
}

impl Workspace {
    /// Writes the documents to MongoDB and to files. `None` if there is no MongoDB.
    pub async fn create(size: Size) -> Result<Option<Self>> {
        let Some(mut mongo) = mongo().await else { return Ok(None) };
        mongo.db = mongo_client(&mongo.uri).await?.database(mongo.db.name());
        mongo.rocket_chat = RocketChat::new(mongo.db.clone());
        let config = engine::sdk_config(endpoint());
        let client = Client::new(&config);
        let tables = tables_without_stream(&client).await?;
        let function = Function::new(&config, tables.clone());
        let folder = TempDir::new()?;
        let mut workspace = Self { size, mongo, client, tables, folder, documents: 0, function };
        let start = Instant::now();
        workspace.fill().await?;
        let Size { users, departments, units, .. } = size;
        println!(
            "{users} users with a login each, and {} of them with {} personal tokens; {departments} departments; \
             {units} units of {MONITORS_IN_UNIT} monitors and {DEPARTMENTS_IN_UNIT} departments: {} documents, written \
             to MongoDB in {:.0} s",
            users / PERSONAL.0,
            PERSONAL.1,
            workspace.documents,
            start.elapsed().as_secs_f64()
        );
        Ok(Some(workspace))
    }

    async fn fill(&mut self) -> Result<()> {
        let size = self.size;
        self.write("users", (0..size.users).map(|number| user(number, size))).await?;
        let permission = doc! { "_id": "manage-livechat-units", "roles": ["admin", "livechat-manager"] };
        self.write("rocketchat_permissions", [permission].into_iter()).await?;
        let units = (0..size.units).map(unit_document);
        let departments = (0..size.departments).map(department_document);
        self.write("rocketchat_livechat_department", units.chain(departments)).await?;
        let rows = (0..size.units * MONITORS_IN_UNIT).map(|number| {
            doc! {
                "_id": format!("row{number:014}"), "unitId": unit(number / MONITORS_IN_UNIT),
                "monitorId": user_id(number), "username": username(number), "_updatedAt": long_ago(),
            }
        });
        self.write("rocketchat_livechat_unit_monitors", rows).await?;
        // Indexes of Rocket.Chat that the sync's reads use.
        let rocket_chat = &self.mongo.rocket_chat;
        for (collection, field) in [
            (rocket_chat.departments(), "parentId"),
            (rocket_chat.unit_monitors(), "unitId"),
            (rocket_chat.rooms(), "departmentId"),
            (rocket_chat.rooms(), "open"),
        ] {
            let index = mongodb::IndexModel::builder().keys(doc! { field: 1 }).build();
            collection.create_index(index).await?;
        }
        Ok(())
    }

    async fn write(&mut self, name: &str, mut documents: impl Iterator<Item = Document>) -> Result<()> {
        let mut file = BufWriter::new(File::create(self.folder.path().join(format!("{name}.json")))?);
        let collection = self.mongo.db.collection::<Document>(name);
        loop {
            let batch: Vec<Document> = documents.by_ref().take(IN_INSERT).collect();
            if batch.is_empty() {
                break;
            }
            self.documents += batch.len();
            for document in &batch {
                writeln!(file, "{}", serde_json::to_string(document)?)?;
            }
            collection.insert_many(batch).await?;
        }
        Ok(file.flush()?)
    }

    pub fn database(&self) -> Database {
        Database { client: self.client.clone(), tables: self.tables.clone() }
    }

    /// Starts `unitctl` with these arguments.
    pub fn unitctl(&self, endpoint: &str, tables: &Tables, arguments: &[&str]) -> Result<Process> {
        self.unitctl_at(&self.mongo.uri, endpoint, tables, arguments)
    }

    fn unitctl_at(&self, uri: &str, endpoint: &str, tables: &Tables, arguments: &[&str]) -> Result<Process> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_unitctl"));
        command.args(["--endpoint", endpoint]);
        command.args(["--tokens-table", &tables.tokens, "--livechat-table", &tables.livechat]);
        command.args(arguments).env("MONGODB_URI", uri);
        for name in ["AWS_ACCESS_KEY_ID", "AWS_PROFILE", "TOKENS_TABLE", "LIVECHAT_TABLE"] {
            command.env_remove(name);
        }
        Process::start(command, self.folder.path().join("log"))
    }

    /// Imports the files.
    pub async fn import(&self, tables: &Tables) -> Result<Run> {
        let folder = self.folder.path().to_str().context("the folder's path is UTF-8")?;
        self.unitctl(endpoint(), tables, &["import", folder])?.end().await
    }

    /// Starts the sync, and waits until it follows.
    pub async fn following(&self, endpoint: &str) -> Result<Process> {
        self.following_at(&self.mongo.uri, endpoint).await
    }

    /// The same with another URI of MongoDB.
    pub async fn following_at(&self, uri: &str, endpoint: &str) -> Result<Process> {
        set_stream(&self.client, &self.tables, true).await?;
        let mut sync = self.unitctl_at(uri, endpoint, &self.tables, &["sync"])?;
        sync.prints("a full pass has ended").await?;
        Ok(sync)
    }

    /// Changes a unit through the function.
    pub async fn update(
        &self,
        unit: usize,
        name: &str,
        monitors: &[String],
        departments: &[String],
    ) -> Result<()> {
        let monitors = monitors.iter().map(|id| (id.as_str(), "any"));
        let body = update_body(name, monitors, departments.iter().map(String::as_str));
        let mut event = update_event(&self::unit(unit), &body);
        set_caller(&mut event, &CALLER.to_string(), &user_id(CALLER));
        let payload = serde_json::value::to_raw_value(&event)?;
        let event = lambda_http::LambdaEvent::new(payload, lambda_http::Context::default());
        let response = self.function.handle(event).await;
        let body: Value = serde_json::from_str(&response.body).unwrap_or_default();
        ensure!(response.status_code == 200, "the function answers {}: {body}", response.status_code);
        Ok(())
    }

    /// The monitors of a unit, all or all except one.
    pub fn monitors(unit: usize, all: bool) -> Vec<usize> {
        let first = unit * MONITORS_IN_UNIT;
        (first..first + MONITORS_IN_UNIT - usize::from(!all)).collect()
    }

    /// The departments of a unit, all or all except one.
    pub fn departments(unit: usize, all: bool) -> Vec<String> {
        let first = unit * DEPARTMENTS_IN_UNIT;
        (first..first + DEPARTMENTS_IN_UNIT - usize::from(!all)).map(department).collect()
    }
}

/// Connects to MongoDB without retryable writes. The tests' server keeps its replies to the last ten thousand of those, and
/// sorts all of them twice at each further one. MongoDB does not.
pub async fn mongo_client(uri: &str) -> Result<mongodb::Client> {
    let mut options = ClientOptions::parse(uri).await?;
    options.retry_writes = Some(false);
    // The server closes connections that are idle for minutes.
    options.max_idle_time = Some(Duration::from_secs(30));
    Ok(mongodb::Client::with_options(options)?)
}

/// New tables. The embedded engine keeps a record of each write to a table with a stream, so the stream is only there while
/// the sync follows. An import and a full pass need none.
pub async fn tables_without_stream(client: &Client) -> Result<Tables> {
    let tables = new_tables(client).await;
    set_stream(client, &tables, false).await?;
    Ok(tables)
}

async fn set_stream(client: &Client, tables: &Tables, is_on: bool) -> Result<()> {
    let table = client.describe_table().table_name(&tables.livechat).send().await?.table;
    let was_on =
        table.and_then(|table| table.stream_specification).is_some_and(|stream| stream.stream_enabled);
    if was_on != is_on {
        let view = is_on.then_some(StreamViewType::KeysOnly);
        let stream =
            StreamSpecification::builder().stream_enabled(is_on).set_stream_view_type(view).build()?;
        client.update_table().table_name(&tables.livechat).stream_specification(stream).send().await?;
    }
    Ok(())
}

pub fn user_id(number: usize) -> String {
    format!("user{number:013}")
}

pub fn username(number: usize) -> String {
    format!("some.body.{number}")
}

pub fn unit(number: usize) -> String {
    format!("unit{number:013}")
}

pub fn department(number: usize) -> String {
    format!("dept{number:013}")
}

/// The hash of a token.
pub fn hash(token: &str) -> String {
    livechat_units::hashed_token(token)
}

fn long_ago() -> DateTime {
    DateTime::from_millis(1_793_520_000_000)
}

fn user(number: usize, size: Size) -> Document {
    let when = DateTime::from_millis(DateTime::now().timestamp_millis() / 1000 * 1000);
    let mut tokens = vec![doc! { "when": when, "hashedToken": hash(&number.to_string()) }];
    if number.is_multiple_of(PERSONAL.0) {
        tokens.extend((0..PERSONAL.1).map(|token| {
            doc! {
                "hashedToken": hash(&format!("{number} {token}")), "type": "personalAccessToken", "createdAt": when,
                "lastTokenPart": "abcdef", "name": format!("token {token}"), "bypassTwoFactor": false,
            }
        }));
    }
    let mut roles = vec!["user"];
    if number < size.units * MONITORS_IN_UNIT {
        roles.push("livechat-monitor");
    }
    if number == CALLER {
        roles.push("livechat-manager");
    }
    doc! {
        "_id": user_id(number), "createdAt": when, "username": username(number), "type": "user",
        "services": { "password": { "bcrypt": "x".repeat(60) }, "resume": { "loginTokens": tokens } },
        "emails": [{ "address": format!("{}@example.com", username(number)), "verified": true }],
        "status": "offline", "statusConnection": "offline", "utcOffset": 1, "active": true, "roles": roles,
        "name": username(number), "lastLogin": when, "_updatedAt": when,
    }
}

fn unit_document(number: usize) -> Document {
    doc! {
        "_id": unit(number), "name": format!("Unit {number}"), "visibility": "public", "type": "u",
        "numMonitors": MONITORS_IN_UNIT as i32, "numDepartments": DEPARTMENTS_IN_UNIT as i32,
        "_updatedAt": long_ago(),
    }
}

fn department_document(number: usize) -> Document {
    let unit = unit(number / DEPARTMENTS_IN_UNIT);
    doc! {
        "_id": department(number), "name": format!("Department {number}"), "enabled": true,
        "description": "what a department has", "showOnRegistration": true, "showOnOfflineForm": false,
        "email": "a@example.com", "numAgents": 3, "parentId": &unit, "ancestors": [&unit],
        "_updatedAt": long_ago(),
    }
}
