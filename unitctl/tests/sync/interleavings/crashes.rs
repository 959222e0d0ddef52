//! Crashes and delays at the points where they would do most harm: between what the sync reads and what it writes, and
//! between its write to MongoDB and the new base.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use livechat_units::id::{DepartmentId, UserId};
use mongodb::bson::doc;
use serde_json::Value;
use testing::dynamodb::address;
use unitctl::sync::look::look;
use unitctl::sync::model::{Removal, Subject};
use unitctl::sync::report::Reporter;
use unitctl::sync::sides::{Mode as SyncMode, Sides};

use super::failures::Slot;
use super::proxy::{Mode, Proxy, has};
use crate::following::{HASH, SOON, TOKEN, body, unit_facts, workspace};
use crate::rocket_chat::RocketChat;
use crate::world::{Process, World, eventually};

/// A unit that both sides have, and a process that follows through proxies.
struct Rig {
    world: World,
    unit: String,
    departments: Vec<String>,
    slot: Slot,
}

/// Name, visibility, monitors, and departments of a unit.
type State<'a> = (&'a str, &'a str, &'a [&'a str], &'a [&'a str]);

impl Rig {
    async fn start() -> Option<Self> {
        let (world, departments) = workspace().await?;
        let unit = world.rocket_chat();
        let unit = unit.save_unit(None, "North", "private", &[("mona", "mona")], &[&departments[0]]).await;
        let slot = Slot::start(&world, &[]).await;
        slot.process.prints(SOON, "a full pass has ended").await;
        Some(Self { world, unit, departments, slot })
    }

    fn rocket_chat(&self) -> &RocketChat {
        self.world.rocket_chat()
    }

    async fn update(&self, (name, visibility, monitors, departments): State<'_>) {
        let update = body(name, visibility, monitors, departments);
        let answer = self.world.update(&self.unit, "boss", TOKEN, &update).await;
        assert_eq!(answer.status_code, 200, "{}", answer.body);
    }

    async fn save(&self, (name, visibility, monitors, departments): State<'_>) {
        let monitors: Vec<(&str, &str)> = monitors.iter().map(|user| (*user, *user)).collect();
        self.rocket_chat().save_unit(Some(&self.unit), name, visibility, &monitors, departments).await;
    }

    async fn dynamodb_is(&self, (name, visibility, monitors, departments): State<'_>) -> bool {
        let set = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect();
        let expected = Some((name.to_owned(), visibility.to_owned(), set(monitors), set(departments)));
        unit_facts(&self.world, &self.unit).await == expected
    }

    async fn mongodb_is(&self, (name, visibility, monitors, departments): State<'_>) -> bool {
        let Some(unit) = self.rocket_chat().unit(&self.unit).await else { return false };
        let rows = self.rocket_chat().monitors(&self.unit).await;
        let mut here: Vec<String> = Vec::new();
        for id in &self.departments {
            let department = self.rocket_chat().department(id).await.expect("it is there");
            if department.get_str("parentId").ok() == Some(self.unit.as_str()) {
                here.push(id.clone());
            }
        }
        unit.get_str("name").ok() == Some(name)
            && unit.get_str("visibility").ok() == Some(visibility)
            && rows.iter().map(|(user, _)| user.as_str()).eq(monitors.iter().copied())
            && here.iter().map(String::as_str).eq(departments.iter().copied())
    }

    /// Waits until both sides have this, and checks that they still have it when it is quiet.
    async fn both_become(&self, state: State<'_>) {
        let are_there = async || self.dynamodb_is(state).await && self.mongodb_is(state).await;
        eventually(SOON, are_there).await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert!(are_there().await, "it has changed again");
    }

    /// True from the moment at which the intent to write to MongoDB is stored.
    fn intends(&self) -> Arc<AtomicBool> {
        let intends = Arc::new(AtomicBool::new(false));
        let seen = intends.clone();
        self.slot.dynamodb.inspect(move |part| {
            if has(part, "\"intent\":") {
                seen.store(true, Ordering::SeqCst);
            }
            false
        });
        intends
    }

    /// Holds the sync's write to MongoDB at the first command with this text after the intent is stored.
    fn hold_write_to_mongodb_at(&self, command: &'static str) {
        let intends = self.intends();
        self.slot.mongodb.inspect(move |part| intends.load(Ordering::SeqCst) && has(part, command));
    }

    /// Lets the write to MongoDB pass, and nothing to DynamoDB from its commit on. Then kills the process. So MongoDB has the
    /// change, and the base has only the intent.
    async fn crash_after_write_to_mongodb(&mut self, change: State<'_>) {
        let intends = self.intends();
        let dynamodb = self.slot.dynamodb.clone();
        self.slot.mongodb.inspect(move |part| {
            if intends.load(Ordering::SeqCst) && has(part, "commitTransaction") {
                dynamodb.set(Mode::Cut);
            }
            false
        });
        self.update(change).await;
        eventually(SOON, async || self.mongodb_is(change).await).await;
        self.slot.process.kill();
        let base =
            self.world.item(&format!("SYNC#UNIT#{}", self.unit), "BASE").await.expect("there is a base");
        assert!(base.get("intent").is_some(), "it crashed too late: {base}");
        self.world.delete("SYNC#STATE", "LEASE").await;
    }
}

fn warnings(process: &Process) -> Vec<String> {
    let lines = process.printed().into_iter().filter_map(|line| serde_json::from_str::<Value>(&line).ok());
    let warnings = lines.filter(|line| line["level"] == "WARN");
    warnings.map(|line| line["message"].as_str().unwrap_or_default().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_of_the_function_between_the_read_and_the_write_to_dynamodb_is_kept() {
    let Some(rig) = Rig::start().await else { return };
    let [sales, support] = [rig.departments[0].as_str(), rig.departments[1].as_str()];
    // Only the sync's update of a unit has this.
    rig.slot.dynamodb.inspect(|part| has(part, "syncRev"));
    rig.save(("Arctic", "private", &["mona"], &[sales])).await;
    rig.slot.dynamodb.held().await;
    rig.update(("North", "public", &["mike"], &[support])).await;
    rig.slot.dynamodb.release();
    rig.both_become(("Arctic", "public", &["mike"], &[support])).await;
    assert_eq!(warnings(&rig.slot.process), [""; 0]);

    // Both change the same fact: the later change counts, and the other one is named.
    rig.slot.dynamodb.inspect(|part| has(part, "syncRev"));
    rig.save(("Polar", "public", &["mike"], &[support])).await;
    rig.slot.dynamodb.held().await;
    rig.update(("Southern", "public", &["mike"], &[support])).await;
    rig.slot.dynamodb.release();
    rig.both_become(("Southern", "public", &["mike"], &[support])).await;
    let expected = format!(
        "unit {}: the name \"Polar\" in MongoDB is overwritten with the name \"Southern\", as in DynamoDB",
        rig.unit
    );
    assert_eq!(warnings(&rig.slot.process), [expected]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_in_rocket_chat_between_the_read_and_the_write_to_mongodb_is_kept() {
    // At the start of the transaction, and after its reads.
    for command in ["startTransaction", "\u{2}update\0"] {
        let Some(rig) = Rig::start().await else { return };
        let [sales, support] = [rig.departments[0].as_str(), rig.departments[1].as_str()];
        rig.hold_write_to_mongodb_at(command);
        rig.update(("North", "public", &["mona", "mike"], &[sales])).await;
        rig.slot.mongodb.held().await;
        rig.save(("Arctic", "private", &["mona"], &[sales, support])).await;
        rig.slot.mongodb.release();
        rig.both_become(("Arctic", "public", &["mike", "mona"], &[sales, support])).await;
        assert_eq!(warnings(&rig.slot.process), [""; 0], "{command:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_rocket_chat_sets_back_after_a_crash_before_the_new_base_stays() {
    let Some(mut rig) = Rig::start().await else { return };
    let [sales, support] = [rig.departments[0].clone(), rig.departments[1].clone()];
    let [sales, support] = [sales.as_str(), support.as_str()];
    rig.crash_after_write_to_mongodb(("Arctic", "public", &["mike"], &[support])).await;
    let old: State = ("North", "private", &["mona"], &[sales]);
    rig.save(old).await;
    let sync = rig.world.sync(&[]);
    rig.both_become(old).await;
    // Whether the sync's write was committed is unknown after that save, so each fact is named.
    let warnings = warnings(&sync);
    for fact in ["the name \"Arctic\"", "the visibility public", "user mike", "user mona"] {
        assert!(warnings.iter().any(|warning| warning.contains(fact)), "{fact}: {warnings:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_monitor_and_a_department_whom_rocket_chat_removes_after_a_crash_stay_removed() {
    let Some(mut rig) = Rig::start().await else { return };
    let [sales, support] = [rig.departments[0].clone(), rig.departments[1].clone()];
    let [sales, support] = [sales.as_str(), support.as_str()];
    rig.crash_after_write_to_mongodb(("North", "private", &["mike", "mona"], &[sales, support])).await;
    // As `removeMonitor` and a department's page do, which change no field of the unit's document but the counter.
    let row = doc! { "unitId": &rig.unit, "monitorId": "mike" };
    rig.rocket_chat().unit_monitors().delete_one(row).await.expect("it is deleted");
    rig.rocket_chat().set_department_unit(support, None).await;
    let _sync = rig.world.sync(&[]);
    rig.both_become(("North", "private", &["mona"], &[sales])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_mongodb_did_not_get_before_the_crash_is_carried_later() {
    let Some(mut rig) = Rig::start().await else { return };
    let support = rig.departments[1].clone();
    let state: State = ("Arctic", "public", &["mike"], &[&support]);
    rig.hold_write_to_mongodb_at("startTransaction");
    rig.update(state).await;
    rig.slot.mongodb.held().await;
    rig.slot.process.kill();
    rig.world.delete("SYNC#STATE", "LEASE").await;
    let sync = rig.world.sync(&[]);
    rig.both_become(state).await;
    assert_eq!(warnings(&sync), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_to_mongodb_that_arrives_after_another_process_has_carried_it_does_nothing() {
    let Some(rig) = Rig::start().await else { return };
    let [sales, support] = [rig.departments[0].as_str(), rig.departments[1].as_str()];
    let state: State = ("Arctic", "public", &["mike"], &[support]);
    rig.hold_write_to_mongodb_at("startTransaction");
    rig.update(state).await;
    rig.slot.mongodb.held().await;
    rig.world.delete("SYNC#STATE", "LEASE").await;
    let other = rig.world.sync(&[]);
    rig.both_become(state).await;
    let old: State = ("North", "private", &["mona"], &[sales]);
    rig.save(old).await;
    rig.slot.mongodb.release();
    rig.both_become(old).await;
    assert_eq!(warnings(&other), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_base_that_another_process_stores_during_a_look_is_not_compared_with_the_unit_before() {
    let Some(rig) = Rig::start().await else { return };
    let sales = rig.departments[0].clone();
    let base = format!("SYNC#UNIT#{}", rig.unit);
    rig.slot.dynamodb.inspect(move |part| has(part, "BatchGetItem") && has(part, &base));
    // It has the same members. Otherwise the look would read the unit again for them.
    let state: State = ("Arctic", "public", &["mona"], &[&sales]);
    rig.save(state).await;
    rig.slot.dynamodb.held().await;
    rig.world.delete("SYNC#STATE", "LEASE").await;
    let other = rig.world.sync(&[]);
    eventually(SOON, async || rig.dynamodb_is(state).await).await;
    rig.slot.dynamodb.release();
    rig.both_become(state).await;
    let printed = [rig.slot.process.printed(), other.printed()].concat();
    let to_mongodb = printed.iter().filter(|line| line.contains("wrote to MongoDB")).count();
    assert_eq!(to_mongodb, 0, "{printed:#?}");
}

/// Starts a full pass, and stops it at its request to DynamoDB of this kind that has this key. Then makes a change in
/// Rocket.Chat, lets another look carry it, and lets the pass go on.
async fn change_during_a_full_pass(
    world: &World,
    request: &'static str,
    key: String,
    subject: Subject,
    change: impl Future,
) {
    let dynamodb = Proxy::start(address()).await;
    dynamodb.inspect(move |part| has(part, request) && has(part, &key));
    let endpoint = format!("http://{}", dynamodb.address);
    let mut pass = Process::start(world.command_at(&endpoint, &["sync", "--once"]));
    dynamodb.held().await;
    change.await;
    let mongodb = world.mongo.connect().await;
    let lifetime = mongodb.login_expiration().await.expect("it is read");
    let reporter = Arc::new(Reporter::collecting());
    let sides = Sides::new(world.database.clone(), mongodb, reporter, SyncMode::default(), None, lifetime);
    look(&sides, &subject, Removal::No).await.expect("it is carried");
    dynamodb.release();
    assert!(pass.end(SOON).await.success(), "{:?}", pass.printed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_pass_does_not_undo_a_change_of_a_department_that_a_look_has_carried_meanwhile() {
    let Some((world, departments)) = workspace().await else { return };
    assert_eq!(world.run(&["sync", "--once"]).code, 0);
    let id = departments[0].as_str();
    let subject = Subject::Department(DepartmentId::parse(id).expect("an id"));
    let change = world.rocket_chat().change_department(id, "Selling");
    change_during_a_full_pass(&world, "BatchGetItem", format!("DEPARTMENT#{id}"), subject, change).await;
    let item = world.item(&format!("DEPARTMENT#{id}"), "DEPARTMENT").await.expect("it is there");
    assert_eq!(item["name"], "Selling");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_pass_does_not_bring_back_a_token_whose_revocation_a_look_has_carried_meanwhile() {
    let Some((world, _)) = workspace().await else { return };
    let rocket_chat = world.rocket_chat();
    let is_let_in = async || {
        let answer = world.update("nowhere", "boss", TOKEN, &body("a", "private", &[], &[])).await;
        answer.status_code != 401
    };
    let boss = || Subject::User(UserId::parse("boss").expect("an id"));
    // Once the user is new in DynamoDB, and once not.
    for is_known in [false, true] {
        if is_known {
            rocket_chat.log_in("boss", HASH).await;
            assert_eq!(world.run(&["sync", "--once"]).code, 0);
            assert!(is_let_in().await);
            // A pass reads only those users by their keys who are not the same on both sides.
            rocket_chat.rename_user("boss", "big.boss").await;
        }
        let change = rocket_chat.log_out("boss", HASH);
        // A pass writes users who are new without reading them by their keys.
        let request = if is_known { "BatchGetItem" } else { "TransactWriteItems" };
        change_during_a_full_pass(&world, request, "USER#boss".into(), boss(), change).await;
        assert!(!is_let_in().await, "{is_known}");
    }
}
