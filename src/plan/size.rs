//! The size of the unit's item, as far as the function knows its attributes.

use smol_str::SmolStr;

use super::groups::Group;
use super::sequence::{Sequence, is_name_first};
use crate::action::Action;
use crate::item::Unit;
use crate::load::Loaded;

/// The largest size in bytes that the unit's item has after any of the transactions. It is a lower bound, because the
/// item may have attributes that the function does not read. So DynamoDB can refuse a unit that passes here.
///
/// Sizes are those of the Amazon DynamoDB Developer Guide, "DynamoDB item sizes and formats". Only the attributes that
/// can be long are counted: name, monitors, departments and ancestors.
pub(super) fn largest_unit_bytes(sequence: &Sequence, loaded: &Loaded, unit: &Unit) -> usize {
    let update = loaded.update;
    let old_name = unit.name.as_ref().map_or(0, String::len);
    let monitors = unit.monitors.iter().map(|(id, username)| monitor_bytes(id, username));
    let ids = unit.departments.iter().chain(&unit.ancestors).map(SmolStr::len);
    // Without the name. The sum is signed because groups may subtract before others add.
    let mut bytes = (monitors.sum::<usize>() + ids.sum::<usize>()).cast_signed();
    let mut largest = 0;
    let last = sequence.transactions().count().saturating_sub(1);
    for (index, groups) in sequence.transactions().enumerate() {
        bytes += groups.iter().map(|group| growth(group, unit)).sum::<isize>();
        let is_new_name = index == last || is_name_first(update, unit);
        let name = if is_new_name { update.name.len() } else { old_name };
        largest = largest.max(bytes + name.cast_signed());
    }
    largest.max(0).cast_unsigned()
}

/// A map's entry has one byte beside its key and value.
fn monitor_bytes(id: &str, username: &str) -> usize {
    1 + id.len() + username.len()
}

/// By how many bytes a group makes the unit's item larger. Negative if the item becomes smaller.
fn growth(group: &Group, unit: &Unit) -> isize {
    let old_monitor =
        |id: &str| unit.monitors.get(id).map_or(0, |name| monitor_bytes(id, name)).cast_signed();
    let actions = group.actions.iter().map(|action| match action {
        Action::PutMonitor { monitor, username, .. } => {
            monitor_bytes(monitor.as_str(), username).cast_signed() - old_monitor(monitor.as_str())
        }
        Action::DeleteMonitor { monitor, .. } => -old_monitor(monitor.as_str()),
        Action::JoinDepartment { id, .. } | Action::CheckInUnit { id, .. } => {
            if unit.departments.contains(id.as_str()) { 0 } else { id.as_str().len().cast_signed() }
        }
        Action::LeaveDepartment { id, .. } | Action::CheckNotInUnit { id, .. } => {
            -id.as_str().len().cast_signed()
        }
        Action::UpdateUnit(_) | Action::ShrinkUnit { .. } | Action::CheckUnitLacks { .. } => 0,
    });
    let departments: usize = group.dropped_departments.iter().map(SmolStr::len).sum();
    let monitors: isize = group.dropped_monitors.iter().map(|id| old_monitor(id)).sum();
    actions.sum::<isize>() - departments.cast_signed() - monitors
}
