//! The lease: several processes may bring Rocket.Chat's data to the same tables, but only the one that has the lease
//! works. The others wait.
//!
//! It only avoids double work. Two processes that both work do no harm, because every write is conditional.
//!
//! The item `SYNC#STATE` / `LEASE` names its holder, who increases a counter in it every few seconds. A process that
//! wants the lease reads the counter every second. If the counter has not changed for 20 seconds by that process's own
//! monotonic clock, the holder counts as gone. So the clocks of two machines need not agree.

use std::fmt;
use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use aws_sdk_dynamodb::types::{AttributeValue, TransactWriteItem, Update};
use livechat_units::item::Item;
use time::OffsetDateTime;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, interval, sleep, timeout};
use uuid::Uuid;

use crate::condition::Condition;
use crate::database::Database;
use crate::origin::state_key;
use crate::requests::transact;
use crate::timestamp::rfc3339;

/// The sort key of the lease.
const LEASE: &str = "LEASE";

/// The attributes that change whenever the holder or the counter does.
const STATE: [&str; 2] = ["holder", "counter"];

/// The intervals of the lease. A holder stops writing before another process can take over.
#[derive(Clone, Copy, Debug)]
struct Timing {
    /// The time between two looks of a process that waits.
    look: Duration,
    /// The time between two increments of the counter.
    renewal: Duration,
    /// For this long after its last increment, a holder may rely on its lease.
    trust: Duration,
    /// If the counter stands still for this long, another process takes over.
    takeover: Duration,
}

const TIMING: Timing = Timing {
    look: Duration::from_secs(1),
    renewal: Duration::from_secs(3),
    trust: Duration::from_secs(15),
    takeover: Duration::from_secs(20),
};

/// A process that wants the lease.
#[derive(Debug)]
pub struct Candidate {
    database: Database,
    timing: Timing,
    holder: String,
    purpose: &'static str,
    seen: Option<ObservedLease>,
}

/// The lease as a process that waits has seen it.
#[derive(Debug)]
struct ObservedLease {
    item: Item,
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

/// Another process that has the lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Other {
    purpose: String,
    host: String,
    process: String,
    since: String,
}

/// The lease of this process. A task renews it until it is released or dropped.
#[derive(Debug)]
pub struct Lease {
    database: Database,
    holder: String,
    trust: Duration,
    status: watch::Receiver<Status>,
    renewal: JoinHandle<()>,
}

#[derive(Clone, Copy, Debug)]
enum Status {
    /// The last renewal that succeeded was sent then.
    Renewed(Instant),
    /// Another process has the lease.
    Taken,
}

impl Candidate {
    /// A process that wants the lease for this command, such as `unitctl sync`.
    pub fn new(database: &Database, purpose: &'static str) -> Self {
        Self::with_timing(database, purpose, TIMING)
    }

    fn with_timing(database: &Database, purpose: &'static str, timing: Timing) -> Self {
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
    async fn take(&mut self, stored: Option<&Item>) -> Result<Attempt> {
        let table = &self.database.tables.livechat;
        let sent = Instant::now();
        let put = Condition::unchanged(stored, "pk", &STATE).put(table, self.item())?;
        if transact(&self.database, vec![put]).await? {
            return Ok(Attempt::Held(Lease::start(self, sent)));
        }
        // Another process was faster. The next try reads what it wrote.
        let unknown = Item::new();
        Ok(Attempt::Unknown(Other::read(stored.unwrap_or(&unknown))))
    }

    fn item(&self) -> Item {
        let mut item = state_key(LEASE);
        let mut insert = |name: &str, value| item.insert(name.to_owned(), value);
        insert("holder", AttributeValue::S(self.holder.clone()));
        insert("counter", AttributeValue::N("0".into()));
        insert("purpose", AttributeValue::S(self.purpose.into()));
        insert("host", AttributeValue::S(host()));
        insert("process", AttributeValue::N(std::process::id().to_string()));
        insert("since", AttributeValue::S(rfc3339(OffsetDateTime::now_utc())));
        item
    }
}

impl Lease {
    fn start(candidate: &Candidate, sent: Instant) -> Self {
        let Candidate { database, timing, holder, .. } = candidate;
        let (sender, status) = watch::channel(Status::Renewed(sent));
        let renewal = tokio::spawn(renew(database.clone(), holder.clone(), *timing, sender));
        Self { database: database.clone(), holder: holder.clone(), trust: timing.trust, status, renewal }
    }

    /// True if this process may write: it has the lease, and has renewed it a short while ago.
    pub fn is_held(&self) -> bool {
        match *self.status.borrow() {
            Status::Renewed(sent) => sent.elapsed() < self.trust,
            Status::Taken => false,
        }
    }

    /// Checks that this process may write.
    ///
    /// # Errors
    /// This process may not write. The error says why.
    pub fn check(&self) -> Result<()> {
        if self.is_held() {
            return Ok(());
        }
        Err(match *self.status.borrow() {
            Status::Taken => anyhow!(
                "another process has taken over, because this process did not renew its lease in time"
            ),
            Status::Renewed(_) => anyhow!("DynamoDB could not be reached for {:?}", self.trust),
        })
    }

    /// Waits until this process may write. If DynamoDB can't be reached or throttles, this waits for as long as that
    /// lasts.
    ///
    /// # Errors
    /// Another process has taken over.
    pub async fn wait_until_held(&self) -> Result<()> {
        let mut status = self.status.clone();
        loop {
            if self.is_held() {
                return Ok(());
            }
            let is_taken = matches!(*status.borrow_and_update(), Status::Taken);
            // The task that drops the sender has set `Taken` before.
            if is_taken || status.changed().await.is_err() {
                return self.check();
            }
        }
    }

    /// Waits until another process has taken over.
    pub async fn lost(&self) {
        let mut status = self.status.clone();
        // The task that drops the sender has set `Taken` before.
        let _ = status.wait_for(|status| matches!(status, Status::Taken)).await;
    }

    /// Gives the lease back, so that another process can take it at once.
    ///
    /// # Errors
    /// DynamoDB refuses the request. The others take over a while later.
    pub async fn release(self) -> Result<()> {
        self.renewal.abort();
        let holder = AttributeValue::S(self.holder.clone());
        let delete = Condition::default().equal("holder", holder);
        let delete = delete.delete(&self.database.tables.livechat, state_key(LEASE))?;
        transact(&self.database, vec![delete]).await.map(|_| ())
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.renewal.abort();
    }
}

/// Increases the counter until another process has the lease. If a request fails, it is tried again.
async fn renew(database: Database, holder: String, timing: Timing, status: watch::Sender<Status>) {
    let mut ticks = interval(timing.renewal);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let sent = Instant::now();
        let Ok(update) = increment(&database, &holder) else { return };
        match timeout(timing.renewal * 2, transact(&database, vec![update])).await {
            Ok(Ok(true)) => {
                status.send_replace(Status::Renewed(sent));
            }
            Ok(Ok(false)) => {
                status.send_replace(Status::Taken);
                return;
            }
            Ok(Err(_)) | Err(_) => {}
        }
    }
}

fn increment(database: &Database, holder: &str) -> Result<TransactWriteItem> {
    let update = Update::builder()
        .table_name(&database.tables.livechat)
        .set_key(Some(state_key(LEASE)))
        .update_expression("SET #counter = #counter + :one")
        .condition_expression("#holder = :holder")
        .expression_attribute_names("#counter", "counter")
        .expression_attribute_names("#holder", "holder")
        .expression_attribute_values(":one", AttributeValue::N("1".into()))
        .expression_attribute_values(":holder", AttributeValue::S(holder.to_owned()));
    Ok(TransactWriteItem::builder().update(update.build()?).build())
}

impl Other {
    fn read(item: &Item) -> Self {
        let or_unknown = |text: String| if text.is_empty() { "unknown".into() } else { text };
        let process = item.get("process").and_then(|value| value.as_n().ok()).cloned();
        Self {
            purpose: or_unknown(text(item, "purpose")),
            host: or_unknown(text(item, "host")),
            process: or_unknown(process.unwrap_or_default()),
            since: or_unknown(text(item, "since")),
        }
    }
}

impl fmt::Display for Other {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { purpose, host, process, since } = self;
        write!(f, "the process {process} on the host {host} ({purpose}, since {since})")
    }
}

fn text(item: &Item, name: &str) -> String {
    item.get(name).and_then(|value| value.as_s().ok()).cloned().unwrap_or_default()
}

/// The name of this machine, or of this container.
fn host() -> String {
    let kernel = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let name = kernel.or_else(|| std::env::var("HOSTNAME").ok()).unwrap_or_default();
    match name.trim() {
        "" => "unknown".into(),
        name => name.to_owned(),
    }
}

#[cfg(test)]
mod tests;
