//! Follows the changes of both sides: takes events, looks at what they name, and stores the positions.

mod events;
mod open;
mod schedule;
mod state;

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use livechat_units::id::UnitId;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{interval, sleep, sleep_until};

use self::open::open_stream;
use self::schedule::{RECOUNT_AFTER, pass_ended};
use self::state::Following;
pub use self::state::Options;
use super::dynamodb::positions;
use super::health::{Phase, Status};
use super::mongodb::{Watched, watch};
use super::pass::recount;
use super::queue::DYNAMODB;
use super::sides::Sides;
use super::streams::Position;

/// The time between two writes of the positions, if they have changed.
const STORE_EVERY: Duration = Duration::from_secs(5);

/// How long looks may go on after the process got the signal to end.
const GRACE: Duration = Duration::from_secs(5);

/// Why following ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The process got the signal to end.
    Shutdown,
    /// Another process has taken over the lease.
    LeaseLost,
}

/// Follows until `shutdown` is ready or the lease is lost.
///
/// # Errors
/// The livechat table has no stream.
pub async fn follow(
    sides: Arc<Sides>,
    streams: aws_sdk_dynamodbstreams::Client,
    status: Arc<Status>,
    options: Options,
    shutdown: &mut Pin<Box<dyn Future<Output = ()> + Send>>,
) -> Result<End> {
    let stored =
        if sides.mode.is_dry_run { BTreeMap::new() } else { positions::load(&sides.database).await? };
    // The streams are opened before the first full pass begins, so that no change between the two is missed.
    let (to_loop, mut watches) = mpsc::channel(256);
    let mut tasks = JoinSet::new();
    let mut closed = BTreeSet::new();
    for stream in Watched::ALL {
        let start = stored.get(stream.collection()).cloned();
        closed.insert(stream.collection());
        tasks.spawn(watch(sides.mongodb.clone(), stream, start, to_loop.clone()));
    }
    let start = stored.get(DYNAMODB).and_then(|text| Position::parse(text));
    let open = open_stream(&sides, streams, start.as_ref());
    let follower = tokio::select! {
        follower = open => follower?,
        () = &mut *shutdown => return Ok(End::Shutdown),
    };
    let (to_loop, mut stream_events) = mpsc::channel(256);
    tasks.spawn(follower.run(to_loop));

    status.set(Phase::FirstPass, "the first full pass has not ended yet");
    let mut following = Following::new(Arc::clone(&sides), status, options, closed, stored);
    let mut store = interval(STORE_EVERY);
    let end = loop {
        following.start_what_is_due();
        let wake = following.next_wake();
        tokio::select! {
            () = &mut *shutdown => break End::Shutdown,
            () = lease_lost(&sides) => break End::LeaseLost,
            Some(watch) = watches.recv() => following.watch(watch).await,
            Some(event) = stream_events.recv() => following.stream(event),
            Some(ended) = following.looks.join_next() => {
                for ended in ended.unwrap_or_default() {
                    following.looked(ended);
                }
            }
            result = pass_ended(&mut following.pass) => following.passed(result),
            _ = store.tick() => following.store_positions().await,
            () = sleep_until(wake) => {}
        }
        following.show();
    };
    if let Some(pass) = following.pass.take() {
        pass.abort();
    }
    tasks.abort_all();
    let finish = async { while following.looks.join_next().await.is_some() {} };
    // If a look is cut off here, the next start looks at its subject again.
    let _ = tokio::time::timeout(GRACE, finish).await;
    if end == End::Shutdown {
        following.store_positions().await;
    }
    Ok(end)
}

async fn lease_lost(sides: &Sides) {
    match &sides.lease {
        Some(lease) => lease.lost().await,
        None => std::future::pending().await,
    }
}

/// Waits a moment after a pass has written these units to MongoDB. Then corrects their counters if they are wrong.
///
/// # Errors
/// MongoDB can't be read or written.
pub async fn recount_when_quiet(sides: &Sides, units: &BTreeSet<UnitId>) -> Result<()> {
    if units.is_empty() || sides.mode.is_dry_run {
        return Ok(());
    }
    sleep(RECOUNT_AFTER).await;
    recount(sides, units).await
}
