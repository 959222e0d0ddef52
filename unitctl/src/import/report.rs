//! Counts what an import does, and prints it immediately, because it may be too much to keep in memory.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use livechat_units::id::UnitId;

use super::document::Broken;
use super::events::{Count, Event, Summary, escaped, plain, plural};
use super::export::{Collection, Record, Superseded, Usable};
use super::options::Import;
use super::workspace::Repair;
use super::write::partition;
use super::written::{Kind, Outcome, Written};
use crate::output::Output;

/// The maximum number of events of one kind that are listed as text. Events about lines are counted for each file. JSON
/// lists all.
const MAX_LISTED: u64 = 10;

/// The counts of an import, and where it prints.
pub struct Report {
    /// `None` when nothing is printed.
    output: Option<Output>,
    strict: bool,
    is_dry_run: bool,
    counts: BTreeMap<(Kind, Outcome), u64>,
    listed: BTreeMap<Listed, u64>,
}

/// Events of one kind, of which only the first ones are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Listed {
    Broken(Collection),
    Superseded(Collection),
    Changed(Collection),
    /// Repairs, by what they have in common.
    Repairs(&'static str),
    Kept,
}

impl Listed {
    /// The words about this many of them.
    fn words(self, count: u64) -> String {
        let lines = plural(count, "line", "lines");
        let was = plural(count, "was", "were");
        match self {
            Self::Broken(collection) => format!("{lines} of {} could not be used", collection.file()),
            Self::Superseded(collection) => {
                format!("{lines} of {} did not count, since a later line has the same _id", collection.file())
            }
            Self::Changed(collection) => {
                let fields = plural(count, "field", "fields");
                format!("{fields} of {} {was} stored as text or left out", collection.file())
            }
            Self::Repairs(kind) => {
                format!("{} of this kind: {kind}", plural(count, "repair", "repairs"))
            }
            Self::Kept => {
                let units = plural(count, "unit", "units");
                format!("{units} {was} kept, because of an update since the import")
            }
        }
    }
}

impl Report {
    /// The report of an import that has not begun.
    pub fn new(output: Option<Output>, options: &Import) -> Self {
        Self {
            output,
            strict: options.strict,
            is_dry_run: options.dry_run,
            counts: BTreeMap::new(),
            listed: BTreeMap::new(),
        }
    }

    /// Prints something.
    ///
    /// # Errors
    /// It can't be printed.
    pub fn print(&self, event: &Event) -> Result<()> {
        self.output.map_or(Ok(()), |output| output.print(event))
    }

    /// Counts an event, and prints it unless enough of its kind were printed.
    fn list(&mut self, kind: Listed, event: &Event) -> Result<()> {
        let count = self.listed.entry(kind).or_default();
        *count += 1;
        if *count <= MAX_LISTED || self.output == Some(Output::Json) { self.print(event) } else { Ok(()) }
    }

    /// The record, if it counts and can be used. If not, says why.
    ///
    /// # Errors
    /// It can't be used and the import is strict.
    pub fn usable<T>(&mut self, collection: Collection, record: Record<T>) -> Result<Option<Usable<T>>> {
        let file = collection.file();
        match record {
            Record::Usable(usable) => return Ok(Some(usable)),
            Record::Superseded(Superseded { line, by }) => {
                let event = Event::Superseded { file, line, by };
                self.list(Listed::Superseded(collection), &event)?;
            }
            Record::Broken(broken) => self.broken(collection, broken)?,
        }
        Ok(None)
    }

    /// Reports a line that can't be used.
    ///
    /// # Errors
    /// The import is strict.
    pub fn broken(&mut self, collection: Collection, broken: Broken) -> Result<()> {
        let Broken { line, reason } = broken;
        let file = collection.file();
        if self.strict {
            bail!("{file}, line {line}: {}", escaped(&reason));
        }
        self.list(Listed::Broken(collection), &Event::Broken { file, line, reason })
    }

    /// Reports fields of a line that were left out or are stored as text.
    ///
    /// # Errors
    /// It can't be printed.
    pub fn changed(&mut self, collection: Collection, line: u64, changes: Vec<String>) -> Result<()> {
        for change in changes {
            let event = Event::Changed { file: collection.file(), line, change };
            self.list(Listed::Changed(collection), &event)?;
        }
        Ok(())
    }

    /// Reports an inconsistency that was repaired.
    ///
    /// # Errors
    /// It can't be printed.
    pub fn repair(&mut self, repair: Repair) -> Result<()> {
        self.list(Listed::Repairs(repair.kind), &Event::Repair(repair))
    }

    /// Reports a unit that stays as it is.
    ///
    /// # Errors
    /// It can't be printed.
    pub fn keep(&mut self, unit: &UnitId) -> Result<()> {
        self.list(Listed::Kept, &Event::Kept { unit: unit.to_string() })
    }

    /// Counts what the import did with an item, and prints it if the operator has to know it.
    ///
    /// # Errors
    /// It can't be printed.
    pub fn written(&mut self, written: Written) -> Result<()> {
        let Written { kind, item, outcome } = written;
        *self.counts.entry((kind, outcome)).or_default() += 1;
        let Some(item) = item else { return Ok(()) };
        let event = match outcome {
            Outcome::ChangedMeanwhile => Event::ChangedMeanwhile { item: partition(&item).to_owned() },
            Outcome::Written | Outcome::Uncounted if self.is_dry_run => Event::Write { item: plain(item) },
            Outcome::Deleted if self.is_dry_run => Event::Delete { item: plain(item) },
            _ => return Ok(()),
        };
        self.print(&event)
    }

    /// Prints the summary. Returns whether every line could be used and no item was changed by others meanwhile.
    ///
    /// # Errors
    /// It can't be printed.
    pub fn finish(self) -> Result<bool> {
        if self.output == Some(Output::Text) {
            for (kind, count) in &self.listed {
                let count = count.saturating_sub(MAX_LISTED);
                if count > 0 {
                    self.print(&Event::More { count, what: kind.words(count) })?;
                }
            }
        }
        let outcomes = |kind, outcome| self.counts.get(&(kind, outcome)).copied().unwrap_or_default();
        let count = |kind| Count {
            written: outcomes(kind, Outcome::Written),
            unchanged: outcomes(kind, Outcome::Unchanged),
            changed_meanwhile: outcomes(kind, Outcome::ChangedMeanwhile),
        };
        let listed = |is_counted: fn(&Listed) -> bool| {
            self.listed.iter().filter(|(kind, _)| is_counted(kind)).map(|(_, count)| *count).sum()
        };
        let summary = Summary {
            dry_run: self.is_dry_run,
            users: count(Kind::User),
            tokens: count(Kind::Token),
            permissions: count(Kind::Permission),
            departments: count(Kind::Department),
            units: count(Kind::Unit),
            tokens_deleted: outcomes(Kind::Token, Outcome::Deleted),
            kept: listed(|kind| matches!(kind, Listed::Kept)),
            repairs: listed(|kind| matches!(kind, Listed::Repairs(_))),
            broken: listed(|kind| matches!(kind, Listed::Broken(_))),
            superseded: listed(|kind| matches!(kind, Listed::Superseded(_))),
            changed_fields: listed(|kind| matches!(kind, Listed::Changed(_))),
        };
        let has_lost = self.counts.keys().any(|(_, outcome)| *outcome == Outcome::ChangedMeanwhile);
        let is_in_order = summary.broken == 0 && !has_lost;
        self.print(&Event::Summary(summary))?;
        Ok(is_in_order)
    }
}
