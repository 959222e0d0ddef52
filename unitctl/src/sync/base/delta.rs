//! A change of a unit's facts.

use std::collections::BTreeSet;

use livechat_units::id::UserId;
use livechat_units::request::Visibility;

/// A change of a unit's facts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnitDelta {
    /// The new name.
    pub name: Option<String>,
    /// The new visibility.
    pub visibility: Option<Visibility>,
    /// The users who become monitors.
    pub join: BTreeSet<UserId>,
    /// The users who are no longer monitors.
    pub leave: BTreeSet<UserId>,
    /// The unit's new `_updatedAt`.
    pub updated_at: String,
}

impl UnitDelta {
    /// True if it changes no fact. `updated_at` is not one of the facts.
    pub fn is_empty(&self) -> bool {
        self.name.is_none() && self.visibility.is_none() && self.join.is_empty() && self.leave.is_empty()
    }

    /// The part of the change that fits into a transaction of at most this many monitors. Monitors leave first. The
    /// next look writes the rest.
    pub fn first(&self, monitors: usize) -> Self {
        let leave: BTreeSet<_> = self.leave.iter().take(monitors).cloned().collect();
        let join = self.join.iter().take(monitors - leave.len()).cloned().collect();
        Self { join, leave, ..self.clone() }
    }
}
