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
mod stack;
mod throttled;
mod workspace;
mod world;
