//! The rules for a unit, its monitors and its departments: a pure function of the items that were read.
//!
//! Where two items contradict each other, one of them is right by definition: a department about the unit that it is in,
//! and a unit's `monitors` about its monitors. An update through the endpoint decides in the same way.

use std::collections::{BTreeMap, BTreeSet};

use livechat_units::id::{DepartmentId, UnitId, UserId};
use livechat_units::item::Key;

use super::finding::{Finding, Group, Repair, Rule, Scope, printed};
use super::items::{Attribute, Department, Monitor, Unit};
use super::single_items::invalid_attributes;

const INVALID_UPDATED_AT: &str = "its _updatedAt is not a time with three decimals";

/// Checks the items of a scope.
pub fn check(scope: &Scope, group: &Group) -> Vec<Finding> {
    let mut findings = Findings::default();
    match (scope, &group.unit) {
        (Scope::Unit(id), Some(unit)) => findings.unit(id, unit, group),
        (Scope::Unit(id), None) => findings.missing_unit(id, group),
        (Scope::Department(id), _) => {
            if let Some(Some(department)) = group.departments.get(id) {
                findings.department_without_unit(id, department);
            }
        }
    }
    findings.0
}

#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, rule: Rule, keys: &[Key], violation: String, repair: impl Into<Option<Repair>>) {
        let items = keys.iter().map(printed).collect();
        self.0.push(Finding { rule, items, violation, repair: repair.into() });
    }

    fn add_shape(&mut self, key: Key, violation: impl Into<String>, repair: impl Into<Option<Repair>>) {
        self.add(Rule::Shape, &[key], violation.into(), repair);
    }

    fn unit(&mut self, id: &UnitId, unit: &Unit, group: &Group) {
        let key = || Key::Unit(id.clone());
        for (name, attribute) in [("name", &unit.name), ("visibility", &unit.visibility)] {
            if attribute.valid().is_none() {
                let violation =
                    format!("its {name} is missing or invalid; an update through the endpoint sets it");
                self.add_shape(key(), violation, None);
            }
        }
        let marks =
            [unit.rev.name_if_invalid("rev"), unit.imported_version.name_if_invalid("importedVersion")];
        self.0.extend(invalid_attributes(printed(&key()), marks.into_iter().flatten()));
        // Without these two nothing else can be checked: each repair has a condition on the version, and each
        // department has a copy of the ancestors.
        let required = [unit.version.name_if_invalid("version"), unit.ancestors.name_if_invalid("ancestors")];
        if required.iter().any(Option::is_some) {
            for name in required.into_iter().flatten() {
                let violation = format!("its {name} can't be read, so the rest of the unit was not checked");
                self.add_shape(key(), violation, None);
            }
            return;
        }
        if unit.kind.valid().is_none() {
            self.add_shape(key(), "its type is not u", Repair::SetInUnit("type to u".into()));
        }
        if unit.updated_at.valid().is_none() {
            let repair = Repair::SetInUnit("_updatedAt to now".into());
            self.add_shape(key(), INVALID_UPDATED_AT, repair);
        }
        self.monitors(id, unit, group);
        self.departments(id, unit, group);
    }

    /// Checks that `numMonitors`, `monitors` and the monitors' items agree.
    fn monitors(&mut self, id: &UnitId, unit: &Unit, group: &Group) {
        let monitors = match &unit.monitors {
            Attribute::Valid(monitors) => monitors.clone(),
            invalid => {
                let with_name =
                    |(id, item): (&UserId, &Monitor)| Some((id.to_string(), item.username.valid()?.clone()));
                let monitors: BTreeMap<_, _> = group.monitors.iter().filter_map(with_name).collect();
                let what = if *invalid == Attribute::Absent { "are absent" } else { "can't be read" };
                let repair = Repair::SetMonitors(monitors.clone());
                self.add_shape(Key::Unit(id.clone()), format!("its monitors {what}"), repair);
                monitors
            }
        };
        self.counter(id, Rule::Monitors, "numMonitors", &unit.num_monitors, monitors.len());
        for (monitor, username) in &monitors {
            match UserId::parse(monitor) {
                Some(monitor) => self.monitor(id, &monitor, username, group.monitors.get(&monitor)),
                None => {
                    let violation = "its monitors hold an id that is empty or longer than 512 bytes".into();
                    self.add(Rule::Monitors, &[Key::Unit(id.clone())], violation, None);
                }
            }
        }
        for monitor in group.monitors.keys().filter(|monitor| !monitors.contains_key(monitor.as_str())) {
            let keys = [Key::Unit(id.clone()), Key::Monitor(id.clone(), monitor.clone())];
            let violation = format!("there is an item for {monitor}, who is not a monitor of the unit");
            self.add(Rule::Monitors, &keys, violation, Repair::DeleteMonitor(monitor.clone()));
        }
    }

    /// Checks the item of a monitor that the unit has.
    fn monitor(&mut self, unit: &UnitId, id: &UserId, username: &String, item: Option<&Monitor>) {
        let violation = match item {
            None => format!("the item of monitor {id} is missing"),
            Some(Monitor { unit_id, monitor_id, username: stored, updated_at }) => {
                let is_right = [
                    ("unitId", unit_id.valid().map(String::as_str) == Some(unit.as_str())),
                    ("monitorId", monitor_id.valid().map(String::as_str) == Some(id.as_str())),
                    ("username", stored.valid() == Some(username)),
                    ("_updatedAt", updated_at.valid().is_some()),
                ];
                let wrong: Vec<_> =
                    is_right.iter().filter(|(_, is_right)| !is_right).map(|(name, _)| *name).collect();
                if wrong.is_empty() {
                    return;
                }
                format!("the item of monitor {id} does not match the unit: {}", wrong.join(", "))
            }
        };
        let keys = [Key::Unit(unit.clone()), Key::Monitor(unit.clone(), id.clone())];
        self.add(Rule::Monitors, &keys, violation, Repair::PutMonitor(id.clone(), username.clone()));
    }

    /// Checks that `numDepartments`, `departmentIds` and the departments agree.
    fn departments(&mut self, id: &UnitId, unit: &Unit, group: &Group) {
        let none = BTreeSet::new();
        let listed = unit.departments.valid().unwrap_or(&none);
        if unit.departments == Attribute::Invalid {
            let repair = Repair::SetInUnit("departmentIds to the departments in the unit".into());
            self.add_shape(Key::Unit(id.clone()), "its departmentIds can't be read", repair);
        }
        self.counter(id, Rule::Departments, "numDepartments", &unit.num_departments, listed.len());

        let mut ancestors = vec![id.to_string()];
        ancestors.extend(unit.ancestors.valid().into_iter().flatten().cloned());
        for (department_id, department) in &group.departments {
            let Some(department) = department else { continue };
            if department.parent_id.valid().map(String::as_str) == Some(id.as_str()) {
                if !listed.contains(department_id.as_str()) {
                    let keys = [Key::Unit(id.clone()), Key::Department(department_id.clone())];
                    let violation =
                        format!("department {department_id} is in the unit, but the unit does not list it");
                    let repair = Repair::AddToList(department_id.clone());
                    self.add(Rule::Departments, &keys, violation, repair);
                }
                self.department_in_unit(id, department_id, department, &ancestors);
            }
        }
        for department_id in listed {
            self.listed_department(id, department_id, group);
        }
    }

    /// Checks the attributes of a department that is in the unit.
    fn department_in_unit(
        &mut self,
        unit: &UnitId,
        id: &DepartmentId,
        department: &Department,
        ancestors: &Vec<String>,
    ) {
        if department.ancestors.valid() != Some(ancestors) {
            let keys = [Key::Unit(unit.clone()), Key::Department(id.clone())];
            let violation =
                format!("the ancestors of department {id} are not its unit and the unit's ancestors");
            self.add(Rule::Places, &keys, violation, Repair::SetAncestors(id.clone(), ancestors.clone()));
        }
        self.department(id, department);
    }

    /// Checks that a department that the unit lists is in the unit.
    fn listed_department(&mut self, unit: &UnitId, id: &str, group: &Group) {
        let mut keys = vec![Key::Unit(unit.clone())];
        let what = match DepartmentId::parse(id) {
            None => "whose id is empty or longer than 512 bytes".to_owned(),
            Some(id) => {
                let department = group.departments.get(&id).and_then(Option::as_ref);
                keys.push(Key::Department(id));
                match department.map(|department| &department.parent_id) {
                    None => "which does not exist".into(),
                    Some(Attribute::Absent) => "which is in no unit".into(),
                    // It is unknown where the department is. It has a finding of its own.
                    Some(Attribute::Invalid) => return,
                    Some(Attribute::Valid(parent)) if parent == unit.as_str() => return,
                    Some(Attribute::Valid(parent)) => format!("which is in unit {parent}"),
                }
            }
        };
        let violation = format!("it lists department {id}, {what}");
        self.add(Rule::Departments, &keys, violation, Repair::RemoveFromList(id.to_owned()));
    }

    fn counter(&mut self, id: &UnitId, rule: Rule, name: &str, stored: &Attribute<u64>, count: usize) {
        let stored = match stored {
            Attribute::Valid(stored) if usize::try_from(*stored) == Ok(count) => return,
            Attribute::Valid(stored) => stored.to_string(),
            Attribute::Absent => "absent".into(),
            Attribute::Invalid => "not a count".into(),
        };
        let violation = format!("its {name} is {stored}, but the count is {count}");
        let repair = Repair::SetInUnit(format!("{name} to the count"));
        self.add(rule, &[Key::Unit(id.clone())], violation, repair);
    }

    /// Finds the items that refer to a unit that does not exist.
    fn missing_unit(&mut self, id: &UnitId, group: &Group) {
        for monitor in group.monitors.keys() {
            let violation = format!("it is a monitor of unit {id}, which does not exist");
            let key = Key::Monitor(id.clone(), monitor.clone());
            self.add(Rule::Monitors, &[key], violation, Repair::DeleteMonitor(monitor.clone()));
        }
        for (department_id, department) in &group.departments {
            let Some(department) = department else { continue };
            if department.parent_id.valid().map(String::as_str) == Some(id.as_str()) {
                let violation = format!("it is in unit {id}, which does not exist");
                let repair = Repair::RemoveFromUnit(department_id.clone());
                self.add(Rule::Places, &[Key::Department(department_id.clone())], violation, repair);
                self.department(department_id, department);
            }
        }
    }

    /// Checks a department whose `parentId` is absent or can't be the id of a unit.
    fn department_without_unit(&mut self, id: &DepartmentId, department: &Department) {
        let key = || Key::Department(id.clone());
        match &department.parent_id {
            Attribute::Invalid => self.add_shape(key(), "its parentId can't be read", None),
            Attribute::Valid(_) => {
                let violation = "its parentId is empty or longer than 512 bytes".into();
                self.add(Rule::Places, &[key()], violation, Repair::RemoveFromUnit(id.clone()));
            }
            Attribute::Absent if department.ancestors != Attribute::Absent => {
                let violation = "it has ancestors, but is in no unit".into();
                self.add(Rule::Places, &[key()], violation, Repair::RemoveFromUnit(id.clone()));
            }
            Attribute::Absent => {}
        }
        self.department(id, department);
    }

    /// Checks the attributes of a department that do not depend on its unit.
    fn department(&mut self, id: &DepartmentId, department: &Department) {
        let key = || Key::Department(id.clone());
        if department.name.valid().is_none() {
            self.add_shape(key(), "its name is missing or invalid", None);
        }
        let marks = department.rev.name_if_invalid("rev");
        self.0.extend(invalid_attributes(printed(&key()), marks.into_iter()));
        if department.updated_at.valid().is_none() {
            self.add_shape(key(), INVALID_UPDATED_AT, Repair::SetUpdatedAt(id.clone()));
        }
    }
}
