//! Which of the design's invariants and shapes a unit, or a lonely item, violates: a pure function of what was read.
//!
//! Where two items contradict each other one has to be believed: a department about the unit that it is in, and a
//! unit's `monitors` about who they are. The function's own updates heal in the same direction.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use livechat_units::id::{DepartmentId, UnitId, UserId};
use livechat_units::item::Key;
use serde::Serialize;

use super::items::{Attribute, Department, Monitor, Permission, Token, Unit, User};

/// What has to be judged together, since it changes together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// A unit, its monitors, the departments in it and those that it lists.
    Unit(UnitId),
    /// A department in no unit.
    Department(DepartmentId),
}

/// What was read of a scope.
#[derive(Clone, Debug, Default)]
pub struct Group {
    /// The unit, if there is one.
    pub unit: Option<Unit>,
    /// The items of its monitors.
    pub monitors: BTreeMap<UserId, Monitor>,
    /// Departments in it or listed by it; `None` for one that does not exist.
    pub departments: BTreeMap<DepartmentId, Option<Department>>,
}

/// What the design asks for and the data does not have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// What is asked for.
    pub rule: Rule,
    /// The keys of the items concerned, partition key and sort key.
    pub items: Vec<String>,
    /// What is wrong.
    pub violation: String,
    /// What mends it; `None` where the data does not say what would be right.
    #[serde(skip)]
    pub mend: Option<Mend>,
}

/// The invariants of the design that a state can violate, by what they are about. That a version grows
/// by one shows only in histories; that it is a number is a matter of shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Rule {
    /// An item's attributes have the types of the design.
    Shape,
    /// `numMonitors`, `monitors` and the monitors' items agree.
    Monitors,
    /// `numDepartments`, `departmentIds` and the departments' `parentId` agree.
    Departments,
    /// A department's unit exists, and its `ancestors` are that unit and its ancestors.
    Places,
}

/// What mends one finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mend {
    /// An attribute of the unit that every mending of a unit sets.
    Unit(String),
    /// The unit's `monitors` are made from the monitors' items.
    Monitors(BTreeMap<String, String>),
    /// A monitor's item is written.
    PutMonitor(UserId, String),
    /// A monitor's item is deleted.
    DeleteMonitor(UserId),
    /// The unit lists the department.
    List(DepartmentId),
    /// The unit does not list it any more.
    Unlist(String),
    /// The department's `ancestors` become these.
    Place(DepartmentId, Vec<String>),
    /// The department is in no unit any more.
    Leave(DepartmentId),
    /// The department gets a new `_updatedAt`.
    Touch(DepartmentId),
}

impl Mend {
    /// Whether every mending of the unit does it.
    pub fn is_of_unit(&self) -> bool {
        matches!(self, Self::Unit(_) | Self::Monitors(_))
    }
}

impl Finding {
    /// Whether both are about the same thing, as found at two moments.
    pub fn is(&self, other: &Self) -> bool {
        self.rule == other.rule && self.items == other.items
    }
}

/// Judges a scope.
pub fn judge(scope: &Scope, group: &Group) -> Vec<Finding> {
    let mut verdict = Verdict::default();
    match (scope, &group.unit) {
        (Scope::Unit(id), Some(unit)) => verdict.unit(id, unit, group),
        (Scope::Unit(id), None) => verdict.no_unit(id, group),
        (Scope::Department(id), _) => {
            if let Some(Some(department)) = group.departments.get(id) {
                verdict.lonely(id, department);
            }
        }
    }
    verdict.findings
}

/// Judges a user's item.
pub fn judge_user(key: String, user: &User) -> Vec<Finding> {
    let is_wrong = [
        ("username", user.username == Attribute::Wrong),
        ("roles", user.roles == Attribute::Wrong),
        ("active", user.active == Attribute::Wrong),
    ];
    wrong_attributes(&key, &is_wrong)
}

/// Judges a permission's item.
pub fn judge_permission(key: String, permission: &Permission) -> Vec<Finding> {
    wrong_attributes(&key, &[("roles", permission.roles == Attribute::Wrong)])
}

/// Judges a token's item.
pub fn judge_token(key: String, token: &Token) -> Vec<Finding> {
    let mut is_wrong = vec![
        ("hashedToken", token.hash.is().is_none()),
        ("userId", token.user_id.is().is_none()),
        ("expiresAt", token.expires_at == Attribute::Wrong),
    ];
    is_wrong.extend(token.informative.iter().map(|(name, value)| (*name, *value == Attribute::Wrong)));
    wrong_attributes(&key, &is_wrong)
}

/// Judges a key of the design's form whose id names nothing.
pub fn judge_nothing(key: String) -> Vec<Finding> {
    let violation = "its key holds an id that is empty or over 512 bytes".into();
    vec![Finding { rule: Rule::Shape, items: vec![key], violation, mend: None }]
}

fn wrong_attributes(key: &str, is_wrong: &[(&'static str, bool)]) -> Vec<Finding> {
    let names: Vec<&str> = is_wrong.iter().filter(|(_, is_wrong)| *is_wrong).map(|(name, _)| *name).collect();
    if names.is_empty() {
        return Vec::new();
    }
    let violation = format!("not what the design asks for: {}", names.join(", "));
    vec![Finding { rule: Rule::Shape, items: vec![key.to_owned()], violation, mend: None }]
}

#[derive(Default)]
struct Verdict {
    findings: Vec<Finding>,
}

impl Verdict {
    fn find(&mut self, rule: Rule, keys: &[Key], violation: String, mend: impl Into<Option<Mend>>) {
        let items = keys.iter().map(written).collect();
        self.findings.push(Finding { rule, items, violation, mend: mend.into() });
    }

    fn unit(&mut self, id: &UnitId, unit: &Unit, group: &Group) {
        let key = || Key::Unit(id.clone());
        for (name, is_known) in
            [("name", unit.name.is().is_some()), ("visibility", unit.visibility.is().is_some())]
        {
            if !is_known {
                let violation = format!(
                    "its {name} is not what the design asks for; an update through the endpoint sets it"
                );
                self.shape(key(), violation, None);
            }
        }
        let unreadable = [
            ("version", unit.version == Attribute::Wrong),
            ("ancestors", unit.ancestors == Attribute::Wrong),
        ];
        if unreadable.iter().any(|(_, is_wrong)| *is_wrong) {
            for (name, _) in unreadable.iter().filter(|(_, is_wrong)| *is_wrong) {
                let violation = format!("its {name} can't be read, so nothing else of the unit is judged");
                self.shape(key(), violation, None);
            }
            return;
        }
        if unit.kind.is().is_none() {
            self.shape(key(), "its type is not u", Mend::Unit("set type to u".into()));
        }
        if unit.updated_at.is().is_none() {
            let violation = "its _updatedAt is no time with three decimals";
            self.shape(key(), violation, Mend::Unit("set _updatedAt to now".into()));
        }
        self.monitors(id, unit, group);
        self.departments(id, unit, group);
    }

    /// Invariant 1.
    fn monitors(&mut self, id: &UnitId, unit: &Unit, group: &Group) {
        let from_items = || {
            let named = |(id, item): (&UserId, &Monitor)| Some((id.to_string(), item.username.is()?.clone()));
            group.monitors.iter().filter_map(named).collect::<BTreeMap<_, _>>()
        };
        let monitors = match &unit.monitors {
            Attribute::Is(monitors) => monitors.clone(),
            other => {
                let monitors = from_items();
                let what = if *other == Attribute::Absent { "are absent" } else { "can't be read" };
                let mend = Mend::Monitors(monitors.clone());
                self.shape(Key::Unit(id.clone()), format!("its monitors {what}"), mend);
                monitors
            }
        };
        self.counter(id, Rule::Monitors, "numMonitors", &unit.num_monitors, monitors.len());

        for (monitor, username) in &monitors {
            let Some(monitor) = UserId::parse(monitor) else {
                let violation = "its monitors hold an id that is empty or over 512 bytes".into();
                self.find(Rule::Monitors, &[Key::Unit(id.clone())], violation, None);
                continue;
            };
            let keys = [Key::Unit(id.clone()), Key::Monitor(id.clone(), monitor.clone())];
            let mend = Mend::PutMonitor(monitor.clone(), username.clone());
            match group.monitors.get(&monitor) {
                None => self.find(Rule::Monitors, &keys, format!("monitor {monitor} has no item"), mend),
                Some(item) => {
                    let Monitor { unit_id, monitor_id, username: stored, updated_at } = item;
                    let is_right = [
                        ("unitId", unit_id.is().map(String::as_str) == Some(id.as_str())),
                        ("monitorId", monitor_id.is().map(String::as_str) == Some(monitor.as_str())),
                        ("username", stored.is() == Some(username)),
                        ("_updatedAt", updated_at.is().is_some()),
                    ];
                    let wrong: Vec<_> =
                        is_right.iter().filter(|(_, is_right)| !is_right).map(|(name, _)| *name).collect();
                    if !wrong.is_empty() {
                        let wrong = wrong.join(", ");
                        let violation =
                            format!("the item of monitor {monitor} differs from the unit: {wrong}");
                        self.find(Rule::Monitors, &keys, violation, mend);
                    }
                }
            }
        }
        for monitor in group.monitors.keys().filter(|monitor| !monitors.contains_key(monitor.as_str())) {
            let keys = [Key::Unit(id.clone()), Key::Monitor(id.clone(), monitor.clone())];
            let violation = format!("there is an item of {monitor}, who is no monitor of the unit");
            self.find(Rule::Monitors, &keys, violation, Mend::DeleteMonitor(monitor.clone()));
        }
    }

    /// Invariants 2 and 3.
    fn departments(&mut self, id: &UnitId, unit: &Unit, group: &Group) {
        let none = BTreeSet::new();
        let listed = unit.departments.is().unwrap_or(&none);
        if unit.departments == Attribute::Wrong {
            let mend = Mend::Unit("set departmentIds to the departments in the unit".into());
            self.shape(Key::Unit(id.clone()), "its departmentIds can't be read", mend);
        }
        self.counter(id, Rule::Departments, "numDepartments", &unit.num_departments, listed.len());

        let mut ancestors = vec![id.to_string()];
        ancestors.extend(unit.ancestors.is().into_iter().flatten().cloned());
        for (department_id, department) in &group.departments {
            let Some(department) = department else { continue };
            if department.parent_id.is().map(String::as_str) != Some(id.as_str()) {
                continue;
            }
            let keys = [Key::Unit(id.clone()), Key::Department(department_id.clone())];
            if !listed.contains(department_id.as_str()) {
                let violation = format!("department {department_id} is in the unit, which does not list it");
                self.find(Rule::Departments, &keys, violation, Mend::List(department_id.clone()));
            }
            if department.ancestors.is() != Some(&ancestors) {
                let violation = format!(
                    "the ancestors of department {department_id} are not its unit and the unit's ancestors"
                );
                let mend = Mend::Place(department_id.clone(), ancestors.clone());
                self.find(Rule::Places, &keys, violation, mend);
            }
            self.department_shape(department_id, department);
        }
        for department_id in listed {
            let found = DepartmentId::parse(department_id.as_str())
                .map(|id| (Key::Department(id.clone()), group.departments.get(&id).and_then(Option::as_ref)));
            let (keys, what) = match found {
                None => (vec![Key::Unit(id.clone())], "which is empty or over 512 bytes".to_owned()),
                Some((key, department)) => {
                    let what = match department.map(|department| &department.parent_id) {
                        None => "which does not exist".into(),
                        Some(Attribute::Absent) => "which is in no unit".into(),
                        // Nobody knows where it is; its own item is told of.
                        Some(Attribute::Wrong) => continue,
                        Some(Attribute::Is(parent)) if parent == id.as_str() => continue,
                        Some(Attribute::Is(parent)) => format!("which is in unit {parent}"),
                    };
                    (vec![Key::Unit(id.clone()), key], what)
                }
            };
            let violation = format!("it lists department {department_id}, {what}");
            self.find(Rule::Departments, &keys, violation, Mend::Unlist(department_id.clone()));
        }
    }

    fn counter(&mut self, id: &UnitId, rule: Rule, name: &str, counted: &Attribute<u64>, count: usize) {
        let was = match counted {
            Attribute::Is(counted) if usize::try_from(*counted) == Ok(count) => return,
            Attribute::Is(counted) => counted.to_string(),
            Attribute::Absent => "absent".into(),
            Attribute::Wrong => "no count".into(),
        };
        let violation = format!("its {name} is {was}, and the count is {count}");
        self.find(rule, &[Key::Unit(id.clone())], violation, Mend::Unit(format!("make {name} the count")));
    }

    /// What is left of a unit that does not exist.
    fn no_unit(&mut self, id: &UnitId, group: &Group) {
        for monitor in group.monitors.keys() {
            let violation = format!("it is of a monitor of unit {id}, which does not exist");
            let mend = Mend::DeleteMonitor(monitor.clone());
            self.find(Rule::Monitors, &[Key::Monitor(id.clone(), monitor.clone())], violation, mend);
        }
        for (department_id, department) in &group.departments {
            let Some(department) = department else { continue };
            if department.parent_id.is().map(String::as_str) == Some(id.as_str()) {
                let violation = format!("it is in unit {id}, which does not exist");
                let mend = Mend::Leave(department_id.clone());
                self.find(Rule::Places, &[Key::Department(department_id.clone())], violation, mend);
                self.department_shape(department_id, department);
            }
        }
    }

    /// A department in no unit, or in one that can't be.
    fn lonely(&mut self, id: &DepartmentId, department: &Department) {
        let key = || Key::Department(id.clone());
        match &department.parent_id {
            Attribute::Wrong => {
                self.shape(key(), "its parentId can't be read", None);
            }
            Attribute::Is(_) => {
                let violation = "its parentId is empty or over 512 bytes".into();
                self.find(Rule::Places, &[key()], violation, Mend::Leave(id.clone()));
            }
            Attribute::Absent if department.ancestors != Attribute::Absent => {
                let violation = "it has ancestors and is in no unit".into();
                self.find(Rule::Places, &[key()], violation, Mend::Leave(id.clone()));
            }
            Attribute::Absent => {}
        }
        self.department_shape(id, department);
    }

    fn department_shape(&mut self, id: &DepartmentId, department: &Department) {
        let key = || Key::Department(id.clone());
        if department.name.is().is_none() {
            self.shape(key(), "its name is not what the design asks for", None);
        }
        if department.updated_at.is().is_none() {
            let violation = "its _updatedAt is no time with three decimals";
            self.shape(key(), violation, Mend::Touch(id.clone()));
        }
    }

    fn shape(&mut self, key: Key, violation: impl Into<String>, mend: impl Into<Option<Mend>>) {
        self.find(Rule::Shape, &[key], violation.into(), mend);
    }
}

/// A key as it is shown: partition key, and sort key where there is one.
pub fn written(key: &Key) -> String {
    let attributes = key.attributes();
    let text = |name: &str| attributes.get(name).and_then(|value| value.as_s().ok()).cloned();
    match text("sk") {
        Some(sort) => format!("{} {sort}", key.partition()),
        None => key.partition(),
    }
}

impl fmt::Display for Mend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unit(what) => f.write_str(what),
            Self::Monitors(monitors) => write!(f, "make monitors of the monitors' items: {}", monitors.len()),
            Self::PutMonitor(monitor, username) => write!(f, "write the item of {monitor}, {username}"),
            Self::DeleteMonitor(monitor) => write!(f, "delete the item of {monitor}"),
            Self::List(department) => write!(f, "list department {department}"),
            Self::Unlist(department) => write!(f, "list department {department} no longer"),
            Self::Place(_, ancestors) => write!(f, "set ancestors to {}", ancestors.join(", ")),
            Self::Leave(_) => f.write_str("remove parentId and ancestors"),
            Self::Touch(_) => f.write_str("set _updatedAt to now"),
        }
    }
}
