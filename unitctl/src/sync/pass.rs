//! A full pass: compares everything on both sides, and looks at what differs. It also finds changes that no event
//! reported.

mod ahead;
mod departments;
mod tokens;
mod units;
mod users;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use anyhow::{Result, bail};
use futures_util::{StreamExt, stream};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use livechat_units::id::{DepartmentId, UnitId, UserId};
use time::OffsetDateTime;

use self::ahead::ahead;
use super::dynamodb::permissions;
use super::guard::{self, Suspicion};
use super::look::look_knowing;
use super::model::{Removal, Subject};
use super::mongodb::Kind;
use super::scan::{Compared, InMongoDb};
use super::sides::Sides;
use super::units::MoreToRead;
use crate::import::document::Document;

/// The maximum number of looks at the same time.
const MAX_AT_ONCE: usize = 16;

/// The number of units whose counters one transaction checks.
const MAX_COUNTED_AT_ONCE: usize = 50;

/// The number of tries of one look before the pass fails.
const MAX_TRIES: u32 = 3;

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
    /// The units in which a department's place differs on both sides or from its base.
    units_of_departments: BTreeSet<Subject>,
    named: Named,
    /// The fingerprints of the hashes in the users' lists of tokens.
    listed: Vec<u64>,
    bar: ProgressBar,
}

/// What MongoDB's units name, as far as the pass has read it.
#[derive(Default)]
struct Named {
    /// The departments of each unit.
    departments: HashMap<UnitId, BTreeSet<DepartmentId>>,
    /// The monitors of each unit.
    monitors: HashMap<UnitId, BTreeSet<UserId>>,
}

impl Named {
    fn by(&self, unit: &UnitId) -> MoreToRead {
        MoreToRead {
            departments: self.departments.get(unit).cloned().unwrap_or_default(),
            users: self.monitors.get(unit).cloned().unwrap_or_default(),
        }
    }
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
    let mut users = ahead(sides.mongodb.documents(Kind::Users));
    let (mut scanned, early) = users::scan_and_read(sides, &mut users).await?;
    let (outcome, units_of_departments, named) = Default::default();
    let listed = scanned.users.take_listed();
    let mut pass = Pass { sides, removal: Removal::No, outcome, units_of_departments, named, listed, bar };
    // The query for all users is the largest, and the users of its first reply can be written while MongoDB answers others.
    let first = if early.is_empty() { users.recv().await.transpose()? } else { None };
    let (in_mongodb, alone) =
        tokio::join!(InMongoDb::read(sides), pass.users(early, first, users, &mut scanned.users));
    let (in_mongodb, alone) = (in_mongodb?, alone?);
    let Compared { missing, counts } = scanned.compare(&sides.database, &in_mongodb).await?;
    let InMongoDb { departments, units, monitors, .. } = in_mongodb;
    pass.named.monitors = monitors;
    let suspicion = if allow_removals { None } else { guard::first_suspicion(&counts) };
    let (of_missing, removal) = match &suspicion {
        Some(suspicion) => {
            sides.reporter.warn(suspicion);
            (Removal::HeldBack, Removal::HeldBack)
        }
        None => (Removal::Missing, Removal::No),
    };
    pass.removal = removal;
    pass.outcome.suspicion = suspicion;
    // Removals come first, because the deletion of a user is the most urgent change.
    pass.looks(missing, of_missing).await?;
    pass.looks(alone, removal).await?;
    let has_unlisted_tokens = scanned.users.has_unlisted_tokens();
    drop(scanned);
    if has_unlisted_tokens {
        pass.tokens().await?;
    }
    pass.permissions().await?;
    pass.departments(departments, &units).await?;
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
        let named = &self.named;
        let looks = subjects.into_iter().map(|subject| async move {
            let named = || match &subject {
                Subject::Unit(id) => named.by(id),
                _ => MoreToRead::default(),
            };
            let mut tries = 0;
            loop {
                tries += 1;
                match look_knowing(sides, &subject, removal, named()).await {
                    Ok(looked) => return Ok(looked),
                    Err(error) if tries == MAX_TRIES => return Err(error.context(subject.to_string())),
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
                let decision = permissions::decide(&id, stored, Some(document), Removal::No, now);
                if decision.write.is_some() || !decision.problems.is_empty() {
                    differing.push(Subject::Permission(id));
                }
            }
            self.looks(differing, self.removal).await?;
        }
        Ok(())
    }
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
    let units: Vec<UnitId> = units.iter().cloned().collect();
    for units in units.chunks(MAX_COUNTED_AT_ONCE) {
        if sides.check_lease().is_err() {
            bail!("the lease was lost");
        }
        for unit in sides.mongodb.recount(units).await? {
            let subject = Subject::Unit(unit);
            sides.reporter.change(&subject, super::model::Side::MongoDb, "the counters are right now");
        }
    }
    Ok(())
}
