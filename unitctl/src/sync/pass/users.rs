//! The part of a full pass that compares users and their tokens.

use std::collections::{BTreeMap, HashMap};

use anyhow::{Result, bail};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use livechat_units::id::UserId;
use livechat_units::item::Item;
use time::OffsetDateTime;
use tokio::sync::mpsc;

use super::{Pass, id_of};
use crate::import::document::Document;
use crate::import::write::partition;
use crate::origin::SOURCE;
use crate::requests::{ScanPage, scan_page};
use crate::sync::dynamodb::users::{self, Found, Options};
use crate::sync::model::{Removal, Side, Subject};
use crate::sync::scan::StoredUsers;
use crate::sync::sides::Sides;
use crate::sync::together::{self, fingerprint};

/// The number of batches that are compared and written at the same time.
const MAX_BATCHES_AT_ONCE: usize = 3;

/// What is left to do of a batch of users, and what it has shown.
#[derive(Default)]
struct BatchEnd {
    /// The users who need a look of their own.
    alone: Vec<UserId>,
    /// The fingerprints of the hashes in the users' lists.
    listed: Vec<u64>,
}

/// Makes the users of a batch the same on both sides.
async fn write_batch(sides: &Sides, documents: HashMap<UserId, Document>) -> BatchEnd {
    let ids: Vec<UserId> = documents.keys().cloned().collect();
    let compare = async {
        let stored = users::read(&sides.database, &ids).await?;
        together::compare(sides, stored, documents).await
    };
    match compare.await {
        Ok(users) => BatchEnd { alone: users.alone.into_iter().collect(), listed: users.listed },
        // Looks at single users are repeated.
        Err(_) => BatchEnd { alone: ids, ..BatchEnd::default() },
    }
}

impl Pass<'_> {
    /// Compares all users of MongoDB, which come in batches, and marks them in `stored`. Returns those who need a look of
    /// their own. Of users who are created or deleted meanwhile there are events.
    pub(super) async fn users(
        &mut self,
        mut batches: mpsc::Receiver<Result<Vec<Document>>>,
        stored: &mut StoredUsers,
    ) -> Result<Vec<Subject>> {
        let sides = self.sides;
        let mut writing = FuturesUnordered::new();
        let mut alone = Vec::new();
        let mut is_reading = true;
        loop {
            tokio::select! {
                batch = batches.recv(), if is_reading && writing.len() < MAX_BATCHES_AT_ONCE => match batch {
                    Some(batch) => {
                        let batch = batch?;
                        self.count(batch.len());
                        let with_id = |document| Some((id_of(&document)?, document));
                        let mut documents = HashMap::with_capacity(batch.len());
                        for (id, document) in batch.into_iter().filter_map(with_id) {
                            stored.mark(&id);
                            documents.extend(UserId::parse(id).map(|id| (id, document)));
                        }
                        writing.push(write_batch(sides, documents));
                    }
                    None => is_reading = false,
                },
                Some(ended) = writing.next() => {
                    alone.extend(ended.alone.into_iter().map(Subject::User));
                    self.listed.extend(ended.listed);
                }
                else => break,
            }
        }
        Ok(alone)
    }

    /// Finds tokens that came from Rocket.Chat and are in no user's list. Tables that were filled before there were
    /// such lists have such tokens. The lists that were read with the users are not read again.
    pub(super) async fn tokens(&mut self) -> Result<()> {
        let sides = self.sides;
        let mut known = std::mem::take(&mut self.listed);
        known.sort_unstable();
        let mut start = None;
        loop {
            let scan = sides.database.client.scan().set_exclusive_start_key(start);
            let ScanPage { items, last_key } = scan_page(scan, &sides.database.tables.tokens).await?;
            let mut by_user: BTreeMap<UserId, Vec<Item>> = BTreeMap::new();
            for item in items.into_iter().filter(|item| !item.contains_key(SOURCE)) {
                let user = item.get("userId").and_then(|user| user.as_s().ok()).and_then(UserId::parse);
                let is_known = known.binary_search(&fingerprint(partition(&item))).is_ok();
                if let Some(user) = user.filter(|_| !is_known) {
                    by_user.entry(user).or_default().push(item);
                }
            }
            let ids: Vec<UserId> = by_user.keys().cloned().collect();
            let lists = users::read_lists(&sides.database, &ids).await?;
            for (id, tokens) in by_user {
                let list = lists.get(&id);
                let is_listed = |token: &Item| list.is_some_and(|list| list.contains(partition(token)));
                let unlisted: Vec<Item> = tokens.into_iter().filter(|token| !is_listed(token)).collect();
                if !unlisted.is_empty() {
                    self.unlisted(&id, unlisted).await?;
                }
            }
            start = last_key;
            if start.is_none() {
                return Ok(());
            }
        }
    }

    async fn unlisted(&mut self, id: &UserId, tokens: Vec<Item>) -> Result<()> {
        let sides = self.sides;
        let subject = Subject::User(id.clone());
        let mut stored = users::read(&sides.database, std::slice::from_ref(id)).await?;
        let Some(stored) = stored.get_mut(id) else { bail!("the user was not read") };
        // If a token is in the list by now, the newer read has it already.
        let unlisted: Vec<Item> =
            tokens.into_iter().filter(|token| !stored.lists(partition(token))).collect();
        stored.add_tokens(unlisted);
        let lifetime = sides.lifetime();
        let document = sides.mongodb.user(id).await?;
        // This pass has found these tokens in DynamoDB only, unless it finds too much there only.
        let removal = if self.removal == Removal::HeldBack { Removal::HeldBack } else { Removal::Missing };
        let found = Found::parse(document, removal, lifetime);
        users::read_named(&sides.database, &mut [(&mut *stored, &found)]).await?;
        let options = Options { lifetime, now: OffsetDateTime::now_utc(), removal };
        let decision = users::decide(stored, found, &options);
        sides.reporter.held_back(&subject, decision.is_held_back);
        let Some(write) = decision.write else { return Ok(()) };
        for orphan in write.orphans() {
            sides.reporter.warn(format!("{orphan} is removed: neither MongoDB nor the user's list has it"));
        }
        if !sides.mode.is_dry_run {
            sides.check_lease()?;
            // If the write is refused because something has changed meanwhile, the event of that change leads to a
            // look. The next pass finds what is left.
            users::write(&sides.database, &write).await?;
        }
        sides.reporter.change(&subject, Side::DynamoDb, &write);
        Ok(())
    }
}
