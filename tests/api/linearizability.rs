//! Many clients at once on few units and departments. Each history of what they asked and saw must be
//! linearizable: as if every request had happened at one moment between its start and its end. And the
//! invariants hold after it. `HISTORIES` is how many are made.

mod history;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use aws_smithy_runtime_api::client::http::{HttpConnector, HttpConnectorFuture, SharedHttpClient};
use livechat_units::Function;
use serde_json::Value;

use crate::intercept::{intercepted, plain};
use crate::invariants::broken_invariant;
use crate::model::reference::{Stored, department_key, unit_key};
use crate::model::steps::{Id, Name, Step, at_first};
use crate::model::tables::ModelTables;
use crate::world::{BUSY, Items, UNAVAILABLE, UNIT_NOT_FOUND, cases, invoke, json_of, set, text};
use history::{ADMIN, Event, LEAD, Outcome, Request, Unit, Units, is_linearizable, list};

/// Most of the time is pauses between tries, so that many histories side by side cost little more.
const ROWS: u32 = 10;

const CLIENTS: usize = 6;
const REQUESTS: usize = 3;

/// How often each outcome came.
type Seen = BTreeMap<&'static str, usize>;

const REFUSED: &str = "transactions refused";

const UNITS: [&str; 3] = ["U0", "U1", "U2"];
const DEPARTMENTS: [&str; 4] = ["D0", "D1", "D2", "D3"];
const MONITORS: [&str; 3] = ["Lead", "M0", "M1"];

/// A client that sleeps a little around each request, so that they overlap although the engine is fast, and
/// counts the transactions that were refused.
fn slow(refused: Arc<AtomicUsize>) -> SharedHttpClient {
    intercepted(plain(), move |request, dynamodb| {
        let (dynamodb, refused) = (dynamodb.clone(), refused.clone());
        let target = request.headers().get("x-amz-target").unwrap_or_default();
        let is_write = target.ends_with(".TransactWriteItems");
        HttpConnectorFuture::new(async move {
            a_little().await;
            let response = dynamodb.call(request).await?;
            a_little().await;
            refused.fetch_add(usize::from(is_write && response.status().as_u16() == 400), Ordering::Relaxed);
            Ok(response)
        })
    })
}

async fn a_little() {
    let longest = [0, 1_000, 1_000, 1_000, 1_000, 1_000, 1_000, 20_000][fastrand::usize(..8)];
    if longest > 0 {
        tokio::time::sleep(Duration::from_micros(fastrand::u64(..longest))).await;
    }
}

fn some(ids: &[&'static str]) -> Vec<Id> {
    ids.iter().filter(|_| fastrand::bool()).map(|id| Id(id)).collect()
}

fn random_request() -> Request {
    let one = |ids: &[&'static str]| ids[fastrand::usize(..ids.len())];
    match fastrand::u8(..8) {
        0 | 1 => Request::ReadUnit(one(&UNITS)),
        2 => Request::ReadDepartment(one(&DEPARTMENTS)),
        n => {
            let by = if n == 3 { LEAD } else { ADMIN };
            let (unit, monitors, departments) = (Id(one(&UNITS)), some(&MONITORS), some(&DEPARTMENTS));
            Request::Update(Step::Update { by, unit, name: Name::N0, monitors, departments })
        }
    }
}

fn unit_of(item: &Value) -> Unit {
    let monitors = item["monitors"].as_object().expect("a map");
    let unit = Unit {
        version: item["version"].as_u64().expect("a count"),
        monitors: monitors.keys().cloned().collect(),
        departments: set(item, "departmentIds"),
        updated_at: Some(text(item, "_updatedAt")),
    };
    assert_eq!(item["numMonitors"], unit.monitors.len(), "of {item}");
    assert_eq!(item["numDepartments"], unit.departments.len(), "of {item}");
    unit
}

fn units_of(items: &Items) -> Units {
    UNITS.iter().map(|id| ((*id).to_owned(), unit_of(&items[&unit_key(id)]))).collect()
}

/// A client of an execution environment, which serves one request at a time.
struct Browser {
    function: Function,
    dynamodb: Client,
    table: String,
    clock: Arc<AtomicU64>,
}

impl Browser {
    async fn send_all(&self) -> Vec<Event> {
        let mut events = Vec::new();
        for _ in 0..REQUESTS {
            let request = random_request();
            let started = self.now();
            let outcome = self.send(&request).await;
            let ended = if let Outcome::Unavailable = outcome { u64::MAX } else { self.now() };
            events.push(Event { request, outcome, started, ended });
        }
        events
    }

    fn now(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::SeqCst)
    }

    async fn send(&self, request: &Request) -> Outcome {
        match request {
            Request::Update(step) => self.update(step).await,
            Request::ReadUnit(id) => Outcome::Unit(unit_of(&self.read(unit_key(id)).await)),
            Request::ReadDepartment(id) => {
                let item = self.read(department_key(id)).await;
                Outcome::Parent(item.get("parentId").map(|id| id.as_str().expect("an id").to_owned()))
            }
            Request::ReadAll => unreachable!("no client reads all"),
        }
    }

    async fn update(&self, step: &Step) -> Outcome {
        let Step::Update { monitors, departments, .. } = step else { unreachable!("it is an update") };
        // Now and then there is so little time that the request is given up.
        let remaining = (fastrand::u8(..4) == 0).then(|| Duration::from_millis(fastrand::u64(1_010..1_100)));
        let response = invoke(&self.function, &step.event().expect("an update"), remaining).await;
        match (response.status_code, response.body.as_str()) {
            (200, body) => {
                let body: Value = serde_json::from_str(body).expect("it is JSON");
                assert_eq!(body["numMonitors"], monitors.len());
                assert_eq!(body["numDepartments"], departments.len());
                Outcome::Updated(text(&body, "_updatedAt"))
            }
            (400, UNIT_NOT_FOUND) => Outcome::NotFound,
            (503, BUSY) => Outcome::Busy,
            (503, UNAVAILABLE) => Outcome::Unavailable,
            other => panic!("an update that may fail only by contention is answered {other:?}"),
        }
    }

    async fn read(&self, (pk, sk): (String, String)) -> Value {
        let request = self.dynamodb.get_item().table_name(&self.table).consistent_read(true);
        let request = request.key("pk", AttributeValue::S(pk)).key("sk", AttributeValue::S(sk));
        json_of(&AttributeValue::M(request.send().await.expect("it is read").item.expect("it is there")))
    }
}

#[test]
fn histories_are_linearizable() {
    let histories = cases("HISTORIES", 200).div_ceil(ROWS);
    let seen = thread::scope(|scope| {
        let rows: Vec<_> = (0..ROWS).map(|_| scope.spawn(|| row(histories))).collect();
        let rows = rows.into_iter().map(|row| row.join().expect("every history of the row is in order"));
        rows.fold(Seen::new(), |mut seen, row| {
            row.into_iter().for_each(|(what, times)| *seen.entry(what).or_default() += times);
            seen
        })
    });
    println!("{seen:?}");
    assert!(seen.get(REFUSED) > Some(&0), "the requests never met");
}

/// Makes so many histories, one after the other, and checks each.
fn row(histories: u32) -> Seen {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime starts").block_on(async {
        let tables = ModelTables::new().await;
        let (refused, clock) = (Arc::<AtomicUsize>::default(), Arc::<AtomicU64>::default());
        let sdk = tables.world.sdk.to_builder().http_client(slow(refused.clone())).build();
        let browser = || Browser {
            function: Function::new(&sdk, tables.world.tables.clone()),
            dynamodb: tables.world.client.clone(),
            table: tables.world.tables.livechat.clone(),
            clock: clock.clone(),
        };
        let browsers: Vec<Arc<Browser>> = (0..CLIENTS).map(|_| Arc::new(browser())).collect();
        let mut seen = Seen::new();
        for number in 0..histories {
            for event in history(&tables, &browsers, number).await {
                *seen.entry(event.outcome.name()).or_default() += 1;
            }
        }
        seen.insert(REFUSED, refused.load(Ordering::Relaxed));
        seen
    })
}

/// What all clients do at once, and what is stored in the end.
async fn history(tables: &ModelTables, browsers: &[Arc<Browser>], number: u32) -> Vec<Event> {
    // What an earlier history left on its way can't take these units for its own.
    let before = Stored { livechat: at_first_with_version(u64::from(number) * 1_000), ..at_first() };
    tables.hold(&before).await;
    let sending = browsers.iter().map(|browser| {
        let browser = browser.clone();
        tokio::spawn(async move { browser.send_all().await })
    });
    let mut events = Vec::new();
    for sent in sending.collect::<Vec<_>>() {
        events.extend(sent.await.expect("a client does not panic"));
    }
    let started = browsers[0].now();
    let items = tables.items().await;
    let outcome = Outcome::All(units_of(&items));
    events.push(Event { request: Request::ReadAll, outcome, started, ended: browsers[0].now() });
    events.sort_by_key(|event| event.started);
    assert_eq!(broken_invariant(&items), None, "after {}", list(&events));
    assert!(is_linearizable(&units_of(&before.livechat), &events), "no order explains {}", list(&events));
    events
}

fn at_first_with_version(version: u64) -> Items {
    let mut items = at_first().livechat;
    for id in UNITS {
        items.get_mut(&unit_key(id)).expect("a unit")["version"] = version.into();
    }
    items
}
