//! Random interleavings of both sides' writes, with processes that are killed, stopped and cut off.
//!
//! SYNC_INTERLEAVINGS_RUNS is the number of runs, SYNC_INTERLEAVINGS_STEPS the number of actions of each side in a run, and
//! SYNC_INTERLEAVINGS_SEED the seed of the first run. Each run prints its seed. What happens is not repeated exactly,
//! because processes and servers take their time, but the actions are.

mod actors;
mod crashes;
mod existence;
mod facts;
mod failures;
mod history;
mod proxy;
mod random;

pub use self::proxy::{Proxy, has};
pub use self::random::{mongodb_address, through};
