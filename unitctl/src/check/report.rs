//! What a check prints.

use std::fmt;

use serde::Serialize;

use super::finding::Finding;
use super::scan::Counts;

/// A line of the output, or some lines of text.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "camelCase")]
pub enum Event {
    /// A violation of a rule.
    Violation(Violation),
    /// The counts at the end.
    Summary(Summary),
    /// Something that is not the same in MongoDB.
    #[cfg(feature = "sync")]
    Difference(crate::sync::compare::Difference),
    /// The number of differences, at the very end.
    #[cfg(feature = "sync")]
    Compared {
        /// How many differences there are.
        differences: usize,
    },
}

/// A violation of a rule, and what happened to it.
#[derive(Serialize)]
pub struct Violation {
    #[serde(flatten)]
    finding: Finding,
    /// What the repair does; absent if there is no repair.
    #[serde(skip_serializing_if = "Option::is_none")]
    repair: Option<String>,
    outcome: Outcome,
}

/// What happened to a violation.
#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// It was found, and nothing was changed.
    Found,
    /// It was repaired.
    Repaired,
    /// It was not repaired, because other clients changed the items at every try.
    Contended,
}

/// The counts of a check.
#[derive(Serialize)]
pub struct Summary {
    /// The items that were read.
    pub items: Counts,
    /// The violations that were found.
    pub violations: u64,
    /// The number of these violations that were repaired.
    pub repaired: u64,
}

impl Violation {
    /// A finding and what happened to it.
    pub fn new(finding: Finding, outcome: Outcome) -> Self {
        let repair = finding.repair.as_ref().map(ToString::to_string);
        Self { finding, repair, outcome }
    }

    /// Whether it was repaired.
    pub fn is_repaired(&self) -> bool {
        self.outcome == Outcome::Repaired
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            #[cfg(feature = "sync")]
            Self::Difference(difference) => difference.fmt(f),
            #[cfg(feature = "sync")]
            Self::Compared { differences: 0 } => f.write_str("the same as in MongoDB"),
            #[cfg(feature = "sync")]
            Self::Compared { differences } => {
                write!(f, "not the same as in MongoDB: {differences} differences")
            }
            Self::Violation(Violation { finding, repair, outcome }) => {
                writeln!(f, "{}: {}", finding.items.join(", "), finding.violation)?;
                match (repair, outcome) {
                    (None, _) => write!(f, "  no repair: the data does not show what is right"),
                    (Some(repair), Outcome::Found) => write!(f, "  repair would {repair}"),
                    (Some(repair), Outcome::Repaired) => write!(f, "  repaired: {repair}"),
                    (Some(repair), Outcome::Contended) => {
                        write!(
                            f,
                            "  not repaired, because other clients keep changing it; run the check again: {repair}"
                        )
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
