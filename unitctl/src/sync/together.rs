//! A look at many users at once: few requests read them on both sides, and one transaction writes several.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::Ordering;

use anyhow::Result;
use livechat_units::id::UserId;
use time::OffsetDateTime;

use super::dynamodb::Written;
use super::dynamodb::users::{self, Found, Options, StoredUser, UserWrite, fingerprint};
use super::look::units_to_look_at;
use super::model::{Removal, Side, Subject};
use super::sides::{Looked, Sides};
use crate::import::document::Document;

/// The maximum number of users or departments of one look.
pub const MAX_TOGETHER: usize = 100;

/// What became of the users of a look.
#[derive(Debug)]
pub struct Users {
    /// Those that were written.
    written: BTreeSet<UserId>,
    /// Those that need a look of their own: MongoDB does not have them, there is something to report about them, or a
    /// write was refused.
    pub alone: BTreeSet<UserId>,
    /// The fingerprints of the hashes that the lists of all users of the look have or had.
    pub listed: Vec<u64>,
}

impl Users {
    /// The result of the look for one of the users. `None` if that user needs a look of their own.
    pub fn looked(&self, sides: &Sides, id: &UserId) -> Option<Looked> {
        let mut looked = Looked::default();
        if self.written.contains(id) {
            looked.follow_ups.extend(units_to_look_at(sides));
        }
        (!self.alone.contains(id)).then_some(looked)
    }

    async fn write(&mut self, sides: &Sides, writes: Vec<UserWrite>) -> Result<()> {
        if writes.is_empty() {
            return Ok(());
        }
        sides.check_lease()?;
        let results = users::write_together(&sides.database, &writes).await?;
        for (write, result) in writes.iter().zip(results) {
            if result == Written::Committed {
                let id = write.user();
                sides.reporter.change(&Subject::User(id.clone()), Side::DynamoDb, write);
                sides.reporter.counters.looks.fetch_add(1, Ordering::Relaxed);
                self.alone.remove(id);
                self.written.insert(id.clone());
                self.listed.extend(write.listed().map(fingerprint));
            }
        }
        Ok(())
    }
}

/// Makes users the same on both sides, except those that need a look of their own.
///
/// # Errors
/// A side can't be read or written.
pub async fn look(sides: &Sides, ids: &[UserId]) -> Result<Users> {
    let stored = users::read(&sides.database, ids).await?;
    let documents = sides.mongodb.users(ids).await?.into_iter();
    let found = documents.map(|(id, document)| (id, parse(sides, document))).collect();
    write_users(sides, stored, found).await
}

/// Reads a user's document.
pub fn parse(sides: &Sides, document: Document) -> Found {
    Found::parse(Some(document), Removal::No, sides.lifetime())
}

/// Makes users the same on both sides, except those that need a look of their own. MongoDB's documents must have been read
/// after DynamoDB's items.
///
/// # Errors
/// A side can't be read or written.
async fn write_users(
    sides: &Sides,
    mut stored: HashMap<UserId, StoredUser>,
    found: HashMap<UserId, Found>,
) -> Result<Users> {
    read_named(sides, &mut stored, &found).await?;
    let (writes, mut users) = decide(sides, &stored, found);
    users.write(sides, writes).await?;
    Ok(users)
}

/// Stores users of whom a scan has found nothing in DynamoDB, without another read of DynamoDB. If a user's list was written
/// since, the transaction is refused, and the user needs a look of their own.
///
/// MongoDB's documents may be a little older than the scan. This does no harm, for the reason that [`compare`] gives.
///
/// # Errors
/// DynamoDB refuses a request for a reason that a retry does not change. Some users may be stored.
pub async fn create(sides: &Sides, found: HashMap<UserId, Found>) -> Result<Users> {
    let stored = found.keys().map(|id| (id.clone(), StoredUser::new(id.clone()))).collect();
    let (writes, mut users) = decide(sides, &stored, found);
    users.write(sides, writes).await?;
    Ok(users)
}

/// Makes users the same on both sides, except those that need a look of their own. DynamoDB's items must have been read
/// after MongoDB's documents.
///
/// A difference may then rest on a document that is older than the item, so users who differ are read again in the right
/// order. This is not necessary for users who have no list of tokens in DynamoDB: they had none either when MongoDB was
/// read, because a list stays for a day after its user was deleted.
///
/// # Errors
/// A side can't be read or written.
pub async fn compare(
    sides: &Sides,
    mut stored: HashMap<UserId, StoredUser>,
    found: HashMap<UserId, Found>,
) -> Result<Users> {
    read_named(sides, &mut stored, &found).await?;
    let (writes, mut users) = decide(sides, &stored, found);
    let (new, differing): (Vec<UserWrite>, Vec<UserWrite>) =
        writes.into_iter().partition(UserWrite::creates_list);
    users.write(sides, new).await?;
    let differing: Vec<UserId> = differing.iter().map(|write| write.user().clone()).collect();
    if !differing.is_empty() {
        let again = look(sides, &differing).await?;
        for id in differing.iter().filter(|id| !again.alone.contains(*id)) {
            users.alone.remove(id);
        }
        users.written.extend(again.written);
        users.listed.extend(again.listed);
    }
    Ok(users)
}

/// Reads the tokens that the documents have and the lists do not.
async fn read_named(
    sides: &Sides,
    stored: &mut HashMap<UserId, StoredUser>,
    found: &HashMap<UserId, Found>,
) -> Result<()> {
    let mut named: Vec<_> =
        stored.iter_mut().filter_map(|(id, stored)| Some((stored, found.get(id)?))).collect();
    users::read_named(&sides.database, &mut named).await
}

/// Says what to write of users. Those who are not the same on both sides are in `alone` until they are written.
fn decide(
    sides: &Sides,
    stored: &HashMap<UserId, StoredUser>,
    found: HashMap<UserId, Found>,
) -> (Vec<UserWrite>, Users) {
    let lifetime = sides.lifetime();
    let mut result = Users {
        written: BTreeSet::new(),
        alone: stored.keys().cloned().collect(),
        listed: stored.values().flat_map(StoredUser::listed).map(fingerprint).collect(),
    };
    let options = Options { lifetime, now: OffsetDateTime::now_utc(), removal: Removal::No };
    let mut writes: Vec<UserWrite> = Vec::new();
    for (id, found) in found {
        let Some(stored) = stored.get(&id) else { continue };
        let decision = users::decide(stored, found, &options);
        if decision.is_held_back || !decision.problems.is_empty() {
            continue;
        }
        match decision.write {
            None => {
                result.alone.remove(&id);
                note_equal(sides, id);
                continue;
            }
            // In a dry run, and if a token is an orphan, the look at the single user reports it.
            Some(write) if sides.mode.is_dry_run || write.orphans().next().is_some() => continue,
            Some(write) => writes.push(write),
        }
        note_complete(sides, Subject::User(id));
    }
    (writes, result)
}

/// Notes that DynamoDB has a user as MongoDB does.
pub fn note_equal(sides: &Sides, id: UserId) {
    sides.reporter.counters.looks.fetch_add(1, Ordering::Relaxed);
    note_complete(sides, Subject::User(id));
}

/// Notes that nothing of a user stays open.
fn note_complete(sides: &Sides, subject: Subject) {
    sides.reporter.open(&subject, BTreeSet::new());
    sides.reporter.held_back(&subject, false);
}
