//! The steps of an update that do no I/O, for units of different sizes: one department leaves.
//!
//!     cargo bench --bench plan

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use divan::{Bencher, black_box};
use livechat_units::auth::Caller;
use livechat_units::dynamodb::to_transact_item;
use livechat_units::item::{Item, Items};
use livechat_units::load::Loaded;
use livechat_units::plan::{Next, plan};
use livechat_units::request::{ApiRequest, Update};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use unitctl::sample::{self, attribute};

/// Monitors and departments together, half and half.
const MEMBERS: [usize; 4] = [2, 10, 50, 94];

fn main() {
    divan::main();
}

/// API Gateway's event into the call, the token hashed.
#[divan::bench(args = MEMBERS)]
fn event(bencher: Bencher<'_, '_>, members: usize) {
    let event = event_of(members);
    bencher.bench(|| call(black_box(&event)));
}

/// The call's body into the update.
#[divan::bench(args = MEMBERS)]
fn body(bencher: Bencher<'_, '_>, members: usize) {
    let event = event_of(members);
    bencher.with_inputs(|| call(&event)).bench_values(update);
}

/// The items that were read into what the plan is made of.
#[divan::bench(args = MEMBERS)]
fn load(bencher: Bencher<'_, '_>, members: usize) {
    let (caller, update) = asked(members);
    bencher
        .with_inputs(|| items_of(members))
        .bench_local_values(|items| Loaded::new(black_box(&update), &caller, items));
}

/// What was loaded into the plan.
#[divan::bench(args = MEMBERS)]
fn planning(bencher: Bencher<'_, '_>, members: usize) {
    let (caller, update) = asked(members);
    let loaded = Loaded::new(&update, &caller, items_of(members));
    bencher.bench_local(|| plan(&caller, black_box(&loaded)).ok());
}

/// The plan into the transaction.
#[divan::bench(args = MEMBERS)]
fn transaction(bencher: Bencher<'_, '_>, members: usize) {
    let (caller, update) = asked(members);
    let loaded = Loaded::new(&update, &caller, items_of(members));
    let Ok(Next::Write(plan)) = plan(&caller, &loaded) else { panic!("there is nothing to read") };
    bencher.bench_local(|| {
        let actions = black_box(&plan.actions).iter();
        let items = actions.map(|action| to_transact_item(action, "livechat", "2021-12-06T14:40:59.478Z"));
        items.collect::<Result<Vec<_>, _>>().ok()
    });
}

/// Who asks for what.
fn asked(members: usize) -> (Caller, Update) {
    let mut call = call(&event_of(members));
    let credentials = call.credentials.take().expect("the event has some");
    let update = update(call);
    let caller = credentials.authorize(&mut caller_items(), 0.0).expect("the caller may");
    (caller, update)
}

fn call(event: &RawValue) -> ApiRequest {
    ApiRequest::parse(event).expect("it is an event")
}

fn update(call: ApiRequest) -> Update {
    Update::parse(call.unit, call.body).expect("the body matches")
}

fn event_of(members: usize) -> Box<RawValue> {
    let monitors: Vec<Value> = (0..members / 2)
        .map(|number| json!({ "monitorId": id("user", number), "username": "some.body" }))
        .collect();
    // All but the last.
    let departments: Vec<Value> =
        (1..members - members / 2).map(|number| json!({ "departmentId": id("dept", number - 1) })).collect();
    let body = json!({
        "unitData": { "name": "Support", "visibility": "private" },
        "unitMonitors": monitors,
        "unitDepartments": departments,
    });
    let mut event: Value =
        serde_json::from_str(include_str!("../events/success.json")).expect("the sample is JSON");
    event["body"] = body.to_string().into();
    serde_json::value::to_raw_value(&event).expect("an event is JSON")
}

fn id(kind: &str, number: usize) -> String {
    format!("{kind}{number:013}")
}

fn caller_items() -> Items {
    items(vec![
        (livechat_units::hashed_token(sample::TOKEN), json!({ "userId": sample::USER })),
        (format!("USER#{}", sample::USER), json!({ "username": "admin", "roles": { "set": ["admin"] } })),
        ("PERMISSION#manage-livechat-units".into(), json!({ "roles": { "set": ["admin"] } })),
    ])
}

fn items_of(members: usize) -> Items {
    let monitors: Vec<String> = (0..members / 2).map(|number| id("user", number)).collect();
    let departments: Vec<String> = (0..members - members / 2).map(|number| id("dept", number)).collect();
    let by_id: HashMap<_, _> = monitors.iter().map(|id| (id.clone(), "some.body")).collect();
    let unit = json!({ "version": 7, "monitors": by_id, "departmentIds": { "set": departments } });
    let mut all = vec![(format!("UNIT#{}", sample::UNIT), unit)];
    all.extend(monitors.iter().map(|id| {
        let user =
            json!({ "username": "some.body", "active": true, "roles": { "set": ["user", "livechat-monitor"] } });
        (format!("USER#{id}"), user)
    }));
    all.extend(departments.iter().map(|id| {
        (format!("DEPARTMENT#{id}"), json!({ "parentId": sample::UNIT, "ancestors": [sample::UNIT] }))
    }));
    items(all)
}

fn items(all: Vec<(String, Value)>) -> Items {
    let items = all.into_iter().map(|(partition, item)| {
        let AttributeValue::M(item) = attribute(&item) else { panic!("an item is an object") };
        (partition, item)
    });
    items.collect::<HashMap<String, Item>>().into()
}
