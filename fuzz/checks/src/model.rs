//! A model of the livechat table that evaluates the conditions of a plan and executes its actions.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_dynamodb::types::AttributeValue;
use livechat_units::action::{
    Action, DepartmentsChange, FailedCondition, MonitorsChange, Transaction, UnitChange,
};
use livechat_units::auth::Caller;
use livechat_units::error::Error;
use livechat_units::id::{DepartmentId, UnitId, UserId};
use livechat_units::item::{Item, Items, Key, MONITOR_ROLE, User};
use livechat_units::limits::MAX_TRANSACTION_ACTIONS;
use livechat_units::load::{self, Loaded};
use livechat_units::plan::{Progress, plan};
use livechat_units::request::Update;

/// The attributes of the livechat table that plans read and write.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Model {
    /// The units by id.
    pub units: BTreeMap<String, UnitModel>,
    /// The departments by id.
    pub departments: BTreeMap<String, DepartmentModel>,
    /// The users by id.
    pub users: BTreeMap<String, UserModel>,
}

/// A unit and its monitors' items.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UnitModel {
    /// `name`.
    pub name: String,
    /// `visibility`.
    pub visibility: String,
    /// `version`.
    pub version: Option<u64>,
    /// `ancestors`.
    pub ancestors: Vec<String>,
    /// `monitors`: usernames by user id.
    pub monitors: BTreeMap<String, String>,
    /// The monitors' items: usernames by user id.
    pub monitor_items: BTreeMap<String, String>,
    /// `numMonitors`.
    pub num_monitors: usize,
    /// `departmentIds`.
    pub departments: BTreeSet<String>,
    /// `numDepartments`.
    pub num_departments: usize,
}

/// A department.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DepartmentModel {
    /// `parentId`.
    pub parent: Option<String>,
    /// `ancestors`.
    pub ancestors: Option<Vec<String>>,
}

/// A user.
#[derive(Clone, Debug, PartialEq)]
pub struct UserModel {
    /// `username`.
    pub username: String,
    /// `active`.
    pub is_active: bool,
    /// Whether `roles` has the role `livechat-monitor`.
    pub is_monitor: bool,
}

impl Model {
    /// The `ancestors` of departments in this unit.
    ///
    /// # Panics
    /// There is no such unit.
    pub fn ancestors_within(&self, unit: &str) -> Vec<String> {
        std::iter::once(unit.to_owned()).chain(self.units[unit].ancestors.clone()).collect()
    }

    /// Checks the invariants of docs/data-model.md.
    ///
    /// # Panics
    /// An invariant is broken.
    pub fn assert_invariants(&self) {
        for (id, unit) in &self.units {
            assert_eq!(unit.monitors, unit.monitor_items, "monitors of {id}");
            assert_eq!(unit.num_monitors, unit.monitors.len(), "numMonitors of {id}");
            assert_eq!(unit.num_departments, unit.departments.len(), "numDepartments of {id}");
            let members: BTreeSet<String> = self
                .departments
                .iter()
                .filter(|(_, department)| department.parent.as_ref() == Some(id))
                .map(|(id, _)| id.clone())
                .collect();
            assert_eq!(unit.departments, members, "departments of {id}");
            for member in members {
                assert_eq!(
                    self.departments[&member].ancestors,
                    Some(self.ancestors_within(id)),
                    "of {member}"
                );
            }
        }
    }

    /// The item with this key as DynamoDB would return it.
    pub fn item(&self, key: &Key) -> Option<Item> {
        let string = |text: &String| AttributeValue::S(text.clone());
        let list = |texts: &[String]| AttributeValue::L(texts.iter().map(string).collect());
        let mut item = key.attributes();
        match key {
            Key::Unit(id) => {
                let unit = self.units.get(id.as_str())?;
                item.insert("name".into(), string(&unit.name));
                item.insert("visibility".into(), string(&unit.visibility));
                if let Some(version) = unit.version {
                    item.insert("version".into(), AttributeValue::N(version.to_string()));
                }
                let monitors = unit.monitors.iter().map(|(id, name)| (id.clone(), string(name))).collect();
                item.insert("monitors".into(), AttributeValue::M(monitors));
                if !unit.departments.is_empty() {
                    let ids = unit.departments.iter().cloned().collect();
                    item.insert("departmentIds".into(), AttributeValue::Ss(ids));
                }
                item.insert("ancestors".into(), list(&unit.ancestors));
            }
            Key::Department(id) => {
                let department = self.departments.get(id.as_str())?;
                if let Some(parent) = &department.parent {
                    item.insert("parentId".into(), string(parent));
                }
                if let Some(ancestors) = &department.ancestors {
                    item.insert("ancestors".into(), list(ancestors));
                }
            }
            Key::User(id) => {
                let user = self.users.get(id.as_str())?;
                item.insert("username".into(), string(&user.username));
                item.insert("active".into(), AttributeValue::Bool(user.is_active));
                if user.is_monitor {
                    item.insert("roles".into(), AttributeValue::Ss(vec![MONITOR_ROLE.into()]));
                }
            }
            Key::Token(_) | Key::Permission(_) | Key::Monitor(..) => return None,
        }
        Some(item)
    }

    /// Commits a transaction.
    ///
    /// # Errors
    /// The conditions that fail, with the stored items.
    fn apply(&self, transaction: &Transaction) -> Result<Self, Vec<FailedCondition>> {
        let keys: BTreeSet<String> =
            transaction.actions.iter().map(|action| format!("{:?}", action.key())).collect();
        assert_eq!(keys.len(), transaction.actions.len(), "two actions are on the same item");
        assert!(transaction.actions.len() <= MAX_TRANSACTION_ACTIONS);

        let failed: Vec<_> = transaction
            .actions
            .iter()
            .enumerate()
            .filter(|(_, action)| !self.holds(action))
            .map(|(index, action)| FailedCondition { action: index, item: self.item(&action.key()) })
            .collect();
        if !failed.is_empty() {
            return Err(failed);
        }
        let mut next = self.clone();
        transaction.actions.iter().for_each(|action| next.write(action));
        Ok(next)
    }

    /// Whether the condition of an action holds.
    fn holds(&self, action: &Action) -> bool {
        let parent = |id: &DepartmentId| {
            self.departments.get(id.as_str()).map(|department| department.parent.as_deref())
        };
        let lists = |unit: &UnitId, id: &DepartmentId| {
            self.units.get(unit.as_str()).is_some_and(|unit| unit.departments.contains(id.as_str()))
        };
        match action {
            Action::UpdateUnit(UnitChange { id, version, .. }) => {
                self.units.get(id.as_str()).is_some_and(|unit| unit.version == *version)
            }
            Action::PutMonitor { .. } | Action::DeleteMonitor { .. } => true,
            Action::JoinDepartment { id, from, .. } => parent(id) == Some(from.as_deref()),
            Action::LeaveDepartment { id, unit } | Action::CheckInUnit { id, unit } => {
                parent(id) == Some(Some(unit.as_str()))
            }
            Action::CheckNotInUnit { id, unit } => parent(id) != Some(Some(unit.as_str())),
            Action::ShrinkUnit { id, loses, lacks } => {
                loses.iter().all(|lost| lists(id, lost)) && !lacks.iter().any(|lacked| lists(id, lacked))
            }
            Action::CheckUnitLacks { id, departments } => {
                !departments.iter().any(|department| lists(id, department))
            }
        }
    }

    /// Executes an action, which has to change something.
    fn write(&mut self, action: &Action) {
        match action {
            Action::UpdateUnit(change) => {
                let unit = self.units.get_mut(change.id.as_str()).expect("the condition of the action holds");
                unit.update(change);
            }
            Action::PutMonitor { unit, monitor, username } => {
                let items = &mut self.units.get_mut(unit.as_str()).expect("the unit exists").monitor_items;
                let before = items.insert(monitor.to_string(), username.to_string());
                assert_ne!(before.as_deref(), Some(username.as_str()), "{action:?} changes nothing");
            }
            Action::DeleteMonitor { unit, monitor } => {
                let items = &mut self.units.get_mut(unit.as_str()).expect("the unit exists").monitor_items;
                assert!(items.remove(monitor.as_str()).is_some(), "{action:?} changes nothing");
            }
            Action::JoinDepartment { id, from, unit, ancestors } => {
                let ancestors = ancestors.iter().map(ToString::to_string).collect();
                let department =
                    DepartmentModel { parent: Some(unit.to_string()), ancestors: Some(ancestors) };
                let before = self.departments.insert(id.to_string(), department.clone());
                // Another update may have corrected the ancestors since this one has read them.
                let is_correction = from.as_deref() == Some(unit.as_str());
                assert!(is_correction || before != Some(department), "{action:?} changes nothing");
            }
            Action::LeaveDepartment { id, .. } => {
                let before = self.departments.insert(id.to_string(), DepartmentModel::default());
                assert_ne!(before, Some(DepartmentModel::default()), "{action:?} changes nothing");
            }
            Action::ShrinkUnit { id, loses, .. } => {
                let unit = self.units.get_mut(id.as_str()).expect("the condition of the action holds");
                unit.version = Some(unit.version.unwrap_or(0) + 1);
                unit.num_departments -= loses.len();
                assert!(!loses.is_empty());
                loses.iter().for_each(|lost| assert!(unit.departments.remove(lost.as_str())));
            }
            Action::CheckInUnit { .. } | Action::CheckNotInUnit { .. } | Action::CheckUnitLacks { .. } => {}
        }
    }
}

impl UnitModel {
    /// Changes the unit's item as DynamoDB would.
    fn update(&mut self, change: &UnitChange) {
        self.version = Some(self.version.unwrap_or(0) + 1);
        change.name.iter().for_each(|name| self.name.clone_from(name));
        change.visibility.iter().for_each(|visibility| self.visibility = visibility.as_str().to_owned());
        match &change.monitors {
            MonitorsChange::None => {}
            MonitorsChange::All(all) => {
                self.monitors = all.iter().map(|(id, name)| (id.to_string(), name.to_string())).collect();
            }
            MonitorsChange::Entries { put, remove } => {
                assert!(!self.monitors.is_empty(), "an entry of a map that may not exist");
                assert!(put.keys().all(|id| !remove.contains(id)), "two changes of one entry");
                self.monitors.extend(put.iter().map(|(id, name)| (id.to_string(), name.to_string())));
                for id in remove {
                    assert!(self.monitors.remove(id.as_str()).is_some(), "{id} is not there");
                }
            }
        }
        match &change.departments {
            DepartmentsChange::None => {}
            DepartmentsChange::All(all) => self.departments = all.iter().map(ToString::to_string).collect(),
            DepartmentsChange::Add(ids) => {
                assert!(!ids.is_empty(), "DynamoDB has no empty sets");
                self.departments.extend(ids.iter().map(ToString::to_string));
            }
            DepartmentsChange::Remove(ids) => {
                assert!(!ids.is_empty(), "DynamoDB has no empty sets");
                self.departments.retain(|id| !ids.contains(id.as_str()));
            }
        }
        (self.num_monitors, self.num_departments) = (change.num_monitors, change.num_departments);
    }
}

/// A caller who sees every unit.
///
/// # Panics
/// Never.
pub fn caller() -> Caller {
    let id = UserId::parse("caller").expect("an id");
    let user = User { username: None, roles: Vec::new(), active: true };
    Caller { id, is_restricted: false, user }
}

/// Loads the items of an update. `from` returns each item. It may return items from different moments, because a read of
/// many items is not a snapshot.
pub fn load<'a>(
    caller: &Caller,
    update: &'a Update,
    from: &mut dyn FnMut(&Key) -> Option<Item>,
) -> Loaded<'a> {
    let keys = load::keys(update, &caller.id);
    let items = keys.into_iter().filter_map(|key| from(&key).map(|item| (key, item)));
    Loaded::new(update, caller, items.collect::<Items>())
}

/// The tests have some hundred departments. A refusal usually shows the present state of dozens, but if other changes fill most of the
/// transaction, it may show only one or two. An update that is still refused after this many attempts learns nothing.
const MAX_ATTEMPTS: usize = 500;

/// The course of an update.
#[derive(Debug)]
pub struct Run {
    /// The function's result.
    pub result: Result<(), Error>,
    /// The committed transactions.
    pub transactions: Vec<Transaction>,
    /// The model after each committed transaction.
    pub states: Vec<Model>,
}

/// Plans and commits as the function does. Before each attempt, one of the updates in `between` is committed. A transaction
/// of more than `max_actions` is refused as too large.
///
/// # Panics
/// The update does not end after many attempts.
pub fn run(
    caller: &Caller,
    model: &mut Model,
    loaded: Loaded<'_>,
    between: &[Update],
    max_actions: usize,
) -> Run {
    let mut run = Run { result: Ok(()), transactions: Vec::new(), states: Vec::new() };
    run.result = commit_all(caller, model, loaded, between, max_actions, &mut run);
    run
}

fn commit_all(
    caller: &Caller,
    model: &mut Model,
    mut loaded: Loaded<'_>,
    between: &[Update],
    max_actions: usize,
    run: &mut Run,
) -> Result<(), Error> {
    let mut between = between.iter();
    let mut progress = Progress::default();
    'plan: for _ in 0..MAX_ATTEMPTS {
        let mut sequence = plan(caller, &loaded).map_err(|error| progress.error(error))?;
        while let Some(transaction) = sequence.next_transaction(&loaded) {
            if transaction.actions.len() > max_actions {
                if !sequence.halve() {
                    return Err(Error::Internal("too large".into()));
                }
                continue;
            }
            if let Some(other) = between.next() {
                commit(model, other);
            }
            match model.apply(&transaction) {
                Ok(next) => {
                    *model = next;
                    loaded.apply_commit(&transaction);
                    progress.record(&transaction);
                    sequence.pop();
                    run.transactions.push(transaction);
                    run.states.push(model.clone());
                }
                Err(failed) => {
                    loaded.apply_refusal(&transaction, failed);
                    if progress.is_undone(&loaded) {
                        return Err(Error::Busy);
                    }
                    continue 'plan;
                }
            }
        }
        return Ok(());
    }
    panic!("{MAX_ATTEMPTS} attempts are not enough");
}

/// Commits an update while nothing else happens.
pub fn commit(model: &mut Model, update: &Update) {
    let loaded = load(&caller(), update, &mut |key| model.item(key));
    // An update that rows 9 to 11 of the contract refuse changes nothing.
    let _refused = run(&caller(), model, loaded, &[], MAX_TRANSACTION_ACTIONS);
}

/// Checks that the unit is exactly as an update asks.
///
/// # Panics
/// The unit differs from the update.
pub fn assert_is_as_asked(model: &Model, update: &Update) {
    let unit = &model.units[update.unit.as_str()];
    let listed: BTreeSet<String> = update.possible_departments().map(ToString::to_string).collect();
    assert_eq!(unit.departments, listed);
    assert_eq!(unit.monitors, eligible_monitors(model, update));
    assert_eq!(
        (unit.name.as_str(), unit.visibility.as_str()),
        (update.name.as_str(), update.visibility.as_str())
    );
}

/// The listed users who have the role: their usernames by user id.
pub fn eligible_monitors(model: &Model, update: &Update) -> BTreeMap<String, String> {
    let eligible = update.monitors.iter().filter_map(|id| {
        let user = model.users.get(id.as_str())?;
        user.is_monitor.then(|| (id.to_string(), user.username.clone()))
    });
    eligible.collect()
}
