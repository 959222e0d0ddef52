//! The stored items of docs/data-model.md: their keys, and the attributes of each that the function reads.

mod attributes;
mod items;
mod key;
mod kinds;

pub use attributes::{Attributes, Text, Value};
pub use items::Items;
pub use key::{Corrupt, Item, Key, Stored};
pub use kinds::{Department, LosingUnit, MONITOR_ROLE, PERMISSION, Permission, Token, Unit, User};
