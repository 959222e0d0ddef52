//! A full pass: compares everything on both sides, and looks at what differs. It also finds changes that no event
//! reported.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, bail};
use futures_util::{StreamExt, stream};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use livechat_units::id::{DepartmentId, UnitId, UserId};
use livechat_units::item::{Item, Key};
use time::OffsetDateTime;
use tokio::sync::mpsc;

use super::dynamodb::permissions;
use super::dynamodb::users::{self, Found, Options};
use super::guard::{self, Suspicion};
use super::look::{is_equal, look};
use super::model::Subject;
use super::mongodb::{Batches, Failure, Kind};
use super::scan;
use super::sides::{Removal, Sides};
use super::together::{self, USERS_TOGETHER};
use crate::import::documents::Document;
use crate::import::write::partition;
use crate::origin::{SOURCE, department_base_key};
use crate::requests::scan_page;

/// The maximum number of looks at the same time.
const MAX_AT_ONCE: usize = 16;

/// The maximum number of rounds of looks at units that other looks have named.
const MAX_ROUNDS: u32 = 4;

/// The number of tries of one look before the pass fails.
const TRIES: u32 = 3;

/// What a pass found.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Why nothing was removed.
    pub suspicion: Option<Suspicion>,
    /// The number of documents that were compared.
    pub documents: u64,
    /// The units that were written to MongoDB.
    pub written_units: BTreeSet<UnitId>,
}

struct Pass<'a> {
    sides: &'a Sides,
    /// What the looks at MongoDB's documents may remove.
    removal: Removal,
    outcome: Outcome,
    /// The units that the looks at departments named.
    units_of_departments: BTreeSet<Subject>,
    bar: ProgressBar,
}

/// Compares everything.
///
/// # Errors
/// A side can't be read or written.
pub async fn run(sides: &Sides, allow_removals: bool) -> Result<Outcome> {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    let style = "{spinner} full pass: {pos} documents, {per_sec} {msg}";
    bar.set_style(ProgressStyle::with_template(style).expect("the template is valid"));
    sides.set_lifetime(sides.mongodb.login_expiration().await?);
    let scanned = scan::scan(sides).await?;
    let suspicion = if allow_removals { None } else { guard::first_suspicion(&scanned.counts) };
    let (of_missing, removal) = match &suspicion {
        Some(suspicion) => {
            sides.reporter.warn(suspicion);
            (Removal::HeldBack, Removal::HeldBack)
        }
        None => (Removal::Missing, Removal::No),
    };
    let outcome = Outcome { suspicion, ..Outcome::default() };
    let mut pass = Pass { sides, removal, outcome, units_of_departments: BTreeSet::new(), bar };
    // Removals come first, because the deletion of a user is the most urgent change.
    pass.looks(scanned.missing, of_missing).await?;
    pass.users().await?;
    pass.tokens().await?;
    pass.permissions().await?;
    pass.departments().await?;
    pass.units().await?;
    pass.bar.finish_and_clear();
    sides.reporter.counters.passes.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    Ok(pass.outcome)
}

impl Pass<'_> {
    /// Looks at these subjects, several at a time. Returns the subjects that have to be looked at because of that. Only
    /// the looks at departments and units use this result, because a pass looks at all of MongoDB's units in the end.
    async fn looks(&mut self, subjects: Vec<Subject>, removal: Removal) -> Result<BTreeSet<Subject>> {
        let sides = self.sides;
        let looks = subjects.into_iter().map(|subject| async move {
            let mut tries = 0;
            loop {
                tries += 1;
                match look(sides, &subject, removal).await {
                    Ok(looked) => return Ok(looked),
                    Err(error) if tries == TRIES => return Err(error.context(subject.to_string())),
                    Err(_) => {
                        tokio::time::sleep(std::time::Duration::from_millis(200 * u64::from(tries))).await
                    }
                }
            }
        });
        let mut looks = stream::iter(looks).buffer_unordered(MAX_AT_ONCE);
        let mut follow_ups = BTreeSet::new();
        while let Some(looked) = looks.next().await {
            let looked = looked?;
            self.outcome.written_units.extend(looked.written_units);
            follow_ups.extend(looked.follow_ups);
        }
        Ok(follow_ups)
    }

    fn count(&mut self, documents: usize) {
        self.outcome.documents += documents as u64;
        self.bar.inc(documents as u64);
    }

    async fn users(&mut self) -> Result<()> {
        let sides = self.sides;
        let lifetime = sides.lifetime();
        let mut batches = ahead(sides.mongodb.documents(Kind::Users));
        while let Some(batch) = batches.recv().await {
            let batch = batch?;
            self.count(batch.len());
            let found: BTreeMap<UserId, Found> = batch
                .into_iter()
                .filter_map(|document| {
                    let id = id_of(&document).and_then(UserId::parse)?;
                    Some((id, Found::parse(Some(document), false, lifetime)))
                })
                .collect();
            let ids: Vec<UserId> = found.keys().cloned().collect();
            // Tokens of MongoDB's document that the stored list lacks need not be read: a user with such a token
            // differs in any case.
            let stored = users::read(&sides.database, &ids).await?;
            let options = Options { lifetime, now: OffsetDateTime::now_utc(), may_remove: false };
            let mut differing = Vec::new();
            for (id, found) in found {
                let Some(stored) = stored.get(&id) else { continue };
                let decision = users::decide(stored, found, &options);
                if decision.write.is_some() || !decision.problems.is_empty() {
                    differing.push(id);
                }
            }
            drop(stored);
            self.differing_users(differing).await?;
        }
        Ok(())
    }

    /// Looks at these users together, and then at each one that needs a look of its own.
    async fn differing_users(&mut self, ids: Vec<UserId>) -> Result<()> {
        let sides = self.sides;
        let together: Vec<Vec<UserId>> = ids.chunks(USERS_TOGETHER).map(<[UserId]>::to_vec).collect();
        let looks = together.into_iter().map(|ids| async move {
            match together::look(sides, &ids).await {
                Ok(users) => users.alone,
                // Each of these users then gets a look of its own, which is repeated if it fails.
                Err(_) => ids.into_iter().collect(),
            }
        });
        let mut looks = stream::iter(looks).buffer_unordered(MAX_AT_ONCE);
        let mut alone = Vec::new();
        while let Some(ids) = looks.next().await {
            alone.extend(ids.into_iter().map(Subject::User));
        }
        drop(looks);
        self.looks(alone, self.removal).await?;
        Ok(())
    }

    /// Finds tokens that came from Rocket.Chat and are in no user's list. Tables that were filled before there were
    /// such lists have such tokens.
    async fn tokens(&mut self) -> Result<()> {
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
        sides.reporter.change(&subject, super::model::Side::DynamoDb, &write);
        Ok(())
    }

    async fn permissions(&mut self) -> Result<()> {
        let mut batches = self.sides.mongodb.documents(Kind::Permissions);
        while let Some(batch) = batches.next().await? {
            self.count(batch.len());
            let by_id: BTreeMap<String, Document> =
                batch.into_iter().filter_map(|document| Some((id_of(&document)?, document))).collect();
            let ids: Vec<String> = by_id.keys().cloned().collect();
            let stored = permissions::read(&self.sides.database, &ids).await?;
            let mut differing = Vec::new();
            let now = OffsetDateTime::now_utc();
            for (id, document) in by_id {
                let stored = stored.get(&id).and_then(Option::as_ref);
                let decision = permissions::decide(&id, stored, Some(document), false, now);
                if decision.write.is_some() || !decision.problems.is_empty() {
                    differing.push(Subject::Permission(id));
                }
            }
            self.looks(differing, self.removal).await?;
        }
        Ok(())
    }

    async fn departments(&mut self) -> Result<()> {
        let mut batches = self.sides.mongodb.documents(Kind::Departments);
        while let Some(batch) = batches.next().await? {
            self.count(batch.len());
            let by_id: BTreeMap<DepartmentId, Document> = batch
                .into_iter()
                .filter_map(|document| Some((DepartmentId::parse(id_of(&document)?)?, document)))
                .collect();
            let keys = by_id
                .keys()
                .flat_map(|id| [Key::Department(id.clone()).attributes(), department_base_key(id)]);
            let items = self.sides.database.get_all(keys.collect()).await?;
            let items: BTreeMap<String, Item> =
                items.into_iter().map(|item| (partition(&item).to_owned(), item)).collect();
            let now = OffsetDateTime::now_utc();
            let mut differing = Vec::new();
            for (id, document) in by_id {
                let stored = items.get(&Key::Department(id.clone()).partition());
                let base = items.get(&format!("SYNC#DEPARTMENT#{id}"));
                if !is_equal(&id, stored, base, document, now) {
                    differing.push(Subject::Department(id));
                }
            }
            let follow_ups = self.looks(differing, self.removal).await?;
            self.units_of_departments.extend(follow_ups);
        }
        Ok(())
    }

    async fn units(&mut self) -> Result<()> {
        let mut batches = self.sides.mongodb.documents(Kind::Units);
        let mut follow_ups = BTreeSet::new();
        // The units that the looks at departments named and that are not among MongoDB's units are looked at afterwards.
        let mut others = std::mem::take(&mut self.units_of_departments);
        while let Some(batch) = batches.next().await? {
            self.count(batch.len());
            let ids = batch.iter().filter_map(|document| UnitId::parse(id_of(document)?));
            let subjects: Vec<Subject> = ids.map(Subject::Unit).collect();
            for subject in &subjects {
                others.remove(subject);
            }
            follow_ups.extend(self.looks(subjects, self.removal).await?);
        }
        follow_ups.extend(others);
        // If a department moves between units, the look at one unit may name another one. If something is still named
        // after this many rounds, units are changed all the time, and the events of these changes lead to looks.
        for _ in 0..MAX_ROUNDS {
            if follow_ups.is_empty() {
                break;
            }
            let subjects = std::mem::take(&mut follow_ups).into_iter().collect();
            follow_ups = self.looks(subjects, self.removal).await?;
        }
        Ok(())
    }
}

/// Reads the next batch while the last one is compared.
fn ahead(mut batches: Batches) -> mpsc::Receiver<Result<Vec<Document>, Failure>> {
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        while let Some(batch) = batches.next().await.transpose() {
            let is_last = batch.is_err();
            if sender.send(batch).await.is_err() || is_last {
                return;
            }
        }
    });
    receiver
}

/// A document's `_id` as text, if it is a string or an ObjectId.
pub(super) fn id_of(document: &Document) -> Option<String> {
    crate::import::extended_json::text(document.get("_id")?).map(str::to_owned)
}

/// Corrects the counters of these units in MongoDB, if they are wrong.
///
/// # Errors
/// MongoDB can't be read or written.
pub async fn recount(sides: &Sides, units: &BTreeSet<UnitId>) -> Result<()> {
    for unit in units {
        if sides.check_lease().is_err() {
            bail!("the lease was lost");
        }
        if sides.mongodb.recount(unit).await? {
            let subject = Subject::Unit(unit.clone());
            sides.reporter.change(&subject, super::model::Side::MongoDb, "the counters are right now");
        }
    }
    Ok(())
}
