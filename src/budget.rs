//! The time that one request may take, its retries within that time, and what it uses of DynamoDB.

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::error::Error;

/// The longest time budget of an update in one transaction, whatever time Lambda would allow.
const MAX_TIME: Duration = Duration::from_secs(10);

/// The longest time budget of an update in several transactions. API Gateway waits for 29 or 30 seconds.
const MAX_TIME_OF_LARGE_UPDATE: Duration = Duration::from_secs(25);

/// The part of Lambda's remaining time that is kept for the answer, so that a 503 comes before Lambda's timeout.
const RESERVE: Duration = Duration::from_secs(1);

/// After DynamoDB failed, the pause before the second try is at most this long. The limit doubles with each try.
const FIRST_PAUSE: Duration = Duration::from_millis(25);

const MAX_PAUSE: Duration = Duration::from_secs(1);

/// The limit of the first pause after a lost race. It doubles with each such pause of the request, because more lost races
/// mean more competitors. The age of the request limits it, too.
const FIRST_RACE_PAUSE: Duration = Duration::from_millis(5);

/// The limit by age of a pause after a lost race, for a new request. It falls linearly with the request's age, to
/// [`MIN_RACE_PAUSE`].
const MAX_RACE_PAUSE: Duration = Duration::from_millis(700);

/// The limit by age, for requests that are at least as old as [`AGE_OF_MIN_RACE_PAUSE`].
const MIN_RACE_PAUSE: Duration = Duration::from_millis(5);

/// Requests of this age and older have the limit [`MIN_RACE_PAUSE`].
const AGE_OF_MIN_RACE_PAUSE: Duration = Duration::from_millis(1800);

/// When a request must be answered, and what it has used of DynamoDB so far.
pub struct Budget {
    start: Instant,
    end: Instant,
    end_of_large_update: Instant,
    is_large_update: AtomicBool,
    /// This is a `std::sync::Mutex` and not a Tokio mutex because it is never held across an await point.
    usage: Mutex<Usage>,
}

/// What a request used of DynamoDB, for its log line and metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// Calls of DynamoDB, failed ones included. Reads that are sent at the same time count one each.
    pub calls: u32,
    /// The TransactWriteItems among the calls.
    pub transactions: u32,
    /// The calls that were sent a second time, because no reply had come. They count among the calls, too.
    pub hedged: u32,
    /// The transactions that lost a race against another update: a condition failed, or DynamoDB found a conflict.
    pub conflicts: u32,
    /// The calls that DynamoDB throttled or did not answer properly, and the batches of which it processed nothing.
    pub failures: u32,
    /// Read capacity units, as DynamoDB reports them. It reports none for a call that fails.
    pub read_capacity: f64,
    /// Write capacity units, as DynamoDB reports them. It reports none for a call that fails.
    pub write_capacity: f64,
}

impl Budget {
    /// Starts the clock. `deadline` is the invocation's, when the function runs on Lambda.
    pub fn start(deadline: Option<SystemTime>) -> Self {
        let allowed = deadline.map_or(MAX_TIME_OF_LARGE_UPDATE, |deadline| {
            deadline.duration_since(SystemTime::now()).unwrap_or_default().saturating_sub(RESERVE)
        });
        let now = Instant::now();
        Self {
            start: now,
            end: now + allowed.min(MAX_TIME),
            end_of_large_update: now + allowed.min(MAX_TIME_OF_LARGE_UPDATE),
            is_large_update: AtomicBool::new(false),
            usage: Mutex::default(),
        }
    }

    /// Allows the time of an update in several transactions.
    pub(crate) fn extend_for_large_update(&self) {
        self.is_large_update.store(true, Ordering::Relaxed);
    }

    /// The moment at which the request must be answered.
    pub(crate) fn end(&self) -> Instant {
        if self.is_large_update.load(Ordering::Relaxed) { self.end_of_large_update } else { self.end }
    }

    /// True if the request must be answered now, so that no call of DynamoDB may begin any more.
    pub(crate) fn is_over(&self) -> bool {
        Instant::now() >= self.end()
    }

    /// What was used so far.
    pub fn usage(&self) -> Usage {
        *self.usage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn record(&self, change: impl FnOnce(&mut Usage)) {
        change(&mut self.usage.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// Retries of one operation. When the time budget ends, the last failure is returned, except that `Busy` never replaces
/// `Unavailable`: `Busy` promises that nothing was stored, and a write without an answer may be stored.
pub(crate) struct Retry<'a> {
    budget: &'a Budget,
    next_pause: Duration,
    next_race_pause: Duration,
    has_lost_race: bool,
    failure: Option<Error>,
}

impl<'a> Retry<'a> {
    pub(crate) fn new(budget: &'a Budget) -> Self {
        Self {
            budget,
            next_pause: FIRST_PAUSE,
            next_race_pause: FIRST_RACE_PAUSE,
            has_lost_race: false,
            failure: None,
        }
    }

    /// Makes one try, which is cancelled when the time budget ends.
    pub(crate) async fn run<T>(&mut self, call: impl Future<Output = T>) -> Result<T, Error> {
        // After the end no try is started, because `timeout_at` polls the call once and so would send the request.
        if !self.budget.is_over() {
            if let Ok(output) = tokio::time::timeout_at(self.budget.end(), call).await {
                return Ok(output);
            }
            // An earlier `Unavailable` names a cause and is kept. `Busy` is dropped, because the cancelled call may
            // have stored the update.
            self.failure = self.failure.take().filter(|failure| !matches!(failure, Error::Busy));
        }
        Err(self.timeout_error())
    }

    /// Waits before the next try: for a random part of a limit that doubles with each try ("full jitter", AWS
    /// Architecture Blog, "Exponential Backoff And Jitter"). After `Busy` the pause is short, and gets shorter with the
    /// request's age, see [`race_pause_by_age`]. After any other failure DynamoDB or the network needs time.
    ///
    /// # Errors
    /// The time budget would end during the pause.
    pub(crate) async fn pause(&mut self, failure: Error) -> Result<(), Error> {
        let longest = if matches!(failure, Error::Busy) {
            let longest = self.next_race_pause;
            self.next_race_pause = (longest * 2).min(MAX_RACE_PAUSE);
            longest.min(race_pause_by_age(self.budget.start.elapsed()))
        } else {
            let longest = self.next_pause;
            self.next_pause = (longest * 2).min(MAX_PAUSE);
            longest
        };
        self.sleep(longest, failure).await
    }

    /// Waits before the next try of an update whose transaction was refused. After the first refusal there is no wait:
    /// the update that won the race is done, and the refusal contains what the next plan needs.
    ///
    /// # Errors
    /// The time budget would end during the pause.
    pub(crate) async fn pause_after_refusal(&mut self) -> Result<(), Error> {
        if std::mem::replace(&mut self.has_lost_race, true) {
            return self.pause(Error::Busy).await;
        }
        self.sleep(Duration::ZERO, Error::Busy).await
    }

    async fn sleep(&mut self, longest: Duration, failure: Error) -> Result<(), Error> {
        if !matches!((&self.failure, &failure), (Some(Error::Unavailable(_)), Error::Busy)) {
            self.failure = Some(failure);
        }
        let pause = longest.mul_f64(fastrand::f64());
        if Instant::now() + pause >= self.budget.end() {
            return Err(self.timeout_error());
        }
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        Ok(())
    }

    fn timeout_error(&mut self) -> Error {
        self.failure.take().unwrap_or_else(|| Error::Unavailable("the time budget is over".into()))
    }
}

/// The longest pause after a lost race, for a request of this age. An older request pauses for a shorter time and tries
/// more often, so that no request loses every race. The figures were chosen by measuring: see docs/performance.md, "A
/// unit that many change".
fn race_pause_by_age(age: Duration) -> Duration {
    let left = AGE_OF_MIN_RACE_PAUSE.saturating_sub(age).div_duration_f64(AGE_OF_MIN_RACE_PAUSE);
    MAX_RACE_PAUSE.mul_f64(left).max(MIN_RACE_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_after_a_lost_race_becomes_shorter_with_age() {
        let ages = [0, 450, 900, 1795, 1800, 25_000].map(Duration::from_millis);
        let pauses = ages.map(|age| race_pause_by_age(age).as_millis());
        assert_eq!(pauses, [700, 525, 350, 5, 5, 5]);
    }

    #[tokio::test]
    async fn failures_and_lost_races_pause_differently() {
        let budget = Budget::start(None);
        let mut retry = Retry::new(&budget);
        let started = Instant::now();
        retry.pause_after_refusal().await.expect("there is time");
        assert!(started.elapsed() < Duration::from_millis(100), "the first refusal does not wait");
        for _ in 0..3 {
            retry.pause(Error::Busy).await.expect("there is time");
        }
        assert_eq!(retry.next_pause, FIRST_PAUSE, "lost races don't make the pauses after failures longer");
        assert_eq!(
            retry.next_race_pause,
            8 * FIRST_RACE_PAUSE,
            "more lost races make the pauses after them longer"
        );
        retry.pause(Error::Unavailable("throttled".into())).await.expect("there is time");
        assert_eq!(retry.next_pause, 2 * FIRST_PAUSE);
    }
}
