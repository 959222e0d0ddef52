//! Both databases, and how the sync may use them.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock};

use anyhow::Result;
use time::Duration;

use super::merge::NoBase;
use super::model::{Side, Subject};
use super::mongodb::MongoDb;
use super::report::Reporter;
use crate::database::Database;
use crate::lease::Lease;

/// Both databases, with what all looks share.
#[derive(Debug)]
pub struct Sides {
    /// DynamoDB.
    pub database: Database,
    /// MongoDB.
    pub mongodb: MongoDb,
    /// Prints and counts what the sync does.
    pub reporter: Arc<Reporter>,
    /// What may be written.
    pub mode: Mode,
    /// The lease. Without one, nothing is written: it is a dry run.
    pub lease: Option<Lease>,
    /// How long a login is valid.
    lifetime: RwLock<Duration>,
}

/// What may be written.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mode {
    /// Nothing is written.
    pub is_dry_run: bool,
    /// MongoDB is only read.
    pub is_from_mongodb: bool,
    /// The side that counts where it is unknown which side has changed.
    pub prefer: Option<Side>,
}

/// The result of a look.
#[derive(Debug, Default)]
pub struct Looked {
    /// The subjects that have to be looked at because of it.
    pub follow_ups: BTreeSet<Subject>,
    /// The units that were written to MongoDB. Their counters are checked once more a moment later.
    pub written_units: BTreeSet<livechat_units::id::UnitId>,
}

impl Looked {
    /// Adds the result of another look.
    pub fn extend(&mut self, other: Self) {
        self.follow_ups.extend(other.follow_ups);
        self.written_units.extend(other.written_units);
    }
}

impl Sides {
    /// Both databases.
    pub fn new(
        database: Database,
        mongodb: MongoDb,
        reporter: Arc<Reporter>,
        mode: Mode,
        lease: Option<Lease>,
        lifetime: Duration,
    ) -> Self {
        Self { database, mongodb, reporter, mode, lease, lifetime: RwLock::new(lifetime) }
    }

    /// How long a login is valid.
    pub fn lifetime(&self) -> Duration {
        *self.lifetime.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets how long a login is valid. Returns whether that is new.
    pub fn set_lifetime(&self, lifetime: Duration) -> bool {
        let mut stored = self.lifetime.write().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *stored, lifetime) != lifetime
    }

    /// How facts without a base are decided, if the item is not as it was imported.
    pub fn no_base(&self) -> NoBase {
        self.mode.prefer.map_or(NoBase::Later, NoBase::Prefer)
    }

    /// Checks that this process still holds the lease. Each write is conditional anyway; this only avoids double work.
    ///
    /// # Errors
    /// This process does not hold the lease any more.
    pub fn check_lease(&self) -> Result<()> {
        self.lease.as_ref().map_or(Ok(()), Lease::check)
    }
}
