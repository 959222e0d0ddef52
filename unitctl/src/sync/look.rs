//! A look at one subject: reads it on both sides, decides, and writes. It decides only by what both sides have now. So
//! it does no harm if events come late, twice or in another order.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Result, bail};
use livechat_units::id::{DepartmentId, UnitId, UserId};
use livechat_units::item::{Item, Key};
use time::OffsetDateTime;

use super::base::DepartmentBase;
use super::dynamodb::users::{Found, Options};
use super::dynamodb::{Decision, Written, departments, permissions, users};
use super::merge::merge_place;
use super::model::{PlaceView, Side, Subject};
use super::mongodb::Kind;
use super::sides::{Looked, Removal, Sides};
use super::units;
use crate::import::documents::Document;
use crate::import::records::{UnitOrDepartment, long_ago};
use crate::import::write::partition;
use crate::origin::{SYNC_PREFIX, department_base_key};
use crate::requests::transact;

/// The number of refused writes in a row after which a look gives up for a while.
const MAX_REFUSALS: u32 = 20;

/// The longest pause after a refused write.
const MAX_PAUSE: Duration = Duration::from_millis(50);

/// Makes a subject the same on both sides.
///
/// # Errors
/// A side can't be read or written.
pub async fn look(sides: &Sides, subject: &Subject, removal: Removal) -> Result<Looked> {
    sides.reporter.counters.looks.fetch_add(1, Ordering::Relaxed);
    match subject {
        Subject::Unit(id) => return units::look(sides, id, removal).await,
        // When Rocket.Chat saves a unit, it sets `_updatedAt` of all its departments, although most of them have not
        // changed.
        Subject::Department(id) if is_department_equal(sides, id).await? => {
            sides.reporter.open(subject, BTreeSet::new());
            sides.reporter.held_back(subject, false);
            return Ok(Looked::default());
        }
        _ => {}
    }
    let mut looked = Looked::default();
    let is_changed = entity(sides, subject, removal).await?;
    match subject {
        Subject::Department(id) => place(sides, id, &mut looked).await?,
        Subject::User(_) if is_changed => looked.follow_ups.extend(units_to_look_at(sides)),
        _ => {}
    }
    Ok(looked)
}

/// The units that may lack a user as a monitor who can be a monitor now: all units with open facts.
pub(super) fn units_to_look_at(sides: &Sides) -> impl Iterator<Item = Subject> {
    sides.reporter.open_subjects().into_iter().filter(|open| matches!(open, Subject::Unit(_)))
}

/// Brings a user, a permission or a department (without its place) to DynamoDB, or removes it there. Returns whether
/// something was written.
///
/// # Errors
/// A side can't be read or written.
pub async fn entity(sides: &Sides, subject: &Subject, removal: Removal) -> Result<bool> {
    for _ in 0..=MAX_REFUSALS {
        let written = match subject {
            Subject::User(id) => user(sides, subject, id, removal).await?,
            Subject::Permission(id) => permission(sides, subject, id, removal).await?,
            Subject::Department(id) => department(sides, subject, id, removal).await?,
            Subject::Unit(_) => None,
        };
        match written {
            None => return Ok(false),
            // If something has changed since it was read, an event follows.
            Some(Written::Committed) => return Ok(true),
            Some(Written::Refused) => {
                sides.reporter.counters.refusals.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(MAX_PAUSE.mul_f64(fastrand::f64())).await;
            }
        }
    }
    bail!("the data kept changing while the sync tried to write it")
}

/// Returns `None` if nothing has to be written.
async fn user(sides: &Sides, subject: &Subject, id: &UserId, removal: Removal) -> Result<Option<Written>> {
    let mut stored = users::read(&sides.database, std::slice::from_ref(id)).await?;
    let Some(stored) = stored.get_mut(id) else { bail!("the user was not read") };
    let document = sides.mongodb.user(id).await?;
    let lifetime = sides.lifetime();
    let found = Found::parse(document, removal == Removal::Deleted, lifetime);
    users::read_named(&sides.database, &mut [(&mut *stored, &found)]).await?;
    let options = Options { lifetime, now: OffsetDateTime::now_utc(), may_remove: removal.is_allowed() };
    if removal == Removal::Missing
        && matches!(found, Found::Absent { .. })
        && stored.is_forgettable(options.now)
        && !sides.mode.is_dry_run
    {
        sides.check_lease()?;
        users::forget(&sides.database, stored).await?;
        return Ok(None);
    }
    let Some(write) = tell(sides, subject, users::decide(stored, found, &options)) else { return Ok(None) };
    for orphan in write.orphans() {
        sides.reporter.warn(format!("{orphan} is removed: neither MongoDB nor the user's list has it"));
    }
    if sides.mode.is_dry_run {
        sides.reporter.change(subject, Side::DynamoDb, &write);
        return Ok(Some(Written::Committed));
    }
    sides.check_lease()?;
    let written = users::write(&sides.database, &write).await?;
    if written == Written::Committed {
        sides.reporter.change(subject, Side::DynamoDb, &write);
    }
    Ok(Some(written))
}

async fn permission(sides: &Sides, subject: &Subject, id: &str, removal: Removal) -> Result<Option<Written>> {
    let stored = permissions::read(&sides.database, &[id.to_owned()]).await?;
    let document = sides.mongodb.permission(id).await?;
    let stored = stored.get(id).and_then(Option::as_ref);
    let now = OffsetDateTime::now_utc();
    let decision = permissions::decide(id, stored, document, removal.is_allowed(), now);
    let Some(write) = tell(sides, subject, decision) else { return Ok(None) };
    let written = if sides.mode.is_dry_run {
        Written::Committed
    } else {
        sides.check_lease()?;
        permissions::write(&sides.database, &write).await?
    };
    if written == Written::Committed {
        sides.reporter.change(subject, Side::DynamoDb, &write);
    }
    Ok(Some(written))
}

async fn department(
    sides: &Sides,
    subject: &Subject,
    id: &DepartmentId,
    removal: Removal,
) -> Result<Option<Written>> {
    let stored = departments::read(&sides.database, std::slice::from_ref(id)).await?;
    let base = base(sides, id).await?;
    let document = sides.mongodb.department(id).await?;
    let stored = stored.get(id).and_then(Option::as_ref);
    let now = OffsetDateTime::now_utc();
    let decision = departments::decide(id, stored, document, removal.is_allowed(), now);
    let Some(write) = tell(sides, subject, decision) else { return Ok(None) };
    let written = if sides.mode.is_dry_run {
        Written::Committed
    } else {
        // A new department is in no unit in DynamoDB, so its base is no unit. Its place in MongoDB then counts as a
        // change of MongoDB.
        let base = write.creates().then(|| {
            let rev = base.map_or(0, |base| base.rev);
            DepartmentBase { rev, ..DepartmentBase::new(id.clone(), None) }
                .put(&sides.database.tables.livechat)
        });
        sides.check_lease()?;
        departments::write(&sides.database, &write, base.transpose()?).await?
    };
    if written == Written::Committed {
        sides.reporter.change(subject, Side::DynamoDb, &write);
    }
    Ok(Some(written))
}

/// Reports what can't be used and what was not removed. Returns what to write.
fn tell<W>(sides: &Sides, subject: &Subject, decision: Decision<W>) -> Option<W> {
    let problems =
        decision.problems.into_iter().map(|problem| format!("MongoDB's document can't be used: {problem}"));
    sides.reporter.open(subject, problems.collect());
    sides.reporter.held_back(subject, decision.is_held_back);
    decision.write
}

/// Reads a department on both sides, and compares it.
async fn is_department_equal(sides: &Sides, id: &DepartmentId) -> Result<bool> {
    let keys = vec![Key::Department(id.clone()).attributes(), department_base_key(id)];
    let (bases, departments): (Vec<Item>, Vec<Item>) = sides
        .database
        .get_all(keys)
        .await?
        .into_iter()
        .partition(|item| partition(item).starts_with(SYNC_PREFIX));
    let Some(document) = sides.mongodb.department(id).await? else { return Ok(false) };
    Ok(is_equal(id, departments.first(), bases.first(), document, OffsetDateTime::now_utc()))
}

/// True if a department is the same on both sides and in its base.
pub(super) fn is_equal(
    id: &DepartmentId,
    stored: Option<&Item>,
    base: Option<&Item>,
    document: Document,
    now: OffsetDateTime,
) -> bool {
    let decision = departments::decide(id, stored, Some(document.clone()), false, now);
    if decision.write.is_some() || !decision.problems.is_empty() {
        return false;
    }
    let Ok(UnitOrDepartment::Department(found)) = UnitOrDepartment::parse(document) else { return true };
    let Some(base) = base.and_then(|base| DepartmentBase::parse(id.clone(), base.clone()).ok()) else {
        return false;
    };
    let in_dynamodb = stored.and_then(|item| item.get("parentId")?.as_s().ok()).map(String::as_str);
    let in_mongodb = found.place.parent_id.as_deref();
    base.intent.is_none()
        && !base.rooms
        && in_dynamodb == in_mongodb
        && base.place.as_ref().map(UnitId::as_str) == in_mongodb
}

/// A department's base. A base that can't be parsed counts as absent. The look at the unit deletes it.
async fn base(sides: &Sides, id: &DepartmentId) -> Result<Option<DepartmentBase>> {
    let items = sides.database.get_all(vec![department_base_key(id)]).await?;
    Ok(items.into_iter().next().and_then(|item| DepartmentBase::parse(id.clone(), item).ok()))
}

/// Compares a department's place. If it differs, the department's units have to be looked at, and these looks make it
/// the same. If the department is in no unit on both sides, this look stores that as the base.
async fn place(sides: &Sides, id: &DepartmentId, looked: &mut Looked) -> Result<()> {
    // The base is read first. An earlier state of the department, compared with a base that was written meanwhile, would look
    // like a change by the function.
    let base = base(sides, id).await?;
    let stored = departments::read(&sides.database, std::slice::from_ref(id)).await?;
    let Some(document) = sides.mongodb.department(id).await? else { return Ok(()) };
    let Some(item) = stored.get(id).and_then(Option::as_ref) else { return Ok(()) };
    let Ok(UnitOrDepartment::Department(found)) = UnitOrDepartment::parse(document) else { return Ok(()) };
    let text = |name: &str| item.get(name).and_then(|value| value.as_s().ok()).cloned();
    let dynamodb = PlaceView {
        place: text("parentId").and_then(UnitId::parse),
        updated_at: text("_updatedAt").unwrap_or_else(long_ago),
    };
    let mut mongodb = PlaceView {
        place: found.place.parent_id.and_then(UnitId::parse),
        updated_at: found.updated_at.unwrap_or_else(long_ago),
    };
    if let Some(unit) = &mongodb.place {
        // A department of a unit that does not exist is in none, as for the import.
        let existing = sides.mongodb.existing(Kind::Units, &[unit.to_string()]).await?;
        if existing.is_empty() {
            mongodb.place = None;
        }
    }
    let is_settled = base.as_ref().is_some_and(|base| {
        base.place == mongodb.place && mongodb.place == dynamodb.place && base.intent.is_none() && !base.rooms
    });
    if is_settled {
        return Ok(());
    }
    let units: BTreeSet<UnitId> =
        [mongodb.place.clone(), dynamodb.place.clone()].into_iter().flatten().collect();
    if !units.is_empty() {
        looked.follow_ups.extend(units.into_iter().map(Subject::Unit));
        return Ok(());
    }
    if sides.mode.is_dry_run {
        return Ok(());
    }
    in_no_unit(sides, id, base.as_ref(), &mongodb, &dynamodb, looked).await
}

/// Stores the base of a department that is in no unit on both sides, and finishes what an intent left to do.
async fn in_no_unit(
    sides: &Sides,
    id: &DepartmentId,
    base: Option<&DepartmentBase>,
    mongodb: &PlaceView,
    dynamodb: &PlaceView,
    looked: &mut Looked,
) -> Result<()> {
    // With `--from-mongodb`, a remaining intent counts as not committed, and its fence is not set.
    if !sides.mode.is_from_mongodb
        && let Some(stamp) = base.and_then(|base| base.fence(mongodb))
    {
        sides.mongodb.stamp_department(id, &mongodb.updated_at, &stamp).await?;
        // What was read is out of date now: the stamp has changed the department, or was refused because something else
        // has.
        looked.follow_ups.insert(Subject::Department(id.clone()));
        return Ok(());
    }
    let merge = merge_place(id, base, mongodb, dynamodb, sides.no_base());
    sides.check_lease()?;
    let has_rooms = base.is_some_and(|base| base.rooms);
    if has_rooms && !sides.mode.is_from_mongodb {
        sides.mongodb.write_rooms(id, None).await?;
        // If the department was moved meanwhile, the rooms that were written are wrong.
        if units::place_in_mongodb(sides, id).await?.is_some() {
            looked.follow_ups.insert(Subject::Department(id.clone()));
            return Ok(());
        }
    }
    let new = DepartmentBase {
        rev: base.map_or(0, |base| base.rev),
        rooms: has_rooms && sides.mode.is_from_mongodb,
        ..DepartmentBase::new(id.clone(), merge.target)
    };
    // If another process has stored a base meanwhile, that one counts.
    transact(&sides.database, vec![new.put(&sides.database.tables.livechat)?]).await?;
    Ok(())
}
