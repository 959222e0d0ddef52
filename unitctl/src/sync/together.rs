//! A look at many users at once: few requests read them on both sides, and one transaction writes several.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::Ordering;

use anyhow::Result;
use livechat_units::id::UserId;
use time::OffsetDateTime;

use super::dynamodb::Written;
use super::dynamodb::users::{self, Found, Options, StoredUser, UserWrite};
use super::look::units_to_look_at;
use super::model::{Side, Subject};
use super::sides::{Looked, Sides};
use crate::import::documents::Document;

/// The number of users that one request reads.
pub const USERS_TOGETHER: usize = 100;

/// What became of the users of a look.
#[derive(Debug)]
pub struct Users {
    /// Those that were written.
    written: BTreeSet<UserId>,
    /// Those that need a look of their own: MongoDB does not have them, there is something to report about them, or a
    /// write was refused.
    pub alone: BTreeSet<UserId>,
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
}

/// Makes users the same on both sides, except those that need a look of their own.
///
/// # Errors
/// A side can't be read or written.
pub async fn look(sides: &Sides, ids: &[UserId]) -> Result<Users> {
    let stored = users::read(&sides.database, ids).await?;
    let documents = sides.mongodb.users(ids).await?;
    write_users(sides, stored, documents).await
}

/// Makes users the same on both sides, except those that need a look of their own. MongoDB's documents must have been read
/// after DynamoDB's items.
///
/// # Errors
/// A side can't be read or written.
pub async fn write_users(
    sides: &Sides,
    mut stored: HashMap<UserId, StoredUser>,
    documents: HashMap<UserId, Document>,
) -> Result<Users> {
    let lifetime = sides.lifetime();
    let mut alone: BTreeSet<UserId> = stored.keys().cloned().collect();
    let found: Vec<(UserId, Found)> = documents
        .into_iter()
        .map(|(id, document)| (id, Found::parse(Some(document), false, lifetime)))
        .collect();
    let by_id: HashMap<&UserId, &Found> = found.iter().map(|(id, found)| (id, found)).collect();
    let mut named: Vec<_> =
        stored.iter_mut().filter_map(|(id, stored)| Some((stored, *by_id.get(id)?))).collect();
    users::read_named(&sides.database, &mut named).await?;
    let options = Options { lifetime, now: OffsetDateTime::now_utc(), may_remove: false };
    let mut writes: Vec<UserWrite> = Vec::new();
    for (id, found) in found {
        let Some(stored) = stored.get(&id) else { continue };
        let decision = users::decide(stored, found, &options);
        if decision.is_held_back || !decision.problems.is_empty() {
            continue;
        }
        match decision.write {
            None => {
                alone.remove(&id);
            }
            // In a dry run, and if a token is an orphan, the look at the single user reports it.
            Some(write) if sides.mode.is_dry_run || write.orphans().next().is_some() => continue,
            Some(write) => writes.push(write),
        }
        let subject = Subject::User(id);
        sides.reporter.open(&subject, BTreeSet::new());
        sides.reporter.held_back(&subject, false);
    }
    let mut written = BTreeSet::new();
    if !writes.is_empty() {
        sides.check_lease()?;
        let results = users::write_together(&sides.database, &writes).await?;
        for (write, result) in writes.iter().zip(results) {
            if result == Written::Committed {
                let id = write.user();
                sides.reporter.change(&Subject::User(id.clone()), Side::DynamoDb, write);
                alone.remove(id);
                written.insert(id.clone());
            }
        }
    }
    let looks = stored.len().saturating_sub(alone.len()) as u64;
    sides.reporter.counters.looks.fetch_add(looks, Ordering::Relaxed);
    Ok(Users { written, alone })
}
