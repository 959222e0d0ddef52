//! The base: the values that both sides last had in common, an item for each unit and for each department.
//!
//! A base is what was committed, never what was only intended. A transaction of DynamoDB writes the base together with
//! the change. MongoDB's can't, so the intent is stored in the base first. If the process then ends before it stores
//! the new base, the next look must know whether MongoDB committed the change, although someone may have undone it
//! meanwhile. The values alone can't show that. So the intent holds two values of `_updatedAt`: that of the document as
//! it was read, and that which the change sets. No other write sets either of them.

mod attributes;
mod delta;
mod intent;
mod model;
#[cfg(test)]
mod tests;

pub use self::delta::UnitDelta;
pub use self::intent::{IntentState, PlaceIntent, UnitIntent};
pub use self::model::{DepartmentBase, UnitBase};
