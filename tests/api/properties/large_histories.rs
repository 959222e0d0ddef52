//! Many clients at once send large and small updates of few units that share their departments, and read. Requests meet faults,
//! and some have little time.
//!
//! A large update is not atomic. It is a sequence of transactions, each of which leaves consistent data, and an answer of 200 is
//! exactly true at the moment of the last one. The observer knows all transactions in their order and all items after each, so
//! every answer and every read is compared with what was stored at that time. `LARGE_HISTORIES` is the number of histories.
//! `LARGE_HISTORIES_SEED` repeats the requests and the faults of a run, but not its timing.

pub mod check;
mod client;

use std::sync::{Arc, Mutex};
use std::thread;

use fastrand::Rng;
use futures_util::future::join_all;

use crate::support::responses::UNIT_NOT_FOUND;
use crate::support::{TestApp, assert_refused, case_count, with_app};
use check::{Commit, History, LEAD, Outcome, Request};
use client::{Client, Counts, Shared, count, event_by};

/// The number of histories in a normal run.
const HISTORIES: u32 = 3;

/// A normal run makes this many times more histories at most, until everything has come that must come.
const MAX_ROUNDS: u32 = 6;

/// Threads that make histories at the same time.
const WORKERS: u32 = 3;

/// The clients of one history, each with an execution environment of its own.
const CLIENTS: [&str; 5] = ["A", "B", "C", "D", "E"];

/// What must come in a normal run. Otherwise the check has little to check.
const REQUIRED: [&str; 8] = [
    "updated",
    "read",
    "repeated",
    "in three transactions or more",
    "transactions not stored",
    "divided",
    "reply lost or late",
    "throttled or in conflict",
];

#[test]
fn histories_with_large_updates_agree_with_the_contract() {
    let histories = case_count("LARGE_HISTORIES", HISTORIES);
    let seed = std::env::var("LARGE_HISTORIES_SEED");
    let seed = seed.map_or_else(|_| fastrand::u64(..), |seed| seed.parse().expect("it is a number"));
    println!("LARGE_HISTORIES_SEED={seed}");
    let mut random = Rng::with_seed(seed);
    let mut counts = Counts::new();
    for _ in 0..MAX_ROUNDS {
        make_round(histories, &mut random, &mut counts);
        println!("{counts:?}");
        if histories < HISTORIES || REQUIRED.iter().all(|what| counts.contains_key(what)) {
            return;
        }
    }
    panic!("not all of {REQUIRED:?} are in {counts:?}");
}

/// Makes this many histories, and adds what has come in them.
fn make_round(histories: u32, random: &mut Rng, counts: &mut Counts) {
    let of_workers: Vec<Vec<Rng>> = (0..WORKERS)
        .map(|worker| (worker..histories).step_by(WORKERS as usize).map(|_| random.fork()).collect())
        .collect();
    thread::scope(|scope| {
        let workers: Vec<_> = of_workers.into_iter().map(|all| scope.spawn(|| make_histories(all))).collect();
        for worker in workers {
            let of_worker = worker.join().expect("every history is possible");
            of_worker.into_iter().for_each(|(what, count)| *counts.entry(what).or_default() += count);
        }
    });
}

/// Makes histories, one after the other, and checks each.
fn make_histories(all: Vec<Rng>) -> Counts {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let counts = Arc::<Mutex<Counts>>::default();
    runtime.expect("a runtime starts").block_on(async {
        for mut random in all {
            with_app(async |app| make_history(app, &mut random, &counts).await).await;
        }
    });
    counts.lock().expect("no test panics with it").clone()
}

/// Lets all clients send their requests at once, and checks the history. Then repeats the updates that were not answered with
/// 200.
async fn make_history(app: &TestApp, random: &mut Rng, counts: &Arc<Mutex<Counts>>) {
    let shared = Shared::new(app, random, counts.clone()).await;
    let before = app.stored_items().await;
    let clients: Vec<Client> = CLIENTS.iter().map(|name| Client::new(&shared, name, random)).collect();
    let clients = join_all(clients.into_iter().map(Client::send_all)).await;
    let mut events = Vec::new();
    for client in clients {
        // A transaction without a reply may still be on its way.
        client.faulty.all_executed().await;
        events.extend(client.events);
    }
    let requests = shared.requests.lock().expect("no test panics with it").clone();
    let commits = shared
        .observer
        .committed()
        .into_iter()
        .map(|committed| Commit { request: requests[&committed.request_token], items: committed.items });
    let history = History { before, commits: commits.collect(), events };
    history.check().unwrap_or_else(|wrong| panic!("{wrong}"));
    count_all(&history, requests.len(), counts);

    for event in history.events {
        if !matches!(event.outcome, Outcome::Busy | Outcome::Unavailable) {
            continue;
        }
        let Request::Update { asked, is_by_lead } = event.request else { unreachable!("it is an update") };
        count(counts, "repeated");
        let sees_unit = !is_by_lead || app.stored_unit(&asked.unit).await["monitors"].get(LEAD).is_some();
        let again = app.send(&event_by(&asked, is_by_lead)).await;
        if sees_unit {
            assert_eq!(again.status_code, 200, "{}", again.body);
            assert!(asked.is_fulfilled(&app.stored_items().await), "{asked:?}");
        } else {
            assert_refused(&again, 400, UNIT_NOT_FOUND);
        }
    }
}

/// Counts what has happened in a history with this many transactions, refused ones included.
fn count_all(history: &History, transactions: usize, counts: &Mutex<Counts>) {
    for event in &history.events {
        count(counts, event.outcome.name());
        match history.commits_of(event).len() {
            3.. => count(counts, "in three transactions or more"),
            1 | 2 if !matches!(event.outcome, Outcome::Updated(_)) => count(counts, "partly stored"),
            _ => {}
        }
    }
    (history.commits.len()..transactions).for_each(|_| count(counts, "transactions not stored"));
}
