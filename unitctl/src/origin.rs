//! Tells what came from Rocket.Chat from what is the operator's own ("The items" in docs/data-model.md).
//!
//! An import or a sync changes and deletes only what came from Rocket.Chat. Units, departments and permissions carry
//! `rev` then. A user has a second item, which lists the hashes of the user's tokens. A token came from Rocket.Chat
//! unless it has a `source`.

use std::fmt::Display;

use aws_sdk_dynamodb::types::AttributeValue;
use livechat_units::id::UserId;
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

/// Warns that a change of something that came from Rocket.Chat does not last.
pub fn warn_of_next_import(what: impl Display) {
    warn(format!("{what} came from Rocket.Chat; the next import puts back what Rocket.Chat has"));
}

/// The key of the item that lists the hashes of a user's tokens.
pub fn tokens_key(user: &UserId) -> Item {
    let partition = AttributeValue::S(Key::User(user.clone()).partition());
    Item::from([("pk".into(), partition), ("sk".into(), AttributeValue::S(TOKENS.into()))])
}
