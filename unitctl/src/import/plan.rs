//! Plans the units and departments: a pure function of what was exported and what is stored. It repairs
//! inconsistent data of Rocket.Chat, and reports each repair.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_dynamodb::types::AttributeValue;
use livechat_units::id::{DepartmentId, UnitId, UserId};
use livechat_units::item::Key;

use super::document::Broken;
use super::item_size::{check_bytes, check_size};
use super::records::{Place, Unit, insert_set, long_ago, string, texts};
use super::workspace::{
    Exported, ExportedDepartment, Monitor, Planned, PlannedUnit, Repair, Stored, StoredUnit,
};
use crate::origin::REV;

/// What an import does with units that were updated since they were imported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpdatedUnits {
    /// They stay as they are.
    Keep,
    /// They become as they were exported.
    Overwrite,
}

/// Plans the units, and where the departments are. A unit or department that is too large for one item counts like one
/// whose document can't be used: it is taken out of `exported`.
pub fn plan(exported: &mut Exported, stored: &Stored, updated_units: UpdatedUnits) -> Planned {
    let mut all_too_large = Vec::new();
    loop {
        let mut planner =
            Planner { exported, stored, updated_units, planned: Planned::default(), too_large: Vec::new() };
        planner.plan();
        let Planner { mut planned, too_large, .. } = planner;
        if too_large.is_empty() {
            all_too_large.extend(kept_without_room(exported, stored, &planned.kept));
            planned.too_large = all_too_large;
            return planned;
        }
        for item in too_large {
            let (line, reason) = match item {
                TooLarge::Unit(id, reason) => (exported.units.remove(&id).map(|unit| unit.line), reason),
                TooLarge::Department(id, reason) => {
                    (exported.departments.remove(&id).map(|found| found.line), reason)
                }
            };
            all_too_large.push(Broken { line: line.unwrap_or_default(), reason });
        }
        exported.incomplete.departments = true;
    }
}

/// The kept units that can't be marked as units of Rocket.Chat.
fn kept_without_room(exported: &Exported, stored: &Stored, kept: &[UnitId]) -> Vec<Broken> {
    let without_room = kept.iter().filter_map(|id| {
        let reason = stored.units.get(id)?.check_mark().err()?;
        let reason = format!("unit {id} can't get the attribute `{REV}`: it would have {reason}");
        Some(Broken { line: exported.units.get(id)?.line, reason })
    });
    without_room.collect()
}

/// A unit or department that is too large for one item, and its size.
enum TooLarge {
    Unit(UnitId, String),
    Department(DepartmentId, String),
}

/// # Errors
/// The unit's item or the item of one of its monitors is larger than DynamoDB stores. A monitor's item may be the larger one:
/// it has both ids twice.
fn check_sizes(unit: &PlannedUnit, stored: Option<&StoredUnit>) -> Result<(), String> {
    check_size(&unit.item_to_replace(stored))?;
    for (id, item) in &unit.monitors {
        check_size(item).map_err(|reason| format!("the item of monitor {id} has {reason}"))?;
    }
    Ok(())
}

/// A plan that is being made.
pub struct Planner<'a> {
    /// What was exported.
    pub exported: &'a Exported,
    /// What is stored.
    pub stored: &'a Stored,
    updated_units: UpdatedUnits,
    planned: Planned,
    too_large: Vec<TooLarge>,
}

impl Planner<'_> {
    fn plan(&mut self) {
        let exported = self.exported;
        self.planned.kept = exported.units.keys().filter(|id| self.is_kept(id)).cloned().collect();
        let ancestors = self.ancestors();
        let mut members: BTreeMap<UnitId, BTreeSet<String>> = BTreeMap::new();
        for (id, department) in &exported.departments {
            let place = self.place(id, department, &ancestors);
            let parent = place.as_ref().and_then(|place| UnitId::parse(place.parent_id.clone()?));
            if let Some(unit) = parent {
                members.entry(unit).or_default().insert(id.to_string());
            }
            self.planned.departments.insert(id.clone(), place);
        }
        for (id, unit) in exported.units.iter().filter(|(id, _)| !self.is_kept(id)).collect::<Vec<_>>() {
            let mut departments = members.remove(id).unwrap_or_default();
            departments.extend(self.departments_that_are_not_exported(id));
            let monitors = self.monitors(id);
            self.unit(unit, &ancestors[id], monitors, departments);
        }
        for (unit, rows) in exported.monitors.iter().filter(|(id, _)| !exported.units.contains_key(id)) {
            let missing = self.missing_unit();
            self.repair_unit(
                unit,
                "left out the monitors of a unit",
                format!("{missing}; left out its {} monitors", rows.len()),
            );
        }
    }

    /// True if the import does not change a stored unit, because it was created here or updated since it was imported.
    fn is_kept(&self, id: &UnitId) -> bool {
        let is_exported = self.exported.units.contains_key(id);
        let keeps_updated = self.updated_units == UpdatedUnits::Keep;
        self.stored.units.get(id).is_some_and(|unit| !is_exported || (unit.was_updated() && keeps_updated))
    }

    fn missing_unit(&self) -> &'static str {
        if self.exported.incomplete.departments {
            "no line of it can be used"
        } else {
            "there is no such unit"
        }
    }

    /// Reports a repair of a unit. The repairs of one `kind` are counted together.
    pub fn repair_unit(&mut self, id: &UnitId, kind: &'static str, repair: String) {
        self.planned.repairs.push(Repair { item: format!("unit {id}"), repair, kind });
    }

    fn repair_department(&mut self, id: &DepartmentId, kind: &'static str, repair: String) {
        self.planned.repairs.push(Repair { item: format!("department {id}"), repair, kind });
    }

    /// The existing units above each unit.
    fn ancestors(&mut self) -> BTreeMap<UnitId, Vec<String>> {
        let exported = self.exported;
        let mut ancestors = BTreeMap::new();
        for (id, unit) in &exported.units {
            let exists = |ancestor: &&String| {
                exported.incomplete.departments
                    || UnitId::parse(ancestor.as_str()).is_some_and(|id| exported.units.contains_key(&id))
            };
            let existing: Vec<String> = unit.ancestors.iter().filter(exists).cloned().collect();
            if existing.len() != unit.ancestors.len() {
                let repair = "dropped ancestors that do not exist";
                self.repair_unit(id, repair, repair.into());
            }
            ancestors.insert(id.clone(), existing);
        }
        ancestors
    }

    /// The place of a department in an exported unit.
    fn place_in(unit: &UnitId, ancestors: &BTreeMap<UnitId, Vec<String>>) -> Place {
        let above = ancestors.get(unit).into_iter().flatten().cloned();
        Place {
            parent_id: Some(unit.to_string()),
            ancestors: std::iter::once(unit.to_string()).chain(above).collect(),
        }
    }

    /// The planned place of a department. `None`: it stays where it is stored.
    fn place(
        &mut self,
        id: &DepartmentId,
        department: &ExportedDepartment,
        ancestors: &BTreeMap<UnitId, Vec<String>>,
    ) -> Option<Place> {
        let place = self.place_of_any_size(id, &department.place, ancestors);
        let stored = self.stored.departments.get(id);
        let in_item = place.as_ref().or(stored).map_or(0, Place::bytes);
        if let Err(reason) = check_bytes(department.bytes_without_place + in_item) {
            self.too_large.push(TooLarge::Department(id.clone(), reason));
        }
        place
    }

    fn place_of_any_size(
        &mut self,
        id: &DepartmentId,
        exported: &Place,
        ancestors: &BTreeMap<UnitId, Vec<String>>,
    ) -> Option<Place> {
        let exported_parent = exported.parent_id.clone().and_then(UnitId::parse);
        let stored_parent = self.stored_parent(id);
        if let Some(unit) = stored_parent.as_ref().filter(|unit| self.is_kept(unit)) {
            if exported_parent.as_ref() != Some(unit) {
                self.repair_department(
                    id,
                    "a department stays in its unit",
                    format!("stays in unit {unit}, which was updated or made since"),
                );
            }
            return None;
        }
        let Some(parent) = &exported.parent_id else {
            if !exported.ancestors.is_empty() {
                let repair = "dropped ancestors: it is in no unit";
                self.repair_department(id, repair, repair.into());
            }
            return Some(Place::default());
        };
        let Some(unit) = exported_parent.filter(|unit| self.exported.units.contains_key(unit)) else {
            if let Some(stored) = stored_parent.filter(|_| self.exported.incomplete.departments) {
                self.repair_department(
                    id,
                    "a department stays in its unit",
                    format!("stays in unit {stored}: no line of unit {parent} can be used"),
                );
                return Some(Self::place_in(&stored, ancestors));
            }
            let why = if self.exported.incomplete.departments {
                format!("no line of unit {parent} can be used")
            } else {
                format!("its parent {parent} does not exist")
            };
            self.repair_department(id, "a department is in no unit now", format!("is in no unit now: {why}"));
            return Some(Place::default());
        };
        if self.is_kept(&unit) {
            let repair = format!("is in no unit now: unit {unit} was updated since and does not list it");
            self.repair_department(id, "a department is in no unit now", repair);
            return Some(Place::default());
        }
        let place = Self::place_in(&unit, ancestors);
        if place.ancestors != exported.ancestors {
            self.repair_department(
                id,
                "the ancestors of a department",
                format!("ancestors are now {}", place.ancestors.join(", ")),
            );
        }
        Some(place)
    }

    /// The unit that a stored department is in, if the unit lists the department, too.
    fn stored_parent(&self, id: &DepartmentId) -> Option<UnitId> {
        let parent = UnitId::parse(self.stored.departments.get(id)?.parent_id.clone()?)?;
        let lists = self.stored.units.get(&parent)?.departments.contains(id.as_str());
        lists.then_some(parent)
    }

    /// The departments that a stored unit has and the export lacks. An import deletes no departments, so they are
    /// still in the unit.
    fn departments_that_are_not_exported(&mut self, unit: &UnitId) -> Vec<String> {
        let (exported, stored) = (self.exported, self.stored);
        let listed = stored.units.get(unit).into_iter().flat_map(|unit| &unit.departments);
        let mut stay = Vec::new();
        for id in listed.filter_map(DepartmentId::parse).filter(|id| !exported.departments.contains_key(id)) {
            let parent = stored.departments.get(&id).and_then(|place| place.parent_id.as_deref());
            if parent == Some(unit.as_str()) {
                let why = if exported.incomplete.departments {
                    "no line of it can be used"
                } else {
                    "it is not in the export"
                };
                self.repair_department(
                    &id,
                    "a department stays in its unit",
                    format!("stays in unit {unit}, although {why}"),
                );
                stay.push(id.to_string());
            }
        }
        stay
    }

    fn unit(
        &mut self,
        unit: &Unit,
        ancestors: &[String],
        monitors: BTreeMap<UserId, Monitor>,
        departments: BTreeSet<String>,
    ) {
        self.report_counters(unit, monitors.len(), departments.len());
        let id = &unit.id;
        let visibility = match &unit.visibility {
            Ok(visibility) => visibility,
            Err(was) => {
                let kind = "visibility is now private";
                self.repair_unit(id, kind, format!("{kind}: it was {was}"));
                "private"
            }
        };
        let planned = planned_unit(unit, visibility, ancestors, monitors, departments);
        let stored = self.stored.units.get(id);
        // A unit that does not change is not written.
        let is_stored = stored.is_some_and(|stored| stored.equals(&planned));
        match if is_stored { Ok(()) } else { check_sizes(&planned, stored) } {
            Ok(()) => self.planned.units.push(planned),
            Err(reason) => self.too_large.push(TooLarge::Unit(id.clone(), reason)),
        }
    }

    /// Reports the counters of a unit that are wrong in the export.
    fn report_counters(&mut self, unit: &Unit, monitors: usize, departments: usize) {
        let counters = [
            ("numMonitors", "the number of monitors", unit.num_monitors, monitors),
            ("numDepartments", "the number of departments", unit.num_departments, departments),
        ];
        for (name, kind, exported, count) in counters {
            if exported != i64::try_from(count).ok() {
                let was = exported.map_or("nothing".into(), |exported| exported.to_string());
                self.repair_unit(&unit.id, kind, format!("{name} is {count} and was {was}"));
            }
        }
    }
}

/// The items of a unit and of its monitors.
fn planned_unit(
    unit: &Unit,
    visibility: &str,
    ancestors: &[String],
    monitors: BTreeMap<UserId, Monitor>,
    departments: BTreeSet<String>,
) -> PlannedUnit {
    let id = &unit.id;
    let updated_at = unit.updated_at.clone().unwrap_or_else(long_ago);
    let num_monitors = AttributeValue::N(monitors.len().to_string());
    let by_id = monitors.iter().map(|(id, monitor)| (id.to_string(), string(&monitor.username))).collect();
    let rows = monitors
        .into_iter()
        .map(|(monitor, row)| {
            let row = row.item(id, &monitor, &updated_at);
            (monitor, row)
        })
        .collect();

    let mut item = unit.other.clone();
    item.extend(Key::Unit(id.clone()).attributes());
    item.insert("name".into(), string(&unit.name));
    item.insert("visibility".into(), string(visibility));
    item.insert("type".into(), string("u"));
    item.insert("numMonitors".into(), num_monitors);
    item.insert("numDepartments".into(), AttributeValue::N(departments.len().to_string()));
    item.insert("monitors".into(), AttributeValue::M(by_id));
    item.insert("_updatedAt".into(), string(&updated_at));
    insert_set(&mut item, "departmentIds", departments);
    if !ancestors.is_empty() {
        item.insert("ancestors".into(), texts(ancestors));
    }
    PlannedUnit { id: id.clone(), item, monitors: rows }
}
