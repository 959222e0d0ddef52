//! What an update writes: a pure function of what was read and what the client asked for.
//!
//! Items are read at different moments while others write. Every fact that the plan relies on is a condition of one of
//! its actions, so if a transaction commits, all of these facts were true at that moment.

mod groups;
mod progress;
mod sequence;
mod size;

use std::collections::{BTreeMap, HashMap};

use groups::Groups;
pub use progress::Progress;
pub use sequence::Sequence;
use smol_str::SmolStr;

use crate::auth::Caller;
use crate::error::Error;
use crate::id::{DepartmentId, UserId};
use crate::item::{Corrupt, Department, Key, MONITOR_ROLE, Stored, User};
use crate::limits::MAX_ITEM_BYTES;
use crate::load::Loaded;
use crate::request::ListedDepartment;

/// Plans the update that `loaded` was read for. If all changes fit into one transaction, the sequence has one.
///
/// # Errors
/// The first of these that applies: the unit does not exist or the caller may not see it; a listed department does not
/// exist; the unit would be too large after one of the transactions. A corrupt item is an error when it is needed.
pub fn plan(caller: &Caller, loaded: &Loaded) -> Result<Sequence, Error> {
    let update = loaded.update;
    let unit = loaded.unit.get()?.ok_or(Error::UnitNotFound)?;
    if caller.is_restricted && !unit.monitors.contains_key(caller.id.as_str()) {
        return Err(Error::UnitNotFound);
    }
    require_all_departments(&update.departments, &loaded.departments)?;

    let monitors = eligible_monitors(&update.monitors, &loaded.users)?;
    let groups = Groups::new(caller, unit, loaded, &monitors)?;
    let sequence = Sequence::new(groups, monitors);
    if size::largest_unit_bytes(&sequence, loaded, unit) > MAX_ITEM_BYTES {
        return Err(Error::UnitTooLarge);
    }
    Ok(sequence)
}

/// The listed users who may be monitors: their stored usernames, by user id. A deactivated user may be a monitor, as in
/// Rocket.Chat.
///
/// # Errors
/// A user's item is corrupt, or a monitor has no username.
fn eligible_monitors(
    listed: &[UserId],
    users: &HashMap<UserId, Stored<User>>,
) -> Result<BTreeMap<SmolStr, SmolStr>, Error> {
    let monitor = |id: &UserId| {
        let user = users.get(id).map(Stored::get).transpose()?.flatten();
        let Some(user) = user.filter(|user| user.has_role(MONITOR_ROLE)) else { return Ok(None) };
        let nameless = || Corrupt { item: Key::User(id.clone()).partition(), attribute: "username" };
        let username = user.username.clone().ok_or_else(nameless)?;
        Ok(Some((id.text().clone(), username)))
    };
    listed.iter().filter_map(|id| monitor(id).transpose()).collect()
}

/// Checks row 10 of docs/contract.md: every listed department exists.
///
/// # Errors
/// The listed departments that do not exist, in the order of the body.
fn require_all_departments(
    listed: &[ListedDepartment],
    departments: &HashMap<DepartmentId, Stored<Department>>,
) -> Result<(), Error> {
    let exists = |id: &DepartmentId| departments.get(id).is_some_and(Stored::exists);
    let missing: Vec<String> = listed
        .iter()
        .filter(|listed| !listed.possible().is_some_and(exists))
        .map(|listed| listed.as_str().to_owned())
        .collect();
    if missing.is_empty() { Ok(()) } else { Err(Error::DepartmentsNotFound(missing)) }
}
