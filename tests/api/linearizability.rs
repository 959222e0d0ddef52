//! Many clients at once on few units and departments. Each history of what they asked and saw must be
//! linearizable: as if every request had happened at one moment between its start and its end. And the
//! invariants hold after it. `HISTORIES` is how many are made.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
    SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use livechat_units::Function;
use serde_json::Value;

use crate::model::reference::{Stored, department_key, unit_key};
use crate::model::steps::{Caller, Id, Name, Step, at_first};
use crate::model::tables::ModelTables;
use crate::world::{BUSY, Items, UNAVAILABLE, UNIT_NOT_FOUND, broken_invariant, invoke, json_of, set};

/// As many as the normal test run has time for.
const HISTORIES: u64 = 200;

/// Most of the time is pauses between tries, so that many histories side by side cost little more.
const ROWS: u64 = 10;

const CLIENTS: usize = 6;
const REQUESTS: usize = 3;

/// The search for an order takes some hundred states; this is where it has gone wrong.
const MOST_STATES: usize = 1_000_000;

/// How often each outcome came.
type Seen = BTreeMap<&'static str, usize>;

const REFUSED: &str = "transactions refused";

/// What there is to see of a unit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Unit {
    version: u64,
    monitors: BTreeSet<String>,
    departments: BTreeSet<String>,
}

/// All units by id; a department's parent is the unit that lists it.
type Units = BTreeMap<String, Unit>;

#[derive(Clone, Debug)]
enum Request {
    Update(Step),
    ReadUnit(&'static str),
    ReadDepartment(&'static str),
    /// Once nothing else goes on.
    ReadAll,
}

#[derive(Clone, Debug)]
enum Outcome {
    Updated,
    NotFound,
    /// Nothing is stored.
    Busy,
    /// The update may be stored, now or later.
    Unavailable,
    Unit(Unit),
    Parent(Option<String>),
    All(Units),
}

/// A request and what came of it, between two moments of one clock for all.
#[derive(Clone, Debug)]
struct Event {
    request: Request,
    outcome: Outcome,
    started: u64,
    ended: u64,
}

impl Outcome {
    fn name(&self) -> &'static str {
        match self {
            Self::Updated => "updated",
            Self::NotFound => "not found",
            Self::Busy => "busy",
            Self::Unavailable => "unavailable",
            Self::Unit(_) | Self::Parent(_) | Self::All(_) => "read",
        }
    }
}

impl Event {
    /// What the units may be after this, if it can happen to these units.
    fn happen(&self, units: &Units) -> Vec<Units> {
        let is = |may: bool| if may { vec![units.clone()] } else { Vec::new() };
        match (&self.request, &self.outcome) {
            (Request::Update(step), outcome) => {
                let updated = updated(units, step);
                match outcome {
                    Outcome::Updated => updated.into_iter().collect(),
                    Outcome::NotFound => is(updated.is_none()),
                    Outcome::Busy => is(true),
                    Outcome::Unavailable => updated.into_iter().chain([units.clone()]).collect(),
                    _ => Vec::new(),
                }
            }
            (Request::ReadUnit(id), Outcome::Unit(seen)) => is(units[*id] == *seen),
            (Request::ReadDepartment(id), Outcome::Parent(seen)) => {
                let parent = units.iter().find(|(_, unit)| unit.departments.contains(*id));
                is(parent.map(|(id, _)| id) == seen.as_ref())
            }
            (Request::ReadAll, Outcome::All(seen)) => is(units == seen),
            _ => Vec::new(),
        }
    }

    /// Whether this has seen a version that is over: versions only grow.
    fn is_too_late(&self, units: &Units) -> bool {
        match (&self.request, &self.outcome) {
            (Request::ReadUnit(id), Outcome::Unit(seen)) => seen.version < units[*id].version,
            (Request::ReadAll, Outcome::All(seen)) => {
                seen.iter().any(|(id, seen)| seen.version < units[id].version)
            }
            _ => false,
        }
    }
}

/// The sequential specification: the units after the update, or `None` if the caller does not see the unit.
fn updated(units: &Units, step: &Step) -> Option<Units> {
    let Step::Update { by, unit: Id(id), monitors, departments, .. } = step else { return None };
    if by.user == LEAD.user && !units[*id].monitors.contains(LEAD.user.0) {
        return None;
    }
    let departments: BTreeSet<String> = departments.iter().map(|id| id.0.to_owned()).collect();
    let mut units = units.clone();
    for (other, unit) in &mut units {
        let had = unit.departments.len();
        unit.departments.retain(|department| other == id || !departments.contains(department));
        unit.version += u64::from(unit.departments.len() < had);
    }
    let unit = units.get_mut(*id)?;
    unit.version += 1;
    unit.monitors = monitors.iter().map(|id| id.0.to_owned()).collect();
    unit.departments = departments;
    Some(units)
}

/// Whether the events can be put in an order in which each happens between its start and its end.
///
/// The search is Wing and Gong's ("Testing and Verifying Concurrent Objects", 1993) with Lowe's memory of the
/// states that it has been in ("Testing for Linearizability", 2016).
fn is_linearizable(units: &Units, events: &[Event]) -> bool {
    assert!((1..=64).contains(&events.len()), "one bit for each");
    let all = u64::MAX >> (64 - events.len());
    let mut events: Vec<&Event> = events.iter().collect();
    // The likely order first: of those that can be next, the last of this order is tried first.
    events.sort_by_key(|event| std::cmp::Reverse(event.ended));
    let mut been = HashSet::new();
    let mut next = vec![(0_u64, units.clone())];
    while let Some((happened, units)) = next.pop() {
        if happened == all {
            return true;
        }
        let left = || events.iter().enumerate().filter(|(n, _)| happened & 1 << n == 0);
        if left().any(|(_, event)| event.is_too_late(&units)) || !been.insert((happened, units.clone())) {
            continue;
        }
        assert!(been.len() < MOST_STATES, "no answer after {MOST_STATES} states: {events:#?}");
        let first_end = left().map(|(_, event)| event.ended).min().expect("some are left");
        for (n, event) in left().filter(|(_, event)| event.started <= first_end) {
            next.extend(event.happen(&units).into_iter().map(|units| (happened | 1 << n, units)));
        }
    }
    false
}

const ADMIN: Caller = Caller { user: Id("Admin"), token: Id("Admin") };
/// Sees only the units that they monitor.
const LEAD: Caller = Caller { user: Id("Lead"), token: Id("Lead") };
const UNITS: [&str; 3] = ["U0", "U1", "U2"];
const DEPARTMENTS: [&str; 4] = ["D0", "D1", "D2", "D3"];
const MONITORS: [&str; 3] = ["Lead", "M0", "M1"];

/// Sleeps a little around each request, so that they overlap although the engine is fast, and counts the
/// transactions that were refused.
#[derive(Clone)]
struct Slow {
    inner: SharedHttpClient,
    refused: Arc<AtomicUsize>,
}

#[derive(Debug)]
struct SlowConnector(Slow, SharedHttpConnector);

impl fmt::Debug for Slow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Slow")
    }
}

impl HttpClient for Slow {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        let inner = self.inner.http_connector(settings, components);
        SharedHttpConnector::new(SlowConnector(self.clone(), inner))
    }
}

impl HttpConnector for SlowConnector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let (connector, refused) = (self.1.clone(), self.0.refused.clone());
        let target = request.headers().get("x-amz-target").unwrap_or_default();
        let is_write = target.ends_with(".TransactWriteItems");
        HttpConnectorFuture::new(async move {
            a_little().await;
            let response = connector.call(request).await?;
            a_little().await;
            refused.fetch_add(usize::from(is_write && response.status().as_u16() == 400), Ordering::Relaxed);
            Ok(response)
        })
    }
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
                Outcome::Updated
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
    let histories = std::env::var("HISTORIES").map_or(HISTORIES, |n| n.parse().expect("a number"));
    let seen = thread::scope(|scope| {
        let rows: Vec<_> = (0..ROWS).map(|_| scope.spawn(|| row(histories.div_ceil(ROWS)))).collect();
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
fn row(histories: u64) -> Seen {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime starts").block_on(async {
        let tables = ModelTables::new().await;
        let (refused, clock) = (Arc::<AtomicUsize>::default(), Arc::<AtomicU64>::default());
        let inner = aws_smithy_http_client::Builder::new().build_http();
        let slow = Slow { inner, refused: refused.clone() };
        let sdk = tables.world.sdk.to_builder().http_client(slow).build();
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
async fn history(tables: &ModelTables, browsers: &[Arc<Browser>], number: u64) -> Vec<Event> {
    // What an earlier history left on its way can't take these units for its own.
    let before = Stored { livechat: at_first_with_version(number * 1_000), ..at_first() };
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
    assert_eq!(broken_invariant(&items), None, "after {events:#?}");
    assert!(is_linearizable(&units_of(&before.livechat), &events), "no order explains {events:#?}");
    events
}

#[test]
fn the_checker_knows_the_order_of_time() {
    let at_first = units_of(&at_first_with_version(0));
    let update = |departments: &[&'static str]| {
        let departments = departments.iter().map(|id| Id(id)).collect();
        Request::Update(Step::Update {
            by: ADMIN,
            unit: Id("U2"),
            name: Name::N0,
            monitors: vec![],
            departments,
        })
    };
    let event = |request, outcome, started, ended| Event { request, outcome, started, ended };
    let seen = |version, departments: &[&str]| {
        let departments = departments.iter().map(ToString::to_string).collect();
        Outcome::Unit(Unit { version, monitors: BTreeSet::new(), departments })
    };
    let read = || Request::ReadUnit("U2");

    // A read meanwhile may see either, one after it only the update.
    for (version, departments) in [(0, &[][..]), (1, &["D3"])] {
        let events =
            [event(update(&["D3"]), Outcome::Updated, 0, 3), event(read(), seen(version, departments), 1, 2)];
        assert!(is_linearizable(&at_first, &events));
        let events =
            [event(update(&["D3"]), Outcome::Updated, 0, 1), event(read(), seen(version, departments), 2, 3)];
        assert_eq!(is_linearizable(&at_first, &events), version == 1);
    }
    // Two reads that disagree on the order.
    let events = [
        event(update(&["D3"]), Outcome::Updated, 0, 9),
        event(update(&[]), Outcome::Updated, 1, 8),
        event(read(), seen(1, &["D3"]), 2, 3),
        event(read(), seen(1, &[]), 4, 5),
    ];
    assert!(!is_linearizable(&at_first, &events));
    // A lost update, and a stored one that is said to be refused.
    let twice = |outcome: Outcome| {
        [
            event(update(&["D3"]), Outcome::Updated, 0, 1),
            event(update(&["D2"]), outcome, 2, 3),
            event(read(), seen(1, &["D2"]), 4, 5),
        ]
    };
    for outcome in [Outcome::Updated, Outcome::Busy, Outcome::NotFound] {
        assert!(!is_linearizable(&at_first, &twice(outcome)));
    }
    // What may be stored may be seen late, and not at all.
    for departments in [&["D3"][..], &[]] {
        let version = departments.len() as u64;
        let events = [
            event(update(&["D3"]), Outcome::Unavailable, 0, u64::MAX),
            event(read(), seen(0, &[]), 1, 2),
            event(read(), seen(version, departments), 3, 4),
        ];
        assert!(is_linearizable(&at_first, &events));
    }
    // A department is in one unit at a time, and the other unit's version tells that it lost it.
    let events = [
        event(update(&["D0"]), Outcome::Updated, 0, 1),
        event(Request::ReadDepartment("D0"), Outcome::Parent(Some("U0".into())), 2, 3),
    ];
    assert!(!is_linearizable(&at_first, &events));
}

fn at_first_with_version(version: u64) -> Items {
    let mut items = at_first().livechat;
    for id in UNITS {
        items.get_mut(&unit_key(id)).expect("a unit")["version"] = version.into();
    }
    items
}
