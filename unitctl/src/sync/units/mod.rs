//! A look at a unit: reads both sides, merges them, and writes one side. It repeats that until nothing is left to do.
//!
//! DynamoDB is read before MongoDB. Every write is conditional on what was read. If a write is refused, both sides are
//! read again and the target is decided anew. To plan the old target again would undo what the function has done
//! meanwhile.

mod both_sides;
mod existence;
mod finish;
mod read;
mod report;
mod to_dynamodb;
mod to_mongodb;

pub use read::MoreToRead;
pub(super) use read::view;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Result, bail};
use futures_util::{StreamExt, TryStreamExt, stream};
use livechat_units::id::{DepartmentId, UnitId, UserId};

use self::both_sides::{OnBothSides, Step};
use self::read::Stored;
use super::copy::copy_to_dynamodb;
use super::merge::{NoBase, UnitInput, merge_place, merge_unit};
use super::model::{PlaceView, Removal, Subject};
use super::mongodb::{Asked, Kind, MongoUnit, UnitSnapshot};
use super::sides::{Looked, Sides};
use crate::import::workspace::StoredUnit;

/// The number of refused writes in a row after which a look gives up for a while.
const MAX_REFUSALS: u32 = 20;

/// The maximum number of units of one look that are read or written at the same time.
const MAX_AT_ONCE: usize = 16;

/// The longest pause after a refused write.
const MAX_PAUSE: Duration = Duration::from_millis(100);

/// Makes a unit the same on both sides, with its monitors and its departments' places. `more` is what MongoDB's unit names,
/// as far as the caller knows it.
///
/// # Errors
/// A side can't be read or written, or the unit's item is corrupt.
pub async fn look(sides: &Sides, id: &UnitId, removal: Removal, more: MoreToRead) -> Result<Looked> {
    let look = Look::new(sides, id.clone(), removal, more);
    let stored = look.read_dynamodb().await?;
    let snapshot = look.read_mongodb(&stored).await?;
    look.finish(stored, snapshot).await
}

/// Makes several units the same on both sides, as [`look`] does for each. All are first read in one snapshot of MongoDB, which
/// needs a few queries instead of a few for each. Returns what was done, and the units that failed.
///
/// # Errors
/// A side can't be read.
pub async fn look_together(
    sides: &Sides,
    units: Vec<(UnitId, MoreToRead)>,
    removal: Removal,
) -> Result<(Looked, Vec<UnitId>)> {
    sides.reporter.counters.looks.fetch_add(units.len() as u64, Ordering::Relaxed);
    let looks: Vec<Look<'_>> =
        units.into_iter().map(|(id, more)| Look::new(sides, id, removal, more)).collect();
    let reads: Vec<_> = looks.iter().map(Look::read_dynamodb).collect();
    let stored: Vec<Stored> = stream::iter(reads).buffered(MAX_AT_ONCE).try_collect().await?;
    let ids = looks.iter().map(|look| look.id.clone());
    let asked = ids.zip(&stored).map(|(id, stored)| Asked { id, also: stored.read.departments.clone() });
    let asked: Vec<Asked> = asked.collect();
    let snapshots = sides.mongodb.units(&asked).await?;
    let read = looks.into_iter().zip(stored).zip(snapshots);
    let looks: Vec<_> = read.map(|((look, stored), snapshot)| look.finish(stored, snapshot)).collect();
    let mut looks = stream::iter(looks).buffered(MAX_AT_ONCE).zip(stream::iter(asked));
    let (mut all, mut failed) = (Looked::default(), Vec::new());
    while let Some((looked, Asked { id, .. })) = looks.next().await {
        match looked {
            Ok(looked) => all.extend(looked),
            Err(_) => failed.push(id),
        }
    }
    Ok((all, failed))
}

/// A look at a unit that is going on.
struct Look<'a> {
    sides: &'a Sides,
    id: UnitId,
    removal: Removal,
    /// What MongoDB's unit names, as far as it is known.
    more: MoreToRead,
    /// What was carried to DynamoDB for this look. It is tried once.
    brought: BTreeSet<Subject>,
    looked: Looked,
}

impl<'a> Look<'a> {
    fn new(sides: &'a Sides, id: UnitId, removal: Removal, more: MoreToRead) -> Self {
        Self { sides, id, removal, more, brought: BTreeSet::new(), looked: Looked::default() }
    }

    async fn read_dynamodb(&self) -> Result<Stored> {
        Stored::read(self.sides, &self.id, &self.more).await
    }

    async fn read_mongodb(&self, stored: &Stored) -> Result<UnitSnapshot> {
        Ok(self.sides.mongodb.unit(&self.id, &stored.read.departments).await?)
    }

    /// Merges what was read and writes one side. Reads both sides again and repeats that until nothing is left to do.
    async fn finish(mut self, mut stored: Stored, mut snapshot: UnitSnapshot) -> Result<Looked> {
        let mut refusals = 0;
        loop {
            match self.step(&mut stored, &snapshot).await? {
                Step::Done => return Ok(self.looked),
                Step::Again => refusals = 0,
                Step::Refused if refusals == MAX_REFUSALS => {
                    bail!("the data kept changing while the sync tried to write it")
                }
                Step::Refused => {
                    refusals += 1;
                    let counters = &self.sides.reporter.counters;
                    counters.refusals.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(MAX_PAUSE.mul_f64(fastrand::f64())).await;
                }
            }
            stored = self.read_dynamodb().await?;
            snapshot = self.read_mongodb(&stored).await?;
        }
    }

    /// Merges what was read and writes one side.
    async fn step(&mut self, stored: &mut Stored, snapshot: &UnitSnapshot) -> Result<Step> {
        let Self { sides, id, removal, more, brought, looked } = self;
        // What MongoDB's unit names must have been read in DynamoDB before MongoDB was read. A department or user that
        // DynamoDB lacks is carried over before the unit.
        if bring_to_dynamodb(sides, stored, snapshot, more, brought).await? {
            return Ok(Step::Again);
        }
        let dangling = dangling(sides, id, snapshot).await?;
        step(sides, id, stored, snapshot, &dangling, *removal, looked).await
    }
}

/// The units that MongoDB's departments name although they do not exist. A department of such a unit counts as in no
/// unit, as in the import.
async fn dangling(sides: &Sides, id: &UnitId, snapshot: &UnitSnapshot) -> Result<BTreeSet<UnitId>> {
    let found = snapshot.departments.values().filter_map(|found| found.as_ref().ok());
    let others: BTreeSet<&UnitId> =
        found.filter_map(|found| found.view.place.as_ref()).filter(|place| *place != id).collect();
    if others.is_empty() {
        return Ok(BTreeSet::new());
    }
    let ids: Vec<String> = others.iter().map(ToString::to_string).collect();
    let existing = sides.mongodb.existing(Kind::Units, &ids).await?;
    Ok(others.into_iter().filter(|other| !existing.contains(other.as_str())).cloned().collect())
}

/// Adds to `more` what MongoDB's unit names and was not read in DynamoDB. If all of it was read, carries over the
/// departments and users that DynamoDB lacks. Returns true if both sides have to be read again.
async fn bring_to_dynamodb(
    sides: &Sides,
    stored: &Stored,
    snapshot: &UnitSnapshot,
    more: &mut MoreToRead,
    brought: &mut BTreeSet<Subject>,
) -> Result<bool> {
    let Some(Ok(unit)) = &snapshot.unit else { return Ok(false) };
    let departments: BTreeSet<DepartmentId> = snapshot.departments.keys().cloned().collect();
    let monitors = &unit.view.facts.monitors;
    if !departments.is_subset(&stored.read.departments) || !monitors.is_subset(&stored.read.users) {
        more.departments.extend(departments);
        more.users.extend(monitors.iter().cloned());
        return Ok(true);
    }
    let lacking = departments.iter().filter(|id| !stored.departments.contains_key(*id));
    let unfit = monitors.iter().filter(|user| !stored.can_monitor(user));
    let mut is_changed = false;
    let subjects = lacking.cloned().map(Subject::Department).chain(unfit.cloned().map(Subject::User));
    for subject in subjects {
        if brought.insert(subject.clone()) && !sides.mode.is_dry_run {
            is_changed |= copy_to_dynamodb(sides, &subject, Removal::No).await?;
        }
    }
    Ok(is_changed)
}

async fn step(
    sides: &Sides,
    id: &UnitId,
    stored: &mut Stored,
    snapshot: &UnitSnapshot,
    dangling: &BTreeSet<UnitId>,
    removal: Removal,
    looked: &mut Looked,
) -> Result<Step> {
    let subject = Subject::Unit(id.clone());
    let mongodb = match &snapshot.unit {
        None => return existence::missing_in_mongodb(sides, id, stored, snapshot, removal).await,
        Some(Err(reason)) => {
            sides
                .reporter
                .open(&subject, BTreeSet::from([format!("MongoDB's document can't be used: {reason}")]));
            return Ok(Step::Done);
        }
        Some(Ok(mongodb)) => mongodb,
    };
    sides.reporter.held_back(&subject, false);
    if stored.unit.is_none() {
        let created = existence::create(sides, id, mongodb, stored).await?;
        if created != Step::Again {
            return Ok(created);
        }
    }
    let Some(unit) = &stored.unit else { return Ok(Step::Again) };
    if !sides.mode.is_dry_run {
        existence::mark(sides, id, unit).await?;
        // With `--from-mongodb`, a remaining intent counts as not committed.
        if !sides.mode.is_from_mongodb && finish::fence(sides, id, stored, snapshot, mongodb).await? {
            return Ok(Step::Again);
        }
    }
    let mut both = merge(sides, id, stored, unit, snapshot, dangling, mongodb);
    if removal == Removal::HeldBack && !both.merge.to_dynamodb.leave.is_empty() {
        sides.reporter.held_back(&subject, true);
        both.merge.to_dynamodb.leave.clear();
    }
    if to_dynamodb::is_too_large(&both)? {
        both.leave_out_joins();
    }
    both.report(sides, looked);
    if sides.mode.is_dry_run {
        both.say_what_would_be_done(sides);
        return Ok(Step::Done);
    }
    if both.changes_dynamodb() {
        return to_dynamodb::write(sides, &both).await;
    }
    if both.changes_mongodb() && !sides.mode.is_from_mongodb {
        return to_mongodb::write(sides, &both, looked).await;
    }
    finish::store_bases(sides, &both, looked).await
}

/// Merges what was read.
fn merge<'a>(
    sides: &Sides,
    id: &'a UnitId,
    stored: &'a Stored,
    unit: &'a StoredUnit,
    snapshot: &'a UnitSnapshot,
    dangling: &BTreeSet<UnitId>,
    mongodb: &'a MongoUnit,
) -> OnBothSides<'a> {
    let dynamodb = view(unit);
    let users = dynamodb.facts.monitors.union(&mongodb.view.facts.monitors);
    let cannot_monitor: BTreeSet<UserId> = users.filter(|user| !stored.can_monitor(user)).cloned().collect();
    let no_base = if unit.was_updated() { sides.no_base() } else { NoBase::AsImported };
    let input = UnitInput {
        base: stored.base.as_ref(),
        mongodb: &mongodb.view,
        dynamodb: &dynamodb,
        no_base,
        cannot_monitor: &cannot_monitor,
    };
    let merge = merge_unit(id, &input);
    let mut places = BTreeMap::new();
    for (department, found) in &snapshot.departments {
        let (Ok(found), Some(item)) = (found, stored.departments.get(department)) else { continue };
        let is_here = |view: &PlaceView| view.place.as_ref() == Some(id);
        if !is_here(&found.view) && !is_here(&item.view) {
            continue;
        }
        let mut mongodb = found.view.clone();
        mongodb.place = mongodb.place.filter(|place| !dangling.contains(place));
        let no_base = no_base_of_place(sides, id, stored, unit, &[&mongodb, &item.view]);
        let base = stored.department_bases.get(department);
        places.insert(department.clone(), merge_place(department, base, &mongodb, &item.view, no_base));
    }
    OnBothSides { id, stored, unit, snapshot, mongodb, merge, places, left_out: BTreeSet::new() }
}

/// How the place of a department without a base is decided: if the units that the two sides have it in are as they were
/// imported, DynamoDB's place is the base.
fn no_base_of_place(
    sides: &Sides,
    id: &UnitId,
    stored: &Stored,
    unit: &StoredUnit,
    views: &[&PlaceView],
) -> NoBase {
    let is_as_imported = |place: &UnitId| {
        let unit = if place == id { Some(unit) } else { stored.other_units.get(place) };
        unit.is_none_or(|unit| !unit.was_updated())
    };
    let as_imported = views.iter().filter_map(|view| view.place.as_ref()).all(is_as_imported);
    if as_imported { NoBase::AsImported } else { sides.no_base() }
}
