//! An update of several transactions whose reads are torn, and which other updates meet between its transactions.
//!
//! It is not atomic, so no serial order of the updates need have the same result. Instead, the observer looks at all items after
//! each transaction, and the check of `large_histories` compares them with what each update asks for.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use livechat_units::{Function, Response};
use serde_json::{Value, json};

use super::client::{Key, Operation, Tearing, TearingClient};
use super::{TornReads, update};
use crate::properties::large_histories::check::{Commit, Event, History, Outcome, Request};
use crate::properties::model::changes::initial_tables;
use crate::properties::model::reference::{StoredTables, department_key, put_set, unit_key};
use crate::properties::model::steps::Step;
use crate::support::asked::Asked;
use crate::support::observer::Observer;
use crate::support::responses::{BUSY, UNAVAILABLE};
use crate::support::{department, ids, invoke, merge, set, updated_at};

const TORN: &str = "torn";
const OTHER: &str = "other";

/// Departments that leave the updated unit. The first transaction has no room for all of them.
static LEAVING: LazyLock<Vec<String>> = LazyLock::new(|| ids("leaving", 100));

/// Departments that the updated unit takes from U1. They need two transactions.
static TAKEN: LazyLock<Vec<String>> = LazyLock::new(|| ids("taken", 100));

fn all(ids: &'static [String]) -> Vec<&'static str> {
    ids.iter().map(String::as_str).collect()
}

/// The tables of the other cases. Here U0 also has the departments that leave, and U1 those that are taken.
fn large_tables() -> StoredTables {
    let mut stored = initial_tables();
    for (unit, new) in [("U0", &*LEAVING), ("U1", &*TAKEN)] {
        let item = stored.livechat.get_mut(&unit_key(unit)).expect("a unit");
        let mut listed = set(item, "departmentIds");
        listed.extend(new.iter().cloned());
        put_set(item, "departmentIds", &listed);
        item["numDepartments"] = listed.len().into();
        let mut ancestors = vec![Value::from(unit)];
        ancestors
            .extend(item.get("ancestors").and_then(|above| above.as_array()).into_iter().flatten().cloned());
        for id in new {
            let mut item = department(id, Some(unit));
            merge(&mut item, json!({ "ancestors": ancestors }));
            stored.livechat.insert(department_key(id), item);
        }
    }
    stored
}

/// The update, which is committed in four transactions if nothing else happens.
fn torn_update() -> Step {
    let departments = [&all(&TAKEN)[..], &["D3"]].concat();
    update("Admin", "U0", &["M0", "M2"], &departments)
}

/// The other updates: of the same unit, of the losing unit, and of a third unit.
fn other_updates() -> Vec<Step> {
    let other = |unit, monitors: &[&'static str], departments: &[&'static str]| {
        update("Admin", unit, monitors, departments)
    };
    let (leaving, taken) = (all(&LEAVING), all(&TAKEN));
    vec![
        // Only the monitors change.
        other("U0", &["M1"], &[&leaving[..], &["D0", "D1"]].concat()),
        other("U0", &["M0"], &[taken[50], "D3"]),
        // The losing unit loses half of its departments, or gets others.
        other("U1", &["M1"], &taken[50..]),
        other("U1", &[], &[&taken[..], &[leaving[0], leaving[99], "D0", "D3"]].concat()),
        // Another unit takes departments of both.
        other("U2", &["M0"], &[leaving[0], leaving[99], taken[0], taken[50], taken[99]]),
    ]
}

fn asked(step: &Step) -> Asked {
    let Step::Update { unit, name, monitors, departments, .. } = step else {
        unreachable!("it is an update")
    };
    Asked {
        unit: unit.0.into(),
        name: name.text().into(),
        visibility: name.visibility(),
        monitors: monitors.iter().map(|id| id.0.to_owned()).collect(),
        departments: departments.iter().map(|id| id.0.to_owned()).collect(),
    }
}

fn outcome(response: &Response) -> Outcome {
    match (response.status_code, response.body.as_str()) {
        (200, _) => Outcome::Updated(updated_at(response)),
        (503, BUSY) => Outcome::Busy,
        (503, UNAVAILABLE) => Outcome::Unavailable,
        other => panic!("the answer is {other:?}"),
    }
}

/// Sends the large update. `tearing` says when the other update is committed. Returns the outcome's name, and how many
/// transactions of the large update were committed.
///
/// # Errors
/// The contract does not allow what was answered and stored.
async fn run(
    cases: &TornReads,
    before: &StoredTables,
    other: &Step,
    tearing: Arc<Tearing>,
) -> Result<(&'static str, usize), String> {
    cases.tables.store(before).await;
    let observer = Observer::new(&cases.tables.app);
    let torn = TearingClient::new(observer.http_client(TORN), Arc::new(observer.function(OTHER)));
    let sdk = cases.tables.app.sdk.to_builder().http_client(torn.client()).build();
    let function = Function::new(&sdk, cases.tables.app.tables.clone());
    torn.tear(tearing);
    let update = torn_update();
    let response = invoke(&function, &update.event().expect("an update"), None).await;
    // Nothing may be stored later, when the next case has begun.
    let others = torn.other_updates().await;
    observer.all_executed().await;
    cases.tables.items().await;
    let [(_, other_response)] = &others[..] else {
        return Err(format!("{} other updates before the answer {response:?}", others.len()));
    };
    let commits: Vec<Commit> = observer
        .committed()
        .into_iter()
        .map(|committed| Commit { request: usize::from(committed.by == OTHER), items: committed.items })
        .collect();
    let events = [(&update, &response), (other, other_response)].into_iter().enumerate().map(
        |(number, (step, response))| Event {
            number,
            request: Request::Update { asked: asked(step), is_by_lead: false },
            outcome: outcome(response),
            started: 0,
            ended: commits.len(),
        },
    );
    let events: Vec<Event> = events.collect();
    let history = History { before: before.livechat.clone(), commits, events };
    history.check()?;
    let own = history.commits_of(&history.events[0]);
    let of_other = history.commits_of(&history.events[1]);
    let outcome = history.events[0].outcome.name();
    if outcome == Outcome::Busy.name() && own.first() >= of_other.last() {
        return Err("it gave way, and no other update was committed after its first transaction".into());
    }
    Ok((outcome, own.len()))
}

#[tokio::test]
async fn a_large_update_agrees_with_the_contract_although_its_reads_are_torn() {
    let cases = TornReads::new().await;
    let before = large_tables();
    // The first read is that of the caller. The items of the update are in the two reads after it. With each moment is how many
    // items of the read come before the other update.
    let moments = [
        (Operation::Read(1), 50),
        (Operation::Read(2), 0),
        (Operation::Write(0), 0),
        (Operation::Write(1), 0),
        (Operation::Write(2), 0),
        (Operation::Write(3), 0),
    ];
    let mut outcomes = BTreeMap::<&str, usize>::new();
    let has_all_outcomes = |outcomes: &BTreeMap<&str, usize>| {
        outcomes.contains_key("updated")
            && outcomes.contains_key("busy")
            && outcomes["in three transactions or more"] > moments.len()
    };
    // On a busy machine, copies of requests have the numbers of these moments, so most updates may meet no other one.
    for _ in 0..5 {
        tear_at(&cases, &before, &moments, &mut outcomes).await;
        if has_all_outcomes(&outcomes) {
            break;
        }
    }
    println!("{outcomes:?}");
    assert!(has_all_outcomes(&outcomes), "{outcomes:?}");
}

/// Commits each of the other updates at each moment of the large update. Counts the outcomes of the large update.
async fn tear_at(
    cases: &TornReads,
    before: &StoredTables,
    moments: &[(Operation, usize)],
    outcomes: &mut BTreeMap<&'static str, usize>,
) {
    for other in other_updates() {
        for &(moment, at) in moments {
            let others = other.clone();
            let tearing = move |operation: Operation, mut keys: Vec<Key>| {
                if operation != moment {
                    return vec![(keys, Vec::new())];
                }
                let rest = keys.split_off(at.min(keys.len()));
                vec![(keys, vec![others.clone()]), (rest, Vec::new())]
            };
            let ran = run(cases, before, &other, Arc::new(tearing)).await;
            let (outcome, transactions) =
                ran.unwrap_or_else(|wrong| panic!("{other:?} in {moment:?} at {at}: {wrong}"));
            *outcomes.entry(outcome).or_default() += 1;
            *outcomes.entry("in three transactions or more").or_default() += usize::from(transactions > 2);
        }
    }
}
