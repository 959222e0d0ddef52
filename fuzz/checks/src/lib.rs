//! What must hold for every event, body and plan.
//!
//! The fuzz targets run [`event()`], [`body()`] and [`plan()`] on inputs that a fuzzer makes. The tests of this package run
//! them on the stored inputs in `fuzz/corpus/`, and run random plans on the [`model`].

mod body;
mod event;
pub mod model;
mod plan;

pub use body::body;
pub use event::event;
pub use plan::plan;
