//! Three-way merge, fact by fact: given the base and the state of both sides, what to change where. Nothing is read or
//! written here.
//!
//! If only one side differs from the base, the other side gets the change. If both sides changed the same fact to
//! different values, the later change counts, and a warning names the other one. A fact whose base is unknown counts as
//! changed on both sides.

mod decide;
mod message;
mod model;
#[cfg(test)]
mod model_tests;
mod place;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
mod unit;

pub use self::model::{Fact, NoBase, Obstacle, OpenFact, Overwritten, PlaceMerge, UnitInput, UnitMerge};
pub use self::place::merge_place;
pub use self::unit::merge_unit;
