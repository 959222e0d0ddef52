//! A process that wants the lease: it takes the lease if it is free, or if its holder has ended.

use anyhow::{Result, bail};
use livechat_units::item::Item;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::held::Lease;
use super::item::{LEASE, Other, STATE, lease_item, text};
use super::timing::{TIMING, Timing};
use crate::condition::Condition;
use crate::database::Database;
use crate::origin::state_key;
use crate::requests::transact;

/// A process that wants the lease.
#[derive(Debug)]
pub struct Candidate {
    database: Database,
    timing: Timing,
    holder: String,
    purpose: &'static str,
    pub(super) seen: Option<ObservedLease>,
}

/// The lease as a process that waits has seen it.
#[derive(Debug)]
pub(super) struct ObservedLease {
    pub(super) item: Item,
    /// When it was first seen in this state.
    since: Instant,
    /// True if the holder is known to be alive, because the item has changed since the first look.
    is_alive: bool,
}

/// The result of a try to get the lease.
#[derive(Debug)]
pub enum Attempt {
    /// This process has the lease now.
    Held(Lease),
    /// Another process has the lease, and is alive.
    HeldBy(Other),
    /// Another process has the lease, but may have ended. A later try shows which.
    Unknown(Other),
}

impl Candidate {
    /// A process that wants the lease for this command, such as `unitctl sync`.
    pub fn new(database: &Database, purpose: &'static str) -> Self {
        Self::with_timing(database, purpose, TIMING)
    }

    pub(super) fn with_timing(database: &Database, purpose: &'static str, timing: Timing) -> Self {
        let holder = Uuid::new_v4().to_string();
        Self { database: database.clone(), timing, holder, purpose, seen: None }
    }

    /// Waits while another process has the lease. If a request fails, `on_error` is called with the error, and the
    /// request is repeated.
    pub async fn wait(&mut self, mut on_error: impl FnMut(anyhow::Error)) -> Lease {
        loop {
            match self.try_once().await {
                Ok(Attempt::Held(lease)) => return lease,
                Ok(_) => {}
                Err(error) => on_error(error),
            }
            sleep(self.timing.look).await;
        }
    }

    /// Gets the lease, unless a process that is alive has it. If the lease has a holder, it takes some seconds to find
    /// out whether that process is alive. `on_wait` is called before this wait.
    ///
    /// # Errors
    /// Another process has it; the error says which. Or DynamoDB refuses a request.
    pub async fn acquire_or_refuse(&mut self, on_wait: impl FnOnce(&Other)) -> Result<Lease> {
        let mut on_wait = Some(on_wait);
        loop {
            match self.try_once().await? {
                Attempt::Held(lease) => return Ok(lease),
                Attempt::HeldBy(other) => {
                    bail!(
                        "{other} is writing to these tables, so nothing was written; end it first, or wait until it has \
                         ended"
                    )
                }
                Attempt::Unknown(other) => {
                    if let Some(on_wait) = on_wait.take() {
                        on_wait(&other);
                    }
                    sleep(self.timing.look).await;
                }
            }
        }
    }

    /// Tries to get the lease.
    ///
    /// # Errors
    /// DynamoDB refuses a request.
    pub async fn try_once(&mut self) -> Result<Attempt> {
        let stored = self.database.get_all(vec![state_key(LEASE)]).await?.pop();
        let now = Instant::now();
        let Some(item) = stored else { return self.take(None).await };
        // An earlier try has taken the lease, and its reply was lost.
        if text(&item, "holder") == self.holder {
            return self.take(Some(&item)).await;
        }
        let is_same = |seen: &ObservedLease| STATE.iter().all(|name| seen.item.get(*name) == item.get(*name));
        match &self.seen {
            Some(seen) if is_same(seen) => {
                if now.duration_since(seen.since) >= self.timing.takeover {
                    return self.take(Some(&item)).await;
                }
            }
            before => {
                self.seen = Some(ObservedLease { is_alive: before.is_some(), since: now, item: item.clone() })
            }
        }
        let other = Other::read(&item);
        let is_alive = self.seen.as_ref().is_some_and(|seen| seen.is_alive);
        Ok(if is_alive { Attempt::HeldBy(other) } else { Attempt::Unknown(other) })
    }

    /// Takes the lease if it is still in the state that was read.
    pub(super) async fn take(&mut self, stored: Option<&Item>) -> Result<Attempt> {
        let table = &self.database.tables.livechat;
        let sent = Instant::now();
        let put =
            Condition::unchanged(stored, "pk", &STATE).put(table, lease_item(&self.holder, self.purpose))?;
        if transact(&self.database, vec![put]).await? {
            return Ok(Attempt::Held(Lease::start(&self.database, &self.holder, self.timing, sent)));
        }
        // Another process was faster. The next try reads what it wrote.
        let unknown = Item::new();
        Ok(Attempt::Unknown(Other::read(stored.unwrap_or(&unknown))))
    }
}
