//! What an import tells while it goes on, and in the end.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::{Result, bail};
use aws_sdk_dynamodb::types::AttributeValue;
use livechat_units::id::UnitId;
use serde::Serialize;
use serde_json::{Value, json};

use super::documents::Broken;
use super::export::{Collection, Record};
use super::workspace::Repair;
use super::write::{Kind, Outcome, Write};
use crate::output::Output;

/// Collects the counts, and prints what happens as it happens: it may be more than memory holds.
pub struct Report {
    /// `None` when nobody is to be told.
    output: Option<Output>,
    strict: bool,
    is_dry_run: bool,
    counts: BTreeMap<(Kind, Outcome), u64>,
    kept: u64,
    broken: u64,
    repairs: u64,
}

/// Something to tell.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "camelCase")]
pub enum Event {
    /// A line that can't be used.
    Broken {
        /// The file's name.
        file: String,
        /// Counted from 1.
        line: u64,
        /// What is wrong.
        reason: String,
    },
    /// Something inconsistent that was mended.
    Repair(Repair),
    /// A unit that was updated since it was imported, and stays as it is.
    Kept {
        /// The unit.
        unit: String,
    },
    /// A unit that can't be stored, and is left out.
    TooLarge {
        /// The unit.
        unit: String,
        /// Its size and the limit.
        reason: String,
    },
    /// An item that changed while the import was at it. It stays as it is.
    Lost {
        /// The partition key's value.
        item: String,
    },
    /// In a dry run, an item that would be written.
    Write {
        /// All its attributes.
        item: Value,
    },
    /// The end.
    Summary(Summary),
}

/// What an import did.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    dry_run: bool,
    users: Count,
    tokens: Count,
    permissions: Count,
    departments: Count,
    /// With their monitors.
    units: Count,
    /// Units that were updated since they were imported.
    kept: u64,
    repairs: u64,
    /// Lines that can't be used, and units that can't be stored.
    broken: u64,
}

#[derive(Debug, Serialize)]
struct Count {
    written: u64,
    unchanged: u64,
    lost: u64,
}

impl Report {
    /// Nothing has happened yet.
    pub fn new(output: Option<Output>, strict: bool, is_dry_run: bool) -> Self {
        let counts = BTreeMap::new();
        Self { output, strict, is_dry_run, counts, kept: 0, broken: 0, repairs: 0 }
    }

    /// Tells something.
    ///
    /// # Errors
    /// It can't be printed.
    pub fn tell(&mut self, event: Event) -> Result<()> {
        match event {
            Event::Broken { .. } | Event::TooLarge { .. } => self.broken += 1,
            Event::Repair(_) => self.repairs += 1,
            Event::Kept { .. } => self.kept += 1,
            Event::Lost { .. } | Event::Write { .. } | Event::Summary(_) => {}
        }
        self.output.map_or(Ok(()), |output| output.print(&event))
    }

    /// The record, if it can be used; if not, tells why.
    ///
    /// # Errors
    /// It can't be used and the import is strict.
    pub fn usable<T>(&mut self, collection: Collection, record: Record<T>) -> Result<Option<(u64, T)>> {
        match record {
            Ok(record) => Ok(Some(record)),
            Err(broken) => self.broken(collection, broken).map(|()| None),
        }
    }

    /// Tells of a line that can't be used.
    ///
    /// # Errors
    /// The import is strict.
    pub fn broken(&mut self, collection: Collection, broken: Broken) -> Result<()> {
        let Broken { line, reason } = broken;
        let file = collection.file();
        if self.strict {
            bail!("{file}, line {line}: {reason}");
        }
        self.tell(Event::Broken { file, line, reason })
    }

    /// Tells of a unit that stays as it is.
    ///
    /// # Errors
    /// It can't be printed.
    pub fn keep(&mut self, unit: UnitId) -> Result<()> {
        self.tell(Event::Kept { unit: unit.to_string() })
    }

    /// Tells of a unit that can't be stored.
    ///
    /// # Errors
    /// The import is strict.
    pub fn too_large(&mut self, unit: UnitId, reason: String) -> Result<()> {
        if self.strict {
            bail!("unit {unit}: {reason}");
        }
        self.tell(Event::TooLarge { unit: unit.to_string(), reason })
    }

    /// Counts what became of an item, and tells what is worth it.
    ///
    /// # Errors
    /// It can't be printed.
    pub fn outcome(&mut self, write: &Write, outcome: Outcome) -> Result<()> {
        *self.counts.entry((write.kind, outcome)).or_default() += 1;
        match outcome {
            Outcome::Lost => self.tell(Event::Lost { item: write.partition().to_owned() }),
            Outcome::Written if self.is_dry_run => {
                let item = plain(&AttributeValue::M(write.item.clone()));
                self.tell(Event::Write { item })
            }
            Outcome::Written | Outcome::Unchanged => Ok(()),
        }
    }

    /// Prints the summary. Returns whether every line could be used and no item was lost to others.
    ///
    /// # Errors
    /// It can't be printed.
    pub fn finish(mut self) -> Result<bool> {
        let count = |kind| {
            let of = |outcome| self.counts.get(&(kind, outcome)).copied().unwrap_or_default();
            Count {
                written: of(Outcome::Written),
                unchanged: of(Outcome::Unchanged),
                lost: of(Outcome::Lost),
            }
        };
        let summary = Summary {
            dry_run: self.is_dry_run,
            users: count(Kind::User),
            tokens: count(Kind::Token),
            permissions: count(Kind::Permission),
            departments: count(Kind::Department),
            units: count(Kind::Unit),
            kept: self.kept,
            repairs: self.repairs,
            broken: self.broken,
        };
        let is_lost = self.counts.keys().any(|(_, outcome)| *outcome == Outcome::Lost);
        let is_in_order = self.broken == 0 && !is_lost;
        self.tell(Event::Summary(summary))?;
        Ok(is_in_order)
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broken { file, line, reason } => write!(f, "broken: {file}, line {line}: {reason}"),
            Self::Repair(repair) => write!(f, "repaired: {repair}"),
            Self::Kept { unit } => write!(f, "kept: unit {unit} was updated since it was imported"),
            Self::TooLarge { unit, reason } => write!(f, "left out: unit {unit}: {reason}"),
            Self::Lost { item } => {
                write!(f, "left alone: {item} was changed by others just now; import again")
            }
            Self::Write { item } => write!(f, "would write: {item}"),
            Self::Summary(summary) => summary.fmt(f),
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let written = if self.dry_run { "to write" } else { "written" };
        writeln!(f, "{:<12} {written:>10} {:>10} {:>10}", "", "unchanged", "left alone")?;
        for (name, Count { written, unchanged, lost }) in [
            ("users", &self.users),
            ("tokens", &self.tokens),
            ("permissions", &self.permissions),
            ("departments", &self.departments),
            ("units", &self.units),
        ] {
            writeln!(f, "{name:<12} {written:>10} {unchanged:>10} {lost:>10}")?;
        }
        let Self { kept, repairs, broken, .. } = self;
        write!(f, "{kept} units kept, {repairs} repairs, {broken} broken lines")
    }
}

/// An item as plain JSON: sets as arrays, numbers as they are.
fn plain(value: &AttributeValue) -> Value {
    match value {
        AttributeValue::S(text) => text.clone().into(),
        AttributeValue::N(number) => serde_json::from_str(number).unwrap_or_else(|_| number.clone().into()),
        AttributeValue::Bool(value) => (*value).into(),
        AttributeValue::Ss(members) => json!(members),
        AttributeValue::L(values) => values.iter().map(plain).collect(),
        AttributeValue::M(entries) => {
            let mut entries: Vec<_> = entries.iter().collect();
            entries.sort_by_key(|(name, _)| *name);
            entries.into_iter().map(|(name, value)| (name.clone(), plain(value))).collect()
        }
        AttributeValue::B(bytes) => json!({ "bytes": bytes.as_ref().len() }),
        _ => Value::Null,
    }
}
