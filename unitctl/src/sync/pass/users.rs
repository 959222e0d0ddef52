//! The part of a full pass that compares users and their tokens.

use std::collections::HashMap;
use std::pin::pin;

use anyhow::Result;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use livechat_units::id::UserId;
use tokio::sync::mpsc;

use super::{Pass, id_of};
use crate::import::document::Document;
use crate::sync::dynamodb::users::{self, Digest, Found};
use crate::sync::model::Subject;
use crate::sync::scan::{self, Scanned, StoredUsers};
use crate::sync::sides::Sides;
use crate::sync::together::{self, MAX_TOGETHER};

/// The number of batches that are compared and written at the same time.
const MAX_BATCHES_AT_ONCE: usize = 3;

/// A user of MongoDB whose document came before DynamoDB was scanned.
#[derive(Debug)]
pub struct Early {
    id: UserId,
    /// `None` if the document alone does not say what DynamoDB should have.
    digest: Option<Digest>,
}

/// What is left to do of a batch of users, and what it has shown.
#[derive(Default)]
struct BatchEnd {
    /// The users who need a look of their own.
    alone: Vec<UserId>,
    /// The fingerprints of the hashes in the users' lists.
    listed: Vec<u64>,
}

/// Users who are to be made the same on both sides.
enum Batch {
    /// MongoDB's documents, as they were just read, of users of whom the scan has found nothing in DynamoDB.
    New(HashMap<UserId, Found>),
    /// MongoDB's documents, as they were just read. DynamoDB has to be read.
    Read(HashMap<UserId, Found>),
    /// Both sides have to be read.
    Unread(Vec<UserId>),
}

/// Scans DynamoDB, and reads users of MongoDB meanwhile. Both take about as long. Nothing is kept of the documents but short
/// forms, because there may be very many.
///
/// # Errors
/// A side can't be read.
pub async fn scan_and_read(
    sides: &Sides,
    batches: &mut mpsc::Receiver<Result<Vec<Document>>>,
) -> Result<(Scanned, Vec<Early>)> {
    let mut early = Vec::new();
    let mut scan = pin!(scan::scan(&sides.database));
    loop {
        tokio::select! {
            scanned = &mut scan => return Ok((scanned?, early)),
            Some(batch) = batches.recv() => early.extend(parse_batch(sides, batch?).into_iter().map(
                |(id, found)| Early { id, digest: digest(&found) },
            )),
        }
    }
}

fn parse_batch(sides: &Sides, batch: Vec<Document>) -> HashMap<UserId, Found> {
    let parse = |document| Some((UserId::parse(id_of(&document)?)?, together::parse(sides, document)));
    batch.into_iter().filter_map(parse).collect()
}

fn digest(found: &Found) -> Option<Digest> {
    if let Found::User(user) = found { Digest::of_document(user) } else { None }
}

/// Whether DynamoDB has a user as MongoDB does, who is marked in `stored`.
fn is_equal(sides: &Sides, stored: &mut StoredUsers, id: &UserId, digest: Option<Digest>) -> bool {
    stored.mark(id.as_str());
    let is_equal = digest.is_some_and(|digest| stored.has(id.as_str(), digest));
    if is_equal {
        together::note_equal(sides, id.clone());
    }
    is_equal
}

/// The users of a batch who are not the same in DynamoDB, in batches for [`write_batch`].
fn differing_of(sides: &Sides, stored: &mut StoredUsers, found: HashMap<UserId, Found>) -> Vec<Batch> {
    let (mut new, mut others) = (HashMap::new(), HashMap::new());
    for (id, found) in found {
        let digest = digest(&found);
        if is_equal(sides, stored, &id, digest) {
            continue;
        }
        // If the document alone does not say what DynamoDB should have, DynamoDB has to be read.
        let is_new = digest.is_some() && stored.lacks(id.as_str());
        let batch = if is_new { &mut new } else { &mut others };
        batch.insert(id, found);
    }
    let batches = [(new, Batch::New as fn(_) -> _), (others, Batch::Read)];
    batches.into_iter().filter(|(found, _)| !found.is_empty()).map(|(found, batch)| batch(found)).collect()
}

/// Makes the users of a batch the same on both sides.
async fn write_batch(sides: &Sides, batch: Batch) -> BatchEnd {
    let ids: Vec<UserId> = match &batch {
        Batch::New(found) | Batch::Read(found) => found.keys().cloned().collect(),
        Batch::Unread(ids) => ids.clone(),
    };
    let compare = async {
        match batch {
            Batch::New(found) => together::create(sides, found).await,
            Batch::Read(found) => {
                let stored = users::read(&sides.database, &ids).await?;
                together::compare(sides, stored, found).await
            }
            Batch::Unread(ids) => together::look(sides, &ids).await,
        }
    };
    match compare.await {
        Ok(users) => BatchEnd { alone: users.alone.into_iter().collect(), listed: users.listed },
        // Looks at single users are repeated.
        Err(_) => BatchEnd { alone: ids, ..BatchEnd::default() },
    }
}

impl Pass<'_> {
    /// Compares all users of MongoDB, which come in batches after a first one, and marks them in `stored`. Returns those who
    /// need a look of their own. Of users who are created or deleted meanwhile there are events.
    pub(super) async fn users(
        &mut self,
        early: Vec<Early>,
        first: Option<Vec<Document>>,
        mut batches: mpsc::Receiver<Result<Vec<Document>>>,
        stored: &mut StoredUsers,
    ) -> Result<Vec<Subject>> {
        let sides = self.sides;
        let mut writing = FuturesUnordered::new();
        let mut alone = Vec::new();
        self.count(early.len());
        let differing = early.into_iter().filter(|early| !is_equal(sides, stored, &early.id, early.digest));
        let unread: Vec<UserId> = differing.map(|early| early.id).collect();
        let mut unread = unread.chunks(MAX_TOGETHER);
        let mut first = first.map(Ok);
        let mut is_reading = true;
        loop {
            while writing.len() < MAX_BATCHES_AT_ONCE
                && let Some(ids) = unread.next()
            {
                writing.push(write_batch(sides, Batch::Unread(ids.to_vec())));
            }
            let batch = async {
                match first.take() {
                    Some(first) => Some(first),
                    None => batches.recv().await,
                }
            };
            tokio::select! {
                batch = batch, if is_reading && writing.len() < MAX_BATCHES_AT_ONCE => match batch {
                    Some(batch) => {
                        let batch = batch?;
                        self.count(batch.len());
                        let differing = differing_of(sides, stored, parse_batch(sides, batch));
                        writing.extend(differing.into_iter().map(|batch| write_batch(sides, batch)));
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
}
