//! What the events of both sides lead to.

use anyhow::Result;
use livechat_units::id::UnitId;
use tokio::time::Instant;

use super::state::Following;
use crate::sync::model::{Change, Subject};
use crate::sync::mongodb::{Kind, Watch, WatchEvent, Watched};
use crate::sync::pass;
use crate::sync::queue::DYNAMODB;
use crate::sync::streams::StreamEvent;

impl Following {
    /// Takes an event of MongoDB's change streams.
    pub async fn watch(&mut self, Watch { stream, event }: Watch) {
        let name = stream.collection();
        let now = Instant::now();
        match event {
            WatchEvent::Opened => {
                self.closed.remove(name);
            }
            WatchEvent::Look { subjects, is_deletion, token } => {
                // A deleted row of a monitor does not mean that its unit was deleted.
                let is_deleted = is_deletion && stream != Watched::UnitMonitors;
                let change = if is_deleted { Change::Deleted } else { Change::Written };
                self.queue.event(name, token, subjects, change, now);
            }
            WatchEvent::LookAtAllUnits { token } => match self.all_units().await {
                Ok(units) => self.queue.event(name, token, units, Change::Written, now),
                Err(error) => {
                    self.sides.reporter.failure(None, format!("reading the units: {error:#}"));
                    self.need_pass();
                }
            },
            WatchEvent::SettingsChanged { token } => {
                match self.sides.mongodb.login_expiration().await {
                    Ok(lifetime) if self.sides.set_lifetime(lifetime) => {
                        self.sides.reporter.note("Accounts_LoginExpiration has changed; a full pass follows");
                        self.need_pass();
                    }
                    Ok(_) => {}
                    Err(error) => {
                        self.sides.reporter.failure(None, format!("reading the settings: {error}"));
                        self.need_pass();
                    }
                }
                self.queue.event(name, token, Vec::new(), Change::Written, now);
            }
            WatchEvent::Lost { reason } => {
                self.closed.remove(name);
                let reason = reason.trim_end_matches('.');
                self.sides.reporter.warn(format!("{reason}; a full pass follows"));
                self.queue.forget_position(name);
                self.need_pass();
            }
            WatchEvent::Idle { token } => self.queue.event(name, token, Vec::new(), Change::Written, now),
            WatchEvent::Interrupted { reason } => {
                self.closed.insert(name);
                self.sides.reporter.failure(None, reason);
            }
        }
    }

    /// Takes an event of DynamoDB's stream.
    pub fn stream(&mut self, event: StreamEvent) {
        let now = Instant::now();
        if !matches!(event, StreamEvent::Failing(_)) {
            self.is_stream_failing = false;
        }
        match event {
            StreamEvent::Look { subjects, position, .. } => {
                self.queue.event(
                    DYNAMODB,
                    position.to_text(),
                    subjects.into_iter().collect(),
                    Change::Written,
                    now,
                );
            }
            StreamEvent::Idle { position } => {
                self.queue.event(DYNAMODB, position.to_text(), Vec::new(), Change::Written, now);
            }
            StreamEvent::Lost => {
                self.sides.reporter.warn("DynamoDB's stream has lost changes; a full pass follows");
                self.queue.forget_position(DYNAMODB);
                self.need_pass();
            }
            StreamEvent::Failing(reason) => {
                self.is_stream_failing = true;
                self.sides.reporter.failure(None, format!("DynamoDB's stream can't be read: {reason}"));
            }
        }
    }

    async fn all_units(&self) -> Result<Vec<Subject>> {
        let mut units = Vec::new();
        let mut batches = self.sides.mongodb.documents(Kind::Units);
        while let Some(batch) = batches.next().await? {
            units.extend(batch.iter().filter_map(pass::id_of).filter_map(UnitId::parse).map(Subject::Unit));
        }
        Ok(units)
    }
}
