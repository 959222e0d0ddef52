//! What a check tells.

use std::fmt;

use serde::Serialize;

use super::judge::Finding;
use super::scan::Counts;

/// Something to tell.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "camelCase")]
pub enum Event {
    /// Something that is not as the design asks for.
    Violation(Violation),
    /// The end.
    Summary(Summary),
}

/// Something that is not as the design asks for.
#[derive(Serialize)]
pub struct Violation {
    #[serde(flatten)]
    finding: Finding,
    /// What repair does; absent when it can do nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    repair: Option<String>,
    outcome: Outcome,
}

/// What became of a violation.
#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// It was looked for and found.
    Found,
    /// It is no more.
    Repaired,
    /// Others changed the items again and again, and repair gave way.
    Contended,
}

/// What a check found.
#[derive(Serialize)]
pub struct Summary {
    /// Items that were read.
    pub items: Counts,
    /// Violations that were found.
    pub violations: u64,
    /// Of these, how many are no more.
    pub repaired: u64,
}

impl Violation {
    /// A finding and what became of it.
    pub fn new(finding: Finding, outcome: Outcome) -> Self {
        let repair = finding.mend.as_ref().map(ToString::to_string);
        Self { finding, repair, outcome }
    }

    /// Whether it is no more.
    pub fn is_repaired(&self) -> bool {
        self.outcome == Outcome::Repaired
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Violation(Violation { finding, repair, outcome }) => {
                writeln!(f, "{}: {}", finding.items.join(", "), finding.violation)?;
                match (repair, outcome) {
                    (None, _) => write!(f, "  no repair: the data does not say what would be right"),
                    (Some(repair), Outcome::Found) => write!(f, "  repair would {repair}"),
                    (Some(repair), Outcome::Repaired) => write!(f, "  repaired: {repair}"),
                    (Some(repair), Outcome::Contended) => {
                        write!(f, "  not repaired, since others keep changing it; check again: {repair}")
                    }
                }
            }
            Self::Summary(Summary { items, violations, repaired }) => {
                for (name, count) in items.named() {
                    writeln!(f, "{name:<12} {count:>10}")?;
                }
                match (violations, repaired) {
                    (0, _) => write!(f, "sound"),
                    (violations, repaired) if violations == repaired => {
                        write!(f, "sound now: {violations} violations, all repaired")
                    }
                    (violations, repaired) => {
                        write!(f, "not sound: {violations} violations, {repaired} repaired")
                    }
                }
            }
        }
    }
}
