//! A look at the rooms of a department: gives them the `departmentAncestors` of the unit that the department is in.
//!
//! It is not a part of the look at the unit, because a department may have hundreds of thousands of rooms, and other changes
//! of the unit must not wait for them. The department's base says that its rooms are still to be written.

use anyhow::Result;
use livechat_units::id::DepartmentId;

use super::base::DepartmentBase;
use super::copy::base;
use super::model::Subject;
use super::sides::{Looked, Sides};
use crate::requests::transact;

/// Writes the rooms of a department whose place is the same on both sides, if they are still to be written.
///
/// # Errors
/// A side can't be read or written. Some rooms may be written.
pub async fn look(sides: &Sides, id: &DepartmentId) -> Result<Looked> {
    let mut looked = Looked::default();
    if sides.mode.is_dry_run || sides.mode.is_from_mongodb {
        return Ok(looked);
    }
    // While there is an intent, the place is being written. The look that writes it names the rooms again.
    let Some(base) = base(sides, id).await?.filter(|base| base.rooms && base.intent.is_none()) else {
        return Ok(looked);
    };
    sides.check_lease()?;
    let written = sides.mongodb.write_rooms(id, base.place.as_ref()).await?;
    // If the department was moved meanwhile, the rooms that were written are wrong.
    if written > 0 && sides.mongodb.place_of(id).await? != base.place {
        looked.follow_ups.insert(Subject::Department(id.clone()));
        return Ok(looked);
    }
    let done = DepartmentBase { rooms: false, ..base };
    sides.check_lease()?;
    if !transact(&sides.database, vec![done.put(&sides.database.tables.livechat)?]).await? {
        looked.follow_ups.insert(Subject::Rooms(id.clone()));
    }
    Ok(looked)
}
