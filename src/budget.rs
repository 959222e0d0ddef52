//! The time that one request may take, its retries within that time, and what it uses of DynamoDB.

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::error::Error;
use crate::race::Rounds;

/// The longest time budget of an update in one transaction, whatever time Lambda would allow.
const MAX_TIME: Duration = Duration::from_secs(10);

/// The longest time budget of an update in several transactions. API Gateway waits for 29 or 30 seconds.
const MAX_TIME_OF_LARGE_UPDATE: Duration = Duration::from_secs(25);

/// The part of Lambda's remaining time that is kept for the answer, so that a 503 comes before Lambda's timeout.
const RESERVE: Duration = Duration::from_secs(1);

/// After DynamoDB failed, the pause before the second try is at most this long. The limit doubles with each try.
const FIRST_PAUSE: Duration = Duration::from_millis(25);

const MAX_PAUSE: Duration = Duration::from_secs(1);

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
    /// The limit of the next pause after DynamoDB failed.
    next_pause: Duration,
    rounds: Rounds,
    /// The time that the last try took.
    last_call: Duration,
    failure: Option<Error>,
}

impl<'a> Retry<'a> {
    pub(crate) fn new(budget: &'a Budget) -> Self {
        Self {
            budget,
            next_pause: FIRST_PAUSE,
            rounds: Rounds::default(),
            last_call: Duration::ZERO,
            failure: None,
        }
    }

    /// Makes one try, which is cancelled when the time budget ends.
    pub(crate) async fn run<T>(&mut self, call: impl Future<Output = T>) -> Result<T, Error> {
        // After the end no try is started, because `timeout_at` polls the call once and so would send the request.
        if !self.budget.is_over() {
            let start = Instant::now();
            let output = tokio::time::timeout_at(self.budget.end(), call).await;
            self.last_call = start.elapsed();
            if let Ok(output) = output {
                return Ok(output);
            }
            // An earlier `Unavailable` names a cause and is kept. `Busy` is dropped, because the cancelled call may
            // have stored the update.
            self.failure = self.failure.take().filter(|failure| !matches!(failure, Error::Busy));
        }
        Err(self.timeout_error())
    }

    /// Waits before the next try. After `Busy`, the update has lost a race, and [`Rounds`] says how long it waits. After any
    /// other failure, DynamoDB or the network needs time: the pause is a random part of a limit that doubles with each try
    /// ("full jitter", AWS Architecture Blog, "Exponential Backoff And Jitter").
    ///
    /// # Errors
    /// The time budget would end during the pause.
    pub(crate) async fn pause(&mut self, failure: Error) -> Result<(), Error> {
        let pause = if matches!(failure, Error::Busy) {
            self.rounds.next_pause(self.budget.start.elapsed(), self.last_call, fastrand::f64())
        } else {
            let longest = self.next_pause;
            self.next_pause = (longest * 2).min(MAX_PAUSE);
            longest.mul_f64(fastrand::f64())
        };
        if !matches!((&self.failure, &failure), (Some(Error::Unavailable(_)), Error::Busy)) {
            self.failure = Some(failure);
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lost_races_do_not_make_the_pauses_after_failures_longer() {
        let budget = Budget::start(None);
        let mut retry = Retry::new(&budget);
        for _ in 0..3 {
            retry.pause(Error::Busy).await.expect("there is time");
        }
        assert_eq!(retry.next_pause, FIRST_PAUSE);
        retry.pause(Error::Unavailable("throttled".into())).await.expect("there is time");
        assert_eq!(retry.next_pause, 2 * FIRST_PAUSE);
    }
}
