//! The operators' tool from outside: the real binary on the embedded engine.

mod check;
mod help;
mod import;
mod local;
mod migrating;
mod stack;
mod throttled;
mod workspace;
mod world;
