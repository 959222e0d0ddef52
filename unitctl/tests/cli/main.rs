//! Tests of the operators' tool from outside: they run the real binary on the embedded engine.

mod check;
mod documents;
mod features;
mod guide;
mod help;
mod import;
mod local;
mod migrating;
mod origin;
mod policies;
// The databases of the sync's tests. The commands of one page need one.
#[cfg(feature = "sync")]
#[allow(dead_code)]
#[path = "../sync/rocket_chat/mod.rs"]
mod rocket_chat;
mod stack;
#[cfg(feature = "sync")]
#[path = "../sync/world.rs"]
mod sync_world;
mod throttled;
mod workspace;
mod world;
