//! Failures that the tests' server makes when it is asked to: it steps down, does not confirm a commit, can't send an event, or
//! has a user with the least rights. Each test has a server of its own, because what is injected counts for the whole server.

use std::collections::BTreeSet;
use std::process::Stdio;

use mongodb::bson::{Document, doc};
use serde_json::Value;

use super::Server;
use crate::following::{SOON, TOKEN, body, fill, following, unit_facts};
use crate::world::{Process, World, eventually, world_at};

/// The name by which the server knows the connections of `unitctl`. The test's own ones have none, so nothing is injected there.
const UNITCTL: &str = "unitctl";

/// A workspace with one unit, on a server of its own.
struct Rig {
    server: Server,
    world: World,
    unit: String,
    department: String,
}

impl Rig {
    async fn start() -> Option<Self> {
        let server = Server::start(&["--enable-test-commands"]).await?;
        let world = world_at(&server.address()).await;
        let department = fill(&world).await.remove(0);
        let unit = world.rocket_chat().save_unit(None, "North", "private", &[("mona", "mona")], &[]).await;
        Some(Self { server, world, unit, department })
    }

    async fn admin(&self, command: Document) {
        self.server.client().await.database("admin").run_command(command).await.expect("it is obeyed");
    }

    /// Lets commands of `unitctl` fail.
    async fn inject(&self, times: i32, mut data: Document) {
        data.insert("appName", UNITCTL);
        self.admin(doc! { "configureFailPoint": "failCommand", "mode": { "times": times }, "data": data })
            .await;
    }

    /// Sends an update through the function, with another monitor and a department that joins.
    async fn update(&self, name: &str, monitor: &str, departments: &[&str]) {
        let update = body(name, "private", &[monitor], departments);
        let response = self.world.update(&self.unit, "boss", TOKEN, &update).await;
        assert_eq!(response.status_code, 200, "{response:?}");
    }

    /// Waits until MongoDB has the unit like this.
    async fn mongodb_becomes(&self, name: &str, monitor: &str, departments: &[&str]) {
        let rocket_chat = self.world.rocket_chat();
        eventually(SOON, async || {
            let Some(unit) = rocket_chat.unit(&self.unit).await else { return false };
            unit.get_str("name").ok() == Some(name)
                && unit.get_i32("numDepartments").ok() == Some(departments.len() as i32)
                && rocket_chat.monitors(&self.unit).await == [(monitor.to_owned(), monitor.to_owned())]
        })
        .await;
    }

    /// Waits until DynamoDB has this name of the unit.
    async fn dynamodb_becomes(&self, name: &str) {
        eventually(SOON, async || {
            unit_facts(&self.world, &self.unit).await.is_some_and(|(stored, ..)| stored == name)
        })
        .await;
    }
}

/// The messages of a level.
fn messages(process: &Process, level: &str) -> Vec<String> {
    let lines = process.printed().into_iter().filter_map(|line| serde_json::from_str::<Value>(&line).ok());
    let lines = lines.filter(|line| line["level"] == level);
    lines.map(|line| line["message"].as_str().unwrap_or_default().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_steps_down_is_waited_for_and_nothing_is_lost() {
    let Some(rig) = Rig::start().await else { return };
    let mut sync = following(&rig.world, &[]).await;
    rig.admin(doc! { "replSetStepDown": 4, "force": true }).await;
    rig.update("Arctic", "mike", &[&rig.department]).await;
    rig.mongodb_becomes("Arctic", "mike", &[&rig.department]).await;
    let departments = [rig.department.as_str()];
    rig.world
        .rocket_chat()
        .save_unit(Some(&rig.unit), "Polar", "private", &[("mike", "mike")], &departments)
        .await;
    rig.dynamodb_becomes("Polar").await;
    assert!(sync.is_running());
    assert_eq!(messages(&sync, "WARN"), [""; 0]);
    let is_said = |message: &String| {
        message.contains("MongoDB's primary steps down or shuts down")
            || message.contains("MongoDB can't be reached")
    };
    let printed = messages(&sync, "ERROR");
    assert!(printed.iter().any(is_said), "{printed:?}");
}

/// MongoDB may commit a transaction without a reply, or say that it does not know whether the majority has it.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_is_not_confirmed_is_carried_out_once() {
    let Some(rig) = Rig::start().await else { return };
    let sync = following(&rig.world, &[]).await;
    let not_replicated =
        doc! { "code": 64, "errmsg": "waiting for replication timed out", "errInfo": { "wtimeout": true } };
    let commits = ["commitTransaction"].to_vec();
    let cases = [
        (1, doc! { "closeConnection": true }),
        (1, doc! { "writeConcernError": not_replicated.clone() }),
        // More often than a commit is sent, so the look fails, and a later one finds out that it was committed.
        (8, doc! { "writeConcernError": not_replicated }),
        // It is not committed at first.
        (4, doc! { "errorCode": 91, "errorLabels": ["RetryableWriteError"] }),
    ];
    for (number, (times, mut data)) in cases.into_iter().enumerate() {
        let (monitor, departments) = match number % 2 {
            0 => ("mike", vec![rig.department.as_str()]),
            _ => ("mona", vec![]),
        };
        let name = format!("name {number}");
        data.insert("failCommands", commits.clone());
        rig.inject(times, data).await;
        rig.update(&name, monitor, &departments).await;
        rig.mongodb_becomes(&name, monitor, &departments).await;
        rig.admin(doc! { "configureFailPoint": "failCommand", "mode": "off" }).await;
        eventually(SOON, async || {
            let check = ["check", "--mongodb-uri", &rig.world.mongo.uri];
            rig.world.run(&check).code == 0
        })
        .await;
    }
    // What was not confirmed is never taken for a change by Rocket.Chat.
    assert_eq!(messages(&sync, "WARN"), [""; 0]);
    let (name, _, monitors, departments) = unit_facts(&rig.world, &rig.unit).await.expect("it is there");
    assert_eq!((name.as_str(), departments), ("name 3", BTreeSet::new()));
    assert_eq!(monitors, BTreeSet::from(["mona".to_owned()]));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_is_too_large_to_be_sent_leads_to_a_full_pass() {
    let Some(rig) = Rig::start().await else { return };
    let sync = following(&rig.world, &[]).await;
    // BSONObjectTooLarge
    rig.inject(1, doc! { "failCommands": ["getMore"], "errorCode": 10334 }).await;
    sync.prints(SOON, "An event of a change stream is larger than MongoDB can send; a full pass follows")
        .await;
    rig.world.rocket_chat().save_unit(Some(&rig.unit), "Polar", "private", &[("mona", "mona")], &[]).await;
    rig.dynamodb_becomes("Polar").await;
    let passes = || sync.printed().iter().filter(|line| line.contains("a full pass has ended")).count();
    eventually(SOON, async || passes() == 2).await;
}

/// The server compares the actions of a role, but not the collections. It does not ask for `insert` when an update inserts a document,
/// as MongoDB does.
#[tokio::test(flavor = "multi_thread")]
async fn the_rights_that_the_document_names_are_enough() {
    let Some(mut rig) = Rig::start().await else { return };
    let document = include_str!("../../../../docs/sync.md");
    let privileges: Vec<Document> = document.lines().filter_map(privilege).collect();
    assert_eq!(privileges.len(), 6);
    let without = |action: &str| -> Vec<Document> {
        let lacks = |mut privilege: Document| {
            let actions = privilege.get_array_mut("actions").expect("a list");
            actions.retain(|found| found.as_str() != Some(action));
            privilege
        };
        privileges.iter().cloned().map(lacks).collect()
    };
    let database = rig.world.mongo.db.name().to_owned();
    let roles = [("all", privileges.clone())]
        .into_iter()
        .chain(["find", "remove", "update"].map(|action| (action, without(action))));
    for (name, mut privileges) in roles {
        for privilege in &mut privileges {
            privilege.get_document_mut("resource").expect("a document").insert("db", &database);
        }
        rig.admin(doc! { "createRole": name, "privileges": privileges, "roles": [] }).await;
        rig.admin(doc! { "createUser": name, "pwd": "secret", "roles": [name] }).await;
    }
    rig.admin(doc! { "createUser": "root", "pwd": "secret", "roles": ["root"] }).await;
    rig.server.restart(&["--auth"], async {}).await;

    let uri_of = |user: &str| {
        let address = rig.server.address().replace("://", &format!("://{user}:secret@"));
        format!("{address}/{database}?authSource=admin")
    };
    let once = |user: &str| {
        let mut command = rig.world.command(&["sync", "--once"]);
        command.env("MONGODB_URI", uri_of(user)).stdin(Stdio::null());
        let output = command.output().expect("it starts");
        let printed = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(printed).expect("it prints UTF-8"))
    };
    let (code, printed) = once("find");
    assert_eq!(code, Some(1), "{printed}");
    assert!(printed.contains("lacks the right `find` on the collection"), "{printed}");
    let (code, printed) = once("all");
    assert_eq!(code, Some(0), "{printed}");
    // A monitor leaves, another one and a department join.
    rig.update("Arctic", "mike", &[&rig.department]).await;
    for action in ["remove", "update"] {
        let (code, printed) = once(action);
        assert_eq!(code, Some(1), "{action}: {printed}");
        assert!(
            printed.contains(&format!("lacks the right `{action}` on the collection")),
            "{action}: {printed}"
        );
    }
    let (code, printed) = once("all");
    assert_eq!(code, Some(0), "{printed}");
    let check = rig.world.run(&["check", "--mongodb-uri", &uri_of("root")]);
    assert_eq!(check.code, 0, "{check:?}");
}

/// The privilege of a line of the document, such as `on("users", "find", "changeStream"),`.
fn privilege(line: &str) -> Option<Document> {
    let names = line.trim().strip_prefix("on(\"")?.strip_suffix("\"),")?;
    let mut names = names.split("\", \"");
    let collection = names.next()?;
    let actions: Vec<&str> = names.collect();
    Some(doc! { "resource": { "db": "", "collection": collection }, "actions": actions })
}
