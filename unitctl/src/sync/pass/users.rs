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
use crate::database::Database;
use crate::import::documents::Document;
use crate::import::write::partition;
use crate::origin::SOURCE;
use crate::requests::scan_page;
use crate::sync::dynamodb::users::{self, Found, Options, StoredUser};
use crate::sync::model::{Side, Subject};
use crate::sync::mongodb::{Batches, Ids, Kind};
use crate::sync::sides::{Removal, Sides};
use crate::sync::together;

/// The number of users that are read from DynamoDB ahead of a batch of MongoDB's documents: as many as a batch has.
const USERS_AHEAD: usize = 250;

/// The number of batches that are written at the same time.
const BATCHES_AT_ONCE: usize = 3;

/// Goes through the users of both sides. DynamoDB's items are read before MongoDB's documents, so a difference can be
/// written at once.
struct Walk {
    database: Database,
    /// The users who are still to be read from DynamoDB.
    ids: std::vec::IntoIter<Box<str>>,
    /// The users who were read from DynamoDB and not yet from MongoDB.
    stored: HashMap<UserId, StoredUser>,
    batches: Batches,
}

/// Users of both sides.
#[derive(Default)]
struct Batch {
    stored: HashMap<UserId, StoredUser>,
    documents: HashMap<UserId, Document>,
    /// Users who were created since the pass began. They need a look of their own.
    alone: Vec<UserId>,
}

impl Walk {
    /// Reads on while earlier batches are compared and written.
    fn start(mut self) -> mpsc::Receiver<Result<Batch>> {
        let (sender, receiver) = mpsc::channel(1);
        tokio::spawn(async move {
            while let Some(batch) = self.next().await.transpose() {
                let is_last = batch.is_err();
                if sender.send(batch).await.is_err() || is_last {
                    return;
                }
            }
        });
        receiver
    }

    async fn next(&mut self) -> Result<Option<Batch>> {
        let ids: Vec<UserId> =
            self.ids.by_ref().filter_map(|id| UserId::parse(&*id)).take(USERS_AHEAD).collect();
        self.stored.extend(users::read(&self.database, &ids).await?);
        let Some(documents) = self.batches.next().await? else { return Ok(None) };
        let mut batch = Batch::default();
        for document in documents {
            let Some(id) = id_of(&document).and_then(UserId::parse) else { continue };
            match self.stored.remove(&id) {
                Some(stored) => {
                    batch.stored.insert(id.clone(), stored);
                    batch.documents.insert(id, document);
                }
                None => batch.alone.push(id),
            }
        }
        Ok(Some(batch))
    }
}

/// Makes the users of a batch the same on both sides. Returns those who need a look of their own.
async fn write_batch(sides: &Sides, batch: Batch) -> Vec<UserId> {
    let Batch { stored, documents, mut alone } = batch;
    let ids: Vec<UserId> = stored.keys().cloned().collect();
    match together::write_users(sides, stored, documents).await {
        Ok(users) => alone.extend(users.alone),
        // Looks at single users are repeated.
        Err(_) => alone.extend(ids),
    }
    alone
}

impl Pass<'_> {
    /// Compares the users who had these ids when the pass began. Of users who were created or deleted since then there are
    /// events.
    pub(super) async fn users(&mut self, ids: Ids) -> Result<()> {
        let sides = self.sides;
        let walk = Walk {
            database: sides.database.clone(),
            ids: ids.in_order(),
            stored: HashMap::new(),
            batches: sides.mongodb.documents(Kind::Users),
        };
        let mut batches = walk.start();
        let mut writing = FuturesUnordered::new();
        let mut alone = Vec::new();
        let mut is_reading = true;
        loop {
            tokio::select! {
                batch = batches.recv(), if is_reading && writing.len() < BATCHES_AT_ONCE => match batch {
                    Some(batch) => {
                        let batch = batch?;
                        self.count(batch.documents.len() + batch.alone.len());
                        writing.push(write_batch(sides, batch));
                    }
                    None => is_reading = false,
                },
                Some(ids) = writing.next() => alone.extend(ids.into_iter().map(Subject::User)),
                else => break,
            }
        }
        drop(writing);
        self.looks(alone, self.removal).await?;
        Ok(())
    }

    /// Finds tokens that came from Rocket.Chat and are in no user's list. Tables that were filled before there were
    /// such lists have such tokens.
    pub(super) async fn tokens(&mut self) -> Result<()> {
        let sides = self.sides;
        let mut start = None;
        loop {
            let scan = sides.database.client.scan().set_exclusive_start_key(start);
            let (items, next) = scan_page(scan, &sides.database.tables.tokens).await?;
            let mut by_user: BTreeMap<UserId, Vec<Item>> = BTreeMap::new();
            for item in items.into_iter().filter(|item| !item.contains_key(SOURCE)) {
                let user = item.get("userId").and_then(|user| user.as_s().ok()).and_then(UserId::parse);
                if let Some(user) = user {
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
            start = next;
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
        let found = Found::parse(document, false, lifetime);
        users::read_named(&sides.database, &mut [(&mut *stored, &found)]).await?;
        let may_remove = self.removal != Removal::HeldBack;
        let options = Options { lifetime, now: OffsetDateTime::now_utc(), may_remove };
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
