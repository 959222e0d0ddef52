//! The units and departments of a workspace: the exported ones, the stored ones, and the planned ones.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use aws_sdk_dynamodb::types::AttributeValue;
use livechat_units::id::{DepartmentId, UnitId, UserId};
use livechat_units::item::{Item, Key};
use serde::Serialize;

use super::document::Broken;
use super::equality::{equal, equal_except};
use super::item_size::{check_bytes, item_bytes};
use super::records::{Place, REV_BYTES, Unit, UnitMonitor};
use super::user::MonitorUser;
use crate::origin::REV;

/// The unit's `version` after the last import that wrote it; absent is 0. If a unit's version is higher, the unit was
/// updated since. Updates keep attributes that they do not know, so they keep this one.
pub const IMPORTED_VERSION: &str = "importedVersion";

/// The exported data, without the attributes that only the departments' items need.
#[derive(Default)]
pub struct Exported {
    /// The units.
    pub units: BTreeMap<UnitId, Unit>,
    /// The departments.
    pub departments: BTreeMap<DepartmentId, ExportedDepartment>,
    /// The rows of units' monitors, by unit.
    pub monitors: BTreeMap<UnitId, Vec<UnitMonitor>>,
    /// The users who have the role `livechat-monitor` or are named by those rows, as far as they are exported.
    pub users: HashMap<UserId, MonitorUser>,
    /// The collections that are incomplete.
    pub incomplete: Incomplete,
}

/// The collections with a document that can't be used. If something is missing from such a
/// collection, it may be in that document. So nothing is removed because it is missing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Incomplete {
    /// `users`.
    pub users: bool,
    /// `rocketchat_livechat_department`.
    pub departments: bool,
    /// `rocketchat_livechat_unit_monitors`.
    pub monitors: bool,
}

/// The facts of a department that the plan needs.
#[derive(Clone, Debug)]
pub struct ExportedDepartment {
    /// Where it is.
    pub place: Place,
    /// The line of its document. The first line is 1.
    pub line: u64,
    /// The size of its item without its place.
    pub bytes_without_place: usize,
}

/// What is stored already of the exported units and departments, and of the units that such departments
/// are in.
#[derive(Default)]
pub struct Stored {
    /// The units.
    pub units: HashMap<UnitId, StoredUnit>,
    /// The place of each department that exists: of the exported ones, and of those that the units list.
    pub departments: HashMap<DepartmentId, Place>,
}

/// A unit as it is stored.
#[derive(Clone, Debug, Default)]
pub struct StoredUnit {
    /// The whole item.
    pub item: Item,
    /// The version; an absent one is 0.
    pub version: u64,
    /// The version after the last import that wrote it.
    pub imported_version: u64,
    /// The departments that it lists.
    pub departments: BTreeSet<String>,
    /// The monitors' items, by user id.
    pub monitors: BTreeMap<UserId, Item>,
}

/// The planned units and departments.
#[derive(Default)]
pub struct Planned {
    /// The units to write.
    pub units: Vec<PlannedUnit>,
    /// The planned place of each exported department. `None`: it stays where it is stored.
    pub departments: BTreeMap<DepartmentId, Option<Place>>,
    /// The repairs.
    pub repairs: Vec<Repair>,
    /// Units that were updated since they were imported, and stay as they are.
    pub kept: Vec<UnitId>,
    /// Units and departments that are too large for one item, and kept units that have no room for `rev`.
    pub too_large: Vec<Broken>,
}

/// A monitor of a unit: the username, and the row's last change if it is known.
pub struct Monitor {
    /// The username.
    pub username: String,
    /// The row's last change.
    pub updated_at: Option<String>,
}

/// A planned unit.
pub struct PlannedUnit {
    /// Its id.
    pub id: UnitId,
    /// The unit's item, without the attributes that only imports use.
    pub item: Item,
    /// The monitors' items.
    pub monitors: BTreeMap<UserId, Item>,
}

/// An inconsistency in Rocket.Chat's data, and its repair.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Repair {
    /// The unit or department.
    pub item: String,
    /// What was wrong and what was done.
    pub repair: String,
    /// What repairs like this one have in common.
    #[serde(skip)]
    pub kind: &'static str,
}

impl fmt::Display for Repair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.item, self.repair)
    }
}

impl StoredUnit {
    /// Reads a stored unit's item.
    ///
    /// # Errors
    /// An attribute has another type than it should have.
    pub fn parse(id: &UnitId, item: Item) -> anyhow::Result<Self> {
        let unit = livechat_units::item::Unit::parse(&Key::Unit(id.clone()), item.clone())?;
        Ok(Self {
            version: unit.version.unwrap_or_default(),
            imported_version: number(&item, IMPORTED_VERSION),
            departments: unit.departments.into_iter().map(Into::into).collect(),
            item,
            monitors: BTreeMap::new(),
        })
    }

    /// Checks that the unit is marked as one of Rocket.Chat's, or can be marked by an import or a sync.
    ///
    /// # Errors
    /// The item has no room for the attribute.
    pub fn check_mark(&self) -> Result<(), String> {
        if self.item.contains_key(REV) {
            return Ok(());
        }
        check_bytes(item_bytes(&self.item) + REV_BYTES)
    }

    /// True if an update changed the unit after the last import.
    pub fn was_updated(&self) -> bool {
        self.version > self.imported_version
    }

    /// True if the stored unit is the planned one.
    pub fn equals(&self, planned: &PlannedUnit) -> bool {
        equal_except(&["version", IMPORTED_VERSION, REV], &self.item, &planned.item)
            && self.item.contains_key(REV)
            && self.monitors.len() == planned.monitors.len()
            && self
                .monitors
                .iter()
                .all(|(id, item)| planned.monitors.get(id).is_some_and(|planned| equal(item, planned)))
    }
}

impl PlannedUnit {
    /// The item that replaces a stored one. Its version is one more, so that an update that has read the old version is
    /// refused. It also has the mark that an import made this version.
    pub fn item_to_replace(&self, stored: Option<&StoredUnit>) -> Item {
        let mut item = self.item.clone();
        let count = |count: u64| AttributeValue::N(count.to_string());
        if let Some(stored) = stored {
            item.insert("version".into(), count(stored.version + 1));
            item.insert(IMPORTED_VERSION.into(), count(stored.version + 1));
        }
        let rev = stored.map_or(0, |stored| number(&stored.item, REV));
        item.insert(REV.into(), count(rev + 1));
        item
    }
}

/// A whole number of an item; 0 if there is none.
pub fn number(item: &Item, name: &str) -> u64 {
    item.get(name).and_then(|value| value.as_n().ok()?.parse().ok()).unwrap_or_default()
}
