//! What both sides have of a user.

use std::collections::{BTreeSet, HashMap};

use livechat_units::id::UserId;
use livechat_units::item::Item;
use time::{Duration, OffsetDateTime};

use crate::import::document::Document;
use crate::import::user::{User, visible_hashes};
use crate::import::workspace::number;
use crate::import::write::partition;
use crate::origin::SOURCE;
use crate::sync::model::Removal;

/// For how long the sync remembers that a user was deleted.
const MEMORY_OF_DELETED: Duration = Duration::days(1);

/// What DynamoDB has of a user.
#[derive(Clone, Debug)]
pub struct StoredUser {
    /// The user's id.
    pub id: UserId,
    /// The user's item.
    pub user: Option<Item>,
    /// The item `TOKENS`. A user without it was created by an operator.
    pub list: Option<Item>,
    /// Tokens by their hashes: those that the list has, and those that were added.
    pub(super) tokens: HashMap<String, Item>,
}

/// What MongoDB has of a user.
#[derive(Debug)]
pub enum Found {
    /// There is no such document.
    Absent {
        /// True if an event says that it was deleted.
        was_deleted: bool,
    },
    /// The user.
    User(Box<User>),
    /// A document that can't be used.
    Broken {
        /// What is wrong with it.
        reason: String,
        /// The hashes that its tokens have, if that much can be read.
        hashes: Option<BTreeSet<String>>,
    },
}

/// How users are compared.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How long login tokens live.
    pub lifetime: Duration,
    /// The present time.
    pub now: OffsetDateTime,
    /// Whether a user whom MongoDB does not have may be removed.
    pub removal: Removal,
}

impl Found {
    /// Reads MongoDB's document.
    pub fn parse(document: Option<Document>, removal: Removal, lifetime: Duration) -> Self {
        let was_deleted = removal == Removal::Deleted;
        let Some(document) = document else { return Self::Absent { was_deleted } };
        let hashes = visible_hashes(&document);
        match User::parse(document, lifetime) {
            Ok(user) => Self::User(Box::new(user)),
            Err(reason) => Self::Broken { reason, hashes },
        }
    }
}

impl StoredUser {
    /// Nothing is stored of this user.
    pub fn new(id: UserId) -> Self {
        Self { id, user: None, list: None, tokens: HashMap::new() }
    }

    /// Whether the list has this hash.
    pub fn lists(&self, hash: &str) -> bool {
        self.listed().any(|listed| listed == hash)
    }

    /// The hashes that the list has.
    pub fn listed(&self) -> impl Iterator<Item = &str> {
        hashes(self.list.as_ref())
    }

    /// Adds tokens of this user that the list does not have, as a scan of the tokens table finds them. If MongoDB does
    /// not have them either, they are removed.
    pub fn add_tokens(&mut self, tokens: impl IntoIterator<Item = Item>) {
        self.tokens.extend(tokens.into_iter().map(|token| (partition(&token).to_owned(), token)));
    }

    /// True if the user was deleted long ago, and only the item `TOKENS` is left.
    pub fn is_forgettable(&self, now: OffsetDateTime) -> bool {
        let Some(list) = &self.list else { return false };
        let is_old = number(list, "deletedAt").checked_add(MEMORY_OF_DELETED.whole_seconds().unsigned_abs());
        self.user.is_none()
            && hashes(Some(list)).next().is_none()
            && list.contains_key("deletedAt")
            && is_old.is_some_and(|end| end < now.unix_timestamp().unsigned_abs())
    }

    /// Whether a token is this user's and came from Rocket.Chat.
    pub(super) fn owns(&self, token: &Item) -> bool {
        let owner = token.get("userId").and_then(|id| id.as_s().ok());
        owner.is_some_and(|owner| owner == self.id.as_str()) && !token.contains_key(SOURCE)
    }
}

/// The hashes that a list has.
pub fn hashes(list: Option<&Item>) -> impl Iterator<Item = &str> {
    let hashes = list.and_then(|list| list.get("hashes")?.as_ss().ok());
    hashes.into_iter().flatten().filter(|hash| !hash.is_empty()).map(String::as_str)
}
