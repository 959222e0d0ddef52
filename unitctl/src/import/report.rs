//! What an import prints while it goes on, and in the end.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::{Result, bail};
use aws_sdk_dynamodb::types::AttributeValue;
use livechat_units::id::UnitId;
use serde::Serialize;
use serde_json::{Value, json};

use super::documents::Broken;
use super::export::{Collection, Record, Superseded};
use super::workspace::Repair;
use super::write::{Kind, Outcome, Written, partition};
use crate::output::Output;

/// Lines of a file that text lists of a kind. JSON lists all.
const MAX_LISTED: u64 = 10;

/// Collects the counts, and prints what happens as it happens: it may be more than memory holds.
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

/// Something to print.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "camelCase")]
pub enum Event {
    /// A line that can't be used.
    Broken {
        /// The file's name.
        file: String,
        /// The first line is 1.
        line: u64,
        /// What is wrong.
        reason: String,
    },
    /// A line that does not count, since a later one has the same `_id`.
    Superseded {
        /// The file's name.
        file: String,
        /// The first line is 1.
        line: u64,
        /// The next line with the same `_id`.
        by: u64,
    },
    /// A field that DynamoDB does not store as it is. Nothing reads it.
    Changed {
        /// The file's name.
        file: String,
        /// The first line is 1.
        line: u64,
        /// The field, and what became of it.
        change: String,
    },
    /// Lines of a kind that are not listed one by one.
    More {
        /// Their file's name.
        file: String,
        /// How many.
        count: u64,
        /// What there is to say about each.
        about: &'static str,
    },
    /// Something inconsistent that was mended.
    Repair(Repair),
    /// A unit that was updated since it was imported, and stays as it is.
    Kept {
        /// The unit.
        unit: String,
    },
    /// An item that changed during the import. It stays as it is.
    ChangedMeanwhile {
        /// The partition key's value.
        item: String,
    },
    /// In a dry run, an item that would be written.
    Write {
        /// All its attributes.
        item: Value,
    },
    /// A login token that Rocket.Chat does not have any more. It is deleted, or would be.
    Delete {
        /// In a dry run, all its attributes.
        item: Value,
    },
    /// Login tokens without `when`.
    #[serde(rename_all = "camelCase")]
    TokensWithoutWhen {
        /// How many.
        count: u64,
        /// How long they live after the import that brings them first.
        lifetime_in_days: i64,
    },
    /// No user has login tokens, so the export was made without them and stored tokens stay.
    NoLoginTokens,
    /// The end.
    Summary(Summary),
}

/// What an import did.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    dry_run: bool,
    /// With the lists of their tokens' hashes.
    users: Count,
    tokens: Count,
    permissions: Count,
    departments: Count,
    /// With their monitors.
    units: Count,
    /// Login tokens that Rocket.Chat does not have any more.
    tokens_deleted: u64,
    /// Units that were updated since they were imported.
    kept: u64,
    repairs: u64,
    /// Lines that can't be used, and units and departments that are too large.
    broken: u64,
    /// Lines that do not count, since a later one has the same `_id`.
    superseded: u64,
    /// Fields that were left out or are stored as text.
    changed_fields: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Count {
    written: u64,
    unchanged: u64,
    changed_meanwhile: u64,
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

    /// Reports something inconsistent that was mended.
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

    /// Counts what became of an item, and prints what is worth it.
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

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broken { file, line, reason } => write!(f, "broken: {file}, line {line}: {reason}"),
            Self::Superseded { file, line, by } => {
                write!(
                    f,
                    "skipped: {file}, line {line}: line {by} has the same _id, and the last line counts"
                )
            }
            Self::Changed { file, line, change } => write!(f, "changed: {file}, line {line}: {change}"),
            Self::More { file, count, about } => {
                let lines = plural(*count, "line", "lines");
                write!(f, "{count} more {lines} of {file} {about}; --output json lists all of them")
            }
            Self::Repair(repair) => write!(f, "repaired: {repair}"),
            Self::Kept { unit } => write!(f, "kept: unit {unit} was updated since it was imported"),
            Self::ChangedMeanwhile { item } => {
                write!(f, "left alone: {item} was changed by others during the import; import again")
            }
            Self::Write { item } => write!(f, "would write: {item}"),
            Self::Delete { item } => write!(f, "would delete: {item}"),
            Self::TokensWithoutWhen { count, lifetime_in_days } => {
                let (tokens, have) = (plural(*count, "token", "tokens"), plural(*count, "has", "have"));
                write!(
                    f,
                    "note: {count} login {tokens} {have} no date in `when`; such a token expires {lifetime_in_days} days \
                     after the import that brings it first"
                )
            }
            Self::NoLoginTokens => f.write_str(
                "note: no line of users.json has services.resume, so no stored login token is deleted; \
                 if users have login tokens, export the field, too",
            ),
            Self::Summary(summary) => summary.fmt(f),
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let written = if self.dry_run { "to write" } else { "written" };
        writeln!(f, "{:<12} {written:>10} {:>10} {:>10}", "", "unchanged", "left alone")?;
        for (name, Count { written, unchanged, changed_meanwhile }) in [
            ("users", &self.users),
            ("tokens", &self.tokens),
            ("permissions", &self.permissions),
            ("departments", &self.departments),
            ("units", &self.units),
        ] {
            writeln!(f, "{name:<12} {written:>10} {unchanged:>10} {changed_meanwhile:>10}")?;
        }
        let Self { tokens_deleted, kept, repairs, broken, superseded, changed_fields, .. } = self;
        let deleted = if self.dry_run { "to delete" } else { "deleted" };
        for (count, what, about) in [
            (
                *tokens_deleted,
                ["token", "tokens"],
                format!("{deleted}, which Rocket.Chat does not have any more"),
            ),
            (*superseded, ["line", "lines"], "skipped, since a later line has the same _id".to_owned()),
            (*changed_fields, ["field", "fields"], "stored as text or left out".to_owned()),
        ] {
            if count > 0 {
                writeln!(f, "{count} {} {about}", plural(count, what[0], what[1]))?;
            }
        }
        write!(f, "{kept} units kept, {repairs} repairs, {broken} broken lines")
    }
}

fn plural(count: u64, one: &'static str, several: &'static str) -> &'static str {
    if count == 1 { one } else { several }
}

/// An item as plain JSON: sets as arrays, numbers as they are.
fn plain(item: livechat_units::item::Item) -> Value {
    plain_value(&AttributeValue::M(item))
}

fn plain_value(value: &AttributeValue) -> Value {
    match value {
        AttributeValue::S(text) => text.clone().into(),
        AttributeValue::N(number) => serde_json::from_str(number).unwrap_or_else(|_| number.clone().into()),
        AttributeValue::Bool(value) => (*value).into(),
        AttributeValue::Ss(members) => json!(members),
        AttributeValue::L(values) => values.iter().map(plain_value).collect(),
        AttributeValue::M(entries) => {
            let mut entries: Vec<_> = entries.iter().collect();
            entries.sort_by_key(|(name, _)| *name);
            entries.into_iter().map(|(name, value)| (name.clone(), plain_value(value))).collect()
        }
        AttributeValue::B(bytes) => json!({ "bytes": bytes.as_ref().len() }),
        _ => Value::Null,
    }
}
