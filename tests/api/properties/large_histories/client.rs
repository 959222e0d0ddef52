//! The clients of a history: their random requests, and the faults that these meet.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use fastrand::Rng;
use livechat_units::Function;
use serde_json::{Value, json};
use testing::items::json_of;

use super::check::{Event, Key, LEAD, Outcome, Request};
use crate::support::asked::Asked;
use crate::support::faulty_client::{Fault, FaultyClient, SentRequest, cancelled, exception};
use crate::support::observer::Observer;
use crate::support::responses::{BUSY, UNAVAILABLE, UNIT_NOT_FOUND};
use crate::support::{ADMIN, TOKEN, TestApp, as_strs, ids, invoke, set, text};

/// The requests of each client.
const REQUESTS: usize = 4;

/// The units that large updates change.
const LARGE_UNITS: [&str; 2] = ["U0", "U1"];

/// The unit that has few members.
const SMALL_UNIT: &str = "U2";

const DEPARTMENTS: usize = 230;

const MONITORS: usize = 120;

/// A transaction with at most this many actions is not refused as over 4 MB. Any larger one can be divided.
const MIN_DIVIDED: usize = 30;

const LEADS_TOKEN: &str = "0123456789-token-of-the-lead";

/// How often each outcome, each fault and each kind of update came.
pub type Counts = BTreeMap<&'static str, usize>;

/// The ids that can be members.
struct Members {
    monitors: Vec<String>,
    departments: Vec<String>,
}

impl Members {
    fn new() -> Self {
        let mut monitors = ids("m", MONITORS);
        monitors.push(LEAD.into());
        Self { monitors, departments: ids("d", DEPARTMENTS) }
    }

    /// An update that asks for about this part of all members.
    fn part(&self, random: &mut Rng, unit: &str, part: f64) -> Asked {
        let mut some =
            |all: &[String]| all.iter().filter(|_| random.f64() < part).cloned().collect::<Vec<_>>();
        let (monitors, departments) = (some(&self.monitors), some(&self.departments));
        named(random, Asked::new(unit, &monitors, &departments))
    }

    /// An update that changes a few members of a stored unit.
    fn few_changes(&self, random: &mut Rng, unit: &str, stored: &Value) -> Asked {
        let mut monitors: Vec<String> =
            stored["monitors"].as_object().expect("a map").keys().cloned().collect();
        let mut departments: Vec<String> = set(stored, "departmentIds").into_iter().collect();
        for (members, all) in [(&mut monitors, &self.monitors), (&mut departments, &self.departments)] {
            for _ in 0..random.usize(..5) {
                let id = &all[random.usize(..all.len())];
                match members.iter().position(|member| member == id) {
                    Some(place) => drop(members.remove(place)),
                    None => members.push(id.clone()),
                }
            }
        }
        named(random, Asked::new(unit, &monitors, &departments))
    }
}

/// The update with a name that no other update asks for. Long names come last, and short ones first.
fn named(random: &mut Rng, asked: Asked) -> Asked {
    let name = format!("{:x} {}", random.u64(..), "long ".repeat(random.usize(..4)));
    Asked { name, visibility: ["private", "public"][random.usize(..2)], ..asked }
}

fn unit_key(id: &str) -> Key {
    (format!("UNIT#{id}"), "UNIT".into())
}

/// The faults of one client's requests to DynamoDB.
fn random_fault(random: &mut Rng, sent: &SentRequest) -> Option<(&'static str, Fault)> {
    let ms = Duration::from_millis;
    let actions = if sent.is_write { sent.json()["TransactItems"].as_array().map_or(0, Vec::len) } else { 0 };
    let (late, busy) = ("reply lost or late", "throttled or in conflict");
    match random.u8(..24) {
        0 => Some((late, Fault::Delayed(ms(random.u64(..300)), ms(random.u64(..300))))),
        1 if sent.is_write => Some((late, Fault::Late)),
        // The function waits one second for a reply.
        2 => Some((late, Fault::Delayed(ms(0), Duration::from_secs(60)))),
        3 => Some((busy, exception("ThrottlingException"))),
        4 if sent.is_write => Some((busy, cancelled(&["TransactionConflict"]))),
        5 | 6 if actions > MIN_DIVIDED => Some(("divided", exception("ValidationException"))),
        7 if actions > MIN_DIVIDED => Some(("divided", cancelled(&["None", "ValidationError"]))),
        _ => None,
    }
}

/// What all clients of a history share.
pub struct Shared<'a> {
    app: &'a TestApp,
    pub observer: Observer,
    members: Members,
    /// Numbers the requests.
    next_request: AtomicUsize,
    /// The request that each transaction belongs to, by `ClientRequestToken`.
    pub requests: Arc<Mutex<HashMap<String, usize>>>,
    counts: Arc<Mutex<Counts>>,
}

impl<'a> Shared<'a> {
    pub async fn new(app: &'a TestApp, random: &mut Rng, counts: Arc<Mutex<Counts>>) -> Self {
        let members = Members::new();
        app.put_monitors(&as_strs(&members.monitors)).await;
        app.put_user(LEAD, &["livechat-monitor", "unit-editor"]).await;
        app.put_token(LEADS_TOKEN, LEAD, json!({})).await;
        // At first the two large units share the departments.
        let (first, second) = members.departments.split_at(random.usize(..DEPARTMENTS));
        for (unit, departments) in LARGE_UNITS.into_iter().zip([first, second]) {
            let monitors = &members.monitors[..random.usize(..MONITORS)];
            app.put_unit(unit, &as_strs(monitors), &as_strs(departments)).await;
        }
        app.put_unit(SMALL_UNIT, &[], &[]).await;
        let observer = Observer::new(app);
        let (next_request, requests) = (AtomicUsize::new(0), Arc::default());
        Self { app, observer, members, next_request, requests, counts }
    }

    async fn read(&self, (pk, sk): &Key) -> Value {
        let request = self.app.client.get_item().table_name(&self.app.tables.livechat).consistent_read(true);
        let request =
            request.key("pk", AttributeValue::S(pk.clone())).key("sk", AttributeValue::S(sk.clone()));
        json_of(&AttributeValue::M(request.send().await.expect("it is read").item.expect("the item exists")))
    }
}

pub fn count(counts: &Mutex<Counts>, what: &'static str) {
    *counts.lock().expect("no test panics with it").entry(what).or_default() += 1;
}

/// A client with an execution environment of its own, which serves one request at a time.
pub struct Client<'a> {
    shared: &'a Shared<'a>,
    pub faulty: FaultyClient,
    function: Function,
    random: Rng,
    /// The number of the request that is being served.
    serving: Arc<AtomicUsize>,
    pub events: Vec<Event>,
}

impl<'a> Client<'a> {
    pub fn new(shared: &'a Shared<'a>, name: &'static str, random: &mut Rng) -> Self {
        let serving = Arc::<AtomicUsize>::default();
        let of_faults = Mutex::new(random.fork());
        let (number, requests, counts) = (serving.clone(), shared.requests.clone(), shared.counts.clone());
        let faulty = FaultyClient::new(move |sent| {
            if sent.is_write {
                let token = text(&sent.json(), "ClientRequestToken");
                let number = number.load(Ordering::Relaxed);
                requests.lock().expect("no test panics with it").entry(token).or_insert(number);
            }
            let mut of_faults = of_faults.lock().expect("no test panics with it");
            let (kind, fault) = random_fault(&mut of_faults, sent)?;
            count(&counts, kind);
            Some(fault)
        });
        let sdk = faulty.sdk_through(shared.observer.http_client(name))(shared.app.sdk.clone());
        let function = Function::new(&sdk, shared.app.tables.clone());
        Self { shared, faulty, function, random: random.fork(), serving, events: Vec::new() }
    }

    pub async fn send_all(mut self) -> Self {
        let members = &self.shared.members;
        for _ in 0..REQUESTS {
            let unit = LARGE_UNITS[self.random.usize(..LARGE_UNITS.len())];
            match self.random.u8(..10) {
                0..5 => {
                    let part = [0.02, 0.5, 0.98, 0.98][self.random.usize(..4)];
                    let asked = members.part(&mut self.random, unit, part);
                    self.update(asked).await;
                }
                5 | 6 => {
                    let asked = members.part(&mut self.random, SMALL_UNIT, 0.02);
                    self.update(asked).await;
                }
                7 | 8 => {
                    let stored = self.read(unit_key(unit)).await;
                    let asked = members.few_changes(&mut self.random, unit, &stored);
                    self.update(asked).await;
                }
                _ => {
                    let id = &members.departments[self.random.usize(..DEPARTMENTS)];
                    self.read((format!("DEPARTMENT#{id}"), "DEPARTMENT".into())).await;
                }
            }
        }
        self
    }

    async fn read(&mut self, key: Key) -> Value {
        let number = self.shared.next_request.fetch_add(1, Ordering::Relaxed);
        let started = self.shared.observer.count();
        let item = self.shared.read(&key).await;
        let (request, outcome) = (Request::Read(key), Outcome::Seen(item.clone()));
        let ended = self.shared.observer.count();
        self.events.push(Event { number, request, outcome, started, ended });
        item
    }

    async fn update(&mut self, asked: Asked) {
        let is_by_lead = self.random.u8(..4) == 0;
        let event = event_by(&asked, is_by_lead);
        // One second of the remaining time is kept for the answer.
        let remaining =
            (self.random.u8(..5) == 0).then(|| Duration::from_millis(self.random.u64(1_050..2_500)));
        let number = self.shared.next_request.fetch_add(1, Ordering::Relaxed);
        self.serving.store(number, Ordering::Relaxed);
        let started = self.shared.observer.count();
        let response = invoke(&self.function, &event, remaining).await;
        let ended = self.shared.observer.count();
        let outcome = match (response.status_code, response.body.as_str()) {
            (200, body) => {
                let body: Value = serde_json::from_str(body).expect("it is JSON");
                assert_eq!(body["numMonitors"], asked.monitors.len());
                assert_eq!(body["numDepartments"], asked.departments.len());
                Outcome::Updated(text(&body, "_updatedAt"))
            }
            (400, UNIT_NOT_FOUND) if is_by_lead => Outcome::NotFound,
            (503, BUSY) => Outcome::Busy,
            (503, UNAVAILABLE) => Outcome::Unavailable,
            other => panic!("{asked:?} is answered with {other:?}"),
        };
        let request = Request::Update { asked, is_by_lead };
        self.events.push(Event { number, request, outcome, started, ended });
    }
}

pub fn event_by(asked: &Asked, is_by_lead: bool) -> Value {
    let (token, user) = if is_by_lead { (LEADS_TOKEN, LEAD) } else { (TOKEN, ADMIN) };
    asked.event_of(token, user)
}
