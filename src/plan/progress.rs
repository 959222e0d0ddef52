//! What a large update has committed so far, and whether another update has undone some of it.

use std::collections::HashSet;

use smol_str::SmolStr;

use crate::action::{Action, Transaction};
use crate::error::Error;
use crate::item::Stored;
use crate::load::Loaded;

/// What the transactions of one request have committed so far.
#[derive(Debug, Default)]
pub struct Progress {
    has_begun: bool,
    has_set_name: bool,
    has_set_visibility: bool,
    joined_monitors: HashSet<SmolStr>,
    left_monitors: HashSet<SmolStr>,
    joined_departments: HashSet<SmolStr>,
    left_departments: HashSet<SmolStr>,
}

impl Progress {
    /// Notes what a committed transaction has changed.
    pub fn record(&mut self, transaction: &Transaction) {
        self.has_begun = true;
        for action in &transaction.actions {
            match action {
                Action::UpdateUnit(change) => {
                    self.has_set_name |= change.name.is_some();
                    self.has_set_visibility |= change.visibility.is_some();
                }
                Action::PutMonitor { monitor, .. } => {
                    self.joined_monitors.insert(monitor.text().clone());
                }
                Action::DeleteMonitor { monitor, .. } => {
                    self.left_monitors.insert(monitor.text().clone());
                }
                Action::JoinDepartment { id, .. } | Action::CheckInUnit { id, .. } => {
                    self.joined_departments.insert(id.text().clone());
                }
                Action::LeaveDepartment { id, .. } | Action::CheckNotInUnit { id, .. } => {
                    self.left_departments.insert(id.text().clone());
                }
                Action::ShrinkUnit { .. } | Action::CheckUnitLacks { .. } => {}
            }
        }
    }

    /// True if another update has undone something that this request has committed. Then the request must give way.
    /// Otherwise two large updates could undo each other's changes without end.
    pub fn is_undone(&self, loaded: &Loaded) -> bool {
        if !self.has_begun {
            return false;
        }
        let Stored::Present(unit) = &loaded.unit else { return true };
        let update = loaded.update;
        (self.has_set_name && unit.name.as_ref() != Some(&update.name))
            || (self.has_set_visibility && unit.visibility.as_deref() != Some(update.visibility.as_str()))
            || self.joined_monitors.iter().any(|id| !unit.monitors.contains_key(id))
            || self.left_monitors.iter().any(|id| unit.monitors.contains_key(id))
            || self.joined_departments.iter().any(|id| !unit.departments.contains(id))
            || self.left_departments.iter().any(|id| unit.departments.contains(id))
    }

    /// The error to answer instead of `error`. Most errors promise that nothing is stored. That is wrong once a
    /// transaction is committed, so the answer is [`Error::Busy`] then. The client repeats the request, and then gets
    /// `error` itself.
    pub fn error(&self, error: Error) -> Error {
        match error {
            Error::Unavailable(_) | Error::Internal(_) => error,
            _ if self.has_begun => Error::Busy,
            _ => error,
        }
    }
}
