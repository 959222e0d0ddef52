//! Users with their login tokens.
//!
//! The item `TOKENS` of a user guards everything that the sync stores of the user: each transaction increases its
//! `rev`, and is committed only if no other write has increased it since it was read. It also lists the hashes of the
//! user's tokens, so that a revoked one is found: a hash is in it before its token is stored, or at the same moment,
//! and until the token is deleted.

mod decide;
mod write;

use std::collections::{BTreeSet, HashMap, HashSet};

use anyhow::Result;
use aws_sdk_dynamodb::types::AttributeValue;
use livechat_units::id::UserId;
use livechat_units::item::{Item, Key};
use time::{Duration, OffsetDateTime};

pub use self::decide::decide;
pub use self::write::{UserWrite, forget, write, write_together};
use crate::database::Database;
use crate::import::documents::Document;
use crate::import::user::{User, visible_hashes};
use crate::import::workspace::number;
use crate::import::write::partition;
use crate::origin::{SOURCE, TOKENS, tokens_key};
use crate::requests;

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
    tokens: HashMap<String, Item>,
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
    /// True if a user whom MongoDB does not have may be removed.
    pub may_remove: bool,
}

impl Found {
    /// Reads MongoDB's document.
    pub fn parse(document: Option<Document>, was_deleted: bool, lifetime: Duration) -> Self {
        let Some(document) = document else { return Self::Absent { was_deleted } };
        let hashes = visible_hashes(&document);
        match User::parse(document, lifetime) {
            Ok(user) => Self::User(Box::new(user)),
            Err(reason) => Self::Broken { reason, hashes },
        }
    }
}

impl StoredUser {
    fn new(id: UserId) -> Self {
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
    fn owns(&self, token: &Item) -> bool {
        let owner = token.get("userId").and_then(|id| id.as_s().ok());
        owner.is_some_and(|owner| owner == self.id.as_str()) && !token.contains_key(SOURCE)
    }
}

/// Reads these users with their lists and the tokens that the lists have. Every id is in the result.
///
/// # Errors
/// DynamoDB refuses a request for good, or can't be reached.
pub async fn read(database: &Database, ids: &[UserId]) -> Result<HashMap<UserId, StoredUser>> {
    let mut users: HashMap<UserId, StoredUser> =
        ids.iter().map(|id| (id.clone(), StoredUser::new(id.clone()))).collect();
    let keys = users.keys().flat_map(|id| [Key::User(id.clone()).attributes(), tokens_key(id)]).collect();
    let mut owners: HashMap<String, Vec<UserId>> = HashMap::new();
    for item in database.get_all(keys).await? {
        let id = partition(&item).strip_prefix("USER#").and_then(UserId::parse);
        let Some(user) = id.and_then(|id| users.get_mut(&id)) else { continue };
        if item.get("sk") == Some(&AttributeValue::S(TOKENS.into())) {
            for hash in hashes(Some(&item)) {
                owners.entry(hash.to_owned()).or_default().push(user.id.clone());
            }
            user.list = Some(item);
        } else {
            user.user = Some(item);
        }
    }
    for token in read_tokens(database, owners.keys()).await? {
        for id in owners.get(partition(&token)).into_iter().flatten() {
            if let Some(user) = users.get_mut(id) {
                user.add_tokens([token.clone()]);
            }
        }
    }
    Ok(users)
}

/// Reads only the lists of hashes of these users, from the items `TOKENS`.
///
/// # Errors
/// DynamoDB refuses a request for good, or can't be reached.
pub async fn read_lists(database: &Database, ids: &[UserId]) -> Result<HashMap<UserId, HashSet<String>>> {
    let items = database.get_all(ids.iter().map(tokens_key).collect()).await?;
    let lists = items.into_iter().filter_map(|item| {
        let id = partition(&item).strip_prefix("USER#").and_then(UserId::parse)?;
        Some((id, hashes(Some(&item)).map(str::to_owned).collect()))
    });
    Ok(lists.collect())
}

/// Reads the tokens that MongoDB's documents have and the lists do not: new ones, and those of an older import that did
/// not write lists. It sends nothing if there are none.
///
/// This may be done after MongoDB was read, because the transactions have conditions on these tokens, too.
///
/// # Errors
/// DynamoDB refuses a request for good, or can't be reached.
pub async fn read_named(database: &Database, users: &mut [(&mut StoredUser, &Found)]) -> Result<()> {
    let mut places: HashMap<String, Vec<usize>> = HashMap::new();
    for (place, (stored, found)) in users.iter().enumerate() {
        let Found::User(user) = found else { continue };
        let listed: BTreeSet<&str> = hashes(stored.list.as_ref()).collect();
        for hash in user.hashes().filter(|hash| !listed.contains(hash)) {
            places.entry(hash.to_owned()).or_default().push(place);
        }
    }
    for token in read_tokens(database, places.keys()).await? {
        for place in places.get(partition(&token)).into_iter().flatten() {
            users[*place].0.add_tokens([token.clone()]);
        }
    }
    Ok(())
}

async fn read_tokens<'a>(database: &Database, hashes: impl Iterator<Item = &'a String>) -> Result<Vec<Item>> {
    let keys: Vec<Item> = hashes.map(|hash| Key::Token(hash.clone()).attributes()).collect();
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    requests::read(&database.client, HashMap::from([(database.tables.tokens.clone(), keys)])).await
}

/// The hashes that a list has.
fn hashes(list: Option<&Item>) -> impl Iterator<Item = &str> {
    let hashes = list.and_then(|list| list.get("hashes")?.as_ss().ok());
    hashes.into_iter().flatten().filter(|hash| !hash.is_empty()).map(String::as_str)
}

#[cfg(test)]
mod tests;
