//! The state of following: what is open, what waits, and what is stored.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Result;
use livechat_units::id::UnitId;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

use crate::sync::dynamodb::positions;
use crate::sync::health::Status;
use crate::sync::queue::Queue;
use crate::sync::several::LookEnd;
use crate::sync::sides::Sides;

/// The time between two searches for the oldest waiting change, while at least [`MANY`] changes wait.
const SHOW_EVERY: Duration = Duration::from_millis(100);
const MANY: usize = 1_000;

/// The options for following.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// True if a full pass may remove any number of items.
    pub allow_removals: bool,
    /// The time between two full passes.
    pub full_pass_every: Duration,
}

/// What a full pass has found.
pub struct PassEnd {
    /// The units that were written to MongoDB.
    pub written_units: BTreeSet<UnitId>,
    /// True if it removed nothing, because MongoDB lacks too much.
    pub is_held_back: bool,
}

/// Everything that following has to know.
pub struct Following {
    /// Both databases.
    pub sides: Arc<Sides>,
    /// What `/health` and `/metrics` show.
    pub status: Arc<Status>,
    /// The options.
    pub options: Options,
    /// What is to be looked at.
    pub queue: Queue,
    /// The looks that are going on.
    pub looks: JoinSet<Vec<LookEnd>>,
    /// The change streams that are not open.
    pub closed: BTreeSet<&'static str>,
    /// True while DynamoDB's stream can't be read.
    pub is_stream_failing: bool,
    /// The full pass that is going on.
    pub pass: Option<JoinHandle<Result<PassEnd>>>,
    /// When the next full pass begins. `None` while one is going on.
    pub next_pass: Option<Instant>,
    /// The number of the last passes in a row that removed nothing, because MongoDB lacked too much.
    pub held_passes: u32,
    /// The positions that are stored.
    pub stored: BTreeMap<String, String>,
    /// When the age of the oldest waiting change was last shown in the status.
    pub shown: Instant,
    /// Units whose counters are to be checked, and when.
    pub recounts: BTreeMap<UnitId, Instant>,
    /// The counters are checked at this time at the earliest.
    pub next_recount: Instant,
}

impl Following {
    /// Nothing has come yet. These streams are not open, and these positions are stored.
    pub fn new(
        sides: Arc<Sides>,
        status: Arc<Status>,
        options: Options,
        closed: BTreeSet<&'static str>,
        stored: BTreeMap<String, String>,
    ) -> Self {
        let now = Instant::now();
        Self {
            sides,
            status,
            options,
            queue: Queue::default(),
            looks: JoinSet::new(),
            closed,
            is_stream_failing: false,
            pass: None,
            next_pass: Some(now),
            held_passes: 0,
            stored,
            shown: now,
            recounts: BTreeMap::new(),
            next_recount: now,
        }
    }

    /// Lets a full pass begin as soon as none is going on.
    pub fn need_pass(&mut self) {
        let now = Instant::now();
        self.next_pass = Some(self.next_pass.map_or(now, |next| next.min(now)));
    }

    /// Shows what waits in the status.
    pub fn show(&mut self) {
        self.status.pending.store(self.queue.pending() as u64, Ordering::Relaxed);
        // `oldest` goes through all changes that wait. If very many wait, it is not called after every event.
        if self.queue.pending() < MANY || self.shown.elapsed() >= SHOW_EVERY {
            self.status.set_oldest(self.queue.oldest());
            self.shown = Instant::now();
        }
        let is_interrupted = self.is_stream_failing || !self.closed.is_empty();
        self.status.is_interrupted.store(is_interrupted, Ordering::Relaxed);
    }

    /// Stores the positions, if they have moved. The next start reads the streams from there.
    pub async fn store_positions(&mut self) {
        if self.sides.mode.is_dry_run || self.sides.check_lease().is_err() {
            return;
        }
        let positions =
            self.queue.positions().into_iter().map(|(stream, position)| (stream.to_owned(), position));
        let positions: BTreeMap<String, String> = positions.collect();
        if positions.is_empty() || positions == self.stored {
            return;
        }
        match positions::store(&self.sides.database, &positions).await {
            Ok(()) => self.stored = positions,
            Err(error) => self.sides.reporter.failure(None, format!("storing the positions: {error:#}")),
        }
    }
}
