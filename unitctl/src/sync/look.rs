//! A look at one subject: reads it on both sides, decides, and writes. It decides only by what both sides have now. So
//! it does no harm if events come late, twice or in another order.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use anyhow::Result;

use super::copy::copy_to_dynamodb;
use super::model::{Removal, Subject};
use super::place::{Comparison, compare_departments, place};
use super::rooms;
use super::sides::{Looked, Sides};
use super::units::{self, MoreToRead};

/// Makes a subject the same on both sides.
///
/// # Errors
/// A side can't be read or written.
pub async fn look(sides: &Sides, subject: &Subject, removal: Removal) -> Result<Looked> {
    look_knowing(sides, subject, removal, MoreToRead::default()).await
}

/// As [`look`], for a caller who already knows what MongoDB's unit names: then both sides need not be read a second time.
/// If the unit has changed since, that does no harm.
///
/// # Errors
/// A side can't be read or written.
pub async fn look_knowing(
    sides: &Sides,
    subject: &Subject,
    removal: Removal,
    named: MoreToRead,
) -> Result<Looked> {
    sides.reporter.counters.looks.fetch_add(1, Ordering::Relaxed);
    match subject {
        Subject::Unit(id) => return units::look(sides, id, removal, named).await,
        Subject::Rooms(id) => return rooms::look(sides, id).await,
        Subject::Department(id) => {
            let comparison = compare_departments(sides, std::slice::from_ref(id)).await?.remove(id);
            if let Some(looked) = compared(sides, subject, comparison) {
                return Ok(looked);
            }
        }
        Subject::User(_) | Subject::Permission(_) => {}
    }
    let mut looked = Looked::default();
    let is_changed = copy_to_dynamodb(sides, subject, removal).await?;
    match subject {
        Subject::Department(id) => place(sides, id, &mut looked).await?,
        Subject::User(_) if is_changed => looked.follow_ups.extend(units_to_look_at(sides)),
        _ => {}
    }
    Ok(looked)
}

/// The result of a look at a department, unless it needs more than a comparison. When Rocket.Chat saves a unit, it sets
/// `_updatedAt` of all its departments, although most of them have not changed.
pub(super) fn compared(sides: &Sides, subject: &Subject, comparison: Option<Comparison>) -> Option<Looked> {
    let units = match comparison {
        None | Some(Comparison::Differs) => return None,
        Some(Comparison::Equal) => BTreeSet::new(),
        Some(Comparison::Place(units)) => units,
    };
    sides.reporter.open(subject, BTreeSet::new());
    sides.reporter.held_back(subject, false);
    Some(Looked { follow_ups: units.into_iter().map(Subject::Unit).collect(), ..Looked::default() })
}

/// The units that may lack a user as a monitor who can be a monitor now: all units with open facts.
pub(super) fn units_to_look_at(sides: &Sides) -> impl Iterator<Item = Subject> {
    sides.reporter.open_subjects().into_iter().filter(|open| matches!(open, Subject::Unit(_)))
}
