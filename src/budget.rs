//! The time that one request may take, the tries it makes in it, and what it spends on the way.

use std::future::Future;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::error::Error;

/// A request ends by itself after this long, whatever Lambda would allow.
const LONGEST: Duration = Duration::from_secs(10);

/// Kept back of Lambda's time for the answer: a 503 in time beats a timeout without words.
const RESERVE: Duration = Duration::from_secs(1);

/// The pause before the second try is up to this long; it doubles with each try.
const FIRST_PAUSE: Duration = Duration::from_millis(25);

const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// When a request must be answered, and what it has spent.
pub struct Budget {
    ends: Instant,
    /// Never held across an await point, so a `std::sync::Mutex` does.
    spent: Mutex<Spent>,
}

/// What a request has cost, for its log line and metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Spent {
    /// Calls to DynamoDB, failed ones included; reads made at once count each.
    pub round_trips: u32,
    /// TransactWriteItems among them.
    pub attempts: u32,
    /// Transactions that others were in the way of: failed conditions and conflicts.
    pub conflicts: u32,
    /// Calls that DynamoDB throttled or did not answer well, and batches that it left unfinished.
    pub failures: u32,
    /// Read capacity units, as DynamoDB counts them. It tells none for what fails.
    pub read_units: f64,
    /// Write capacity units, likewise.
    pub write_units: f64,
}

impl Budget {
    /// Starts the clock. `deadline` is the invocation's, if it runs on Lambda.
    pub fn start(deadline: Option<SystemTime>) -> Self {
        let remaining = deadline.map_or(LONGEST + RESERVE, |deadline| {
            deadline.duration_since(SystemTime::now()).unwrap_or_default()
        });
        let allowed = remaining.saturating_sub(RESERVE).min(LONGEST);
        Self { ends: Instant::now() + allowed, spent: Mutex::default() }
    }

    /// What was spent so far.
    pub fn spent(&self) -> Spent {
        *self.spent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn spend(&self, what: impl FnOnce(&mut Spent)) {
        what(&mut self.spent.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// The tries at one thing. What failed last is what the caller is told when the time is over, but for
/// `Busy` after `Unavailable`: a write that got no answer may be stored, and `Busy` says that nothing is.
pub(crate) struct Tries<'a> {
    budget: &'a Budget,
    next_pause: Duration,
    failure: Option<Error>,
}

impl<'a> Tries<'a> {
    pub(crate) fn new(budget: &'a Budget) -> Self {
        Self { budget, next_pause: FIRST_PAUSE, failure: None }
    }

    /// One try, cut off when the time is over.
    pub(crate) async fn run<T>(&mut self, call: impl Future<Output = T>) -> Result<T, Error> {
        // Not begun at all when it is over already: `timeout_at` would still send the request.
        if Instant::now() < self.budget.ends {
            if let Ok(output) = tokio::time::timeout_at(self.budget.ends, call).await {
                return Ok(output);
            }
            // The failure before says more of the cause, unless it was `Busy`.
            self.failure = self.failure.take().filter(|failure| !matches!(failure, Error::Busy));
        }
        Err(self.over())
    }

    /// Waits before the next try, for a random part of a pause that doubles ("full jitter", AWS
    /// Architecture Blog, "Exponential Backoff And Jitter"), or gives the failure back when the time
    /// would be over then.
    pub(crate) async fn pause(&mut self, failure: Error) -> Result<(), Error> {
        let pause = self.next_pause.mul_f64(fastrand::f64());
        self.next_pause = (self.next_pause * 2).min(LONGEST_PAUSE);
        if !matches!((&self.failure, &failure), (Some(Error::Unavailable(_)), Error::Busy)) {
            self.failure = Some(failure);
        }
        if Instant::now() + pause >= self.budget.ends {
            return Err(self.over());
        }
        tokio::time::sleep(pause).await;
        Ok(())
    }

    fn over(&mut self) -> Error {
        self.failure.take().unwrap_or_else(|| Error::Unavailable("the time budget is over".into()))
    }
}
