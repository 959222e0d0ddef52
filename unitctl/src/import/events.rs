//! What an import prints: events during the import, and a summary at the end.

use std::fmt;

use aws_sdk_dynamodb::types::AttributeValue;
use livechat_units::item::Item;
use serde::Serialize;
use serde_json::{Value, json};

use super::workspace::Repair;

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
        /// The field, and what the import did with it.
        change: String,
    },
    /// Further events of the same kind, which are not listed one by one.
    More {
        /// The number of them.
        count: u64,
        /// What is counted.
        what: String,
    },
    /// An inconsistency that was repaired.
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
    /// A login token that Rocket.Chat no longer has. It is deleted. In a dry run: it would be deleted.
    Delete {
        /// In a dry run, all its attributes.
        item: Value,
    },
    /// Login tokens without `when`.
    #[serde(rename_all = "camelCase")]
    TokensWithoutWhen {
        /// The number of them.
        count: u64,
        /// The number of days for which they are valid after the first import that stores them.
        lifetime_in_days: i64,
    },
    /// No user has login tokens, so the export was made without them and stored tokens stay.
    NoLoginTokens,
    /// The summary at the end.
    Summary(Summary),
}

/// What an import did.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// Whether nothing was written.
    pub dry_run: bool,
    /// Users, each together with the list of their tokens' hashes.
    pub users: Count,
    /// Login tokens.
    pub tokens: Count,
    /// Permissions.
    pub permissions: Count,
    /// Departments.
    pub departments: Count,
    /// Units, each together with its monitors.
    pub units: Count,
    /// Login tokens that Rocket.Chat does not have any more.
    pub tokens_deleted: u64,
    /// Units that were updated since they were imported.
    pub kept: u64,
    /// The number of inconsistencies that were repaired.
    pub repairs: u64,
    /// Lines that can't be used, and units and departments that are too large.
    pub broken: u64,
    /// Lines that do not count, since a later one has the same `_id`.
    pub superseded: u64,
    /// Fields that were left out or are stored as text.
    pub changed_fields: u64,
}

/// What the import did with the items of one kind.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Count {
    /// The number of items that are stored now. In a dry run: that would be stored.
    pub written: u64,
    /// The number of items that were stored already and did not change.
    pub unchanged: u64,
    /// The number of items that other programs changed during the import.
    pub changed_meanwhile: u64,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // It has several lines, and no text from the export.
            Self::Summary(_) => f.write_str(&self.sentence()),
            _ => f.write_str(&escaped(&self.sentence())),
        }
    }
}

/// A text of one line whose control characters are escaped. Ids and names of fields may have any, and a terminal would obey
/// them.
pub fn escaped(text: &str) -> String {
    let escape = |char: char| match char.is_control() {
        true => char.escape_default().to_string(),
        false => char.to_string(),
    };
    text.chars().map(escape).collect()
}

impl Event {
    fn sentence(&self) -> String {
        match self {
            Self::Broken { file, line, reason } => format!("broken: {file}, line {line}: {reason}"),
            Self::Superseded { file, line, by } => {
                format!("skipped: {file}, line {line}: line {by} has the same _id, and the last line counts")
            }
            Self::Changed { file, line, change } => format!("changed: {file}, line {line}: {change}"),
            Self::More { count, what } => format!("{count} more {what}; --output json lists all of them"),
            Self::Repair(repair) => format!("repaired: {repair}"),
            Self::Kept { unit } => format!("kept: unit {unit} was updated since it was imported"),
            Self::ChangedMeanwhile { item } => {
                format!("left alone: {item} was changed by others during the import; import again")
            }
            Self::Write { item } => format!("would write: {item}"),
            Self::Delete { item } => format!("would delete: {item}"),
            Self::TokensWithoutWhen { count, lifetime_in_days } => {
                let (tokens, have) = (plural(*count, "token", "tokens"), plural(*count, "has", "have"));
                format!(
                    "note: {count} login {tokens} {have} no date in `when`; such a token expires {lifetime_in_days} days \
                     after the import that brings it first"
                )
            }
            Self::NoLoginTokens => String::from(
                "note: no usable line of users.json has services.resume, so no stored login token is deleted; \
                 if users have login tokens, export the field, too",
            ),
            Self::Summary(summary) => summary.to_string(),
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

/// The word for one or for several.
pub fn plural(count: u64, one: &'static str, several: &'static str) -> &'static str {
    if count == 1 { one } else { several }
}

/// An item as plain JSON: sets as arrays, numbers as they are.
pub fn plain(item: Item) -> Value {
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
