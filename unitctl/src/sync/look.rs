//! A look at one subject: reads it on both sides, decides, and writes. It decides only by what both sides have now. So
//! it does no harm if events come late, twice or in another order.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use anyhow::Result;

use super::copy::copy_to_dynamodb;
use super::model::Subject;
use super::place::{is_department_equal, place};
use super::sides::{Looked, Removal, Sides};
use super::units;

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
    let is_changed = copy_to_dynamodb(sides, subject, removal).await?;
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
