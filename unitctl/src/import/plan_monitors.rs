//! Plans who monitors a unit.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_dynamodb::types::AttributeValue;
use livechat_units::id::{UnitId, UserId};
use livechat_units::item::{Item, Key};

use super::export::Collection;
use super::plan::Planner;
use super::records::string;
use super::user::MonitorUser;
use super::workspace::Monitor;

impl Planner<'_> {
    /// The unit's monitors: the different users of its rows who exist and have the role. Their usernames come from the
    /// users, as in an update. A stored monitor stays if the only reason to remove it would be a collection that is
    /// incomplete.
    pub fn monitors(&mut self, unit: &UnitId) -> BTreeMap<UserId, Monitor> {
        let mut monitors = self.monitors_with_rows(unit);
        if self.exported.incomplete.monitors {
            monitors.extend(self.stored_monitors_without_rows(unit));
        }
        monitors
    }

    fn monitors_with_rows(&mut self, unit: &UnitId) -> BTreeMap<UserId, Monitor> {
        let (exported, stored) = (self.exported, self.stored);
        let stored = stored.units.get(unit).map(|unit| &unit.monitors);
        let mut monitors = BTreeMap::new();
        let mut seen = BTreeSet::new();
        for row in exported.monitors.get(unit).into_iter().flatten() {
            let id = &row.monitor;
            if !seen.insert(id) {
                let repair = format!("dropped a duplicate row of monitor {id}");
                self.repair_unit(unit, "dropped a duplicate row", repair);
                continue;
            }
            match (self.eligible(id), stored.and_then(|stored| stored.get(id))) {
                (Ok(username), _) => {
                    if row.username.as_ref().is_some_and(|copied| *copied != username) {
                        let repair = format!("monitor {id} is now called {username}");
                        self.repair_unit(unit, "a monitor has another username", repair);
                    }
                    monitors.insert(id.clone(), Monitor { username, updated_at: row.updated_at.clone() });
                }
                (Err(Ineligible::Unknown), Some(item)) => {
                    self.keep_monitor(unit, id, Collection::Users);
                    monitors.insert(id.clone(), Monitor::stored(item));
                }
                (Err(reason), _) => self.leave_out_monitor(unit, id, &reason),
            }
        }
        monitors
    }

    /// The stored monitors whose rows may be among those that can't be used.
    fn stored_monitors_without_rows(&mut self, unit: &UnitId) -> BTreeMap<UserId, Monitor> {
        let (exported, stored) = (self.exported, self.stored);
        let rows = exported.monitors.get(unit).into_iter().flatten();
        let with_rows: BTreeSet<&UserId> = rows.map(|row| &row.monitor).collect();
        let stored = stored.units.get(unit).into_iter().flat_map(|unit| &unit.monitors);
        let mut monitors = BTreeMap::new();
        for (id, item) in stored.filter(|(id, _)| !with_rows.contains(id)) {
            let updated_at = Monitor::stored(item).updated_at;
            let monitor = match self.eligible(id) {
                Ok(username) => Monitor { username, updated_at },
                Err(Ineligible::Unknown) => Monitor::stored(item),
                Err(reason) => {
                    self.leave_out_monitor(unit, id, &reason);
                    continue;
                }
            };
            self.keep_monitor(unit, id, Collection::UnitMonitors);
            monitors.insert(id.clone(), monitor);
        }
        monitors
    }

    fn leave_out_monitor(&mut self, unit: &UnitId, id: &UserId, reason: &Ineligible) {
        let repair = format!("left out monitor {id}: {}", reason.words());
        self.repair_unit(unit, "left out a monitor", repair);
    }

    fn keep_monitor(&mut self, unit: &UnitId, id: &UserId, incomplete: Collection) {
        let file = incomplete.file();
        self.repair_unit(
            unit,
            "a monitor stays",
            format!("monitor {id} stays: {file} has lines that can't be used"),
        );
    }

    /// The username of a user who may be a monitor, or why the user may not.
    fn eligible(&self, id: &UserId) -> Result<String, Ineligible> {
        match self.exported.users.get(id) {
            None if self.exported.incomplete.users => Err(Ineligible::Unknown),
            None => Err(Ineligible::NoUser),
            Some(MonitorUser { has_role: false, .. }) => Err(Ineligible::NoRole),
            Some(MonitorUser { username: None, .. }) => Err(Ineligible::NoUsername),
            Some(MonitorUser { username: Some(username), .. }) => Ok(username.clone()),
        }
    }
}

impl Monitor {
    /// The monitor that a stored item describes.
    fn stored(item: &Item) -> Self {
        let text = |name: &str| item.get(name).and_then(|value| value.as_s().ok()).cloned();
        Self { username: text("username").unwrap_or_default(), updated_at: text("_updatedAt") }
    }

    /// The monitor's item. If the row had no time, it gets the time of the unit.
    pub fn item(self, unit: &UnitId, monitor: &UserId, updated_at_of_unit: &str) -> Item {
        let mut item = Key::Monitor(unit.clone(), monitor.clone()).attributes();
        item.insert("unitId".into(), string(unit.as_str()));
        item.insert("monitorId".into(), string(monitor.as_str()));
        item.insert("username".into(), AttributeValue::S(self.username));
        let updated_at = self.updated_at.unwrap_or_else(|| updated_at_of_unit.to_owned());
        item.insert("_updatedAt".into(), AttributeValue::S(updated_at));
        item
    }
}

/// Why a user may not be a monitor.
enum Ineligible {
    /// The user is not among the usable users, but there are users that can't be used.
    Unknown,
    NoUser,
    NoRole,
    NoUsername,
}

impl Ineligible {
    fn words(&self) -> &'static str {
        match self {
            Self::Unknown => "no line of this user can be used",
            Self::NoUser => "there is no such user",
            Self::NoRole => "the user does not hold the role livechat-monitor",
            Self::NoUsername => "the user has no username",
        }
    }
}
