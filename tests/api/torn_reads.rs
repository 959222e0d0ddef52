//! BatchGetItem is no snapshot: other updates may be committed between any two of its items. Here they are,
//! and what comes of it must be what some order of all the updates gives, as the model of the contract says.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
    SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_runtime_api::http::StatusCode;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::byte_stream::ByteStream;
use futures_util::lock::Mutex as AsyncMutex;
use livechat_units::{Function, Response};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use crate::model::reference::{Stored, put_set, unit_key};
use crate::model::steps::{Broken, Caller, Id, Name, Step, at_first, disagreements, updates};
use crate::model::tables::{ModelTables, difference};
use crate::world::{broken_invariant, invoke, set};

/// A key of a read, as the request has it, and its table.
#[derive(Clone)]
struct Key {
    table: String,
    key: Value,
}

/// Keys that are read at once, and the updates that are committed before the next are.
type Part = (Vec<Key>, Vec<Step>);

/// A request to DynamoDB by its number, counted from 0, among those of its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    Read(usize),
    Write(usize),
}

/// Parts the keys of a read. A write has none and is not torn, but updates can come before it, too.
type Tearing = dyn Fn(Call, Vec<Key>) -> Vec<Part> + Send + Sync;

/// An HTTP client under one execution environment, which tears its reads.
#[derive(Clone)]
struct Torn {
    inner: SharedHttpClient,
    /// Another execution environment, which is left alone.
    others: Arc<Function>,
    tearing: Arc<Mutex<Option<Arc<Tearing>>>>,
    reads: Arc<AtomicUsize>,
    writes: Arc<AtomicUsize>,
    /// Held by the other update that is under way: their order is known only if they don't overlap.
    turn: Arc<AsyncMutex<()>>,
    /// The other updates that have begun.
    begun: Arc<AtomicUsize>,
    answered: Arc<Mutex<Vec<(Step, Response)>>>,
}

#[derive(Debug)]
struct TornConnector(Torn, SharedHttpConnector);

impl fmt::Debug for Torn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Torn")
    }
}

impl HttpClient for Torn {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        let inner = self.inner.http_connector(settings, components);
        SharedHttpConnector::new(TornConnector(self.clone(), inner))
    }
}

impl HttpConnector for TornConnector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let target = request.headers().get("x-amz-target").unwrap_or_default();
        let tearing = self.0.tearing.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(tearing) = tearing else { return self.1.call(request) };
        let (torn, connector) = (self.0.clone(), self.1.clone());
        if target.ends_with(".BatchGetItem") {
            let number = Call::Read(torn.reads.fetch_add(1, Ordering::Relaxed));
            HttpConnectorFuture::new(torn.read(connector, request, tearing, number))
        } else {
            let number = Call::Write(torn.writes.fetch_add(1, Ordering::Relaxed));
            HttpConnectorFuture::new(async move {
                for (_, updates) in tearing(number, Vec::new()) {
                    torn.update(updates).await;
                }
                connector.call(request).await
            })
        }
    }
}

impl Torn {
    /// Reads part by part, with the other updates between.
    async fn read(
        self,
        connector: SharedHttpConnector,
        request: HttpRequest,
        tearing: Arc<Tearing>,
        number: Call,
    ) -> Result<HttpResponse, ConnectorError> {
        let body = request.body().bytes().expect("the SDK sends JSON at once");
        let asked: Value = serde_json::from_slice(body).expect("it is JSON");
        let tables = asked["RequestItems"].as_object().expect("a read has tables");
        let keys = tables.iter().flat_map(|(table, of_table)| {
            let keys = of_table["Keys"].as_array().expect("a table has keys");
            keys.iter().map(|key| Key { table: table.clone(), key: key.clone() })
        });
        let mut found = json!({ "Responses": {}, "UnprocessedKeys": {} });
        for (keys, updates) in tearing(number, keys.collect()) {
            if !keys.is_empty() {
                let mut part = request.try_clone().expect("its body is in memory");
                let body = part_of(&asked, keys).to_string();
                part.headers_mut().insert("content-length", body.len().to_string());
                *part.body_mut() = SdkBody::from(body);
                let response = connector.call(part).await?;
                assert!(response.status().is_success(), "the engine refuses a part of a read");
                let body = ByteStream::new(response.into_body()).collect().await;
                let body = body.expect("the engine answers").into_bytes();
                let body: Value = serde_json::from_slice(&body).expect("in JSON");
                for (table, items) in body["Responses"].as_object().expect("there are responses") {
                    let place = &mut found["Responses"][table];
                    let known = place.as_array().into_iter().flatten().cloned();
                    *place = known.chain(items.as_array().expect("a list").iter().cloned()).collect();
                }
            }
            self.update(updates).await;
        }
        let status = StatusCode::try_from(200).expect("a status");
        let mut response = HttpResponse::new(status, SdkBody::from(found.to_string()));
        response.headers_mut().insert("content-type", "application/x-amz-json-1.0");
        Ok(response)
    }

    /// Commits other updates.
    async fn update(&self, updates: Vec<Step>) {
        let _turn = self.turn.lock().await;
        for update in updates {
            self.begun.fetch_add(1, Ordering::Relaxed);
            let response = invoke(&self.others, &update.event().expect("an update"), None).await;
            let mut answered = self.answered.lock().unwrap_or_else(PoisonError::into_inner);
            answered.push((update, response));
        }
    }
}

/// The same read of these keys only.
fn part_of(asked: &Value, keys: Vec<Key>) -> Value {
    let mut items = json!({});
    for Key { table, key } in keys {
        if items.get(&table).is_none() {
            items[&table] = asked["RequestItems"][&table].clone();
            items[&table]["Keys"] = json!([]);
        }
        items[&table]["Keys"].as_array_mut().expect("a list").push(key);
    }
    json!({ "RequestItems": items })
}

/// One row of cases, in the same tables.
struct Cases {
    tables: ModelTables,
    http: SharedHttpClient,
    others: Arc<Function>,
}

impl Cases {
    async fn new() -> Self {
        let tables = ModelTables::new().await;
        let others = Arc::new(tables.world.another_function());
        Self { http: aws_smithy_http_client::Builder::new().build_http(), others, tables }
    }

    /// Sends an update whose reads are torn. Returns what is wrong with what comes of it, if anything is, and
    /// how many other updates came between.
    async fn run(
        &self,
        before: &Stored,
        update: &Step,
        is_known: bool,
        tearing: Arc<Tearing>,
    ) -> Result<usize, String> {
        self.tables.hold(before).await;
        let torn = Torn {
            inner: self.http.clone(),
            others: self.others.clone(),
            tearing: Arc::default(),
            reads: Arc::default(),
            writes: Arc::default(),
            turn: Arc::default(),
            begun: Arc::default(),
            answered: Arc::default(),
        };
        let sdk = self.tables.world.sdk.to_builder().http_client(torn.clone()).build();
        let function = Function::new(&sdk, self.tables.world.tables.clone());
        if is_known {
            let (by, unit, _) = update.request().expect("an update");
            let first = Step::SendBroken { by, unit, body: Broken::NoJson };
            invoke(&function, &first.event().expect("a request"), None).await;
        }
        *torn.tearing.lock().expect("nobody panics") = Some(tearing);
        let response = invoke(&function, &update.event().expect("an update"), None).await;

        let others = torn.answered.lock().expect("nobody panics").clone();
        let items = self.tables.items().await;
        if others.len() < torn.begun.load(Ordering::Relaxed) {
            // A machine so busy that the read was cut off, and another update with it.
            return Ok(0);
        }
        let held = broken_invariant(&before.livechat).is_none();
        if held && let Some(broken) = broken_invariant(&items) {
            return Err(format!("{broken}, after {others:?} and {response:?}"));
        }
        let place_of = |place: usize| {
            let this = std::iter::once((update, &response));
            let others = others.iter().map(|(step, response)| (step, response));
            let mut order: Vec<_> = others.collect();
            order.splice(place..place, this);
            let mut model = before.clone();
            let answers_agree = order.into_iter().all(|(step, response)| {
                model.follow(step, response) == (response.status_code, response.body.clone())
            });
            if answers_agree { difference(&items, &model.livechat) } else { Some("other answers".into()) }
        };
        let differences: Option<Vec<String>> = (0..=others.len()).map(place_of).collect();
        match differences {
            None => Ok(others.len()),
            Some(all) => Err(format!("no order of {others:?} and {response:?} gives this: {all:#?}")),
        }
    }
}

fn update(
    by: &'static str,
    unit: &'static str,
    monitors: &[&'static str],
    departments: &[&'static str],
) -> Step {
    let ids = |ids: &[&'static str]| ids.iter().map(|id| Id(id)).collect();
    let by = Caller { user: Id(by), token: Id(by) };
    Step::Update {
        by,
        unit: Id(unit),
        name: Name::N1,
        monitors: ids(monitors),
        departments: ids(departments),
    }
}

/// Updates that come between: of the same unit, of those that it takes from, of third ones; to and fro.
fn interleaved() -> Vec<Vec<Step>> {
    let admin = |unit, monitors: &[&'static str], departments: &[&'static str]| {
        update("Admin", unit, monitors, departments)
    };
    vec![
        vec![admin("U0", &["M1"], &["D3"])],
        vec![admin("U0", &[], &[])],
        vec![admin("U0", &["M0", "M2"], &["D0", "D1", "D2", "D3"])],
        vec![admin("U1", &["M1"], &["D2"])],
        vec![admin("U1", &["M1"], &[])],
        vec![admin("U1", &["M1"], &["D2", "D3"])],
        vec![admin("U1", &["Lead"], &["D0", "D2"])],
        vec![admin("U1", &[], &["D1", "D3"])],
        vec![admin("U2", &[], &["D2", "D3"])],
        vec![admin("U2", &["M0"], &["D0", "D1", "D2", "D3"])],
        vec![admin("U1", &[], &["D1"]), admin("U0", &["M0", "Lead"], &["D0", "D1"])],
        vec![admin("U0", &["Lead"], &["D2"]), admin("U1", &["M1"], &["D2"])],
        vec![admin("U2", &[], &["D2"]), admin("U1", &[], &["D0", "D3"]), admin("U0", &[], &["D0"])],
    ]
}

#[tokio::test]
async fn updates_between_any_two_items_of_a_read() {
    let cases = Cases::new().await;
    let mut between = 0;
    for torn in [
        update("Admin", "U0", &["M0", "M2"], &["D1", "D2", "D3"]),
        update("Lead", "U0", &["Lead"], &["D0", "D2"]),
        update("Admin", "U0", &["M0", "Lead"], &["D0", "D1"]),
        update("Admin", "U0", &[], &[]),
        update("Admin", "U2", &["M0"], &["D0", "D2"]),
    ] {
        let Step::Update { unit, departments, .. } = &torn else { panic!("it is an update") };
        // The users don't change meanwhile, so their place in the order says nothing.
        let mut names = vec![format!("UNIT#{}", unit.0)];
        names.extend(departments.iter().map(|id| format!("DEPARTMENT#{}", id.0)));
        for updates in interleaved() {
            // The engine may read in any order, so any of the items may have been read before.
            for choice in 0..1_u32 << names.len() {
                let chosen = names.iter().enumerate().filter(|(n, _)| choice & 1 << n != 0);
                let first: Vec<String> = chosen.map(|(_, name)| name.clone()).collect();
                let (is_first, updates) = (first.clone(), updates.clone());
                let tearing = move |call: Call, keys: Vec<Key>| {
                    if call != Call::Read(1) {
                        return vec![(keys, Vec::new())];
                    }
                    let (first, rest): (Vec<_>, Vec<_>) = keys
                        .into_iter()
                        .partition(|key| is_first.iter().any(|name| key.key["pk"]["S"] == *name));
                    vec![(first, updates.clone()), (rest, Vec::new())]
                };
                let ran = cases.run(&at_first(), &torn, false, Arc::new(tearing)).await;
                between += ran.unwrap_or_else(|wrong| panic!("{torn:?}, first {first:?}: {wrong}"));
            }
        }
    }
    assert!(between > 0, "nothing was torn");
    println!("{between} updates between");
}

#[tokio::test]
async fn updates_between_what_is_read_of_the_caller() {
    let cases = Cases::new().await;
    let torn = update("Lead", "U0", &["Lead"], &["D0", "D2"]);
    for updates in interleaved() {
        for at in 0..=3 {
            let updates = updates.clone();
            let tearing = move |call: Call, mut keys: Vec<Key>| {
                if call != Call::Read(0) {
                    return vec![(keys, Vec::new())];
                }
                let rest = keys.split_off(at);
                vec![(keys, updates.clone()), (rest, Vec::new())]
            };
            let ran = cases.run(&at_first(), &torn, false, Arc::new(tearing)).await;
            ran.unwrap_or_else(|wrong| panic!("{torn:?}, at {at}: {wrong}"));
        }
    }
}

/// A refused write is a read, too: here other updates come between it and the next.
#[tokio::test]
async fn updates_before_each_write_of_data_that_disagrees() {
    let cases = Cases::new().await;
    let (d2, d3, u1) = (Id("D2"), Id("D3"), Id("U1"));
    let mut between = 0;
    for disagreement in [
        Step::Unlist { unit: u1, department: d2 },
        Step::SetDepartmentParent { department: d3, parent: Some(u1) },
        Step::SetDepartmentParent { department: d2, parent: None },
        Step::List { unit: Id("U0"), department: d3 },
    ] {
        let mut before = at_first();
        disagreement.happen(&mut before);
        for torn in
            [update("Admin", "U0", &["M0"], &["D1", "D2", "D3"]), update("Lead", "U0", &["M0"], &["D0"])]
        {
            for updates in interleaved() {
                for number in 0..3 {
                    let others = updates.clone();
                    let tearing = move |call: Call, keys: Vec<Key>| {
                        let others = if call == Call::Write(number) { others.clone() } else { Vec::new() };
                        vec![(keys, others)]
                    };
                    let ran = cases.run(&before, &torn, false, Arc::new(tearing)).await;
                    between += ran.unwrap_or_else(|wrong| {
                        panic!("{disagreement:?}, {torn:?}, {updates:?} before write {number}: {wrong}")
                    });
                }
            }
        }
    }
    println!("{between} updates between");
    assert!(between > 0, "nothing came between");
}

/// A unit whose list is so long and so wrong that the items are read before the plan is believed.
#[tokio::test]
async fn updates_between_what_is_read_of_a_list_that_is_wrong() {
    let cases = Cases::new().await;
    let mut before = at_first();
    let unit = before.livechat.get_mut(&unit_key("U0")).expect("a unit");
    let mut listed = set(unit, "departmentIds");
    listed.extend((0..99).map(|n| format!("gone{n}")));
    put_set(unit, "departmentIds", &listed);
    unit["numDepartments"] = listed.len().into();

    let torn = update("Admin", "U0", &["M0"], &["D1", "D2", "D3"]);
    let mut reads_torn = 0;
    for updates in interleaved() {
        for (read, at) in [(2, 0), (2, 1), (2, 50), (2, 99), (2, 100), (3, 0), (3, 1)] {
            for is_reversed in [false, true] {
                let others = updates.clone();
                let tearing = move |call: Call, mut keys: Vec<Key>| {
                    if call != Call::Read(read) {
                        return vec![(keys, Vec::new())];
                    }
                    if is_reversed {
                        keys.reverse();
                    }
                    let rest = keys.split_off(at.min(keys.len()));
                    vec![(keys, others.clone()), (rest, Vec::new())]
                };
                let ran = cases.run(&before, &torn, false, Arc::new(tearing)).await;
                let ran = ran.unwrap_or_else(|wrong| panic!("{updates:?} in {read} at {at}: {wrong}"));
                reads_torn += usize::from(ran > 0);
            }
        }
    }
    println!("{reads_torn} reads torn");
    assert!(reads_torn > 0, "nothing was torn");
}

/// An update that comes between: in which request, after how many of its items, and what it is.
#[derive(Clone, Debug)]
struct Between {
    call: Call,
    after: usize,
    update: Step,
}

fn between() -> impl Strategy<Value = Between> {
    let read = (0..3_usize, 0..9_usize).prop_map(|(number, after)| (Call::Read(number), after));
    let write = (0..3_usize).prop_map(|number| (Call::Write(number), 0));
    let between = (prop_oneof![2 => read, 1 => write], updates());
    between.prop_map(|((call, after), update)| Between { call, after, update })
}

#[test]
fn updates_between_any_items_of_any_reads() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime starts");
    let cases = runtime.block_on(Cases::new());
    let strategy =
        (vec(disagreements(), 0..3), updates(), any::<bool>(), vec(any::<u8>(), 9), vec(between(), 1..6));
    let config = Config { cases: 400, failure_persistence: None, ..Config::default() };
    let run = TestRunner::new(config).run(&strategy, |(disagreements, torn, is_known, order, between)| {
        let mut before = at_first();
        disagreements.iter().for_each(|step| step.happen(&mut before));
        let tearing = move |call: Call, keys: Vec<Key>| {
            let mut keys: Vec<_> = keys.into_iter().enumerate().collect();
            keys.sort_by_key(|(n, _)| order[n % order.len()]);
            let after = |n: usize| {
                let here = between.iter().filter(|between| (between.call, between.after) == (call, n));
                here.map(|between| between.update.clone()).collect::<Vec<_>>()
            };
            let parts = keys.into_iter().enumerate().map(|(n, (_, key))| (vec![key], after(n + 1)));
            std::iter::once((Vec::new(), after(0))).chain(parts).collect()
        };
        let ran = runtime.block_on(cases.run(&before, &torn, is_known, Arc::new(tearing)));
        ran.map(|_| ()).map_err(TestCaseError::fail)
    });
    run.unwrap_or_else(|error| panic!("{error}"));
}
