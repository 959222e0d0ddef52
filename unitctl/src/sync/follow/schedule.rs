//! Starts what is due, and takes the results.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Result;
use livechat_units::id::UnitId;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::state::{Following, PassEnd};
use crate::sync::health::Phase;
use crate::sync::model::Removal;
use crate::sync::pass::{self, recount};
use crate::sync::queue::{Taken, Waiting};
use crate::sync::several::{LookAt, LookEnd, look_at_all};

/// The maximum number of looks at the same time.
const MAX_AT_ONCE: usize = 16;

/// The time from a write to MongoDB until the counters of its unit are checked once more. Rocket.Chat changes them only
/// after it has moved a department.
pub const RECOUNT_AFTER: Duration = Duration::from_secs(2);

/// The least time between two such checks, so that one checks many units.
const RECOUNT_EVERY: Duration = Duration::from_secs(1);

/// The pause after a full pass that failed, and after the first one that removed nothing because MongoDB lacked too much.
const SHORT_PAUSE: Duration = Duration::from_secs(5);

impl Following {
    /// Starts the full pass, the looks and the checks of counters that are due.
    pub fn start_what_is_due(&mut self) {
        let now = Instant::now();
        let is_open = self.closed.is_empty();
        if is_open && self.pass.is_none() && self.next_pass.is_some_and(|next| next <= now) {
            self.next_pass = None;
            let (sides, allow_removals) = (Arc::clone(&self.sides), self.options.allow_removals);
            self.pass = Some(tokio::spawn(async move {
                let outcome = pass::run(&sides, allow_removals).await?;
                Ok(PassEnd {
                    written_units: outcome.written_units,
                    is_held_back: outcome.suspicion.is_some(),
                })
            }));
        }
        let room = MAX_AT_ONCE.saturating_sub(self.looks.len());
        for taken in self.queue.take_due(room, now) {
            self.start_look(taken);
        }
        if now >= self.next_recount {
            let due: BTreeSet<UnitId> =
                self.recounts.iter().filter(|(_, at)| **at <= now).map(|(unit, _)| unit.clone()).collect();
            self.recounts.retain(|unit, _| !due.contains(unit));
            self.recount(due, now);
        }
    }

    fn recount(&mut self, units: BTreeSet<UnitId>, now: Instant) {
        if !units.is_empty() {
            self.next_recount = now + RECOUNT_EVERY;
            let sides = Arc::clone(&self.sides);
            tokio::spawn(async move {
                if let Err(error) = recount(&sides, &units).await {
                    sides.reporter.failure(None, format!("looking at counters: {error:#}"));
                }
            });
        }
    }

    fn start_look(&mut self, taken: Vec<Taken>) {
        let is_held = self.held_passes > 0;
        let removal = |waiting: &Waiting| match (is_held, waiting.is_deletion) {
            (true, _) => Removal::HeldBack,
            (false, true) => Removal::Deleted,
            (false, false) => Removal::No,
        };
        let looks = taken.into_iter().map(|Taken { subject, waiting }| {
            let removal = removal(&waiting);
            LookAt { subject, removal }
        });
        let subjects: Vec<LookAt> = looks.collect();
        let sides = Arc::clone(&self.sides);
        self.looks.spawn(async move { look_at_all(&sides, subjects).await });
    }

    /// When something is due next.
    pub fn next_wake(&self) -> Instant {
        let far = Instant::now() + Duration::from_secs(3600);
        let room = self.looks.len() < MAX_AT_ONCE;
        let due = self.queue.next_due().filter(|_| room);
        let pass = self.next_pass.filter(|_| self.pass.is_none() && self.closed.is_empty());
        let recount = self.recounts.values().min().map(|at| (*at).max(self.next_recount));
        [due, pass, recount].into_iter().flatten().min().unwrap_or(far)
    }

    /// Takes the result of a look.
    pub fn looked(&mut self, LookEnd { subject, result }: LookEnd) {
        let now = Instant::now();
        match result {
            Ok(looked) => {
                let at = now + RECOUNT_AFTER;
                self.recounts.extend(looked.written_units.into_iter().map(|unit| (unit, at)));
                self.queue.finished(&subject, looked.follow_ups.into_iter().collect(), now);
            }
            Err(error) => {
                self.sides.reporter.failure(Some(&subject), format!("{error:#}"));
                self.queue.failed(subject, now);
            }
        }
    }

    /// Takes the result of a full pass.
    pub fn passed(&mut self, result: Result<PassEnd>) {
        let now = Instant::now();
        match result {
            Ok(PassEnd { written_units, is_held_back }) => {
                let at = now + RECOUNT_AFTER;
                self.recounts.extend(written_units.into_iter().map(|unit| (unit, at)));
                self.held_passes = if is_held_back { self.held_passes + 1 } else { 0 };
                self.status.is_held_back.store(is_held_back, Ordering::Relaxed);
                self.status.set(Phase::Following, "");
                self.sides.reporter.note("a full pass has ended");
                let next = now + pause_after(self.held_passes, self.options.full_pass_every);
                self.next_pass = Some(self.next_pass.map_or(next, |needed| needed.min(next)));
            }
            Err(error) => {
                self.sides.reporter.failure(None, format!("a full pass: {error:#}"));
                self.next_pass = Some(now + SHORT_PAUSE);
            }
        }
    }
}

/// The pause after so many passes in a row that removed nothing because MongoDB lacked too much. A restore may have been going
/// on. Users who are deleted in Rocket.Chat stay in DynamoDB until another pass finds that this is over. If it is not over,
/// an operator has to decide, and the pauses double, because each pass reads everything.
fn pause_after(held_passes: u32, regular: Duration) -> Duration {
    match held_passes {
        0 => regular,
        passes => SHORT_PAUSE.saturating_mul(2_u32.saturating_pow(passes - 1)).min(regular),
    }
}

/// Waits until the full pass that is going on has ended. If there is none, this waits forever.
pub async fn pass_ended(pass: &mut Option<JoinHandle<Result<PassEnd>>>) -> Result<PassEnd> {
    let Some(running) = pass else { return std::future::pending().await };
    let result = running.await;
    *pass = None;
    result?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pauses_double_while_removals_are_held_back() {
        let day = Duration::from_secs(24 * 3600);
        let pauses = |passes: std::ops::Range<u32>| passes.map(|passes| pause_after(passes, day).as_secs());
        assert_eq!(pauses(0..5).collect::<Vec<_>>(), [86_400, 5, 10, 20, 40]);
        assert_eq!(pauses(15..17).collect::<Vec<_>>(), [81_920, 86_400]);
        assert_eq!(pause_after(u32::MAX, day), day);
        assert_eq!(pause_after(1, Duration::from_secs(1)), Duration::from_secs(1));
    }
}
