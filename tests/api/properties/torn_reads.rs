//! BatchGetItem is not a snapshot: other updates may be committed between any two of its items. These tests commit
//! updates there. The model of the contract must give the same result for the same updates, one after the other in some
//! order. `TORN_READS` is the number of random cases.

mod client;
mod large;

use std::sync::Arc;
use std::time::Instant;

use aws_smithy_runtime_api::client::http::SharedHttpClient;
use livechat_units::Function;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::model::changes::initial_tables;
use super::model::random::{disagreements, updates};
use super::model::reference::{StoredTables, put_set, unit_key};
use super::model::steps::{Broken, Caller, Id, Name, Step};
use super::model::tables::{ModelTables, difference};
use crate::support::app::is_late;
use crate::support::interceptor::plain_http_client;
use crate::support::invariants::broken_invariant;
use crate::support::{case_count, invoke, set};
use client::{Key, Operation, Tearing, TearingClient};

/// Runs cases one after the other, in the same tables.
struct TornReads {
    tables: ModelTables,
    http: SharedHttpClient,
    /// The execution environment of the other updates.
    other_function: Arc<Function>,
}

impl TornReads {
    async fn new() -> Self {
        let tables = ModelTables::new().await;
        let other_function = Arc::new(tables.app.another_function());
        Self { http: plain_http_client(), other_function, tables }
    }

    /// Sends an update whose reads are torn. Returns how many other updates came between.
    ///
    /// # Errors There is no order in which the updates, one after the other, have this result.
    async fn run(
        &self,
        before: &StoredTables,
        update: &Step,
        is_token_known: bool,
        tearing: Arc<Tearing>,
    ) -> Result<usize, String> {
        self.tables.store(before).await;
        let torn = TearingClient::new(self.http.clone(), self.other_function.clone());
        let sdk = self.tables.app.sdk.to_builder().http_client(torn.client()).build();
        let function = Function::new(&sdk, self.tables.app.tables.clone());
        if is_token_known {
            let (by, unit, _) = update.request().expect("an update");
            let first = Step::SendBroken { by, unit, body: Broken::NotJson };
            invoke(&function, &first.event().expect("a request"), None).await;
        }
        torn.tear(tearing);
        let started = Instant::now();
        let response = invoke(&function, &update.event().expect("an update"), None).await;
        // Nothing may be stored later, when the next case has begun.
        let others = torn.other_updates().await;
        let items = self.tables.items().await;
        let mut responses = others.iter().map(|(_, response)| response).chain([&response]);
        if responses.any(|response| is_late(response, started)) {
            // The update may be stored or not.
            return Ok(0);
        }
        let invariants_held = broken_invariant(&before.livechat).is_none();
        if invariants_held && let Some(broken) = broken_invariant(&items) {
            return Err(format!("{broken}, after {others:?} and {response:?}"));
        }
        let difference_at = |place: usize| {
            let this = std::iter::once((update, &response));
            let others = others.iter().map(|(step, response)| (step, response));
            let mut order: Vec<_> = others.collect();
            order.splice(place..place, this);
            let mut model = before.clone();
            let answers_agree = order.into_iter().all(|(step, response)| {
                model.expected_answer(step, response) == (response.status_code, response.body.clone())
            });
            if answers_agree { difference(&items, &model.livechat) } else { Some("other answers".into()) }
        };
        let differences: Option<Vec<String>> = (0..=others.len()).map(difference_at).collect();
        match differences {
            None => Ok(others.len()),
            Some(all) => {
                Err(format!("no serial order of {others:?} and {response:?} has this result: {all:#?}"))
            }
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

/// The other updates: of the same unit, of units that lose departments to it, of third units, and back and forth.
fn other_updates() -> Vec<Vec<Step>> {
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

/// Each update has tables of its own, so that all processors work.
#[tokio::test(flavor = "multi_thread")]
async fn a_read_torn_between_any_two_items_is_serializable() {
    let updates = [
        update("Admin", "U0", &["M0", "M2"], &["D1", "D2", "D3"]),
        update("Lead", "U0", &["Lead"], &["D0", "D2"]),
        update("Admin", "U0", &["M0", "Lead"], &["D0", "D1"]),
        update("Admin", "U0", &[], &[]),
        update("Admin", "U2", &["M0"], &["D0", "D2"]),
    ];
    let mut tearing = tokio::task::JoinSet::new();
    for torn in updates {
        tearing.spawn(tear_between_any_two_items(torn));
    }
    let between: usize = tearing.join_all().await.into_iter().sum();
    assert!(between > 0, "no read was torn");
    println!("{between} updates between");
}

/// Returns how many other updates came between the items.
async fn tear_between_any_two_items(torn: Step) -> usize {
    let cases = TornReads::new().await;
    let mut between = 0;
    let Step::Update { unit, departments, .. } = &torn else { panic!("it is an update") };
    // Users do not change here, so it does not matter when they are read.
    let mut names = vec![format!("UNIT#{}", unit.0)];
    names.extend(departments.iter().map(|id| format!("DEPARTMENT#{}", id.0)));
    for updates in other_updates() {
        // DynamoDB may read in any order, so any of the items may be read before the other updates.
        for choice in 0..1_u32 << names.len() {
            let chosen = names.iter().enumerate().filter(|(n, _)| choice & 1 << n != 0);
            let first: Vec<String> = chosen.map(|(_, name)| name.clone()).collect();
            let (is_first, updates) = (first.clone(), updates.clone());
            let tearing = move |operation: Operation, keys: Vec<Key>| {
                if operation != Operation::Read(1) {
                    return vec![(keys, Vec::new())];
                }
                let (first, rest): (Vec<_>, Vec<_>) =
                    keys.into_iter().partition(|key| is_first.iter().any(|name| key.key["pk"]["S"] == *name));
                vec![(first, updates.clone()), (rest, Vec::new())]
            };
            let ran = cases.run(&initial_tables(), &torn, false, Arc::new(tearing)).await;
            between += ran.unwrap_or_else(|wrong| panic!("{torn:?}, first {first:?}: {wrong}"));
        }
    }
    between
}

#[tokio::test]
async fn a_torn_read_of_the_caller_is_serializable() {
    let cases = TornReads::new().await;
    let torn = update("Lead", "U0", &["Lead"], &["D0", "D2"]);
    for updates in other_updates() {
        for at in 0..=3 {
            let updates = updates.clone();
            let tearing = move |operation: Operation, mut keys: Vec<Key>| {
                if operation != Operation::Read(0) {
                    return vec![(keys, Vec::new())];
                }
                let rest = keys.split_off(at);
                vec![(keys, updates.clone()), (rest, Vec::new())]
            };
            let ran = cases.run(&initial_tables(), &torn, false, Arc::new(tearing)).await;
            ran.unwrap_or_else(|wrong| panic!("{torn:?}, at {at}: {wrong}"));
        }
    }
}

/// The reply to a refused transaction is also a read, so here other updates are committed before each transaction.
#[tokio::test]
async fn inconsistent_data_that_changes_before_a_write_is_serializable() {
    let cases = TornReads::new().await;
    let (d2, d3, u1) = (Id("D2"), Id("D3"), Id("U1"));
    let mut between = 0;
    for disagreement in [
        Step::Unlist { unit: u1, department: d2 },
        Step::SetDepartmentParent { department: d3, parent: Some(u1) },
        Step::SetDepartmentParent { department: d2, parent: None },
        Step::List { unit: Id("U0"), department: d3 },
    ] {
        let mut before = initial_tables();
        disagreement.apply_to(&mut before);
        for torn in
            [update("Admin", "U0", &["M0"], &["D1", "D2", "D3"]), update("Lead", "U0", &["M0"], &["D0"])]
        {
            for updates in other_updates() {
                for number in 0..3 {
                    let others = updates.clone();
                    let tearing = move |operation: Operation, keys: Vec<Key>| {
                        let others =
                            if operation == Operation::Write(number) { others.clone() } else { Vec::new() };
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
    assert!(between > 0, "no update came between");
}

/// The unit lists so many departments that the update seems to need several transactions, until the refusal of the first
/// one shows that most of the departments do not exist.
#[tokio::test]
async fn a_wrong_list_that_seems_to_need_several_transactions_is_serializable() {
    let cases = TornReads::new().await;
    let mut before = initial_tables();
    let unit = before.livechat.get_mut(&unit_key("U0")).expect("a unit");
    let mut listed = set(unit, "departmentIds");
    listed.extend((0..99).map(|n| format!("gone{n}")));
    put_set(unit, "departmentIds", &listed);
    unit["numDepartments"] = listed.len().into();

    let torn = update("Admin", "U0", &["M0"], &["D1", "D2", "D3"]);
    let reads = (0..=4).map(|at| (Operation::Read(1), at));
    let moments: Vec<_> = reads.chain((0..3).map(|number| (Operation::Write(number), 0))).collect();
    let mut between = 0;
    for updates in other_updates() {
        for (moment, at) in &moments {
            let (moment, at, others) = (*moment, *at, updates.clone());
            let tearing = move |operation: Operation, mut keys: Vec<Key>| {
                if operation != moment {
                    return vec![(keys, Vec::new())];
                }
                if matches!(moment, Operation::Write(_)) {
                    return vec![(keys, others.clone())];
                }
                let rest = keys.split_off(at.min(keys.len()));
                vec![(keys, others.clone()), (rest, Vec::new())]
            };
            let ran = cases.run(&before, &torn, false, Arc::new(tearing)).await;
            between += ran.unwrap_or_else(|wrong| panic!("{updates:?} in {moment:?} at {at}: {wrong}"));
        }
    }
    println!("{between} updates between");
    assert!(between > 0, "no update came between");
}

/// Another update, and when it is committed.
#[derive(Clone, Debug)]
struct OtherUpdate {
    /// The request during which it is committed.
    operation: Operation,
    /// How many items of the request are read before the update is committed.
    items_before: usize,
    update: Step,
}

fn random_other_update() -> impl Strategy<Value = OtherUpdate> {
    let read = (0..3_usize, 0..9_usize).prop_map(|(number, items)| (Operation::Read(number), items));
    let write = (0..3_usize).prop_map(|number| (Operation::Write(number), 0));
    let moment = prop_oneof![2 => read, 1 => write];
    (moment, updates()).prop_map(|((operation, items_before), update)| OtherUpdate {
        operation,
        items_before,
        update,
    })
}

#[test]
fn randomly_torn_reads_are_serializable() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime starts");
    let torn_reads = runtime.block_on(TornReads::new());
    let strategy = (
        vec(disagreements(), 0..3),
        updates(),
        any::<bool>(),
        vec(any::<u8>(), 9),
        vec(random_other_update(), 1..6),
    );
    let config =
        Config { cases: case_count("TORN_READS", 400), failure_persistence: None, ..Config::default() };
    let run = TestRunner::new(config).run(
        &strategy,
        |(disagreements, torn, is_token_known, order, other_updates)| {
            let mut before = initial_tables();
            disagreements.iter().for_each(|step| step.apply_to(&mut before));
            let tearing = move |operation: Operation, keys: Vec<Key>| {
                let mut keys: Vec<_> = keys.into_iter().enumerate().collect();
                keys.sort_by_key(|(n, _)| order[n % order.len()]);
                let after = |n: usize| {
                    let here = other_updates
                        .iter()
                        .filter(|other| (other.operation, other.items_before) == (operation, n));
                    here.map(|other| other.update.clone()).collect::<Vec<_>>()
                };
                let parts = keys.into_iter().enumerate().map(|(n, (_, key))| (vec![key], after(n + 1)));
                std::iter::once((Vec::new(), after(0))).chain(parts).collect()
            };
            let ran = runtime.block_on(torn_reads.run(&before, &torn, is_token_known, Arc::new(tearing)));
            ran.map(|_| ()).map_err(TestCaseError::fail)
        },
    );
    run.unwrap_or_else(|error| panic!("{error}"));
}
