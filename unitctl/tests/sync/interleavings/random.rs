//! Random interleavings: when it is quiet at the end, both sides are equal, and nothing was lost without a warning.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use livechat_units::hashed_token;
use mongodb::bson::{Bson, Document};
use serde_json::Value;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

use super::actors::{Actor, Stage};
use super::facts::{
    Fact, Known, all, broken_invariant, differences, of_dynamodb, of_mongodb, snapshot, text,
};
use super::failures::{Slot, chaos};
use super::history::History;
use super::proxy::Proxy;
use crate::following::{SOON, body};
use crate::world::{World, world};

/// How long it may take until both sides are equal after the last change. The lease of a killed process lasts for half a
/// minute, and a transaction that it has left open in MongoDB blocks others for a minute.
const CALM: Duration = Duration::from_secs(300);

/// How long a run may take.
pub(super) const LONGEST: Duration = Duration::from_secs(1200);

/// Host and port of MongoDB.
pub fn mongodb_address(world: &World) -> String {
    let (_, rest) = world.mongo.uri.split_once("://").expect("a URI has a scheme");
    let (hosts, _) = rest.split_once('/').expect("it has a database");
    let host = hosts.rsplit('@').next().expect("one at least");
    host.split(',').next().expect("one at least").to_owned()
}

/// The URI of the same database through a proxy. Without `directConnection`, the driver would connect to the address that the
/// server gives for itself.
pub fn through(world: &World, proxy: &Proxy) -> String {
    let uri = world.mongo.uri.replace(&mongodb_address(world), &proxy.address.to_string());
    let separator = if uri.ends_with('?') { "" } else { "&" };
    format!("{uri}{separator}directConnection=true")
}

pub(super) fn variable(name: &str, default: u64) -> u64 {
    let value = std::env::var(name).ok().filter(|value| !value.is_empty());
    value.map_or(default, |value| value.parse().expect("the variable is a number"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn both_sides_are_equal_when_it_is_quiet_and_no_change_is_lost() {
    if world().await.is_none() {
        return;
    }
    let steps = variable("SYNC_INTERLEAVINGS_STEPS", 30) as u32;
    let first = variable("SYNC_INTERLEAVINGS_SEED", fastrand::u64(..1_000_000));
    for seed in first..first + variable("SYNC_INTERLEAVINGS_RUNS", 2) {
        println!("SYNC_INTERLEAVINGS_SEED={seed} SYNC_INTERLEAVINGS_STEPS={steps}");
        let run = tokio::time::timeout(LONGEST, run(seed, steps)).await;
        assert!(run.is_ok(), "the run with the seed {seed} does not end");
    }
}

/// A workspace with three units, four monitors and six departments with rooms, the same on both sides, and two processes
/// of the sync with these options.
pub(super) async fn stage(options: &'static [&'static str]) -> Option<(Stage, Vec<Slot>)> {
    let world = Arc::new(world().await?);
    let rocket_chat = world.rocket_chat();
    rocket_chat.create_permission("manage-livechat-units", &["livechat-manager"]).await;
    rocket_chat.create_user("boss", "the.boss", &["livechat-manager"]).await;
    let monitors: Vec<String> = ["mona", "mike", "mara", "milo"].map(String::from).into();
    for user in &monitors {
        rocket_chat.create_user(user, user, &["livechat-monitor"]).await;
    }
    let mut departments = Vec::new();
    for name in ["Sales", "Support", "Returns", "Billing", "Legal", "Press"] {
        departments.push(rocket_chat.create_department(name).await);
    }
    let mut units = Vec::new();
    for (index, name) in ["North", "South", "West"].into_iter().enumerate() {
        let user = monitors[index].as_str();
        units.push(
            rocket_chat.save_unit(None, name, "private", &[(user, user)], &[&departments[index]]).await,
        );
    }
    for department in &departments {
        for open in [true, false] {
            rocket_chat.create_room(department, open).await;
        }
    }
    let mut slots = vec![Slot::start(&world, options).await, Slot::start(&world, options).await];
    let known = Known { units, monitors, departments };
    let has_passed = |slot: &Slot| slot.printed().iter().any(|line| line.contains("a full pass has ended"));
    crate::world::eventually(CALM, async || slots.iter().any(has_passed)).await;
    calm(&slots, None, async || differences(&world, &known).await).await;
    slots.iter_mut().for_each(Slot::begin);
    let created = world.run(&["token", "create", "--user", "boss"]);
    let token = created.stdout.trim().to_owned();
    Some((Stage { world, known, history: History::default(), token }, slots))
}

/// Waits until nothing is found wrong any more. What the processes printed is in a file, if it is to be kept.
pub(super) async fn calm(
    slots: &[Slot],
    log: Option<&Path>,
    wrong: impl AsyncFn() -> Vec<String>,
) -> Duration {
    let start = Instant::now();
    loop {
        let found = wrong().await;
        if let Some(log) = log {
            let printed: Vec<String> = slots.iter().flat_map(Slot::printed).collect();
            std::fs::write(log, printed.join("\n")).expect("there is room");
        }
        if found.is_empty() {
            return start.elapsed();
        }
        assert!(start.elapsed() < CALM, "still wrong: {found:#?} {log:?}");
        sleep(Duration::from_millis(100)).await;
    }
}

/// All items of both tables except the lease and the positions, and all documents.
pub(super) async fn everything(world: &World) -> (BTreeMap<String, Value>, Vec<Document>) {
    let mut items = world.all_items().await;
    items.retain(|key, _| !key.starts_with("SYNC#STATE"));
    let mut documents = Vec::new();
    let names = world.mongo.db.list_collection_names().await.expect("they are listed");
    for name in names {
        documents.extend(all(&world.mongo.db.collection(&name)).await);
    }
    (items, documents)
}

/// Waits until nothing is written for some seconds.
pub(super) async fn nothing_is_written(world: &World, log: &Path) {
    // Counters are looked at once more after two seconds.
    sleep(Duration::from_secs(4)).await;
    // On a busy machine this may take longer.
    for _ in 0..5 {
        let before = everything(world).await;
        sleep(Duration::from_secs(2)).await;
        if before == everything(world).await {
            return;
        }
    }
    panic!("{}: something is still written", log.display());
}

/// Runs once. What the processes printed is in a file afterwards.
async fn run(seed: u64, steps: u32) {
    let Some((stage, slots)) = stage(&[]).await else { return };
    let Stage { world, known, history, .. } = stage.clone();
    history
        .follow(&world, of_mongodb(&world, &known).await, &all(&world.rocket_chat().unit_monitors()).await)
        .await;
    let sampler = Sampler::start(&stage);

    let (stop, stopped) = oneshot::channel();
    let chaos = tokio::spawn(chaos(world.clone(), slots, seed ^ 1, stopped));
    let rocket_chat = tokio::spawn(Actor::new(stage.clone(), seed ^ 2).rocket_chat(steps));
    let function = tokio::spawn(Actor::new(stage.clone(), seed ^ 3).function(steps));
    let (rocket_chat, mut function) =
        (rocket_chat.await.expect("no panic"), function.await.expect("no panic"));
    stop.send(()).expect("it runs");
    let mut slots = chaos.await.expect("no panic");
    let printed = |slots: &[Slot]| -> Vec<String> { slots.iter().flat_map(Slot::printed).collect() };
    let log = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("interleavings-{seed}.log"));
    let time = calm(&slots, Some(&log), async || differences(&world, &known).await).await;
    println!("equal after {time:?}");

    nothing_is_written(&world, &log).await;
    check(&world).await;
    tokens(&stage, &rocket_chat).await;
    let facts = of_mongodb(&world, &known).await;
    crate::world::eventually(SOON, async || history.has_followed(&facts)).await;
    let complaints = history.complaints(&printed(&slots));
    assert!(complaints.is_empty(), "{}: {complaints:#?}", log.display());

    rooms(&stage, &mut function, &mut slots, &log).await;
    assert_eq!(sampler.stop(), None);
    for slot in &mut slots {
        assert!(slot.process.is_running());
    }
}

/// The commands find both sides sound and equal.
pub(super) async fn check(world: &World) {
    let check = world.run(&["check", "--mongodb-uri"]);
    assert_eq!(check.code, 0, "{check:?}");
    assert!(check.stdout.ends_with("sound\nthe same as in MongoDB\n"), "{check:?}");
}

/// Tokens that Rocket.Chat has revoked are refused, and the others are not.
async fn tokens(stage: &Stage, actor: &Actor) {
    let items = stage.world.items().await;
    let nothing = body("a", "private", &[], &[]);
    for (user, token) in &actor.revoked {
        assert!(!items.contains_key(&hashed_token(token)), "a revoked token is there");
        assert_eq!(stage.world.update("nowhere", user, token, &nothing).await.status_code, 401);
    }
    for (user, token) in &actor.tokens {
        // Monitors lack the permission, which is asked for after the token.
        assert_eq!(stage.world.update("nowhere", user, token, &nothing).await.status_code, 403);
    }
    assert!(items.contains_key(&hashed_token(&stage.token)), "the operator's own token is gone");
    assert_eq!(stage.world.update("nowhere", "boss", &stage.token, &nothing).await.status_code, 400);
}

/// The function moves every department while the processes are killed. Then rooms and counters are right in MongoDB, which
/// Rocket.Chat itself does not make sure of.
async fn rooms(stage: &Stage, function: &mut Actor, slots: &mut [Slot], log: &Path) {
    let Stage { world, known, .. } = stage;
    let facts = of_dynamodb(&snapshot(world, known).await, known);
    for (index, id) in known.departments.iter().enumerate() {
        let now = &facts[&Fact::Place(id.clone())];
        let others: Vec<&String> = known.units.iter().filter(|unit| *unit != now).collect();
        function.take_department(id, others[index % others.len()]).await;
        if index % 2 == 1 {
            world.delete("SYNC#STATE", "LEASE").await;
            slots[index / 2 % slots.len()].restart(world);
        }
    }
    calm(slots, Some(log), async || differences(world, known).await).await;
    calm(slots, Some(log), async || wrong_rooms_and_counters(world, known).await).await;
}

async fn wrong_rooms_and_counters(world: &World, known: &Known) -> Vec<String> {
    let mut wrong = Vec::new();
    let rocket_chat = world.rocket_chat();
    let documents = all(&rocket_chat.departments()).await;
    for room in all(&rocket_chat.rooms()).await {
        let department = text(&room, "departmentId");
        let found = documents.iter().find(|document| text(document, "_id") == department);
        let unit = text(found.expect("it is there"), "parentId");
        let ancestors = room.get_array("departmentAncestors").cloned().unwrap_or_default();
        if ancestors != [Bson::from(unit.as_str())] {
            wrong.push(format!("a room of {department}, which is in {unit}, has {ancestors:?}"));
        }
    }
    for unit in &known.units {
        let document = rocket_chat.unit(unit).await.expect("it is there");
        let departments = documents.iter().filter(|document| text(document, "parentId") == *unit).count();
        let monitors = rocket_chat.monitors(unit).await.len();
        for (counter, count) in [("numDepartments", departments), ("numMonitors", monitors)] {
            if document.get_i32(counter).ok() != i32::try_from(count).ok() {
                wrong.push(format!("{counter} of {unit} is {:?}, and not {count}", document.get(counter)));
            }
        }
    }
    wrong
}

/// Looks at DynamoDB again and again.
struct Sampler {
    is_stopped: Arc<AtomicBool>,
    found: tokio::task::JoinHandle<()>,
    violation: Arc<std::sync::Mutex<Option<String>>>,
}

impl Sampler {
    fn start(stage: &Stage) -> Self {
        let Stage { world, known, history, .. } = stage.clone();
        let is_stopped = Arc::new(AtomicBool::new(false));
        let violation = Arc::new(std::sync::Mutex::new(None));
        let (stopped, first) = (is_stopped.clone(), violation.clone());
        let found = tokio::spawn(async move {
            let mut versions: BTreeMap<String, u64> = BTreeMap::new();
            while !stopped.load(Ordering::Relaxed) {
                let items = snapshot(&world, &known).await;
                history.sees_in_dynamodb(&of_dynamodb(&items, &known));
                let mut broken = broken_invariant(&items, &known);
                for unit in &known.units {
                    let item = items.get(&(format!("UNIT#{unit}"), "UNIT".to_owned()));
                    let version = item.and_then(|item| item["version"].as_u64()).unwrap_or(0);
                    let before = versions.insert(unit.clone(), version).unwrap_or(0);
                    if version < before {
                        broken = Some(format!("the version of {unit} went from {before} to {version}"));
                    }
                }
                if broken.is_some() {
                    *first.lock().expect("no panic") = broken;
                    return;
                }
                sleep(Duration::from_millis(10)).await;
            }
        });
        Self { is_stopped, found, violation }
    }

    /// The first violation.
    fn stop(self) -> Option<String> {
        self.is_stopped.store(true, Ordering::Relaxed);
        let violation = self.violation.lock().expect("no panic").clone();
        assert!(violation.is_some() || !self.found.is_finished(), "the sampler has failed");
        violation
    }
}
