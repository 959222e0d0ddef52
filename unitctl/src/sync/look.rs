//! A look at one subject: reads it on both sides, decides, and writes. It decides only by what both sides have now. So
//! it does no harm if events come late, twice or in another order.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use anyhow::Result;

use super::copy::copy_to_dynamodb;
use super::model::{Removal, Subject};
use super::place::{equal_departments, place};
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
        // When Rocket.Chat saves a unit, it sets `_updatedAt` of all its departments, although most of them have not
        // changed.
        Subject::Department(id) if equal_departments(sides, std::slice::from_ref(id)).await?.contains(id) => {
            return Ok(found_equal(sides, subject));
        }
        _ => {}
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

/// The result of a look at a subject that is the same on both sides.
pub(super) fn found_equal(sides: &Sides, subject: &Subject) -> Looked {
    sides.reporter.open(subject, BTreeSet::new());
    sides.reporter.held_back(subject, false);
    Looked::default()
}

/// The units that may lack a user as a monitor who can be a monitor now: all units with open facts.
pub(super) fn units_to_look_at(sides: &Sides) -> impl Iterator<Item = Subject> {
    sides.reporter.open_subjects().into_iter().filter(|open| matches!(open, Subject::Unit(_)))
}
