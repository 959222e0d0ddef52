//! What the units and departments of an export become: a pure function of what was exported and what is
//! stored. It mends what Rocket.Chat leaves inconsistent, and tells each repair.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use aws_sdk_dynamodb::types::AttributeValue;
use livechat_units::id::{DepartmentId, UnitId, UserId};
use livechat_units::item::{Item, Key};
use serde::Serialize;

use super::records::{self, MonitorUser, Place, Unit, UnitMonitor, check_size, insert_set, texts};

/// The unit's `version` after the last import that wrote it. A unit whose version is higher was updated
/// since. Attributes that the function does not know stay as they are, so it survives updates.
const IMPORTED_VERSION: &str = "importedVersion";

/// What was exported, but for what only the items of departments need.
#[derive(Default)]
pub struct Exported {
    /// The units.
    pub units: BTreeMap<UnitId, Unit>,
    /// Where each department is.
    pub departments: BTreeMap<DepartmentId, Place>,
    /// The rows of units' monitors, by unit.
    pub monitors: BTreeMap<UnitId, Vec<UnitMonitor>>,
    /// The users whom those rows name, as far as they exist.
    pub users: HashMap<UserId, MonitorUser>,
}

/// What is stored already of the exported units and departments, and of the units that such departments
/// are in.
#[derive(Default)]
pub struct Stored {
    /// The units.
    pub units: HashMap<UnitId, StoredUnit>,
    /// The `parentId` of each department that exists: the exported ones, and those that the units list.
    pub departments: HashMap<DepartmentId, Option<String>>,
}

/// A unit as it is stored.
#[derive(Clone, Debug, Default)]
pub struct StoredUnit {
    /// The whole item.
    pub item: Item,
    /// The version; an absent one is 0.
    pub version: u64,
    /// What the last import left as the version.
    pub imported_version: u64,
    /// The departments that it lists.
    pub departments: BTreeSet<String>,
    /// The monitors' items, by user id.
    pub monitors: BTreeMap<UserId, Item>,
}

/// What the units and departments are to be.
pub struct Planned {
    /// The units to write.
    pub units: Vec<PlannedUnit>,
    /// Where each exported department is to be; `None`: where it is stored now.
    pub departments: BTreeMap<DepartmentId, Option<Place>>,
    /// What was mended.
    pub repairs: Vec<Repair>,
    /// Units that were updated since they were imported, and stay as they are.
    pub kept: Vec<UnitId>,
    /// Units that one item can't hold.
    pub too_large: Vec<(UnitId, String)>,
}

/// A unit, whole.
pub struct PlannedUnit {
    /// Its id.
    pub id: UnitId,
    /// The unit's item, without a version.
    pub item: Item,
    /// The monitors' items.
    pub monitors: BTreeMap<UserId, Item>,
}

/// Something that Rocket.Chat left inconsistent, and what becomes of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Repair {
    /// The unit or department.
    pub item: String,
    /// What was wrong and what was done.
    pub repair: String,
}

impl fmt::Display for Repair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.item, self.repair)
    }
}

impl StoredUnit {
    fn was_updated(&self) -> bool {
        self.version > self.imported_version
    }

    /// Reads a stored unit's item.
    ///
    /// # Errors
    /// An attribute has another type than the design gives it.
    pub fn parse(id: &UnitId, item: Item) -> anyhow::Result<Self> {
        let unit = livechat_units::item::Unit::parse(&Key::Unit(id.clone()), item.clone())?;
        let imported = item.get(IMPORTED_VERSION).and_then(|value| value.as_n().ok()?.parse().ok());
        Ok(Self {
            version: unit.version.unwrap_or_default(),
            imported_version: imported.unwrap_or_default(),
            departments: unit.departments,
            item,
            monitors: BTreeMap::new(),
        })
    }

    /// Whether the unit is just as planned, versions aside.
    pub fn is(&self, planned: &PlannedUnit) -> bool {
        let mut stored = self.item.clone();
        stored.remove("version");
        stored.remove(IMPORTED_VERSION);
        super::same::same(&stored, &planned.item)
            && self.monitors.len() == planned.monitors.len()
            && self.monitors.iter().all(|(id, item)| {
                planned.monitors.get(id).is_some_and(|planned| super::same::same(item, planned))
            })
    }
}

impl PlannedUnit {
    /// The item to store over a stored one: one version more, so that an update that has read the old one
    /// loses, and the mark that it was an import.
    pub fn item_over(&self, stored: Option<&StoredUnit>) -> Item {
        let mut item = self.item.clone();
        if let Some(stored) = stored {
            let version = AttributeValue::N((stored.version + 1).to_string());
            item.insert("version".into(), version.clone());
            item.insert(IMPORTED_VERSION.into(), version);
        }
        item
    }
}

/// Plans the units, and where the departments are.
pub fn plan(exported: &Exported, stored: &Stored, overwrite: bool) -> Planned {
    let mut planned = Planned {
        units: Vec::new(),
        departments: BTreeMap::new(),
        repairs: Vec::new(),
        kept: Vec::new(),
        too_large: Vec::new(),
    };
    let is_kept = |id: &UnitId| {
        let is_exported = exported.units.contains_key(id);
        stored.units.get(id).is_some_and(|unit| !is_exported || (unit.was_updated() && !overwrite))
    };
    planned.kept = exported.units.keys().filter(|id| is_kept(id)).cloned().collect();

    // Departments that are in a unit that stays as it is stay in it.
    let is_claimed = |id: &DepartmentId| {
        let parent = stored.departments.get(id)?.clone().and_then(UnitId::parse)?;
        let lists = stored.units.get(&parent)?.departments.contains(id.as_str());
        (lists && is_kept(&parent)).then_some(parent)
    };
    let above = ancestors(exported, &mut planned.repairs);
    let mut members: BTreeMap<&UnitId, BTreeSet<String>> = BTreeMap::new();
    for (id, place) in &exported.departments {
        if let Some(unit) = is_claimed(id) {
            if place.parent_id.as_deref() != Some(unit.as_str()) {
                planned
                    .repair_department(id, format!("stays in unit {unit}, which was updated or made since"));
            }
            planned.departments.insert(id.clone(), None);
            continue;
        }
        let place = planned.place(id, place, exported, &above, is_kept);
        if let Some((unit, _)) =
            place.parent_id.clone().and_then(UnitId::parse).and_then(|id| exported.units.get_key_value(&id))
        {
            members.entry(unit).or_default().insert(id.to_string());
        }
        planned.departments.insert(id.clone(), Some(place));
    }
    for (id, unit) in exported.units.iter().filter(|(id, _)| !is_kept(id)) {
        let mut departments = members.remove(id).unwrap_or_default();
        // An import deletes nothing: a department that is gone from the export is still the unit's.
        let listed = stored.units.get(id).into_iter().flat_map(|unit| &unit.departments);
        let gone = listed.filter_map(DepartmentId::parse).filter(|id| !exported.departments.contains_key(id));
        for department in gone {
            if stored.departments.get(&department) == Some(&Some(id.to_string())) {
                planned
                    .repair_department(&department, format!("stays in unit {id}, but is not in the export"));
                departments.insert(department.to_string());
            }
        }
        let monitors = planned.monitors(id, exported);
        planned.unit(unit, &above[id], monitors, departments);
    }
    for (unit, rows) in exported.monitors.iter().filter(|(id, _)| !exported.units.contains_key(id)) {
        planned.repair_unit(unit, format!("there is no such unit; left out its {} monitors", rows.len()));
    }
    planned
}

/// The units above each unit, those that exist.
fn ancestors(exported: &Exported, repairs: &mut Vec<Repair>) -> BTreeMap<UnitId, Vec<String>> {
    let above = exported.units.iter().map(|(id, unit)| {
        let exists = |ancestor: &&String| {
            UnitId::parse(ancestor.as_str()).is_some_and(|id| exported.units.contains_key(&id))
        };
        let known: Vec<String> = unit.ancestors.iter().filter(exists).cloned().collect();
        if known.len() != unit.ancestors.len() {
            repairs.push(Repair {
                item: format!("unit {id}"),
                repair: "dropped ancestors that do not exist".into(),
            });
        }
        (id.clone(), known)
    });
    above.collect()
}

impl Planned {
    fn repair_unit(&mut self, id: &UnitId, repair: String) {
        self.repairs.push(Repair { item: format!("unit {id}"), repair });
    }

    fn repair_department(&mut self, id: &DepartmentId, repair: String) {
        self.repairs.push(Repair { item: format!("department {id}"), repair });
    }

    /// Where a department is to be that no kept unit claims.
    fn place(
        &mut self,
        id: &DepartmentId,
        exported: &Place,
        all: &Exported,
        above: &BTreeMap<UnitId, Vec<String>>,
        is_kept: impl Fn(&UnitId) -> bool,
    ) -> Place {
        let Some(parent) = &exported.parent_id else {
            if !exported.ancestors.is_empty() {
                self.repair_department(id, "dropped ancestors: it is in no unit".into());
            }
            return Place::default();
        };
        let Some(unit) = UnitId::parse(parent.as_str()).filter(|unit| all.units.contains_key(unit)) else {
            self.repair_department(id, format!("is in no unit now: its parent {parent} does not exist"));
            return Place::default();
        };
        if is_kept(&unit) {
            let repair = format!("is in no unit now: unit {unit} was updated since and does not list it");
            self.repair_department(id, repair);
            return Place::default();
        }
        let mut ancestors = vec![unit.to_string()];
        ancestors.extend_from_slice(&above[&unit]);
        if ancestors != exported.ancestors {
            self.repair_department(id, format!("ancestors are now {}", ancestors.join(", ")));
        }
        Place { parent_id: Some(unit.to_string()), ancestors }
    }

    /// The unit's monitors: the distinct users of its rows who exist, are active and hold the role, by their
    /// own usernames, as an update has them.
    fn monitors<'a>(
        &mut self,
        unit: &UnitId,
        exported: &'a Exported,
    ) -> BTreeMap<&'a UserId, (&'a str, Option<&'a str>)> {
        let mut monitors = BTreeMap::new();
        let mut seen = BTreeSet::new();
        for row in exported.monitors.get(unit).into_iter().flatten() {
            let monitor = &row.monitor;
            if !seen.insert(monitor) {
                self.repair_unit(unit, format!("dropped a duplicate row of monitor {monitor}"));
                continue;
            }
            let why = match exported.users.get(monitor) {
                None => "there is no such user",
                Some(user) if !user.active => "the user is deactivated",
                Some(user) if !user.has_role => "the user does not hold the role livechat-monitor",
                Some(MonitorUser { username: None, .. }) => "the user has no username",
                Some(MonitorUser { username: Some(username), .. }) => {
                    if row.username.as_ref().is_some_and(|copied| copied != username) {
                        self.repair_unit(unit, format!("monitor {monitor} is now called {username}"));
                    }
                    monitors.insert(monitor, (username.as_str(), row.updated_at.as_deref()));
                    continue;
                }
            };
            self.repair_unit(unit, format!("left out monitor {monitor}: {why}"));
        }
        monitors
    }

    fn unit(
        &mut self,
        unit: &Unit,
        ancestors: &[String],
        monitors: BTreeMap<&UserId, (&str, Option<&str>)>,
        departments: BTreeSet<String>,
    ) {
        let id = &unit.id;
        let counters = [
            ("numMonitors", unit.num_monitors, monitors.len()),
            ("numDepartments", unit.num_departments, departments.len()),
        ];
        for (name, counted, count) in counters {
            if counted != i64::try_from(count).ok() {
                let was = counted.map_or("nothing".into(), |counted| counted.to_string());
                self.repair_unit(id, format!("{name} is {count} and was {was}"));
            }
        }
        if unit.visibility.is_none() {
            self.repair_unit(id, "visibility is now public: it was neither public nor private".into());
        }
        let updated_at = unit.updated_at.clone().unwrap_or_else(records::long_ago);
        let string = |text: &str| AttributeValue::S(text.to_owned());
        let rows = monitors.iter().map(|(monitor, (username, row_updated_at))| {
            let mut row = Key::Monitor(id.clone(), (*monitor).clone()).attributes();
            row.insert("unitId".into(), string(id.as_str()));
            row.insert("monitorId".into(), string(monitor.as_str()));
            row.insert("username".into(), string(username));
            row.insert("_updatedAt".into(), string(row_updated_at.unwrap_or(&updated_at)));
            ((*monitor).clone(), row)
        });
        let rows = rows.collect();
        let by_id = monitors.iter().map(|(id, (username, _))| (id.to_string(), string(username)));

        let mut item = unit.other.clone();
        item.extend(Key::Unit(id.clone()).attributes());
        item.insert("name".into(), string(&unit.name));
        item.insert("visibility".into(), string(unit.visibility.as_deref().unwrap_or("public")));
        item.insert("type".into(), string("u"));
        item.insert("numMonitors".into(), AttributeValue::N(monitors.len().to_string()));
        item.insert("numDepartments".into(), AttributeValue::N(departments.len().to_string()));
        item.insert("monitors".into(), AttributeValue::M(by_id.collect()));
        item.insert("_updatedAt".into(), string(&updated_at));
        insert_set(&mut item, "departmentIds", departments.clone());
        if !ancestors.is_empty() {
            item.insert("ancestors".into(), texts(ancestors));
        }
        match check_size(&item) {
            Ok(()) => self.units.push(PlannedUnit { id: id.clone(), item, monitors: rows }),
            Err(reason) => {
                for department in departments.into_iter().filter_map(DepartmentId::parse) {
                    self.departments.insert(department, Some(Place::default()));
                }
                self.too_large.push((id.clone(), reason));
            }
        }
    }
}
