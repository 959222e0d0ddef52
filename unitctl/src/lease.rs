//! The lease: several processes may bring Rocket.Chat's data to the same tables, but only the one that has the lease
//! works. The others wait.
//!
//! It only avoids double work. Two processes that both work do no harm, because every write is conditional.
//!
//! The item `SYNC#STATE` / `LEASE` names its holder, who increases a counter in it every few seconds. A process that
//! wants the lease reads the counter every second. If the counter has not changed for 20 seconds by that process's own
//! monotonic clock, the holder counts as gone. So the clocks of two machines need not agree.

mod candidate;
mod held;
mod item;
mod timing;

pub use self::candidate::{Attempt, Candidate};
pub use self::held::Lease;
pub use self::item::Other;

#[cfg(test)]
mod tests;
