//! Writes users that differ from what is stored, with their login tokens and the list of the tokens' hashes.
//!
//! An import finds a revoked token by this list, the item `TOKENS`. A hash is added to the list before its token is
//! stored, and is removed after the token is deleted. So an import may be stopped at any moment, and the next one finds
//! what is left to do.

use std::collections::{BTreeSet, HashMap};

use anyhow::Result;
use aws_sdk_dynamodb::types::{AttributeValue, WriteRequest};
use livechat_units::id::UserId;
use livechat_units::item::{Item, Key};
use time::{Duration, OffsetDateTime};

use super::document::Broken;
use super::equality::equal;
use super::records::insert_set;
use super::user::User;
use super::workspace::number;
use super::write::{partition, put_request};
use super::written::{Kind, Outcome, Written, WrittenBatch};
use crate::database::Database;
use crate::limits::MAX_BATCH_WRITE_ITEMS;
use crate::origin::{REV, SOURCE, TOKENS, tokens_key};
use crate::requests;

/// How users are written.
#[derive(Clone, Copy, Debug)]
pub struct UserOptions {
    /// The time of the import.
    pub now: OffsetDateTime,
    /// How long login tokens live.
    pub lifetime: Duration,
    /// True if the export has login tokens. If it has none, it was made without them, and stored tokens stay.
    pub has_login_tokens: bool,
    /// Whether nothing is written.
    pub is_dry_run: bool,
}

/// Stores these users, at most [`MAX_BATCH_WRITE_ITEMS`] different ones, and their tokens, if they differ from what is
/// stored.
///
/// # Errors
/// DynamoDB refuses the request for a reason that is not temporary.
pub async fn users(database: Database, users: Vec<User>, options: UserOptions) -> Result<WrittenBatch> {
    let stored = Stored::read(&database, &users).await?;
    let mut result = WrittenBatch::default();
    let mut steps = Steps::default();
    for user in users {
        steps.plan(user, &stored, &options, &mut result);
    }
    if !options.is_dry_run {
        steps.carry_out(&database).await?;
    }
    Ok(result)
}

/// What is stored of some users.
struct Stored {
    users: HashMap<String, Item>,
    /// The items that list the users' hashes.
    lists: HashMap<String, Item>,
    /// The tokens that the users have or had, by their hashes.
    tokens: HashMap<String, Item>,
}

impl Stored {
    async fn read(database: &Database, users: &[User]) -> Result<Self> {
        let keys =
            users.iter().flat_map(|user| [Key::User(user.id.clone()).attributes(), tokens_key(&user.id)]);
        let mut tokens: BTreeSet<String> =
            users.iter().flat_map(|user| user.hashes().map(str::to_owned)).collect();
        let (mut stored_users, mut lists) = (HashMap::new(), HashMap::new());
        for item in database.get_all(keys.collect()).await? {
            let is_list =
                item.get("sk").and_then(|value| value.as_s().ok()).is_some_and(|sort| sort == TOKENS);
            if is_list {
                tokens.extend(hashes_of(Some(&item)));
            }
            let by_partition = if is_list { &mut lists } else { &mut stored_users };
            by_partition.insert(partition(&item).to_owned(), item);
        }
        let keys: Vec<Item> = tokens.into_iter().map(|hash| Key::Token(hash).attributes()).collect();
        let tokens = match keys.is_empty() {
            true => Vec::new(),
            false => {
                requests::read(&database.client, HashMap::from([(database.tables.tokens.clone(), keys)]))
                    .await?
            }
        };
        let tokens = tokens.into_iter().map(|item| (partition(&item).to_owned(), item)).collect();
        Ok(Self { users: stored_users, lists, tokens })
    }
}

/// The writes of some users, in the order in which they have to be done.
#[derive(Default)]
struct Steps {
    tokens_to_delete: Vec<(String, UserId)>,
    lists: Vec<Item>,
    users_and_tokens: Vec<(Kind, Item)>,
}

impl Steps {
    fn plan(&mut self, user: User, stored: &Stored, options: &UserOptions, result: &mut WrittenBatch) {
        let partition = Key::User(user.id.clone()).partition();
        let old_list = stored.lists.get(&partition);
        let old_hashes: BTreeSet<String> = hashes_of(old_list).collect();
        let mut hashes: BTreeSet<String> = user.hashes().map(str::to_owned).collect();
        if !options.has_login_tokens {
            hashes.extend(old_hashes.iter().cloned());
        }
        let mut record = |kind, item: &Item, outcome| {
            let item = options.is_dry_run.then(|| item.clone());
            result.written.push(Written { kind, item, outcome });
        };
        let outcome_of = |is_stored| if is_stored { Outcome::Unchanged } else { Outcome::Written };

        let is_list_stored = old_list.is_some() && hashes == old_hashes;
        let is_user_stored = stored.users.get(&partition).is_some_and(|old| equal(old, &user.item));
        record(Kind::User, &user.item, outcome_of(is_user_stored && is_list_stored));
        let mut is_all_stored = is_user_stored && is_list_stored;
        if !is_user_stored {
            self.users_and_tokens.push((Kind::User, user.item));
        }
        for (hash, token) in user.tokens {
            let old = stored.tokens.get(&hash);
            let item = if token.lacks_when {
                match token.item_since_first_import(old, options.lifetime, options.now) {
                    Ok(item) => item,
                    Err(reason) => {
                        result.unusable.push(Broken { line: user.line, reason });
                        continue;
                    }
                }
            } else {
                token.item
            };
            let is_stored = old.is_some_and(|old| equal(old, &item));
            record(Kind::Token, &item, outcome_of(is_stored));
            if !is_stored {
                is_all_stored = false;
                self.users_and_tokens.push((Kind::Token, item));
            }
        }
        for hash in old_hashes.difference(&hashes) {
            let token = stored.tokens.get(hash).filter(|token| is_imported_for(token, &user.id));
            if let Some(token) = token {
                record(Kind::Token, token, Outcome::Deleted);
                self.tokens_to_delete.push((hash.clone(), user.id.clone()));
            }
        }
        // The list's `rev` grows with every change of the user, of their tokens or of the list.
        if !is_all_stored {
            let mut list = tokens_key(&user.id);
            let rev = old_list.map_or(0, |old| number(old, REV)) + 1;
            list.insert(REV.into(), AttributeValue::N(rev.to_string()));
            insert_set(&mut list, "hashes", hashes);
            record(Kind::User, &list, Outcome::Uncounted);
            self.lists.push(list);
        }
    }

    async fn carry_out(self, database: &Database) -> Result<()> {
        for (hash, user) in self.tokens_to_delete {
            delete_token(database, &hash, &user).await?;
        }
        write(database, self.lists.into_iter().map(|list| (Kind::User, list))).await?;
        write(database, self.users_and_tokens.into_iter()).await
    }
}

/// Whether a token is the user's and came from Rocket.Chat.
fn is_imported_for(token: &Item, user: &UserId) -> bool {
    let owner = token.get("userId").and_then(|id| id.as_s().ok());
    owner.is_some_and(|owner| owner == user.as_str()) && !token.contains_key(SOURCE)
}

/// Writes these items in full batches.
async fn write(database: &Database, items: impl Iterator<Item = (Kind, Item)>) -> Result<()> {
    let mut items = items.peekable();
    while items.peek().is_some() {
        let mut requests: HashMap<String, Vec<WriteRequest>> = HashMap::new();
        for (kind, item) in items.by_ref().take(MAX_BATCH_WRITE_ITEMS) {
            let table = if kind == Kind::Token { &database.tables.tokens } else { &database.tables.livechat };
            requests.entry(table.clone()).or_default().push(put_request(item)?);
        }
        requests::send(database, requests).await?;
    }
    Ok(())
}

/// Deletes a token, unless it belongs to another user by now or was made by `unitctl`.
async fn delete_token(database: &Database, hash: &str, user: &UserId) -> Result<()> {
    let table = &database.tables.tokens;
    let delete = database
        .client
        .delete_item()
        .table_name(table)
        .set_key(Some(Key::Token(hash.to_owned()).attributes()))
        .condition_expression("userId = :user AND attribute_not_exists(#source)")
        .expression_attribute_names("#source", SOURCE)
        .expression_attribute_values(":user", AttributeValue::S(user.to_string()));
    // If the condition fails, the token is gone or is not the import's to delete.
    requests::write_on_condition(table, || delete.clone().send()).await.map(drop)
}

fn hashes_of(list: Option<&Item>) -> impl Iterator<Item = String> {
    let hashes = list.and_then(|list| list.get("hashes")?.as_ss().ok());
    hashes.into_iter().flatten().filter(|hash| !hash.is_empty()).cloned()
}
