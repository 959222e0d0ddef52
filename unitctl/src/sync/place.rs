//! Which unit a department is in: compares both sides, and finds the units whose looks make it the same.

use std::collections::{BTreeSet, HashMap};

use anyhow::Result;
use livechat_units::id::{DepartmentId, UnitId};
use livechat_units::item::{Item, Key};
use time::OffsetDateTime;

use super::base::DepartmentBase;
use super::copy::base;
use super::dynamodb::departments;
use super::merge::merge_place;
use super::model::{PlaceView, Removal, Subject};
use super::mongodb::Kind;
use super::sides::{Looked, Sides};
use crate::import::document::Document;
use crate::import::records::{UnitOrDepartment, long_ago};
use crate::import::write::partition;
use crate::origin::department_base_key;
use crate::requests::transact;

/// What a first comparison of a department has shown.
pub(super) enum Comparison {
    /// It is the same on both sides and in its base.
    Equal,
    /// Only its place is not the same, and the looks at these units make it so.
    Place(BTreeSet<UnitId>),
    /// It needs a look of its own.
    Differs,
}

/// Reads departments on both sides, and compares them. Departments that MongoDB does not have are not in the result.
pub(super) async fn compare_departments(
    sides: &Sides,
    ids: &[DepartmentId],
) -> Result<HashMap<DepartmentId, Comparison>> {
    let keys = ids.iter().flat_map(|id| [Key::Department(id.clone()).attributes(), department_base_key(id)]);
    let items = sides.database.get_all(keys.collect()).await?;
    let items: HashMap<&str, &Item> = items.iter().map(|item| (partition(item), item)).collect();
    let documents = sides.mongodb.departments(ids).await?;
    let now = OffsetDateTime::now_utc();
    let compared = documents.into_iter().map(|(id, document)| {
        let stored = items.get(&*Key::Department(id.clone()).partition()).copied();
        let base = items.get(partition(&department_base_key(&id))).copied();
        let comparison = compare(&id, stored, base, document, now);
        (id, comparison)
    });
    Ok(compared.collect())
}

fn compare(
    id: &DepartmentId,
    stored: Option<&Item>,
    base: Option<&Item>,
    document: Document,
    now: OffsetDateTime,
) -> Comparison {
    let decision = departments::decide(id, stored, Some(document.clone()), Removal::No, now);
    if decision.write.is_some() || !decision.problems.is_empty() {
        return Comparison::Differs;
    }
    let Ok(UnitOrDepartment::Department(found)) = UnitOrDepartment::parse(document) else {
        return Comparison::Equal;
    };
    let Some(base) = base.and_then(|base| DepartmentBase::parse(id.clone(), base.clone()).ok()) else {
        return Comparison::Differs;
    };
    let in_mongodb = found.place.parent_id.and_then(UnitId::parse);
    let parent = stored.and_then(|item| item.get("parentId")?.as_s().ok());
    let in_dynamodb = parent.and_then(|parent| UnitId::parse(parent.as_str()));
    let is_in_base = base.place == in_mongodb;
    if base.intent.is_none() && !base.rooms && in_dynamodb == in_mongodb && is_in_base {
        return Comparison::Equal;
    }
    // MongoDB's department may name a unit that does not exist, and then it is in none. DynamoDB's unit exists, and so
    // did that of the base.
    let units: BTreeSet<UnitId> = [&in_mongodb, &in_dynamodb].into_iter().flatten().cloned().collect();
    if in_dynamodb.is_some() || is_in_base && !units.is_empty() {
        return Comparison::Place(units);
    }
    Comparison::Differs
}

/// Compares a department's place. If it differs, the department's units have to be looked at, and these looks make it
/// the same. If the department is in no unit on both sides, this look stores that as the base.
pub(super) async fn place(sides: &Sides, id: &DepartmentId, looked: &mut Looked) -> Result<()> {
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

/// Stores the base of a department that is in no unit on both sides, and names its rooms if they are still to be written.
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
    let has_rooms = base.is_some_and(|base| base.rooms);
    let new = DepartmentBase {
        rev: base.map_or(0, |base| base.rev),
        rooms: has_rooms,
        ..DepartmentBase::new(id.clone(), merge.target)
    };
    if base != Some(&new) {
        sides.check_lease()?;
        // If another process has stored a base meanwhile, that one counts.
        transact(&sides.database, vec![new.put(&sides.database.tables.livechat)?]).await?;
    }
    if has_rooms && !sides.mode.is_from_mongodb {
        looked.follow_ups.insert(Subject::Rooms(id.clone()));
    }
    Ok(())
}
