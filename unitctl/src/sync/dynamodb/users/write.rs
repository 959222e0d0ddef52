//! Writes a user with their tokens. Each transaction has the condition that nothing else has written the user since the
//! user was read.

use std::collections::HashSet;

use anyhow::Result;
use aws_sdk_dynamodb::types::TransactWriteItem;
use futures_util::{StreamExt, TryStreamExt, stream};

use super::change::UserWrite;
use super::state::StoredUser;
use crate::condition::Condition;
use crate::database::Database;
use crate::limits::{MAX_TRANSACTION_ACTIONS, MAX_TRANSACTION_BYTES};
use crate::origin::{REV, tokens_key};
use crate::requests::transact;
use crate::sync::dynamodb::Written;

/// The number of transactions of several users at the same time.
const MAX_TRANSACTIONS_AT_ONCE: usize = 4;

/// Writes the user. A user with very many tokens takes several transactions. Each leaves the stored user consistent.
///
/// # Errors
/// DynamoDB refuses a request for a reason that a retry does not change.
pub async fn write(database: &Database, write: &UserWrite) -> Result<Written> {
    for actions in write.transactions(&database.tables)? {
        if !transact(database, actions).await? {
            return Ok(Written::Refused);
        }
    }
    Ok(Written::Committed)
}

/// Writes these users, as many in one transaction as fit. Returns for each user whether they are stored. If a condition
/// of one user fails, no user of the same transaction is stored.
///
/// # Errors
/// DynamoDB refuses a request for a reason that a retry does not change. Some users may be stored.
pub async fn write_together(database: &Database, writes: &[UserWrite]) -> Result<Vec<Written>> {
    let mut groups: Vec<Group> = Vec::new();
    for write in writes {
        let mut transactions = write.transactions(&database.tables)?;
        let actions = if transactions.len() == 1 { transactions.remove(0) } else { Vec::new() };
        match groups.last_mut() {
            Some(group) if group.has_room(write, &actions) => group.add(write, actions),
            _ => {
                let mut group = Group::default();
                group.add(write, actions);
                groups.push(group);
            }
        }
    }
    let sent = groups.into_iter().map(|group| group.send(database.clone()));
    let results: Vec<Vec<Written>> =
        stream::iter(sent).buffered(MAX_TRANSACTIONS_AT_ONCE).try_collect().await?;
    Ok(results.into_iter().flatten().collect())
}

/// Users who are written in one transaction, or one user whose write needs several.
#[derive(Default)]
struct Group {
    users: usize,
    /// A user whose write needs several transactions.
    alone: Option<UserWrite>,
    actions: Vec<TransactWriteItem>,
    bytes: usize,
    /// The tokens that are written. A transaction may write no item twice, and two users may have the same token in
    /// MongoDB.
    tokens: HashSet<String>,
}

impl Group {
    fn has_room(&self, write: &UserWrite, actions: &[TransactWriteItem]) -> bool {
        self.alone.is_none()
            && !actions.is_empty()
            && self.actions.len() + actions.len() <= MAX_TRANSACTION_ACTIONS
            && self.bytes + write.bytes() <= MAX_TRANSACTION_BYTES
            && !write.tokens().any(|hash| self.tokens.contains(hash))
    }

    fn add(&mut self, write: &UserWrite, actions: Vec<TransactWriteItem>) {
        self.users += 1;
        self.alone = actions.is_empty().then(|| write.clone());
        self.actions.extend(actions);
        self.bytes += write.bytes();
        self.tokens.extend(write.tokens().cloned());
    }

    /// Sends it. Returns what became of each user.
    async fn send(self, database: Database) -> Result<Vec<Written>> {
        let written = match &self.alone {
            Some(write) => self::write(&database, write).await?,
            None => transact(&database, self.actions).await?.into(),
        };
        Ok(vec![written; self.users])
    }
}

/// Deletes the item `TOKENS` of a user who was deleted long ago ([`StoredUser::is_forgettable`]).
///
/// # Errors
/// DynamoDB refuses the request for a reason that a retry does not change.
pub async fn forget(database: &Database, stored: &StoredUser) -> Result<Written> {
    let delete = Condition::unchanged(stored.list.as_ref(), "pk", &[REV, "deletedAt"]);
    let delete = delete.delete(&database.tables.livechat, tokens_key(&stored.id))?;
    Ok(transact(database, vec![delete]).await?.into())
}
