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
