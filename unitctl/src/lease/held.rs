//! The lease of this process: it is renewed all the time, and says whether this process may write.

use std::time::Duration;

use anyhow::{Result, anyhow};
use aws_sdk_dynamodb::types::{AttributeValue, TransactWriteItem, Update};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, interval, timeout};

use super::item::LEASE;
use super::timing::Timing;
use crate::condition::Condition;
use crate::database::Database;
use crate::origin::state_key;
use crate::requests::transact;

/// The lease of this process. A task renews it until it is released or dropped.
#[derive(Debug)]
pub struct Lease {
    pub(super) database: Database,
    pub(super) holder: String,
    pub(super) trust: Duration,
    pub(super) status: watch::Receiver<Status>,
    pub(super) renewal: JoinHandle<()>,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Status {
    /// The last renewal that succeeded was sent then.
    Renewed(Instant),
    /// Another process has the lease.
    Taken,
}

impl Lease {
    /// The lease of a process that took it with a request that was sent then. From now on a task renews it.
    pub(super) fn start(database: &Database, holder: &str, timing: Timing, sent: Instant) -> Self {
        let (database, holder) = (database.clone(), holder.to_owned());
        let (sender, status) = watch::channel(Status::Renewed(sent));
        let renewal = tokio::spawn(renew(database.clone(), holder.clone(), timing, sender));
        Self { database, holder, trust: timing.trust, status, renewal }
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
