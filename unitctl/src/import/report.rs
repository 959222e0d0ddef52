//! Counts what an import does, and prints it immediately, because it may be too much to keep in memory.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use livechat_units::id::UnitId;

use super::documents::Broken;
use super::events::{Count, Event, Summary, plain};
use super::export::{Collection, Record, Superseded};
use super::workspace::Repair;
use super::write::{Kind, Outcome, Written, partition};
use crate::output::Output;

/// The maximum number of lines of one kind in a file that are listed as text. JSON lists all of them.
const MAX_LISTED: u64 = 10;

/// The counts of an import, and where it prints.
pub struct Report {
    /// `None` when nothing is printed.
    output: Option<Output>,
    strict: bool,
    is_dry_run: bool,
    counts: BTreeMap<(Kind, Outcome), u64>,
    kept: u64,
    repairs: u64,
    /// Events about lines, by what they say and the file.
    lines: BTreeMap<(LineKind, Collection), u64>,
}

/// What an event says about a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum LineKind {
    Broken,
    Superseded,
    Changed,
}

impl Report {
    /// Nothing has happened yet.
    pub fn new(output: Option<Output>, strict: bool, is_dry_run: bool) -> Self {
        let (counts, lines) = (BTreeMap::new(), BTreeMap::new());
        Self { output, strict, is_dry_run, counts, kept: 0, repairs: 0, lines }
    }

    /// Prints something.
    ///
    /// # Errors
    /// It can't be printed.
    pub fn print(&self, event: &Event) -> Result<()> {
        self.output.map_or(Ok(()), |output| output.print(event))
    }

    /// Counts an event about a line, and prints it unless there were enough of its kind.
    fn print_line(&mut self, kind: LineKind, collection: Collection, event: &Event) -> Result<()> {
        let count = self.lines.entry((kind, collection)).or_default();
        *count += 1;
        if *count <= MAX_LISTED || self.output == Some(Output::Json) { self.print(event) } else { Ok(()) }
    }

    /// The record, if it counts and can be used. If not, says why.
    ///
    /// # Errors
    /// It can't be used and the import is strict.
    pub fn usable<T>(&mut self, collection: Collection, record: Record<T>) -> Result<Option<(u64, T)>> {
        let file = collection.file();
        match record {
            Record::Usable(line, value) => return Ok(Some((line, value))),
            Record::Superseded(Superseded { line, by }) => {
                let event = Event::Superseded { file, line, by };
                self.print_line(LineKind::Superseded, collection, &event)?;
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
            bail!("{file}, line {line}: {reason}");
        }
        self.print_line(LineKind::Broken, collection, &Event::Broken { file, line, reason })
    }

    /// Reports fields of a line that were left out or are stored as text.
    ///
    /// # Errors
    /// It can't be printed.
    pub fn changed(&mut self, collection: Collection, line: u64, changes: Vec<String>) -> Result<()> {
        for change in changes {
            let event = Event::Changed { file: collection.file(), line, change };
            self.print_line(LineKind::Changed, collection, &event)?;
        }
        Ok(())
    }

    /// Reports an inconsistency that was repaired.
    ///
    /// # Errors
    /// It can't be printed.
    pub fn repair(&mut self, repair: Repair) -> Result<()> {
        self.repairs += 1;
        self.print(&Event::Repair(repair))
    }

    /// Reports a unit that stays as it is.
    ///
    /// # Errors
    /// It can't be printed.
    pub fn keep(&mut self, unit: &UnitId) -> Result<()> {
        self.kept += 1;
        self.print(&Event::Kept { unit: unit.to_string() })
    }

    /// Counts what the import did with an item, and prints it if that is of interest.
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
            for ((kind, collection), count) in &self.lines {
                let (file, count) = (collection.file(), count.saturating_sub(MAX_LISTED));
                let about = match kind {
                    LineKind::Broken => "could not be used",
                    LineKind::Superseded => "did not count, since a later line has the same _id",
                    LineKind::Changed => "had a field that was stored as text or left out",
                };
                if count > 0 {
                    self.print(&Event::More { file, count, about })?;
                }
            }
        }
        let outcomes = |kind, outcome| self.counts.get(&(kind, outcome)).copied().unwrap_or_default();
        let count = |kind| Count {
            written: outcomes(kind, Outcome::Written),
            unchanged: outcomes(kind, Outcome::Unchanged),
            changed_meanwhile: outcomes(kind, Outcome::ChangedMeanwhile),
        };
        let lines = |kind: LineKind| {
            self.lines.iter().filter(|((other, _), _)| *other == kind).map(|(_, count)| *count).sum()
        };
        let summary = Summary {
            dry_run: self.is_dry_run,
            users: count(Kind::User),
            tokens: count(Kind::Token),
            permissions: count(Kind::Permission),
            departments: count(Kind::Department),
            units: count(Kind::Unit),
            tokens_deleted: outcomes(Kind::Token, Outcome::Deleted),
            kept: self.kept,
            repairs: self.repairs,
            broken: lines(LineKind::Broken),
            superseded: lines(LineKind::Superseded),
            changed_fields: lines(LineKind::Changed),
        };
        let has_lost = self.counts.keys().any(|(_, outcome)| *outcome == Outcome::ChangedMeanwhile);
        let is_in_order = summary.broken == 0 && !has_lost;
        self.print(&Event::Summary(summary))?;
        Ok(is_in_order)
    }
}
