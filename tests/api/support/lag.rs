//! How late this machine is. A test that expects something at a certain time must allow for it.

use std::cell::Cell;
use std::future::Future;
use std::time::{Duration, Instant};

use tokio::time::sleep;

const TICK: Duration = Duration::from_millis(20);

/// Timers are this late on any machine.
const MIN_LAG: Duration = Duration::from_millis(5);

/// How late timers were, because this thread had other work or the machine did not let it run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lag {
    pub sum: Duration,
    pub worst: Duration,
}

impl Lag {
    /// Whether the thread stood still so long that a request to DynamoDB may have been given up because of it.
    pub fn is_stall(self) -> bool {
        self.worst > Duration::from_millis(300)
    }
}

/// An update that is answered with `Service Unavailable` although DynamoDB works has used up its time budget of ten seconds. It may
/// end up to a second earlier, because no pause begins that would end later.
pub const MIN_TIME_OF_UNAVAILABLE: Duration = Duration::from_secs(8);

/// How often [`in_time`] tries.
const ATTEMPTS: usize = 10;

/// Tries something that succeeds only if this machine is fast enough: a thread that stands still, or a slow reply of the engine,
/// changes the order in which things happen. `attempt` gets its number, from 0, and returns what went wrong if it was too late. What
/// must hold at any speed, it asserts itself.
pub async fn in_time<T>(mut attempt: impl AsyncFnMut(usize) -> Result<T, String>) -> T {
    let mut all_wrong = Vec::new();
    for number in 0..ATTEMPTS {
        match attempt(number).await {
            Ok(output) => return output,
            Err(wrong) => all_wrong.push(wrong),
        }
        // What keeps this machine busy may have ended then.
        sleep(Duration::from_millis(100) * number as u32).await;
    }
    panic!("not in time in {ATTEMPTS} attempts: {all_wrong:#?}");
}

/// Runs a future, and returns how long it took without the lag of this machine.
pub async fn timed<T>(future: impl Future<Output = T>) -> (T, Duration) {
    let started = Instant::now();
    // The time is taken inside, so that no lag comes after the lag was measured.
    let ((output, took), lag) = with_lag(async { (future.await, started.elapsed()) }).await;
    (output, took.saturating_sub(lag.sum))
}

/// Runs a future and measures the lag meanwhile.
pub async fn with_lag<T>(future: impl Future<Output = T>) -> (T, Lag) {
    let (due, lag) = (Cell::new(Instant::now()), Cell::new(Lag::default()));
    let note_lag = || {
        let (late, Lag { sum, worst }) = (due.get().elapsed(), lag.get());
        if late > MIN_LAG {
            lag.set(Lag { sum: sum + late, worst: worst.max(late) });
        }
    };
    let watch = async {
        loop {
            due.set(Instant::now() + TICK);
            sleep(TICK).await;
            note_lag();
        }
    };
    let output = tokio::select! {
        // The watch is polled first, because the future may end after the longest stall.
        biased;
        () = watch => unreachable!("the watch does not end"),
        output = future => output,
    };
    // The future may have been stalled while it was polled for the last time.
    note_lag();
    (output, lag.get())
}
