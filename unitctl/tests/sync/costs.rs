//! `docs/cost.md` says what the sync reads and writes in DynamoDB. Here the engine counts it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::IntoResponse;
use axum::{Router, serve};
use livechat_units::hashed_token;
use serde_json::{Value, json};
use testing::dynamodb::{Reply, address, endpoint, send};
use tokio::net::TcpListener;

use crate::following::{TOKEN, body, workspace};
use crate::interleavings::{Proxy, has, mongodb_address, through};
use crate::world::{Process, eventually};

const DOCUMENT: &str = include_str!("../../../docs/cost.md");

/// If nothing was read or written for this long, a change is carried over completely. The sync waits for two seconds before it
/// counts a unit's members again.
const QUIET: Duration = Duration::from_secs(5);

/// A sync that shares the machine with other tests may take long.
const PATIENCE: Duration = Duration::from_secs(180);

/// A proxy in front of DynamoDB that adds up the capacity units of what passes.
struct Meter {
    url: String,
    state: Arc<Mutex<Counted>>,
}

#[derive(Default)]
struct Counted {
    /// The units by operation, without those of the items that the sync has for itself.
    units: BTreeMap<String, f64>,
    /// The most units of one write of such an item, by its sort key. A new change does not reset these.
    own: BTreeMap<&'static str, f64>,
    /// When the last of `units` was consumed.
    last: Option<Instant>,
}

/// The sort keys of the items that the sync has for itself.
const OWN: [&str; 3] = ["LEASE", "POSITIONS", "WORKSPACE"];

/// Capacity units.
#[derive(Debug)]
struct Units {
    scanned: f64,
    read: f64,
    written: f64,
}

impl Meter {
    async fn start() -> Self {
        let state = Arc::new(Mutex::new(Counted::default()));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let app = Router::new().fallback(count).with_state(state.clone());
        tokio::spawn(async move { serve(listener, app).await.expect("it serves") });
        Self { url, state }
    }

    /// The units of a change and of all that follows from it.
    async fn of(&self, change: impl Future) -> Units {
        {
            let mut counted = self.state.lock().expect("no panic");
            counted.units.clear();
            counted.last = None;
        }
        change.await;
        let is_quiet = |counted: &Counted| counted.last.is_some_and(|last| last.elapsed() > QUIET);
        eventually(PATIENCE, async || is_quiet(&self.state.lock().expect("no panic"))).await;
        self.units()
    }

    fn units(&self) -> Units {
        let counted = self.state.lock().expect("no panic");
        let mut sum = Units { scanned: 0.0, read: 0.0, written: 0.0 };
        for (operation, units) in &counted.units {
            match operation.as_str() {
                "Scan" => sum.scanned += units,
                "BatchGetItem" | "GetItem" | "Query" => sum.read += units,
                "TransactWriteItems" => sum.written += units,
                other => panic!("the sync sends {other}, which the document does not count"),
            }
        }
        sum
    }

    /// The most units of one write of the item with this sort key that the sync has for itself.
    fn own(&self, key: &str) -> f64 {
        self.state.lock().expect("no panic").own.get(key).copied().unwrap_or_default()
    }
}

async fn count(
    State(state): State<Arc<Mutex<Counted>>>,
    headers: HeaderMap,
    body: Bytes,
) -> impl IntoResponse {
    let target = headers["x-amz-target"].to_str().expect("ASCII");
    let operation = target.rsplit('.').next().unwrap_or_default().to_owned();
    let mut request: Value = serde_json::from_slice(&body).expect("DynamoDB speaks JSON");
    // Requests to DynamoDB Streams have targets of another kind. They cost no units of the table.
    let is_charged = target.starts_with("DynamoDB_") && operation != "DescribeTable";
    if is_charged {
        request["ReturnConsumedCapacity"] = json!("TOTAL");
    }
    let text = request.to_string();
    let Reply { status, body: reply } = send(address(), &headers, &text).await;
    if is_charged {
        let capacity = &reply["ConsumedCapacity"];
        let of_tables = capacity.as_array().cloned().unwrap_or_else(|| vec![capacity.clone()]);
        let units: f64 = of_tables.iter().filter_map(|table| table["CapacityUnits"].as_f64()).sum();
        let mut counted = state.lock().expect("no panic");
        let is_about = |key: &&str| text.contains(&format!("{{\"S\":\"{key}\"}}"));
        match OWN.into_iter().find(is_about) {
            // The sync also reads these items, once when it starts.
            Some(key) if operation == "TransactWriteItems" => {
                let most = counted.own.entry(key).or_default();
                *most = most.max(units);
            }
            Some(_) => {}
            None => {
                *counted.units.entry(operation).or_default() += units;
                counted.last = Some(Instant::now());
            }
        }
    }
    (status, [("content-type", "application/x-amz-json-1.0")], reply.to_string())
}

/// The numbers in the document's row that begins with this text.
fn numbers(row: &str) -> Vec<f64> {
    let mut rows = DOCUMENT.lines().filter(|line| line.starts_with(&format!("| {row} |")));
    let (Some(line), None) = (rows.next(), rows.next()) else {
        panic!("the document does not have the row '{row}' once")
    };
    line.split('|').filter_map(|cell| cell.replace(',', "").trim().parse().ok()).collect()
}

/// Whether a change costs these units. Under load, an event comes in time for a look that reads already, or does not. So the reads
/// may be more or fewer.
fn is_cost_of(row: &str, units: &Units) -> bool {
    println!("{row}: {units:?}");
    let [read, written, _] = numbers(row)[..] else { panic!("{row} has no three numbers") };
    units.written == written && units.read <= 2.0 * read && 2.0 * units.read >= read && units.scanned == 0.0
}

/// Makes a change for each of these rows, and checks what they cost. `changes` gets the number of the attempt: on a busy machine,
/// the sync may look at a change when only a part of it is made, or after it has seemed to be quiet.
async fn assert_changes<const N: usize>(rows: [&str; N], changes: impl AsyncFn(usize) -> [Units; N]) {
    let mut all = Vec::new();
    for attempt in 0..4 {
        let units = changes(attempt).await;
        if rows.iter().zip(&units).all(|(row, units)| is_cost_of(row, units)) {
            return;
        }
        all.push(units);
    }
    panic!("{rows:?} cost {all:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_costs_what_the_document_says() {
    let Some((world, departments)) = workspace().await else { return };
    let [sales, support, returns] = [&departments[0], &departments[1], &departments[2]];
    let rocket_chat = world.rocket_chat();
    let (mona, mike) = (("mona", "mona"), ("mike", "mike"));
    let north = rocket_chat.save_unit(None, "North", "private", &[mona], &[sales]).await;
    let south = rocket_chat.save_unit(None, "South", "private", &[mona], &[support]).await;
    assert_eq!(world.run(&["sync", "--once"]).code, 0);
    let meter = Meter::start().await;
    let sync = Process::start(world.command_at(&meter.url, &["sync"]));
    meter.of(sync.prints(PATIENCE, "a full pass has ended")).await;

    let hash = hashed_token("another");
    assert_changes(["a login, which adds a token", "a revoked token"], async |_| {
        [
            meter.of(rocket_chat.log_in("boss", &hash)).await,
            meter.of(rocket_chat.log_out("boss", &hash)).await,
        ]
    })
    .await;
    assert_changes(["a user with another name or role"], async |attempt| {
        [meter.of(rocket_chat.rename_user("boss", &format!("big.boss{attempt}"))).await]
    })
    .await;

    let save = async |monitors: &[(&str, &str)], departments: &[&str]| {
        rocket_chat.save_unit(Some(&north), "North", "private", monitors, departments).await
    };
    assert_changes(["Rocket.Chat saves a unit with a new monitor"], async |_| {
        let units = meter.of(save(&[mona, mike], &[sales])).await;
        meter.of(save(&[mona], &[sales])).await;
        [units]
    })
    .await;
    assert_changes(["Rocket.Chat saves a unit with a new department"], async |_| {
        let units = meter.of(save(&[mona], &[sales, returns])).await;
        meter.of(save(&[mona], &[sales])).await;
        [units]
    })
    .await;

    let update = async |name: &str, departments: &[&str]| {
        let update = body(name, "private", &["mona"], departments);
        assert_eq!(world.update(&south, "boss", TOKEN, &update).await.status_code, 200);
    };
    assert_changes(["the function's reference update: a department joins a unit"], async |_| {
        let units = meter.of(update("South", &[support, returns])).await;
        meter.of(update("South", &[support])).await;
        [units]
    })
    .await;
    assert_changes(["an update through the function that gives a unit another name"], async |attempt| {
        [meter.of(update(&format!("Southern{attempt}"), &[support])).await]
    })
    .await;

    assert_eq!(meter.own("LEASE"), numbers("written when `unitctl sync` renews its lease")[0]);
    assert_eq!(meter.own("POSITIONS"), numbers("written when `unitctl sync` stores its positions")[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_pass_costs_what_the_document_says() {
    let Some((world, departments)) = workspace().await else { return };
    let rocket_chat = world.rocket_chat();
    let monitors = [("mona", "mona"), ("mike", "mike")];
    let [sales, support, returns] = [&*departments[0], &departments[1], &departments[2]];
    rocket_chat.save_unit(None, "North", "private", &monitors, &[sales, support]).await;
    rocket_chat.save_unit(None, "South", "private", &monitors[..1], &[returns]).await;
    rocket_chat.create_user("nina", "nina", &[]).await;
    for token in ["one", "two"] {
        rocket_chat.log_in("nina", &hashed_token(token)).await;
    }
    let (mut read, mut written) = (0.0, 0.0);
    for (row, count) in [
        ("user, with the list of the user's tokens", 4.0),
        ("token, with its index entry", 3.0),
        ("department in a unit, with its base", 3.0),
        ("unit with members, with its base", 2.0),
        ("monitor of a unit", 3.0),
        ("permission", 1.0),
    ] {
        let [_, read_for_each, written_for_each] = numbers(row)[..] else {
            panic!("{row} has no three numbers")
        };
        read += count * read_for_each;
        written += count * written_for_each;
    }
    let pass = async || {
        let meter = Meter::start().await;
        let mut sync = Process::start(world.command_at(&meter.url, &["sync", "--once"]));
        assert!(sync.end(PATIENCE).await.success(), "{:?}", sync.printed());
        meter.units()
    };
    let first = pass().await;
    assert_eq!(first.written, written, "{first:?}");
    let second = pass().await;
    assert_eq!((second.read, second.written), (read, 0.0), "{second:?}");
    // Each of the two tables has less than 4 KB.
    assert_eq!(second.scanned, 2.0 * numbers("4 KB of both tables")[1], "{second:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_pass_reads_many_units_in_one_snapshot() {
    let Some((world, departments)) = workspace().await else { return };
    let rocket_chat = world.rocket_chat();
    for number in 0..30 {
        let departments: Vec<&str> = departments.get(number).map(String::as_str).into_iter().collect();
        let name = format!("Unit {number}");
        rocket_chat.save_unit(None, &name, "private", &[("mona", "mona")], &departments).await;
    }
    let mongodb = Proxy::start(&mongodb_address(&world)).await;
    let transactions = Arc::new(AtomicUsize::new(0));
    mongodb.inspect({
        let transactions = Arc::clone(&transactions);
        move |part| {
            transactions.fetch_add(usize::from(has(part, "startTransaction")), Ordering::Relaxed);
            false
        }
    });
    let uri = through(&world, &mongodb);
    let mut sync = Process::start(world.command_at(endpoint(), &["sync", "--once", "--mongodb-uri", &uri]));
    assert!(sync.end(PATIENCE).await.success(), "{:?}", sync.printed());
    // One is enough. A server that is busy with other tests may not answer in time, and then the snapshot is read again.
    let transactions = transactions.load(Ordering::Relaxed);
    assert!((1..10).contains(&transactions), "{transactions}");
    let created = sync.printed().iter().filter(|line| line.contains("is created")).count();
    assert_eq!(created, 30);
}
