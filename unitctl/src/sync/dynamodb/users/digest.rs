//! A short form of what is stored of a user with their tokens.

use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::LazyLock;

use aws_sdk_dynamodb::types::AttributeValue;
use livechat_units::item::Item;

use super::state::hashes;
use crate::import::user::User;

/// A short form of a user's item, their list of hashes and their tokens, without `rev`. A full pass keeps it of each user of
/// DynamoDB, so that it need not read those users again whom MongoDB has in the same way.
///
/// It is another one in each process. That two different users have the same one is as likely as guessing 64 random bits. The order
/// in which the items are added does not matter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digest(u64);

impl Digest {
    /// What DynamoDB has if it has this user as MongoDB does. `None` if more than the document decides about that: a token
    /// can't be used, or its lifetime began when it was first imported.
    pub fn of_document(user: &User) -> Option<Self> {
        let is_complete = user.unusable.is_empty() && user.unusable_hashes.is_empty();
        if !is_complete || user.tokens.values().any(|token| token.lacks_when) {
            return None;
        }
        let mut digest = Self::default();
        digest.add_item(&user.item);
        digest.add_hashes(user.hashes());
        for token in user.tokens.values() {
            digest.add_item(&token.item);
        }
        Some(digest)
    }

    /// Adds the user's item, or a token.
    pub fn add_item(&mut self, item: &Item) {
        let attributes = item.iter().map(|(name, value)| match value {
            AttributeValue::S(text) => short(("S", name, text)),
            AttributeValue::N(number) => short(("N", name, number)),
            AttributeValue::Bool(value) => short(("BOOL", name, value)),
            AttributeValue::Ss(members) => {
                // A set has no order.
                let members = members.iter().map(short).fold(0, u64::wrapping_add);
                short(("SS", name, members))
            }
            // Users and tokens have no attributes of other types. If there is one, the user is read again.
            other => short((name, format!("{other:?}"))),
        });
        self.add(("item", attributes.fold(0, u64::wrapping_add)));
    }

    /// Adds the item `TOKENS`.
    pub fn add_list(&mut self, list: &Item) {
        if list.contains_key("deletedAt") {
            self.add("deletedAt");
        }
        self.add_hashes(hashes(Some(list)));
    }

    /// Adds what another digest has.
    pub fn add_digest(&mut self, other: Self) {
        self.0 = self.0.wrapping_add(other.0);
    }

    fn add_hashes<'a>(&mut self, hashes: impl Iterator<Item = &'a str>) {
        self.add("list");
        for hash in hashes {
            self.add(("listed", hash));
        }
    }

    fn add(&mut self, part: impl Hash) {
        self.0 = self.0.wrapping_add(short(part));
    }
}

/// A short form of a token's hash, which takes little memory. It is another one in each process.
pub fn fingerprint(hash: &str) -> u64 {
    short(hash)
}

fn short(value: impl Hash) -> u64 {
    static STATE: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    STATE.hash_one(value)
}

#[cfg(test)]
mod tests;
