//! The steps of an update that do no I/O, for units of different sizes. One department leaves the unit.
//!
//!     cargo bench --bench plan

use std::collections::HashMap;

use divan::{Bencher, black_box};
use livechat_units::auth::Caller;
use livechat_units::dynamodb::to_transact_item;
use livechat_units::item::{Item, Items, Key};
use livechat_units::load::Loaded;
use livechat_units::plan::plan;
use livechat_units::request::{ApiRequest, Update};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use testing::events::{http_sample, update_body};
use testing::items::item;
use unitctl::sample;

/// The units' numbers of members. One half of the members are monitors, the other half are departments.
const MEMBERS: [usize; 4] = [2, 10, 50, 94];

fn main() {
    divan::main();
}

/// Parses API Gateway's event into a request, and hashes the token.
#[divan::bench(args = MEMBERS)]
fn event(bencher: Bencher<'_, '_>, members: usize) {
    let event = event_of(members);
    bencher.bench(|| request(black_box(&event)));
}

/// Parses the body of the request into the update.
#[divan::bench(args = MEMBERS)]
fn body(bencher: Bencher<'_, '_>, members: usize) {
    let event = event_of(members);
    bencher.with_inputs(|| request(&event)).bench_values(update);
}

/// Parses the items that were read.
#[divan::bench(args = MEMBERS)]
fn load(bencher: Bencher<'_, '_>, members: usize) {
    let (caller, update) = caller_and_update(members);
    bencher.with_inputs(|| items_of(members)).bench_local_values(|items| {
        let items = items.into_iter().collect::<Items>();
        Loaded::new(black_box(&update), &caller, items)
    });
}

/// Makes the plan from the parsed items.
#[divan::bench(args = MEMBERS)]
fn planning(bencher: Bencher<'_, '_>, members: usize) {
    let (caller, update) = caller_and_update(members);
    let loaded = Loaded::new(&update, &caller, items_of(members).into_iter().collect());
    bencher.bench_local(|| plan(&caller, black_box(&loaded)).ok()?.next_transaction(&loaded));
}

/// Turns the plan into a transaction.
#[divan::bench(args = MEMBERS)]
fn transaction(bencher: Bencher<'_, '_>, members: usize) {
    let (caller, update) = caller_and_update(members);
    let loaded = Loaded::new(&update, &caller, items_of(members).into_iter().collect());
    let sequence = plan(&caller, &loaded).expect("the update is possible");
    let transaction = sequence.next_transaction(&loaded).expect("the update has a transaction");
    bencher.bench_local(|| {
        let actions = black_box(&transaction.actions).iter();
        let items = actions.map(|action| to_transact_item(action, "livechat", "2021-12-06T14:40:59.478Z"));
        items.collect::<Result<Vec<_>, _>>().ok()
    });
}

/// The caller and the update of one request.
fn caller_and_update(members: usize) -> (Caller, Update) {
    let mut request = request(&event_of(members));
    let credentials = request.credentials.take().expect("the event has some");
    let update = update(request);
    let caller = credentials
        .authorize(&caller_items().into_iter().collect(), 0.0)
        .expect("the caller may update units");
    (caller, update)
}

fn request(event: &RawValue) -> ApiRequest {
    ApiRequest::parse(event).expect("the event is valid")
}

fn update(request: ApiRequest) -> Update {
    Update::parse(request.unit, request.body).expect("the body matches")
}

fn event_of(members: usize) -> Box<RawValue> {
    let monitors: Vec<String> = (0..members / 2).map(|number| id("user", number)).collect();
    // All departments except the last.
    let departments: Vec<String> = (1..members - members / 2).map(|number| id("dept", number - 1)).collect();
    let monitors = monitors.iter().map(|id| (id.as_str(), "some.body"));
    let mut event = http_sample();
    event["body"] = update_body("Support", monitors, departments.iter().map(String::as_str)).into();
    serde_json::value::to_raw_value(&event).expect("an event is JSON")
}

fn id(kind: &str, number: usize) -> String {
    format!("{kind}{number:013}")
}

/// Token, user and permission.
fn caller_items() -> Vec<(Key, Item)> {
    items(vec![
        (Key::Token(livechat_units::hashed_token(sample::TOKEN)), json!({ "userId": sample::USER })),
        (
            key(&format!("USER#{}", sample::USER)),
            json!({ "username": "admin", "roles": { "set": ["admin"] } }),
        ),
        (key("PERMISSION#manage-livechat-units"), json!({ "roles": { "set": ["admin"] } })),
    ])
}

/// The unit, its monitors' users and its departments.
fn items_of(members: usize) -> Vec<(Key, Item)> {
    let monitors: Vec<String> = (0..members / 2).map(|number| id("user", number)).collect();
    let departments: Vec<String> = (0..members - members / 2).map(|number| id("dept", number)).collect();
    let by_id: HashMap<_, _> = monitors.iter().map(|id| (id.clone(), "some.body")).collect();
    let unit = json!({ "version": 7, "monitors": by_id, "departmentIds": { "set": departments } });
    let mut all = vec![(key(&format!("UNIT#{}", sample::UNIT)), unit)];
    all.extend(monitors.iter().map(|id| {
        let user =
            json!({ "username": "some.body", "active": true, "roles": { "set": ["user", "livechat-monitor"] } });
        (key(&format!("USER#{id}")), user)
    }));
    all.extend(departments.iter().map(|id| {
        (key(&format!("DEPARTMENT#{id}")), json!({ "parentId": sample::UNIT, "ancestors": [sample::UNIT] }))
    }));
    items(all)
}

fn key(partition: &str) -> Key {
    Key::of_partition(partition).expect("it is a partition key")
}

fn items(all: Vec<(Key, Value)>) -> Vec<(Key, Item)> {
    all.into_iter().map(|(key, json)| (key, item(&json))).collect()
}
