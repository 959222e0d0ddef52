//! What change streams don't say: which unit a monitor's row belongs to, and whether a document is a unit or a
//! department. The event of a deletion has nothing but the `_id`, so both are remembered from earlier reads and events.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use livechat_units::id::UnitId;

/// The maximum number of entries of each map. A full map is emptied. What is then unknown is looked up, or all units
/// are looked at.
const MAX_ENTRIES: usize = 50_000;

/// Remembered facts about ids. It is bounded.
#[derive(Debug, Default)]
pub struct Known {
    units_of_rows: Mutex<HashMap<String, UnitId>>,
    units: Mutex<HashMap<String, bool>>,
}

impl Known {
    /// The unit of a monitor's row.
    pub fn unit_of_row(&self, row: &str) -> Option<UnitId> {
        lock(&self.units_of_rows).get(row).cloned()
    }

    /// Remembers the unit of a monitor's row. Returns the unit that was remembered before.
    pub fn note_row(&self, row: String, unit: UnitId) -> Option<UnitId> {
        insert(&self.units_of_rows, row, unit)
    }

    /// Remembers the unit of a monitor's row, unless a unit is remembered. What is read in a pass may be older than events.
    pub fn note_row_if_unknown(&self, row: String, unit: UnitId) {
        if self.unit_of_row(&row).is_none() {
            self.note_row(row, unit);
        }
    }

    /// Forgets a monitor's row. Returns its unit.
    pub fn forget_row(&self, row: &str) -> Option<UnitId> {
        lock(&self.units_of_rows).remove(row)
    }

    /// Whether the document is a unit. If not, it is a department.
    pub fn is_unit(&self, id: &str) -> Option<bool> {
        lock(&self.units).get(id).copied()
    }

    /// Remembers whether a document is a unit.
    pub fn note_kind(&self, id: String, is_unit: bool) {
        insert(&self.units, id, is_unit);
    }
}

fn insert<T>(map: &Mutex<HashMap<String, T>>, key: String, value: T) -> Option<T> {
    let mut map = lock(map);
    if map.len() >= MAX_ENTRIES && !map.contains_key(&key) {
        map.clear();
    }
    map.insert(key, value)
}

/// A lock is used even after a panic: each operation leaves the map consistent.
fn lock<T>(map: &Mutex<T>) -> MutexGuard<'_, T> {
    map.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_bounded() {
        let known = Known::default();
        for number in 0..=MAX_ENTRIES {
            known.note_kind(number.to_string(), number % 2 == 0);
        }
        assert_eq!(known.is_unit("0"), None);
        assert_eq!(known.is_unit(&MAX_ENTRIES.to_string()), Some(true));
        assert_eq!(lock(&known.units).len(), 1);
    }
}
