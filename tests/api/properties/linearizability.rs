//! Many clients at once, on few units and departments. Each history of what they asked and what they saw must be
//! linearizable: as if every request had happened at one moment between its start and its end. The invariants must hold
//! after it. `HISTORIES` is the number of histories.

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
use testing::items::json_of;

use super::model::changes::initial_tables;
use super::model::reference::{StoredTables, department_key, unit_key};
use super::model::steps::{Id, Name, Step};
use super::model::tables::ModelTables;
use crate::support::interceptor::{intercepting_client, plain_http_client};
use crate::support::invariants::broken_invariant;
use crate::support::responses::{BUSY, UNAVAILABLE, UNIT_NOT_FOUND};
use crate::support::{Items, case_count, invoke, set, text};
use history::{ADMIN, Event, LEAD, Outcome, Request, UnitState, UnitStates, is_linearizable, list};

/// Threads that make histories at the same time. Most of their time is waiting, so many of them cost little more than one.
const WORKERS: u32 = 10;

/// Clients of one history, and the requests of each.
const CLIENTS: usize = 6;
const REQUESTS: usize = 3;

/// How often each outcome came.
type OutcomeCounts = BTreeMap<&'static str, usize>;

const REFUSED: &str = "transactions refused";

const UNITS: [&str; 3] = ["U0", "U1", "U2"];

const DEPARTMENTS: [&str; 4] = ["D0", "D1", "D2", "D3"];

const MONITORS: [&str; 3] = ["Lead", "M0", "M1"];

/// An HTTP client that pauses before and after each request, so that requests overlap although the engine is fast. It counts
/// the transactions that are refused.
fn pausing_client(refused: Arc<AtomicUsize>) -> SharedHttpClient {
    intercepting_client(plain_http_client(), move |request, dynamodb| {
        let (dynamodb, refused) = (dynamodb.clone(), refused.clone());
        let target = request.headers().get("x-amz-target").unwrap_or_default();
        let is_write = target.ends_with(".TransactWriteItems");
        // A task of its own, because a request that was sent reaches DynamoDB even if the function no longer waits for it.
        let answered = tokio::spawn(async move {
            random_pause().await;
            let response = dynamodb.call(request).await?;
            random_pause().await;
            refused.fetch_add(usize::from(is_write && response.status().as_u16() == 400), Ordering::Relaxed);
            Ok(response)
        });
        HttpConnectorFuture::new(async { answered.await.expect("a request does not panic") })
    })
}

async fn random_pause() {
    let max_us = [0, 1_000, 1_000, 1_000, 1_000, 1_000, 1_000, 20_000][fastrand::usize(..8)];
    if max_us > 0 {
        tokio::time::sleep(Duration::from_micros(fastrand::u64(..max_us))).await;
    }
}

fn random_subset(ids: &[&'static str]) -> Vec<Id> {
    ids.iter().filter(|_| fastrand::bool()).map(|id| Id(id)).collect()
}

fn random_request() -> Request {
    let one = |ids: &[&'static str]| ids[fastrand::usize(..ids.len())];
    match fastrand::u8(..8) {
        0 | 1 => Request::ReadUnit(one(&UNITS)),
        2 => Request::ReadDepartment(one(&DEPARTMENTS)),
        n => {
            let by = if n == 3 { LEAD } else { ADMIN };
            let (unit, monitors, departments) =
                (Id(one(&UNITS)), random_subset(&MONITORS), random_subset(&DEPARTMENTS));
            Request::Update(Step::Update { by, unit, name: Name::N0, monitors, departments })
        }
    }
}

fn unit_of(item: &Value) -> UnitState {
    let monitors = item["monitors"].as_object().expect("a map");
    let unit = UnitState {
        version: item["version"].as_u64().expect("a count"),
        monitors: monitors.keys().cloned().collect(),
        departments: set(item, "departmentIds"),
        updated_at: Some(text(item, "_updatedAt")),
    };
    assert_eq!(item["numMonitors"], unit.monitors.len(), "of {item}");
    assert_eq!(item["numDepartments"], unit.departments.len(), "of {item}");
    unit
}

fn units_of(items: &Items) -> UnitStates {
    UNITS.iter().map(|id| ((*id).to_owned(), unit_of(&items[&unit_key(id)]))).collect()
}

/// A client with an execution environment of its own, which serves one request at a time.
struct ConcurrentClient {
    function: Function,
    dynamodb: Client,
    table: String,
    /// Counts up with every start and end of a request of any client.
    clock: Arc<AtomicU64>,
}

impl ConcurrentClient {
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
        // Some updates have so little time that they may be given up.
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
            other => panic!("an update can only fail by contention here, but the answer is {other:?}"),
        }
    }

    async fn read(&self, (pk, sk): (String, String)) -> Value {
        let request = self.dynamodb.get_item().table_name(&self.table).consistent_read(true);
        let request = request.key("pk", AttributeValue::S(pk)).key("sk", AttributeValue::S(sk));
        json_of(&AttributeValue::M(request.send().await.expect("it is read").item.expect("the item exists")))
    }
}

#[test]
fn histories_are_linearizable() {
    let histories = case_count("HISTORIES", 200).div_ceil(WORKERS);
    let counts = thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS).map(|_| scope.spawn(|| make_histories(histories))).collect();
        let counts = workers.into_iter().map(|worker| worker.join().expect("every history is linearizable"));
        counts.fold(OutcomeCounts::new(), |mut sum, counts| {
            counts.into_iter().for_each(|(outcome, count)| *sum.entry(outcome).or_default() += count);
            sum
        })
    });
    println!("{counts:?}");
    assert!(counts.get(REFUSED) > Some(&0), "the updates never competed");
}

/// Makes this many histories, one after the other, and checks each.
fn make_histories(histories: u32) -> OutcomeCounts {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime starts").block_on(async {
        let tables = ModelTables::new().await;
        let (refused, clock) = (Arc::<AtomicUsize>::default(), Arc::<AtomicU64>::default());
        let sdk = tables.app.sdk.to_builder().http_client(pausing_client(refused.clone())).build();
        let client = || ConcurrentClient {
            function: Function::new(&sdk, tables.app.tables.clone()),
            dynamodb: tables.app.client.clone(),
            table: tables.app.tables.livechat.clone(),
            clock: clock.clone(),
        };
        let clients: Vec<Arc<ConcurrentClient>> = (0..CLIENTS).map(|_| Arc::new(client())).collect();
        let mut counts = OutcomeCounts::new();
        for number in 0..histories {
            for event in history(&tables, &clients, number).await {
                *counts.entry(event.outcome.name()).or_default() += 1;
            }
        }
        counts.insert(REFUSED, refused.load(Ordering::Relaxed));
        counts
    })
}

/// Lets all clients send their requests at once, and checks the history. Returns its events.
async fn history(tables: &ModelTables, clients: &[Arc<ConcurrentClient>], number: u32) -> Vec<Event> {
    // A request of an earlier history may still be on its way. Each history has versions of its own, and the units get them
    // first: such a request changes nothing any more, because its unit has another version.
    let before =
        StoredTables { livechat: initial_items_with_version(u64::from(number) * 1_000), ..initial_tables() };
    tables.put(UNITS.map(|id| &before.livechat[&unit_key(id)])).await;
    // Late requests have no effect any more. This read shows those that were stored before.
    tables.items().await;
    tables.store(&before).await;
    let sending = clients.iter().map(|client| {
        let client = client.clone();
        tokio::spawn(async move { client.send_all().await })
    });
    let mut events = Vec::new();
    for sent in sending.collect::<Vec<_>>() {
        events.extend(sent.await.expect("a client does not panic"));
    }
    let started = clients[0].now();
    let items = tables.items().await;
    let outcome = Outcome::All(units_of(&items));
    events.push(Event { request: Request::ReadAll, outcome, started, ended: clients[0].now() });
    events.sort_by_key(|event| event.started);
    assert_eq!(broken_invariant(&items), None, "after {}", list(&events));
    assert!(
        is_linearizable(&units_of(&before.livechat), &events),
        "no order of the requests has these results: {}",
        list(&events)
    );
    events
}

fn initial_items_with_version(version: u64) -> Items {
    let mut items = initial_tables().livechat;
    for id in UNITS {
        items.get_mut(&unit_key(id)).expect("a unit")["version"] = version.into();
    }
    items
}
