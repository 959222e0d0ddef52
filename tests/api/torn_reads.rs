//! BatchGetItem is no snapshot: other updates may be committed between any two of its items. Here they are,
//! and what comes of it must be what some order of all the updates gives, as the model of the contract says.

mod torn;

use std::sync::Arc;

use aws_smithy_runtime_api::client::http::SharedHttpClient;
use livechat_units::Function;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::intercept::plain;
use crate::invariants::broken_invariant;
use crate::model::random::{disagreements, updates};
use crate::model::reference::{Stored, put_set, unit_key};
use crate::model::steps::{Broken, Caller, Id, Name, Step, at_first};
use crate::model::tables::{ModelTables, difference};
use crate::world::{cases, invoke, set};
use torn::{Call, Key, Tearing, Torn};

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
        Self { http: plain(), others, tables }
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
        let torn = Torn::new(self.http.clone(), self.others.clone());
        let sdk = self.tables.world.sdk.to_builder().http_client(torn.client()).build();
        let function = Function::new(&sdk, self.tables.world.tables.clone());
        if is_known {
            let (by, unit, _) = update.request().expect("an update");
            let first = Step::SendBroken { by, unit, body: Broken::NoJson };
            invoke(&function, &first.event().expect("a request"), None).await;
        }
        torn.tear(tearing);
        let response = invoke(&function, &update.event().expect("an update"), None).await;

        let items = self.tables.items().await;
        // On a machine so busy that a read was cut off, and another update with it, nothing can be told.
        let Some(others) = torn.others() else { return Ok(0) };
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
    let torn_reads = runtime.block_on(Cases::new());
    let strategy =
        (vec(disagreements(), 0..3), updates(), any::<bool>(), vec(any::<u8>(), 9), vec(between(), 1..6));
    let config = Config { cases: cases("TORN_READS", 400), failure_persistence: None, ..Config::default() };
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
        let ran = runtime.block_on(torn_reads.run(&before, &torn, is_known, Arc::new(tearing)));
        ran.map(|_| ()).map_err(TestCaseError::fail)
    });
    run.unwrap_or_else(|error| panic!("{error}"));
}
