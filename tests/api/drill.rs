//! One update under faults, and all that must hold of it whatever the faults are.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use livechat_units::{Function, Response};
use tokio::time::sleep;

use crate::case::Case;
use crate::faulty::{Fault, Faulty, Sent};
use crate::wire::{LATE, Wire};
use crate::world::{World, event, invoke, updated_at, world};

/// The requests of an update.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Position {
    /// Token, user and permission, for a token new to this execution environment.
    Caller,
    /// Unit, departments and monitors, after the caller is known.
    Unit,
    /// All of these, for a token that was seen before.
    Seen,
    /// Items that a plan with too many changes takes to be as it needs them.
    Extra,
    /// The transaction.
    Transaction,
    /// The transaction that is planned after another one was refused.
    AfterRefused,
}

impl Position {
    pub const ALL: [(Self, &str); 6] = [
        (Self::Caller, "caller"),
        (Self::Unit, "unit"),
        (Self::Seen, "both, seen token"),
        (Self::Extra, "extra read"),
        (Self::Transaction, "transaction"),
        (Self::AfterRefused, "after a refused one"),
    ];

    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(position, _)| *position == self).expect("it is one of all").1
    }

    pub fn is_write(self) -> bool {
        matches!(self, Self::Transaction | Self::AfterRefused)
    }

    fn is_at(self, sent: &Sent) -> bool {
        let is_of_caller = sent.body.contains("PERMISSION#");
        match self {
            Self::Caller => is_of_caller,
            Self::Unit => !sent.is_write && !is_of_caller,
            Self::Extra => !sent.is_write && !is_of_caller && !sent.body.contains("UNIT#"),
            Self::Seen => !sent.is_write,
            Self::Transaction => sent.is_write,
            Self::AfterRefused => sent.is_write && sent.number > 0,
        }
    }
}

/// What became of an update.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    pub response: Response,
    pub is_stored: bool,
}

/// An update to try.
#[derive(Clone)]
pub struct Drill {
    /// Which of its requests meets faults.
    pub position: Position,
    /// One a try.
    pub faults: Vec<Fault>,
    /// Whether the last one never ends.
    pub for_ever: bool,
    /// How long Lambda lets it run.
    pub remaining: Duration,
}

/// Runs drills in a few worlds side by side, since most of the time they wait.
pub async fn run(drills: impl IntoIterator<Item = Drill>) -> Vec<Outcome> {
    const WORLDS: usize = 48;
    let drills = RefCell::new(drills.into_iter().enumerate());
    let outcomes = RefCell::new(BTreeMap::new());
    let worker = async || {
        world(async |world| {
            world.monitors(&["m", "n"]).await;
            loop {
                let next = drills.borrow_mut().next();
                let Some((number, mut drill)) = next else { break };
                let mut attempt = 0;
                let outcome = loop {
                    // Ids of its own for each.
                    let case =
                        Case::new(world, drill.position == Position::Extra, 10 * number + attempt).await;
                    if let Some(outcome) = update_through(world, &case, &drill).await {
                        break outcome;
                    }
                    // The machine is busy: the time was over too early.
                    attempt += 1;
                    assert!(attempt < 10, "{:?} is never reached", drill.position);
                    drill.remaining += Duration::from_millis(500);
                };
                outcomes.borrow_mut().insert(number, outcome);
            }
        })
        .await;
    };
    join_all((0..WORLDS).map(|_| worker())).await;
    outcomes.into_inner().into_values().collect()
}

/// Checks everything that holds of any update: an answer in time, all stored as asked or nothing, and that it
/// can be repeated. `None` if it ended before it came to its faults, or before what they lose the reply to was
/// carried out.
async fn update_through(world: &World, case: &Case, drill: &Drill) -> Option<Outcome> {
    let Drill { position, faults, for_ever, remaining } = drill.clone();
    let hits = Arc::new(AtomicUsize::new(0));
    let count = hits.clone();
    let competitor = case.competitor(world);
    let armed = Arc::new(AtomicBool::new(false));
    let is_armed = armed.clone();
    let faulty = Faulty::new(move |sent| {
        if !is_armed.load(Ordering::Relaxed) {
            return None;
        }
        if position == Position::AfterRefused && sent.is_write && sent.number == 0 {
            return Some(Fault::After(competitor.clone()));
        }
        let hit = || {
            let hit = count.fetch_add(1, Ordering::Relaxed);
            faults.get(hit).or(faults.last().filter(|_| for_ever)).cloned()
        };
        position.is_at(sent).then(hit)?
    });
    let sdk = faulty.sdk()(world.sdk.clone());
    let function = Function::new(&sdk, world.tables.clone());
    if position == Position::Seen {
        assert_eq!(invoke(&function, &event(&case.unit, "{"), None).await.status_code, 400);
    }
    let mut before = world.items().await;
    armed.store(true, Ordering::Relaxed);

    let started = Instant::now();
    let lag = Cell::new(Duration::ZERO);
    let response = tokio::select! {
        response = invoke(&function, &case.event, Some(remaining)) => response,
        never = watch_lag(&lag) => never,
    };
    let took = started.elapsed().saturating_sub(lag.get());
    armed.store(false, Ordering::Relaxed);

    // In time by Lambda's clock, and nothing was begun that could not end; but for what this machine lags.
    assert!(took < remaining.max(Duration::from_secs(1)), "answered after {took:?} of {remaining:?}");
    let budget = remaining.saturating_sub(Duration::from_secs(1)).min(Duration::from_secs(10));
    let mut bodies: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for sent in faulty.sent() {
        let end = started + budget + lag.get() + Duration::from_millis(200);
        assert!(sent.at < end, "a try after the time was over");
        if sent.is_write {
            let token = sent.json()["ClientRequestToken"].as_str().expect("every write has one").to_owned();
            bodies.entry(token).or_default().insert(sent.body);
        }
    }
    assert!(bodies.values().all(|bodies| bodies.len() == 1), "one token, two transactions: {bodies:?}");

    if position == Position::AfterRefused && faulty.writes() > 0 {
        case.count_update(&mut before);
    }
    // Whatever was sent has arrived.
    if drill.faults.iter().any(|fault| matches!(fault, Fault::Wire(Wire::Late))) {
        sleep(LATE + Duration::from_millis(500)).await;
    }
    let after = world.items().await;
    let is_stored = case.is_stored(&before, &after);
    if response.status_code == 200 {
        assert!(is_stored, "answered, and not stored");
        assert_eq!(case.time(&after), updated_at(&response));
    } else {
        case.repeat(world, &function, if is_stored { after } else { before }, is_stored).await;
    }
    let is_carried_out = is_stored || !(position.is_write() && drill.faults.iter().any(Fault::loses_reply));
    (hits.load(Ordering::Relaxed) > 0 && is_carried_out).then_some(Outcome { response, is_stored })
}

/// How late this thread comes to what it should do, at worst.
async fn watch_lag(worst: &Cell<Duration>) -> ! {
    const TICK: Duration = Duration::from_millis(20);
    loop {
        let started = Instant::now();
        sleep(TICK).await;
        worst.set(worst.get().max(started.elapsed().saturating_sub(TICK)));
    }
}
