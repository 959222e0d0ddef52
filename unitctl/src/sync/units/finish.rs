//! What is left to do when a unit is the same on both sides: store the bases, and name the rooms to write. Also the fences
//! against earlier writes that may still arrive.

use anyhow::Result;
use livechat_units::id::UnitId;
use livechat_units::limits::MAX_TRANSACTION_ACTIONS;

use super::both_sides::{OnBothSides, Step};
use super::read::Stored;
use crate::requests::transact;
use crate::sync::base::{DepartmentBase, UnitBase};
use crate::sync::model::Subject;
use crate::sync::mongodb::{MongoUnit, UnitSnapshot};
use crate::sync::sides::{Looked, Sides};

/// Makes sure that writes to MongoDB that were intended earlier can't be committed any more, if they have not been.
/// Returns whether both sides have to be read again.
pub(super) async fn fence(
    sides: &Sides,
    id: &UnitId,
    stored: &Stored,
    snapshot: &UnitSnapshot,
    mongodb: &MongoUnit,
) -> Result<bool> {
    let mut is_fenced = false;
    if let Some(stamp) = stored.base.as_ref().and_then(|base| base.fence(&mongodb.view)) {
        sides.mongodb.stamp_unit(id, &mongodb.view.updated_at, &stamp).await?;
        is_fenced = true;
    }
    for (department, base) in &stored.department_bases {
        let Some(Ok(found)) = snapshot.departments.get(department) else { continue };
        if let Some(stamp) = base.fence(&found.view) {
            sides.mongodb.stamp_department(department, &found.view.updated_at, &stamp).await?;
            is_fenced = true;
        }
    }
    Ok(is_fenced)
}

/// Stores the bases that differ from what both sides have, and names the rooms that are still to be written. Both sides need
/// not be read again after that: if one of them has changed since it was read, there is an event of it.
pub(super) async fn store_bases(sides: &Sides, both: &OnBothSides<'_>, looked: &mut Looked) -> Result<Step> {
    let table = &sides.database.tables.livechat;
    let mut puts = Vec::new();
    // `before` is the base without the changes that are still to be written. With `--from-mongodb`, those are the
    // function's changes, so they still differ from the base.
    let facts = &both.merge.before;
    if !both.is_base_stored() {
        let stored = both.stored.base.as_ref();
        let rev = stored.map_or(0, |base| base.rev);
        puts.push(UnitBase { id: both.id.clone(), rev, facts: facts.clone(), intent: None }.put(table)?);
    }
    let mut rooms = Vec::new();
    for (id, place) in &both.places {
        let stored = both.stored.department_bases.get(id);
        let is_settled = stored.is_some_and(|base| base.place == place.before && base.intent.is_none());
        if place.write_to.is_some() && !is_settled {
            // The look at another unit writes this place, with its base.
            continue;
        }
        let (rev, has_rooms) = stored.map_or((0, false), |base| (base.rev, base.rooms));
        if !is_settled {
            let base = DepartmentBase {
                id: id.clone(),
                rev,
                place: place.before.clone(),
                intent: None,
                rooms: has_rooms,
            };
            puts.push(base.put(table)?);
        }
        if has_rooms && place.write_to.is_none() {
            rooms.push(Subject::Rooms(id.clone()));
        }
    }
    for puts in puts.chunks(MAX_TRANSACTION_ACTIONS) {
        sides.check_lease()?;
        if !transact(&sides.database, puts.to_vec()).await? {
            return Ok(Step::Refused);
        }
    }
    if !sides.mode.is_from_mongodb {
        looked.follow_ups.extend(rooms);
    }
    Ok(Step::Done)
}
