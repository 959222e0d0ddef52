//! One update that meets faults, and everything that must hold whatever the faults are.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use livechat_units::{Function, Response};

use crate::support::faulty_client::{Fault, FaultyClient, Numbers, SentRequest, once};
use crate::support::lag::{Lag, with_lag};
use crate::support::update_case::{Progress, UpdateCase, put_users};
use crate::support::{TestApp, event, invoke, updated_at, with_app};

/// A request of an update, by what it reads or writes.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Position {
    /// The read of token, user and permission, for a token that is new to the execution environment.
    Caller,
    /// The read of unit, departments and monitors that follows.
    Unit,
    /// The read of all these items, for a token that the execution environment knows.
    CallerAndUnit,
    /// The transaction.
    Transaction,
    /// The transaction that follows a refused one.
    SecondTransaction,
    /// The second transaction of a large update, and those after it if the fault lasts.
    SecondOfThree,
    /// The last transaction of a large update.
    ThirdOfThree,
}

impl Position {
    /// Each position with its name in docs/reliability.md.
    pub const ALL: [(Self, &str); 7] = [
        (Self::Caller, "caller"),
        (Self::Unit, "unit"),
        (Self::CallerAndUnit, "both, seen token"),
        (Self::Transaction, "transaction"),
        (Self::SecondTransaction, "after a refused one"),
        (Self::SecondOfThree, "2nd of 3"),
        (Self::ThirdOfThree, "3rd of 3"),
    ];

    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(position, _)| *position == self).expect("`ALL` has every position").1
    }

    pub fn is_write(self) -> bool {
        matches!(self, Self::Transaction | Self::SecondTransaction) || self.is_of_large_update()
    }

    pub fn is_of_large_update(self) -> bool {
        matches!(self, Self::SecondOfThree | Self::ThirdOfThree)
    }

    /// Whether a request is at this position. `transaction` is its number among the transactions, if it is one.
    fn is_at(self, sent: &SentRequest, transaction: usize) -> bool {
        let is_of_caller = sent.body.contains("PERMISSION#");
        match self {
            Self::Caller => is_of_caller,
            Self::Unit => !sent.is_write && !is_of_caller,
            Self::CallerAndUnit => !sent.is_write,
            Self::Transaction => sent.is_write,
            Self::SecondTransaction => sent.is_write && transaction >= 1,
            Self::SecondOfThree => sent.is_write && transaction >= 1,
            Self::ThirdOfThree => sent.is_write && transaction >= 2,
        }
    }
}

/// How an update ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    pub response: Response,
    pub progress: Progress,
}

/// An update, and the faults that it meets.
#[derive(Clone)]
pub struct Drill {
    /// The request that meets the faults.
    pub position: Position,
    /// The fault of the first attempt, of the second, and so on.
    pub faults: Vec<Fault>,
    /// Whether all later attempts meet the last fault again.
    pub is_lasting: bool,
    /// Whether the function divides the transaction, because the faults say that it has more than 4 MB.
    pub is_divided: bool,
    /// The time until Lambda's deadline.
    pub remaining: Duration,
}

/// Runs drills concurrently, since most of their time is waiting. Large updates keep DynamoDB busy, so few of them run at
/// the same time: otherwise requests would time out because of the others.
pub async fn run(drills: impl IntoIterator<Item = Drill>) -> Vec<Outcome> {
    let (large, small): (Vec<_>, Vec<_>) =
        drills.into_iter().enumerate().partition(|(_, drill)| drill.position.is_of_large_update());
    let mut outcomes = run_with_workers(small, 32).await;
    outcomes.append(&mut run_with_workers(large, 4).await);
    outcomes.into_values().collect()
}

/// Runs numbered drills, as many at the same time as there are workers. Every drill reads its whole table several times, so
/// a worker has new tables for each large update. Small ones share the tables of their worker.
async fn run_with_workers(drills: Vec<(usize, Drill)>, workers: usize) -> BTreeMap<usize, Outcome> {
    let drills = RefCell::new(drills.into_iter().peekable());
    let outcomes = RefCell::new(BTreeMap::new());
    let next = || drills.borrow_mut().next();
    let worker = async || {
        while drills.borrow_mut().peek().is_some() {
            with_app(async |app| {
                put_users(app).await;
                while let Some((number, drill)) = next() {
                    let is_large = drill.position.is_of_large_update();
                    let outcome = run_one(app, number, drill).await;
                    outcomes.borrow_mut().insert(number, outcome);
                    if is_large {
                        break;
                    }
                }
            })
            .await;
        }
    };
    join_all((0..workers).map(|_| worker())).await;
    outcomes.into_inner()
}

/// Runs a drill. If this machine was too busy for it, it is run again with more time. If this machine stood still, things may have
/// happened in another order, so it is run again at most twice.
async fn run_one(app: &TestApp, number: usize, mut drill: Drill) -> Outcome {
    for attempt in 0..10 {
        // Every attempt has ids of its own.
        let is_large = drill.position.is_of_large_update();
        let mut case = UpdateCase::new(app, is_large, 10 * number + attempt).await;
        case.is_divided = drill.is_divided;
        match update_through(app, &case, &drill).await {
            Some((outcome, lag)) if attempt >= 2 || !lag.is_stall() => return outcome,
            _ => {}
        }
        // This machine is busy. The time may have been over before the update reached its fault.
        drill.remaining += Duration::from_millis(500);
    }
    panic!("the update never reaches {:?}", drill.position);
}

/// Sends the update and checks what must always hold: the answer comes in time, the update is stored whole or not at
/// all, and repeating it works. Returns `None` if the time was over before the update met its faults, or before
/// DynamoDB executed the transaction whose reply is lost.
async fn update_through(app: &TestApp, case: &UpdateCase, drill: &Drill) -> Option<(Outcome, Lag)> {
    let Drill { position, faults, is_lasting, remaining, .. } = drill.clone();
    let faults_met = Arc::new(AtomicUsize::new(0));
    let counter = faults_met.clone();
    let other_update = once(case.other_update(app));
    let armed = Arc::new(AtomicBool::new(false));
    let is_armed = armed.clone();
    let transactions = Numbers::default();
    let faulty = FaultyClient::new(move |sent| {
        if !is_armed.load(Ordering::Relaxed) {
            return None;
        }
        let transaction = if sent.is_write { transactions.number(sent) } else { 0 };
        if position == Position::SecondTransaction && sent.is_write && transaction == 0 {
            return Some(Fault::After(other_update.clone()));
        }
        let next_fault = || {
            let number = counter.fetch_add(1, Ordering::Relaxed);
            faults.get(number).or(faults.last().filter(|_| is_lasting)).cloned()
        };
        position.is_at(sent, transaction).then(next_fault)?
    });
    let sdk = faulty.sdk()(app.sdk.clone());
    let function = Function::new(&sdk, app.tables.clone());
    if position == Position::CallerAndUnit {
        assert_eq!(invoke(&function, &event(&case.unit, "{"), None).await.status_code, 400);
    }
    let mut before = app.stored_items().await;
    armed.store(true, Ordering::Relaxed);

    let started = Instant::now();
    let update = async { (invoke(&function, &case.event, Some(remaining)).await, started.elapsed()) };
    let ((response, took), lag) = with_lag(update).await;
    let took = took.saturating_sub(lag.sum);
    armed.store(false, Ordering::Relaxed);

    // The answer comes in time, and no request begins after the time budget. The lag of this machine does not count.
    assert!(took < remaining.max(Duration::from_secs(1)), "answered after {took:?} of {remaining:?}");
    let most = Duration::from_secs(if position.is_of_large_update() { 25 } else { 10 });
    let budget = remaining.saturating_sub(Duration::from_secs(1)).min(most);
    let mut bodies: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for sent in faulty.sent() {
        let end = started + budget + lag.sum + Duration::from_millis(200);
        assert!(sent.at < end, "a request began after the time budget");
        if sent.is_write {
            let token = sent.json()["ClientRequestToken"].as_str().expect("every write has one").to_owned();
            bodies.entry(token).or_default().insert(sent.body);
        }
    }
    assert!(
        bodies.values().all(|bodies| bodies.len() == 1),
        "two transactions have the same ClientRequestToken: {bodies:?}"
    );

    if position == Position::SecondTransaction && faulty.writes() > 0 {
        case.increment_version(&mut before);
    }
    // DynamoDB may still be executing a request whose reply the function no longer waited for.
    faulty.all_executed().await;
    let after = app.stored_items().await;
    let progress = case.progress(&before, &after);
    if response.status_code == 200 {
        assert_eq!(progress, Progress::Everything, "the answer is 200, but the update is not stored");
        assert_eq!(case.time(&after), updated_at(&response));
    } else {
        case.assert_repeatable(app, &function, after, progress).await;
    }
    let loses_reply = position.is_write() && drill.faults.iter().any(Fault::loses_reply);
    let is_executed = !loses_reply || position == Position::SecondOfThree || progress == Progress::Everything;
    (faults_met.load(Ordering::Relaxed) > 0 && is_executed).then_some((Outcome { response, progress }, lag))
}
