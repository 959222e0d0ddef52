//! Where the reader of a shard is, and when it may send its next request.

use std::time::Duration;

use tokio::time::Instant;

/// The longest pause after errors.
pub const MAX_PAUSE: Duration = Duration::from_secs(5);

/// The number of errors in a row of one shard after which the receiver is informed.
pub const ERRORS_BEFORE_FAILING: u32 = 3;

/// Where the reader of a shard is.
#[derive(Debug)]
pub struct Cursor {
    /// The next request sends this iterator, or gets one first if there is none.
    pub iterator: Option<String>,
    /// When the next request may be sent. `None` while one is unanswered.
    pub due: Option<Instant>,
    /// The number of errors in a row.
    pub errors: u32,
    /// True if the last iterator led to a record that is gone.
    pub was_trimmed: bool,
}

impl Default for Cursor {
    fn default() -> Self {
        Self { iterator: None, due: Some(Instant::now()), errors: 0, was_trimmed: false }
    }
}

impl Cursor {
    /// A request got records. The next one may be sent at this time, with this iterator. Without one, the shard was read
    /// to its end.
    pub fn succeeded(&mut self, iterator: Option<String>, due: Instant) {
        *self = Self { iterator, due: Some(due), errors: 0, was_trimmed: false };
    }

    /// A request has failed. The next one is sent after a pause, and not before this time.
    pub fn failed(&mut self, due: Instant) {
        self.errors += 1;
        self.due = Some(due + pause(self.errors));
    }

    /// Whether so many requests have failed in a row that the receiver is informed.
    pub fn is_failing(&self) -> bool {
        self.errors >= ERRORS_BEFORE_FAILING
    }
}

/// The pause after this many errors in a row. A random part of it, up to a half, is left out.
fn pause(errors: u32) -> Duration {
    let longest = Duration::from_millis(200).saturating_mul(1 << errors.min(10)).min(MAX_PAUSE);
    longest.mul_f64(0.5 + fastrand::f64() / 2.0)
}
