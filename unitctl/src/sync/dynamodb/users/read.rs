//! Reads what DynamoDB has of users.

use std::collections::{BTreeSet, HashMap, HashSet};

use anyhow::Result;
use aws_sdk_dynamodb::types::AttributeValue;
use livechat_units::id::UserId;
use livechat_units::item::{Item, Key};

use super::state::{Found, StoredUser, hashes};
use crate::database::Database;
use crate::import::write::partition;
use crate::origin::{TOKENS, tokens_key};
use crate::requests;

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
