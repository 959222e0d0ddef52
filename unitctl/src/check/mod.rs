//! `unitctl check`: checks the stored data against the rules of the data model, and repairs it.

mod finding;
mod items;
mod repair;
mod report;
mod rules;
mod scan;
mod single_items;

use std::time::Duration;

use anyhow::Result;
use clap::Args;
use futures_util::{StreamExt, TryStreamExt, stream};
use livechat_units::id::DepartmentId;
use time::OffsetDateTime;

use self::finding::{Finding, Group, Repair, Scope};
use self::report::{Event, Outcome, Summary, Violation};
use crate::database::Database;
use crate::output::Output;
use crate::timestamp::rfc3339;

/// The maximum number of scopes that are read again or repaired at the same time.
const MAX_SCOPES_AT_ONCE: usize = 16;

/// How often a finding must be found again before it counts. Each time follows a pause.
const CONFIRMATIONS: u32 = 2;

/// The maximum pause before the same items are read again.
const MAX_PAUSE: Duration = Duration::from_millis(200);

/// The maximum number of tries of a repair in a row that fail because clients change the same items.
const MAX_TRIES: u32 = 30;

/// Check that the stored data is consistent, and repair it.
#[derive(Args, Debug)]
#[command(after_help = "\
The rules: every item has the attributes that the function expects. The counters, the monitors and the monitors' items
of a unit agree. The departments that a unit lists are those that are in it. The unit of every department exists, and
the department's ancestors are the unit and the unit's ancestors.

Reads both tables completely, which costs one read unit for every 4 KB. The function can go on serving requests: what
looks wrong is read again before it is reported. A repair is a transaction that fails if a client changes the items at
the same time. Where two items contradict each other, a department decides in which unit it is, and a unit decides who
its monitors are. Don't use --repair during an import.

Examples:
  unitctl check --stack livechat-units
  unitctl check --stack livechat-units --repair
  unitctl check --output json | jq -r 'select(.event == \"violation\") | .violation'")]
pub struct Check {
    /// Repair what can be repaired
    #[arg(long)]
    repair: bool,
    /// Number of segments of each table that are read at the same time
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(i32).range(1..=1000))]
    segments: i32,
    /// Also compare with Rocket.Chat's database; without a value, with that of MONGODB_URI in the environment
    #[cfg(feature = "sync")]
    #[arg(long, value_name = "URI", num_args = 0..=1, default_missing_value = "")]
    mongodb_uri: Option<String>,
}

impl Check {
    /// Runs the command. Returns whether no violation is left.
    ///
    /// # Errors
    /// DynamoDB refuses a request or can't be reached.
    pub async fn run(self, database: &Database, output: Output) -> Result<bool> {
        let mut scanned = scan::scan(database, self.segments).await?;
        let counts = scanned.counts.clone();
        let (mut violations, mut repaired) = (0, 0);
        let mut print = |violation: Violation| {
            violations += 1;
            repaired += u64::from(violation.is_repaired());
            output.print(&Event::Violation(violation))
        };
        for finding in std::mem::take(&mut scanned.findings) {
            print(Violation::new(finding, Outcome::Found))?;
        }
        let suspects = scanned.groups().into_iter().filter_map(|(scope, group)| {
            let findings = rules::check(&scope, &group);
            let departments = group.departments.into_keys().collect();
            (!findings.is_empty()).then_some(Suspect { scope, departments, findings })
        });
        let checks = suspects.map(|suspect| self.examine(suspect, database));
        let mut checks = stream::iter(checks).buffered(MAX_SCOPES_AT_ONCE);
        while let Some(found) = checks.try_next().await? {
            found.into_iter().try_for_each(&mut print)?;
        }
        output.print(&Event::Summary(Summary { items: counts, violations, repaired }))?;
        Ok(self.is_as_in_mongodb(database, output).await? && violations == repaired)
    }

    /// Confirms the findings of a suspect, and repairs them if the operator wants it.
    async fn examine(&self, suspect: Suspect, database: &Database) -> Result<Vec<Violation>> {
        let Some(confirmed) = suspect.confirm(database).await? else { return Ok(Vec::new()) };
        if self.repair {
            confirmed.repair(database).await
        } else {
            let found = confirmed.findings.into_iter();
            Ok(found.map(|finding| Violation::new(finding, Outcome::Found)).collect())
        }
    }

    /// Compares with MongoDB if the operator wants it, and prints each difference. Returns whether there is none.
    #[cfg(feature = "sync")]
    async fn is_as_in_mongodb(&self, database: &Database, output: Output) -> Result<bool> {
        use anyhow::Context;
        let uri = match self.mongodb_uri.as_deref() {
            None => return Ok(true),
            Some("") => {
                std::env::var("MONGODB_URI").context("--mongodb-uri has no value, nor has MONGODB_URI")?
            }
            Some(uri) => uri.to_owned(),
        };
        let found = crate::sync::compare::differences(database, &uri).await?;
        let differences = found.len();
        for difference in found {
            output.print(&Event::Difference(difference))?;
        }
        output.print(&Event::Compared { differences })?;
        Ok(differences == 0)
    }

    /// The comparison needs MongoDB's driver.
    #[cfg(not(feature = "sync"))]
    async fn is_as_in_mongodb(&self, _: &Database, _: Output) -> Result<bool> {
        Ok(true)
    }
}

/// A scope whose items, as the scan read them, seem to violate rules.
struct Suspect {
    scope: Scope,
    /// The departments of the scope that the scan found.
    departments: Vec<DepartmentId>,
    findings: Vec<Finding>,
}

/// The items of a suspect as they were read again.
struct Reread {
    group: Group,
    /// The findings that were found before and are still there.
    findings: Vec<Finding>,
}

impl Suspect {
    /// Confirms the findings. Returns `None` if none of them is left.
    ///
    /// The scan reads the items of a scope at different moments, so an update between them looks like a violation. A
    /// real violation is still there when the items are read again, and again.
    async fn confirm(mut self, database: &Database) -> Result<Option<Self>> {
        for _ in 0..CONFIRMATIONS {
            pause().await;
            self.findings = self.reread(database).await?.findings;
            if self.findings.is_empty() {
                return Ok(None);
            }
        }
        Ok(Some(self))
    }

    /// Reads the items again, and checks them.
    async fn reread(&self, database: &Database) -> Result<Reread> {
        let group = scan::reread(database, &self.scope, &self.departments).await?;
        let mut findings = rules::check(&self.scope, &group);
        findings.retain(|finding| self.findings.iter().any(|before| before.is_same(finding)));
        Ok(Reread { group, findings })
    }

    /// Repairs the findings, one transaction after the other, until only those without a repair are left.
    async fn repair(self, database: &Database) -> Result<Vec<Violation>> {
        let mut violations = Vec::new();
        let mut tries = 0;
        loop {
            let Reread { group, findings } = self.reread(database).await?;
            let (mut repairable, others): (Vec<Finding>, Vec<Finding>) =
                findings.into_iter().partition(|finding| finding.repair.is_some());
            if repairable.is_empty() || tries == MAX_TRIES {
                let contended = repairable.into_iter().map(|finding| (finding, Outcome::Contended));
                let found = others.into_iter().map(|finding| (finding, Outcome::Found));
                violations.extend(
                    contended.chain(found).map(|(finding, outcome)| Violation::new(finding, outcome)),
                );
                return Ok(violations);
            }
            // The first transaction includes these in any case, so they come first.
            repairable.sort_by_key(|finding| {
                !finding.repair.as_ref().is_some_and(Repair::is_part_of_every_unit_repair)
            });
            let now = rfc3339(OffsetDateTime::now_utc());
            match repair::repair(database, &self.scope, &group, &repairable, &now).await? {
                repair::Outcome::Repaired(count) => {
                    let repaired = repairable.into_iter().take(count);
                    violations.extend(repaired.map(|finding| Violation::new(finding, Outcome::Repaired)));
                    tries = 0;
                }
                repair::Outcome::ChangedMeanwhile => {
                    tries += 1;
                    pause().await;
                }
            }
        }
    }
}

/// Waits for a random time ("full jitter").
async fn pause() {
    tokio::time::sleep(MAX_PAUSE.mul_f64(fastrand::f64())).await;
}
