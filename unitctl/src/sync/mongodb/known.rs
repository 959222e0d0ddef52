//! What change streams don't say: which unit a monitor's row belongs to, whether a document is a unit or a department, and
//! whether this process made a change itself. The event of a deletion has nothing but the `_id`, so all of it is remembered from
//! earlier reads, events and writes.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use livechat_units::id::UnitId;
use mongodb::bson::{Bson, Document as BsonDocument};

/// The maximum number of entries of each map. A full map is emptied. What is then unknown is looked up, or all units
/// are looked at.
const MAX_ENTRIES: usize = 50_000;

/// The maximum number of remembered sessions. The driver uses a session again and again, so few are in use.
const MAX_SESSIONS: usize = 256;

/// Remembered facts about ids. It is bounded.
#[derive(Debug, Default)]
pub struct Known {
    units_of_rows: Mutex<HashMap<String, UnitId>>,
    units: Mutex<HashMap<String, bool>>,
    /// The ids of the sessions in which this process writes, without its other sessions. The oldest comes first.
    own_sessions: Mutex<VecDeque<Bson>>,
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

    /// Remembers that this process writes in this session (`lsid`). Of very many sessions, the oldest is forgotten.
    pub fn note_own_session(&self, lsid: &BsonDocument) {
        let Some(id) = lsid.get("id") else { return };
        let mut own = lock(&self.own_sessions);
        if !own.contains(id) {
            if own.len() == MAX_SESSIONS {
                own.pop_front();
            }
            own.push_back(id.clone());
        }
    }

    /// Whether this process writes in this session (`lsid`).
    pub fn is_own_session(&self, lsid: &BsonDocument) -> bool {
        lsid.get("id").is_some_and(|id| lock(&self.own_sessions).contains(id))
    }
}

fn insert<T>(map: &Mutex<HashMap<String, T>>, key: String, value: T) -> Option<T> {
    let mut map = lock(map);
    if map.len() >= MAX_ENTRIES && !map.contains_key(&key) {
        map.clear();
    }
    map.insert(key, value)
}

/// A lock is used even after a panic: each operation leaves the data consistent.
fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use mongodb::bson::doc;

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
        let lsid = |number: usize| doc! { "id": number as i64, "uid": "a" };
        for number in 0..=MAX_SESSIONS {
            known.note_own_session(&lsid(number));
            known.note_own_session(&lsid(number));
        }
        assert!(!known.is_own_session(&lsid(0)));
        assert!(known.is_own_session(&lsid(1)) && known.is_own_session(&lsid(MAX_SESSIONS)));
        assert_eq!(lock(&known.own_sessions).len(), MAX_SESSIONS);
    }
}
