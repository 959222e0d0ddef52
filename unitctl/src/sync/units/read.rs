//! Reads all of DynamoDB that a look at a unit needs: the unit, its monitors, departments, users, and their bases.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use anyhow::Result;
use livechat_units::id::{DepartmentId, UnitId, UserId};
use livechat_units::item::{self, Item, Key, MONITOR_ROLE};
use livechat_units::request::Visibility;

use crate::import::records::long_ago;
use crate::import::workspace::StoredUnit;
use crate::origin::{REV, department_base_key, unit_base_key};
use crate::sync::base::{DepartmentBase, UnitBase};
use crate::sync::model::{PlaceView, UnitFacts, UnitView};
use crate::sync::sides::Sides;

/// Departments and users to read because MongoDB's unit names them, in addition to those that DynamoDB's unit names.
#[derive(Clone, Debug, Default)]
pub struct MoreToRead {
    /// Departments.
    pub departments: BTreeSet<DepartmentId>,
    /// Users.
    pub users: BTreeSet<UserId>,
}

/// DynamoDB's side of a unit.
#[derive(Debug, Default)]
pub struct Stored {
    /// The unit, with its monitors' items.
    pub unit: Option<StoredUnit>,
    /// The unit's base.
    pub base: Option<UnitBase>,
    /// Those of the departments in `read` that exist.
    pub departments: BTreeMap<DepartmentId, StoredDepartment>,
    /// The departments' bases.
    pub department_bases: BTreeMap<DepartmentId, DepartmentBase>,
    /// Those of the users in `read` that exist.
    pub users: HashMap<UserId, item::Stored<item::User>>,
    /// The other units that the departments are in.
    pub other_units: HashMap<UnitId, StoredUnit>,
    /// The departments and users that were read: those of the `more` of [`Self::read`], and those that DynamoDB's unit
    /// names.
    pub read: MoreToRead,
}

/// A department as it is stored.
#[derive(Clone, Debug)]
pub struct StoredDepartment {
    /// The whole item.
    pub item: Item,
    /// Its place.
    pub view: PlaceView,
}

impl Stored {
    /// Reads DynamoDB's side, with strong consistency.
    ///
    /// The bases are read before what they are compared with. Another process may write a unit and its base together while
    /// this reads. An earlier state of the unit, compared with the new base, would look like a change by the function, and
    /// would be written to MongoDB. A base that is older than the unit does no harm: every write is conditional on its
    /// `rev`.
    ///
    /// # Errors
    /// DynamoDB refuses a request, or the unit's item is corrupt.
    pub async fn read(sides: &Sides, id: &UnitId, more: &MoreToRead) -> Result<Self> {
        loop {
            let mut stored = Self { read: more.clone(), ..Self::default() };
            stored.read_unit(sides, id).await?;
            stored.read_bases(sides, id).await?;
            if stored.read_named(sides, id).await? {
                stored.read_other_units(sides, id).await?;
                return Ok(stored);
            }
        }
    }

    /// Reads the unit with its monitors' items, which say which departments and users to read.
    async fn read_unit(&mut self, sides: &Sides, id: &UnitId) -> Result<()> {
        let mut monitors = BTreeMap::new();
        for item in sides.database.unit_partition(id).await? {
            match text(&item, "sk").and_then(|sort| sort.strip_prefix("MONITOR#")).map(UserId::parse) {
                Some(Some(monitor)) => {
                    monitors.insert(monitor, item);
                }
                Some(None) => {}
                None => self.unit = Some(StoredUnit::parse(id, item)?),
            }
        }
        if let Some(unit) = &mut self.unit {
            let listed = unit.departments.iter().filter_map(DepartmentId::parse);
            self.read.departments.extend(listed);
            self.read.users.extend(monitors.keys().cloned());
            self.read.users.extend(monitor_ids(&unit.item));
            unit.monitors = monitors;
        }
        Ok(())
    }

    /// Reads the bases of the unit and of the departments.
    async fn read_bases(&mut self, sides: &Sides, id: &UnitId) -> Result<()> {
        let mut bases: HashMap<String, DepartmentId> = HashMap::new();
        let mut keys = vec![unit_base_key(id)];
        for department in &self.read.departments {
            let base = department_base_key(department);
            bases.insert(partition(&base).to_owned(), department.clone());
            keys.push(base);
        }
        for item in sides.database.get_all(keys).await? {
            let Some(department) = bases.get(partition(&item)) else {
                match UnitBase::parse(id.clone(), item) {
                    Ok(base) => self.base = Some(base),
                    Err(error) => broken_base(sides, unit_base_key(id), &error).await?,
                }
                continue;
            };
            match DepartmentBase::parse(department.clone(), item) {
                Ok(base) => {
                    self.department_bases.insert(department.clone(), base);
                }
                Err(error) => broken_base(sides, department_base_key(department), &error).await?,
            }
        }
        Ok(())
    }

    /// Reads the departments and users, and whether the unit is still as it was read before the bases. Returns false if it
    /// is not.
    async fn read_named(&mut self, sides: &Sides, id: &UnitId) -> Result<bool> {
        let mut departments: HashMap<String, DepartmentId> = HashMap::new();
        let mut users: HashMap<String, UserId> = HashMap::new();
        let mut keys = vec![Key::Unit(id.clone()).attributes()];
        for department in &self.read.departments {
            let key = Key::Department(department.clone());
            departments.insert(key.partition(), department.clone());
            keys.push(key.attributes());
        }
        for user in &self.read.users {
            let key = Key::User(user.clone());
            users.insert(key.partition(), user.clone());
            keys.push(key.attributes());
        }
        let mut unit_now = None;
        for item in sides.database.get_all(keys).await? {
            let partition = partition(&item).to_owned();
            if let Some(department) = departments.get(&partition) {
                self.departments.insert(department.clone(), StoredDepartment::new(item));
            } else if let Some(user) = users.get(&partition) {
                let parsed = item::Stored::parse(&Key::User(user.clone()), Some(item), item::User::parse);
                self.users.insert(user.clone(), parsed);
            } else {
                unit_now = Some(item);
            }
        }
        Ok(match (&self.unit, &unit_now) {
            (Some(read), Some(now)) => {
                ["version", REV].iter().all(|name| read.item.get(*name) == now.get(*name))
            }
            (read, now) => read.is_none() && now.is_none(),
        })
    }

    /// Reads the other units that the departments are in: they lose a department that moves.
    async fn read_other_units(&mut self, sides: &Sides, id: &UnitId) -> Result<()> {
        let places = self.departments.values().filter_map(|department| department.view.place.clone());
        let others: BTreeSet<UnitId> = places.filter(|place| place != id).collect();
        let keys = others.iter().map(|other| Key::Unit(other.clone()).attributes()).collect();
        for item in sides.database.get_all(keys).await? {
            let other = partition(&item).strip_prefix("UNIT#").and_then(UnitId::parse);
            if let Some(other) = other {
                let unit = StoredUnit::parse(&other, item)?;
                self.other_units.insert(other, unit);
            }
        }
        Ok(())
    }

    /// True if a user can be a monitor in DynamoDB now: they exist there, and have the role and a username.
    pub fn can_monitor(&self, user: &UserId) -> bool {
        let user = self.users.get(user).map(item::Stored::get);
        matches!(user, Some(Ok(Some(user))) if user.has_role(MONITOR_ROLE) && user.username.is_some())
    }
}

impl StoredDepartment {
    fn new(item: Item) -> Self {
        let place = text(&item, "parentId").and_then(UnitId::parse);
        let view = PlaceView { place, updated_at: updated_at(&item) };
        Self { item, view }
    }
}

/// A stored unit's facts. A name that is no string counts as empty. A visibility that is not "public" counts as
/// private, because that shows the unit to fewer people.
pub fn view(unit: &StoredUnit) -> UnitView {
    let facts = UnitFacts {
        name: text(&unit.item, "name").unwrap_or_default().to_owned(),
        visibility: match text(&unit.item, "visibility") {
            Some("public") => Visibility::Public,
            _ => Visibility::Private,
        },
        monitors: monitor_ids(&unit.item).collect(),
    };
    UnitView { facts, updated_at: updated_at(&unit.item) }
}

/// The users in a unit's map of monitors.
fn monitor_ids(unit: &Item) -> impl Iterator<Item = UserId> {
    let monitors = unit.get("monitors").and_then(|monitors| monitors.as_m().ok());
    monitors.into_iter().flat_map(|monitors| monitors.keys()).filter_map(UserId::parse)
}

fn updated_at(item: &Item) -> String {
    text(item, "_updatedAt").map_or_else(long_ago, str::to_owned)
}

pub(super) fn text<'a>(item: &'a Item, name: &str) -> Option<&'a str> {
    item.get(name)?.as_s().ok().map(String::as_str)
}

fn partition(item: &Item) -> &str {
    text(item, "pk").unwrap_or_default()
}

/// A base that can't be read counts as absent. It is deleted, so that a new one can be stored.
async fn broken_base(sides: &Sides, key: Item, error: &anyhow::Error) -> Result<()> {
    let name = partition(&key).to_owned();
    sides.reporter.warn(format!("the item {name} can't be read ({error:#}); it counts as absent"));
    if !sides.mode.is_dry_run {
        let table = &sides.database.tables.livechat;
        let delete = sides.database.client.delete_item().table_name(table).set_key(Some(key));
        delete.send().await.map_err(|error| crate::database::Database::describe_error(table, error))?;
    }
    Ok(())
}
