//! Follows the changes of both sides: takes events, looks at what they name, and stores the positions.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Result;
use livechat_units::id::UnitId;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, interval, sleep, sleep_until};

use super::dynamodb::positions;
use super::health::{Phase, Status};
use super::model::Subject;
use super::mongodb::{Kind, Watch, WatchEvent, Watched, watch};
use super::pass::{self, recount};
use super::queue::{Queue, Stream, Waiting};
use super::several::look_at_all;
use super::sides::{Looked, Removal, Sides};
use super::streams::{Follower, NoStream, Position, StreamEvent};

/// The maximum number of looks at the same time.
const MAX_AT_ONCE: usize = 16;

/// The time between two writes of the positions, if they have changed.
const STORE_EVERY: Duration = Duration::from_secs(5);

/// The time from a write to MongoDB until the counters of its unit are checked once more. Rocket.Chat changes them only
/// after it has moved a department.
const RECOUNT_AFTER: Duration = Duration::from_secs(2);

/// The least time between two such checks, so that one checks many units.
const RECOUNT_EVERY: Duration = Duration::from_secs(1);

/// The pause after a full pass that failed.
const PAUSE_AFTER_FAILED_PASS: Duration = Duration::from_secs(5);

/// The pause before DynamoDB's stream is opened again.
const PAUSE_BEFORE_OPENING: Duration = Duration::from_secs(1);

/// How long looks may go on after the process got the signal to end.
const GRACE: Duration = Duration::from_secs(5);

/// The time between two searches for the oldest waiting change, while at least [`MANY`] changes wait.
const SHOW_EVERY: Duration = Duration::from_millis(100);
const MANY: usize = 1_000;

/// The name of DynamoDB's stream among the positions.
const DYNAMODB: Stream = "dynamodb";

/// Why following ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The process got the signal to end.
    Shutdown,
    /// Another process has taken over the lease.
    LeaseLost,
}

/// The options for following.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// True if a full pass may remove any number of items.
    pub allow_removals: bool,
    /// The time between two full passes.
    pub full_pass_every: Duration,
}

/// The result of a pass: the units that were written to MongoDB, and whether anything was held back.
type PassResult = Result<(BTreeSet<UnitId>, bool)>;

struct Following {
    sides: Arc<Sides>,
    status: Arc<Status>,
    options: Options,
    queue: Queue,
    looks: JoinSet<Vec<(Subject, Result<Looked>)>>,
    /// The change streams that are not open.
    closed: BTreeSet<&'static str>,
    is_stream_failing: bool,
    pass: Option<JoinHandle<PassResult>>,
    next_pass: Option<Instant>,
    /// True if the last pass removed nothing.
    is_held: bool,
    stored: BTreeMap<String, String>,
    /// When the age of the oldest waiting change was last shown in the status.
    shown: Instant,
    /// Units whose counters are to be checked, and when.
    recounts: BTreeMap<UnitId, Instant>,
    next_recount: Instant,
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
    let mut following = Following {
        sides: Arc::clone(&sides),
        status,
        options,
        queue: Queue::default(),
        looks: JoinSet::new(),
        closed,
        is_stream_failing: false,
        pass: None,
        next_pass: Some(Instant::now()),
        is_held: false,
        stored,
        shown: Instant::now(),
        recounts: BTreeMap::new(),
        next_recount: Instant::now(),
    };
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
                for (subject, result) in ended.unwrap_or_default() {
                    following.looked(subject, result);
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

/// Opens DynamoDB's stream. Repeats that until it succeeds. Only a problem that does not go away by itself is an error:
/// the table has no stream, or a permission is missing.
async fn open_stream(
    sides: &Sides,
    streams: aws_sdk_dynamodbstreams::Client,
    start: Option<&Position>,
) -> Result<Follower> {
    let mut said = None;
    loop {
        let (database, table) = (sides.database.client.clone(), sides.database.tables.livechat.clone());
        match Follower::open(streams.clone(), database, table, start).await {
            Ok((follower, _)) => return Ok(follower),
            Err(error) if error.is::<NoStream>() || format!("{error:#}").contains("AccessDenied") => {
                return Err(error);
            }
            Err(error) => {
                let words = format!("DynamoDB's stream can't be opened: {error:#}");
                if said.as_ref() != Some(&words) {
                    sides.reporter.failure(None, &words);
                    said = Some(words);
                }
                sleep(PAUSE_BEFORE_OPENING).await;
            }
        }
    }
}

async fn lease_lost(sides: &Sides) {
    match &sides.lease {
        Some(lease) => lease.lost().await,
        None => std::future::pending().await,
    }
}

async fn pass_ended(pass: &mut Option<JoinHandle<PassResult>>) -> PassResult {
    let Some(running) = pass else { return std::future::pending().await };
    let result = running.await;
    *pass = None;
    result?
}

impl Following {
    fn start_what_is_due(&mut self) {
        let now = Instant::now();
        let is_open = self.closed.is_empty();
        if is_open && self.pass.is_none() && self.next_pass.is_some_and(|next| next <= now) {
            self.next_pass = None;
            let (sides, allow_removals) = (Arc::clone(&self.sides), self.options.allow_removals);
            self.pass = Some(tokio::spawn(async move {
                let outcome = pass::run(&sides, allow_removals).await?;
                Ok((outcome.written_units, outcome.suspicion.is_some()))
            }));
        }
        let room = MAX_AT_ONCE.saturating_sub(self.looks.len());
        for subjects in self.queue.take_due(room, now) {
            self.start_look(subjects);
        }
        if now >= self.next_recount {
            let due: BTreeSet<UnitId> =
                self.recounts.iter().filter(|(_, at)| **at <= now).map(|(unit, _)| unit.clone()).collect();
            self.recounts.retain(|unit, _| !due.contains(unit));
            self.recount(due, now);
        }
    }

    fn recount(&mut self, units: BTreeSet<UnitId>, now: Instant) {
        if !units.is_empty() {
            self.next_recount = now + RECOUNT_EVERY;
            let sides = Arc::clone(&self.sides);
            tokio::spawn(async move {
                if let Err(error) = recount(&sides, &units).await {
                    sides.reporter.failure(None, format!("looking at counters: {error:#}"));
                }
            });
        }
    }

    fn start_look(&mut self, subjects: Vec<(Subject, Waiting)>) {
        let is_held = self.is_held;
        let removal = |waiting: &Waiting| match (is_held, waiting.is_deletion) {
            (true, _) => Removal::HeldBack,
            (false, true) => Removal::Deleted,
            (false, false) => Removal::No,
        };
        let subjects: Vec<(Subject, Removal)> =
            subjects.into_iter().map(|(subject, waiting)| (subject, removal(&waiting))).collect();
        let sides = Arc::clone(&self.sides);
        self.looks.spawn(async move { look_at_all(&sides, subjects).await });
    }

    fn next_wake(&self) -> Instant {
        let far = Instant::now() + Duration::from_secs(3600);
        let room = self.looks.len() < MAX_AT_ONCE;
        let due = self.queue.next_due().filter(|_| room);
        let pass = self.next_pass.filter(|_| self.pass.is_none() && self.closed.is_empty());
        let recount = self.recounts.values().min().map(|at| (*at).max(self.next_recount));
        [due, pass, recount].into_iter().flatten().min().unwrap_or(far)
    }

    async fn watch(&mut self, Watch { stream, event }: Watch) {
        let name = stream.collection();
        let now = Instant::now();
        match event {
            WatchEvent::Opened => {
                self.closed.remove(name);
            }
            WatchEvent::Look { subjects, is_deletion, token } => {
                // A deleted row of a monitor does not mean that its unit was deleted.
                let is_deletion = is_deletion && stream != Watched::UnitMonitors;
                self.queue.event(name, token, subjects, is_deletion, now);
            }
            WatchEvent::LookAtAllUnits { token } => match self.all_units().await {
                Ok(units) => self.queue.event(name, token, units, false, now),
                Err(error) => {
                    self.sides.reporter.failure(None, format!("reading the units: {error:#}"));
                    self.need_pass();
                }
            },
            WatchEvent::SettingsChanged { token } => {
                match self.sides.mongodb.login_expiration().await {
                    Ok(lifetime) if self.sides.set_lifetime(lifetime) => {
                        self.sides.reporter.note("Accounts_LoginExpiration has changed; a full pass follows");
                        self.need_pass();
                    }
                    Ok(_) => {}
                    Err(error) => {
                        self.sides.reporter.failure(None, format!("reading the settings: {error}"));
                        self.need_pass();
                    }
                }
                self.queue.event(name, token, Vec::new(), false, now);
            }
            WatchEvent::Lost { reason } => {
                self.closed.remove(name);
                let reason = reason.trim_end_matches('.');
                self.sides.reporter.warn(format!("{reason}; a full pass follows"));
                self.queue.forget_position(name);
                self.need_pass();
            }
            WatchEvent::Idle { token } => self.queue.event(name, token, Vec::new(), false, now),
            WatchEvent::Interrupted { reason } => {
                self.closed.insert(name);
                self.sides.reporter.failure(None, reason);
            }
        }
    }

    fn stream(&mut self, event: StreamEvent) {
        let now = Instant::now();
        if !matches!(event, StreamEvent::Failing(_)) {
            self.is_stream_failing = false;
        }
        match event {
            StreamEvent::Look { subjects, position, .. } => {
                self.queue.event(DYNAMODB, position.to_text(), subjects.into_iter().collect(), false, now);
            }
            StreamEvent::Idle { position } => {
                self.queue.event(DYNAMODB, position.to_text(), Vec::new(), false, now);
            }
            StreamEvent::Lost => {
                self.sides.reporter.warn("DynamoDB's stream has lost changes; a full pass follows");
                self.queue.forget_position(DYNAMODB);
                self.need_pass();
            }
            StreamEvent::Failing(reason) => {
                self.is_stream_failing = true;
                self.sides.reporter.failure(None, format!("DynamoDB's stream can't be read: {reason}"));
            }
        }
    }

    async fn all_units(&self) -> Result<Vec<Subject>> {
        let mut units = Vec::new();
        let mut batches = self.sides.mongodb.documents(Kind::Units);
        while let Some(batch) = batches.next().await? {
            units.extend(batch.iter().filter_map(pass::id_of).filter_map(UnitId::parse).map(Subject::Unit));
        }
        Ok(units)
    }

    fn need_pass(&mut self) {
        let now = Instant::now();
        self.next_pass = Some(self.next_pass.map_or(now, |next| next.min(now)));
    }

    fn looked(&mut self, subject: Subject, result: Result<Looked>) {
        let now = Instant::now();
        match result {
            Ok(looked) => {
                let at = now + RECOUNT_AFTER;
                self.recounts.extend(looked.written_units.into_iter().map(|unit| (unit, at)));
                self.queue.finished(&subject, looked.follow_ups.into_iter().collect(), now);
            }
            Err(error) => {
                self.sides.reporter.failure(Some(&subject), format!("{error:#}"));
                self.queue.failed(subject, now);
            }
        }
    }

    fn passed(&mut self, result: PassResult) {
        let now = Instant::now();
        match result {
            Ok((written_units, is_held)) => {
                let at = now + RECOUNT_AFTER;
                self.recounts.extend(written_units.into_iter().map(|unit| (unit, at)));
                self.is_held = is_held;
                self.status.is_held_back.store(is_held, Ordering::Relaxed);
                self.status.set(Phase::Following, "");
                self.sides.reporter.note("a full pass has ended");
                let regular = now + self.options.full_pass_every;
                self.next_pass = Some(self.next_pass.map_or(regular, |next| next.min(regular)));
            }
            Err(error) => {
                self.sides.reporter.failure(None, format!("a full pass: {error:#}"));
                self.next_pass = Some(now + PAUSE_AFTER_FAILED_PASS);
            }
        }
    }

    fn show(&mut self) {
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
    async fn store_positions(&mut self) {
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
