//! How often the lease is renewed, and when another process takes over.

use std::time::Duration;

/// The intervals of the lease. A holder stops writing before another process can take over.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// The time between two looks of a process that waits.
    pub look: Duration,
    /// The time between two increments of the counter.
    pub renewal: Duration,
    /// For this long after its last increment, a holder may rely on its lease.
    pub trust: Duration,
    /// If the counter stands still for this long, another process takes over.
    pub takeover: Duration,
}

/// The intervals of all commands.
pub const TIMING: Timing = Timing {
    look: Duration::from_secs(1),
    renewal: Duration::from_secs(3),
    trust: Duration::from_secs(15),
    takeover: Duration::from_secs(20),
};
