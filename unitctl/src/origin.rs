//! Marks what came from Rocket.Chat. What has no mark was made by an operator ("What came from Rocket.Chat" in
//! docs/data-model.md).
//!
//! An import or a sync changes and deletes only what came from Rocket.Chat. Units, departments and permissions carry
//! `rev` then. A user has a second item, which lists the hashes of the user's tokens. A token came from Rocket.Chat
//! unless it has a `source`.

use std::fmt::Display;

use aws_sdk_dynamodb::types::AttributeValue;
use livechat_units::id::{DepartmentId, UnitId, UserId};
use livechat_units::item::{Item, Key};

use crate::output::warn;

/// How often an import or a sync has written an item. The operator's own items do not have it.
pub const REV: &str = "rev";

/// Who made a token that did not come from Rocket.Chat.
pub const SOURCE: &str = "source";

/// The `source` of a token that this tool made.
pub const UNITCTL: &str = "unitctl";

/// The sort key of the item that lists the hashes of a user's tokens.
pub const TOKENS: &str = "TOKENS";

/// The sort key of the items that have the last state of something that both sides had in common.
const BASE: &str = "BASE";

/// The beginning of the partition keys of the sync's own items.
pub const SYNC_PREFIX: &str = "SYNC#";

/// Warns that a change of something that came from Rocket.Chat does not last.
pub fn warn_of_next_import(what: impl Display) {
    warn(format!("{what} came from Rocket.Chat; the next import or sync puts back what Rocket.Chat has"));
}

/// The key of the item that lists the hashes of a user's tokens.
pub fn tokens_key(user: &UserId) -> Item {
    key(Key::User(user.clone()).partition(), TOKENS)
}

/// The key of one of the items of which the sync has only one, such as its lease.
pub fn state_key(sort: &str) -> Item {
    key(format!("{SYNC_PREFIX}STATE"), sort)
}

/// The key of the item that has the last state of a unit that both sides had in common.
pub fn unit_base_key(unit: &UnitId) -> Item {
    key(format!("{SYNC_PREFIX}UNIT#{unit}"), BASE)
}

/// The key of the item that has the last place of a department that both sides had in common.
pub fn department_base_key(department: &DepartmentId) -> Item {
    key(format!("{SYNC_PREFIX}DEPARTMENT#{department}"), BASE)
}

fn key(partition: String, sort: &str) -> Item {
    let sort = AttributeValue::S(sort.to_owned());
    Item::from([("pk".into(), AttributeValue::S(partition)), ("sk".into(), sort)])
}
