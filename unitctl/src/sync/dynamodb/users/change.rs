//! What to write of a user with their tokens, and the transactions that do it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use anyhow::Result;
use aws_sdk_dynamodb::types::{AttributeValue, TransactWriteItem};
use livechat_units::Tables;
use livechat_units::id::UserId;
use livechat_units::item::{Item, Key};
use time::OffsetDateTime;

use super::state::{StoredUser, hashes};
use crate::condition::{self, Condition};
use crate::import::item_size::item_bytes;
use crate::import::records::insert_set;
use crate::import::workspace::number;
use crate::limits::{MAX_TRANSACTION_ACTIONS, MAX_TRANSACTION_BYTES};
use crate::origin::{REV, SOURCE, tokens_key};
use crate::sync::dynamodb::next_rev;

/// The first letters of a hash are enough to find a token, and not enough to use it.
const SHOWN_LETTERS: usize = 6;

/// What to write of a user.
#[derive(Clone, Debug)]
pub struct UserWrite {
    id: UserId,
    /// The list as it was read.
    old_list: Option<Item>,
    pub(super) user: UserChange,
    list: ListChange,
    /// Hashes of tokens to delete, with the size of each.
    pub(super) tokens_to_delete: BTreeMap<String, usize>,
    pub(super) tokens_to_put: BTreeMap<String, Item>,
    now: OffsetDateTime,
}

#[derive(Clone, Debug)]
pub(super) enum UserChange {
    Keep,
    Put(Item),
    Delete,
}

/// What becomes of the list of hashes.
#[derive(Clone, Debug)]
pub(super) enum ListChange {
    /// In the end, it has these hashes.
    Hashes(BTreeSet<String>),
    /// In the end, it has no hashes, and says when the user was deleted.
    Deleted,
    /// There is none, and there will be none.
    StaysAbsent,
}

impl UserWrite {
    pub(super) fn new(stored: &StoredUser, list: ListChange, now: OffsetDateTime) -> Self {
        Self {
            id: stored.id.clone(),
            old_list: stored.list.clone(),
            user: UserChange::Keep,
            list,
            tokens_to_delete: BTreeMap::new(),
            tokens_to_put: BTreeMap::new(),
            now,
        }
    }

    /// The user's id.
    pub fn user(&self) -> &UserId {
        &self.id
    }

    /// True if the user had no list.
    pub fn creates_list(&self) -> bool {
        self.old_list.is_none()
    }

    /// The hashes that the list has in the end.
    pub fn listed(&self) -> impl Iterator<Item = &str> {
        let hashes = if let ListChange::Hashes(hashes) = &self.list { Some(hashes) } else { None };
        hashes.into_iter().flatten().map(String::as_str)
    }

    /// Deletes those stored tokens that came from Rocket.Chat for this user and whose hashes are chosen.
    pub(super) fn delete_tokens(&mut self, stored: &StoredUser, is_chosen: impl Fn(&str) -> bool) {
        let tokens = stored.tokens.iter().filter(|(hash, token)| stored.owns(token) && is_chosen(hash));
        self.tokens_to_delete = tokens.map(|(hash, token)| (hash.clone(), item_bytes(token))).collect();
    }

    /// The tokens that are deleted although the list did not have them, by the first letters of their hashes.
    pub fn orphans(&self) -> impl Iterator<Item = String> {
        let listed: BTreeSet<&str> = hashes(self.old_list.as_ref()).collect();
        let orphans = self.tokens_to_delete.keys().filter(move |hash| !listed.contains(hash.as_str()));
        orphans.map(|hash| {
            let letters: String = hash.chars().take(SHOWN_LETTERS).collect();
            format!("the token {letters}... of user {}", self.id)
        })
    }

    /// The steps, in the order in which they are done.
    fn steps(&self, tables: &Tables) -> Result<Vec<Step>> {
        let mut steps = Vec::new();
        let user = Key::User(self.id.clone()).attributes();
        match &self.user {
            UserChange::Keep => {}
            UserChange::Put(item) => steps.push(Step {
                action: condition::put(&tables.livechat, item.clone())?,
                bytes: item_bytes(item),
                token: None,
            }),
            UserChange::Delete => {
                steps.push(Step { action: condition::delete(&tables.livechat, user)?, bytes: 0, token: None })
            }
        }
        let key = |hash: &String| Key::Token(hash.clone()).attributes();
        for (hash, bytes) in &self.tokens_to_delete {
            let action = self.is_own_or_absent().delete(&tables.tokens, key(hash))?;
            steps.push(Step { action, bytes: *bytes, token: Some(hash.clone()) });
        }
        for (hash, item) in &self.tokens_to_put {
            let action = self.is_own_or_absent().put(&tables.tokens, item.clone())?;
            steps.push(Step { action, bytes: item_bytes(item), token: Some(hash.clone()) });
        }
        Ok(steps)
    }

    /// The condition of every write of a token: it is not another user's and was not made by `unitctl`.
    fn is_own_or_absent(&self) -> Condition {
        let owner = AttributeValue::S(self.id.to_string());
        Condition::default().equal("userId", owner).absent(SOURCE).or_absent("hashedToken")
    }

    /// The transactions, in the order in which they have to be committed.
    pub(super) fn transactions(&self, tables: &Tables) -> Result<Vec<Vec<TransactWriteItem>>> {
        let mut to_do: BTreeSet<String> =
            self.tokens_to_delete.keys().chain(self.tokens_to_put.keys()).cloned().collect();
        let mut list = self.old_list.clone();
        let mut transactions = Vec::new();
        let mut steps = self.steps(tables)?.into_iter().peekable();
        loop {
            // The action of the list is added when it is known what the list has to have.
            let mut actions = Vec::new();
            let mut bytes = self.list_bytes();
            while let Some(step) =
                steps.next_if(|step| actions.is_empty() || bytes + step.bytes <= MAX_TRANSACTION_BYTES)
            {
                bytes += step.bytes;
                if let Some(hash) = &step.token {
                    to_do.remove(hash);
                }
                actions.push(step.action);
                if actions.len() == MAX_TRANSACTION_ACTIONS - 1 {
                    break;
                }
            }
            let is_last = steps.peek().is_none();
            let key = tokens_key(&self.id);
            match self.list_item(list.as_ref(), &to_do, is_last) {
                None => actions.insert(0, Condition::default().absent("pk").check(&tables.livechat, key)?),
                Some(item) => {
                    let put = Condition::unchanged(list.as_ref(), "pk", &[REV]);
                    actions.insert(0, put.put(&tables.livechat, item.clone())?);
                    list = Some(item);
                }
            }
            transactions.push(actions);
            if is_last {
                return Ok(transactions);
            }
        }
    }

    /// The list that a transaction stores, while these tokens are still to be deleted or stored.
    fn list_item(&self, old: Option<&Item>, to_do: &BTreeSet<String>, is_last: bool) -> Option<Item> {
        let target = match &self.list {
            ListChange::StaysAbsent => return None,
            ListChange::Deleted => BTreeSet::new(),
            ListChange::Hashes(target) => target.clone(),
        };
        let listed: BTreeSet<&str> = hashes(self.old_list.as_ref()).collect();
        let is_listed = |hash: &String| listed.contains(hash.as_str());
        let is_new = |hash: &String| to_do.contains(hash) && !is_listed(hash);
        let mut now: BTreeSet<String> = target.into_iter().filter(|hash| !is_new(hash)).collect();
        now.extend(
            self.tokens_to_delete.keys().filter(|hash| to_do.contains(*hash) && is_listed(hash)).cloned(),
        );
        let mut item = tokens_key(&self.id);
        let rev = next_rev(old.map(|old| number(old, REV)), self.now);
        item.insert(REV.into(), AttributeValue::N(rev.to_string()));
        insert_set(&mut item, "hashes", now);
        if matches!(self.list, ListChange::Deleted) && is_last {
            let seconds = self.now.unix_timestamp().to_string();
            item.insert("deletedAt".into(), AttributeValue::N(seconds));
        }
        Some(item)
    }

    /// The hashes of the tokens that are written or deleted.
    pub(super) fn tokens(&self) -> impl Iterator<Item = &String> {
        self.tokens_to_delete.keys().chain(self.tokens_to_put.keys())
    }

    /// The maximum size of everything that is written or deleted, in bytes.
    pub(super) fn bytes(&self) -> usize {
        let user = if let UserChange::Put(item) = &self.user { item_bytes(item) } else { 0 };
        let tokens = self.tokens_to_delete.values().sum::<usize>()
            + self.tokens_to_put.values().map(item_bytes).sum::<usize>();
        self.list_bytes() + user + tokens
    }

    /// The maximum size of the list in any of the transactions, in bytes.
    fn list_bytes(&self) -> usize {
        let old = self.old_list.as_ref().map_or(0, item_bytes);
        match &self.list {
            ListChange::Hashes(target) => old + target.iter().map(String::len).sum::<usize>(),
            ListChange::Deleted | ListChange::StaysAbsent => old,
        }
    }
}

/// One change in a transaction.
struct Step {
    action: TransactWriteItem,
    bytes: usize,
    /// The hash of the token that it deletes or stores.
    token: Option<String>,
}

impl fmt::Display for UserWrite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut changes = Vec::new();
        match self.user {
            UserChange::Keep => {}
            UserChange::Put(_) => changes.push("stored as MongoDB has them".into()),
            UserChange::Delete => changes.push("deleted".into()),
        }
        let mut count = |count: usize, what: &str| match count {
            0 => {}
            1 => changes.push(format!("1 token {what}")),
            count => changes.push(format!("{count} tokens {what}")),
        };
        count(self.tokens_to_delete.len(), "deleted");
        count(self.tokens_to_put.len(), "stored");
        if changes.is_empty() {
            changes.push("the list of the tokens' hashes stored".into());
        }
        write!(f, "user {}: {}", self.id, changes.join(", "))
    }
}
