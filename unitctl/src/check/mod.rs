//! `unitctl check`: proves the stored data sound, or tells what is not, and mends it.

mod items;
mod judge;
mod repair;
mod report;
mod scan;

use std::time::Duration;

use anyhow::Result;
use clap::Args;
use futures_util::{StreamExt, TryStreamExt, stream};
use livechat_units::id::DepartmentId;
use time::OffsetDateTime;

use self::judge::{Finding, Group, Mend, Scope, judge};
use self::report::{Event, Outcome, Summary, Violation};
use crate::arguments::rfc3339;
use crate::database::Database;
use crate::output::Output;

/// Units that are looked at again, or mended, at once.
const MOST_AT_ONCE: usize = 16;

/// How often a suspicion has to be confirmed, each time after a pause.
const CONFIRMATIONS: u32 = 2;

/// Longest pause between two looks at the same items.
const LONGEST_PAUSE: Duration = Duration::from_millis(200);

/// How often repair tries again when others change what it mends.
const MOST_TRIES: u32 = 30;

/// Check that the stored data is sound.
#[derive(Args, Debug)]
#[command(after_help = "\
Sound means: every item has the shape of the design; a unit's counters, its monitors and their items agree; so do
its counters, the departments that it lists and those that are in it; every department's unit exists and its
ancestors are true.

It reads both tables whole, which costs a read unit for every 4 KB, while the function goes on. What looks wrong is
looked at again before it is told. A repair is a transaction that gives way to everybody else's changes; it
believes a department about the unit that it is in, and a unit about who its monitors are. Don't run it while an
import runs.

Examples:
  unitctl check --stack livechat-units
  unitctl check --stack livechat-units --repair
  unitctl check --output json | jq -r 'select(.event == \"violation\") | .violation'")]
pub struct Check {
    /// Mend what can be mended
    #[arg(long)]
    repair: bool,
    /// Segments that each table is read in, at once
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(i32).range(1..=1000))]
    segments: i32,
}

impl Check {
    /// Runs it. Returns whether the data is sound now.
    ///
    /// # Errors
    /// DynamoDB refuses.
    pub async fn run(self, data: &Database, output: Output) -> Result<bool> {
        let mut scanned = scan::scan(data, self.segments).await?;
        let counts = scanned.counts.clone();
        let (mut violations, mut repaired) = (0, 0);
        let mut tell = |violation: Violation| {
            violations += 1;
            repaired += u64::from(violation.is_repaired());
            output.print(&Event::Violation(violation))
        };
        for finding in std::mem::take(&mut scanned.findings) {
            tell(Violation::new(finding, Outcome::Found))?;
        }
        let suspects = scanned.groups().into_iter().filter_map(|(scope, group)| {
            let findings = judge(&scope, &group);
            let known = group.departments.into_keys().collect();
            (!findings.is_empty()).then_some(Suspect { scope, known, findings })
        });
        let looks = suspects.map(|suspect| suspect.settle(data, self.repair));
        let mut looks = stream::iter(looks).buffered(MOST_AT_ONCE);
        while let Some(found) = looks.try_next().await? {
            found.into_iter().try_for_each(&mut tell)?;
        }
        output.print(&Event::Summary(Summary { items: counts, violations, repaired }))?;
        Ok(violations == repaired)
    }
}

/// A scope in which something looked wrong.
struct Suspect {
    scope: Scope,
    /// Departments that may belong to it.
    known: Vec<DepartmentId>,
    findings: Vec<Finding>,
}

impl Suspect {
    /// Confirms what was found, and mends it if asked to.
    async fn settle(mut self, data: &Database, is_repair: bool) -> Result<Vec<Violation>> {
        // What the scan read of one scope is of different moments; updates in between look like violations. One that
        // is still there, and once more, is none of those.
        for _ in 0..CONFIRMATIONS {
            pause().await;
            self.findings = self.look(data).await?.1;
            if self.findings.is_empty() {
                return Ok(Vec::new());
            }
        }
        if is_repair {
            self.repair(data).await
        } else {
            Ok(self.findings.into_iter().map(|finding| Violation::new(finding, Outcome::Found)).collect())
        }
    }

    /// Reads again. Returns what is found again.
    async fn look(&self, data: &Database) -> Result<(Group, Vec<Finding>)> {
        let group = scan::read_again(data, &self.scope, &self.known).await?;
        let mut findings = judge(&self.scope, &group);
        findings.retain(|finding| self.findings.iter().any(|before| before.is(finding)));
        Ok((group, findings))
    }

    async fn repair(self, data: &Database) -> Result<Vec<Violation>> {
        let mut violations = Vec::new();
        let mut tries = 0;
        loop {
            let (group, findings) = self.look(data).await?;
            let (mut mendable, others): (Vec<Finding>, Vec<Finding>) =
                findings.into_iter().partition(|finding| finding.mend.is_some());
            // First what the first transaction mends in any case.
            mendable.sort_by_key(|finding| !finding.mend.as_ref().is_some_and(Mend::is_of_unit));
            let (left, outcome) = if mendable.is_empty() {
                (others, Outcome::Found)
            } else if tries == MOST_TRIES {
                (mendable.into_iter().chain(others).collect(), Outcome::Contended)
            } else {
                let now = rfc3339(OffsetDateTime::now_utc());
                match repair::mend(data, &self.scope, &group, &mendable, &now).await? {
                    Some(count) => {
                        let mended = mendable.into_iter().take(count);
                        violations.extend(mended.map(|finding| Violation::new(finding, Outcome::Repaired)));
                        tries = 0;
                    }
                    None => {
                        tries += 1;
                        pause().await;
                    }
                }
                continue;
            };
            violations.extend(left.into_iter().map(|finding| Violation::new(finding, outcome)));
            return Ok(violations);
        }
    }
}

/// Full jitter.
async fn pause() {
    tokio::time::sleep(LONGEST_PAUSE.mul_f64(fastrand::f64())).await;
}
