//! The first look at each file, before anything is written: whether it is a whole export in a format that can be
//! read, and which of its documents are used.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::{self, BufRead};
use std::sync::Arc;

use anyhow::{Context, Result};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use serde_json::value::RawValue;
use time::Duration;

use super::document::{Document, RawDocument};
use super::encoding::Binary;
use super::export::{Collection, Export, Opened, Superseded};
use super::id_hash::{IdHash, IdHasher};
use super::split::Documents;
use super::user::User;
use super::{extended_json, shell};

/// What the first look at a file found.
#[derive(Debug)]
pub struct Inspection {
    /// The documents that do not count, by their numbers.
    pub superseded: Arc<HashMap<u32, Superseded>>,
    /// Whether a user who counts and can be used has `services.resume`, where users have their login tokens.
    pub has_login_tokens: bool,
}

/// Which collections may have no documents.
#[derive(Clone, Copy, Debug, Default)]
pub struct MayBeEmpty {
    /// `rocketchat_livechat_department`.
    pub departments: bool,
    /// `rocketchat_livechat_unit_monitors`.
    pub monitors: bool,
}

impl MayBeEmpty {
    fn contains(self, collection: Collection) -> bool {
        match collection {
            Collection::Departments => self.departments,
            Collection::UnitMonitors => self.monitors,
            // A workspace always has users and permissions.
            Collection::Users | Collection::Permissions => false,
        }
    }
}

/// Looks at a file. If the file makes an import impossible, the inner error says why, and what to do.
///
/// # Errors
/// The file is not there, or can't be read.
pub fn inspect(
    export: &Export,
    collection: Collection,
    may_be_empty: MayBeEmpty,
) -> Result<Result<Inspection, String>> {
    let again = format!("Export the collection again: {}", export.command(collection));
    let read = match read(export, collection)? {
        Ok(read) => read,
        Err(problem) => return Ok(Err(format!("{problem} {again}"))),
    };
    if let Some(problem) = read.problem(collection, may_be_empty) {
        return Ok(Err(format!("{problem} {again}")));
    }
    let look = read.look;
    let has_login_tokens = look.has_login_tokens && collection == Collection::Users;
    let superseded = look.superseded();
    let has_login_tokens = has_login_tokens && has_user_with_login_tokens(export, &superseded)?;
    Ok(Ok(Inspection { superseded: Arc::new(superseded), has_login_tokens }))
}

/// A file that was read to its end.
struct WholeFile {
    look: Look,
    /// Its size in bytes, as it is on the disk.
    bytes: u64,
    is_cut_off: bool,
}

/// Reads a file. If it can't be read as text, the inner error says why.
fn read(export: &Export, collection: Collection) -> Result<Result<WholeFile, String>> {
    let file = collection.file();
    if let Some(missing) = export.missing(collection) {
        return Ok(Err(format!("{missing}.")));
    }
    let damaged = |error: &io::Error| Ok(Err(format!("{file} is damaged: {error}.")));
    let Opened { text, bytes, .. } = match export.open(collection) {
        Ok(opened) => opened,
        Err(error) => match error.downcast_ref().filter(|error| is_of_decompression(error)) {
            Some(error) => return damaged(error),
            None => return Err(error),
        },
    };
    let text = match text {
        Ok(text) => text,
        Err(Binary::Bson) => {
            return Ok(Err(format!("{file} is BSON, as mongodump writes it, and not JSON.")));
        }
        Err(Binary::Other) => return Ok(Err(format!("{file} is a binary file, and not JSON."))),
    };
    let mut look = Look::default();
    let is_cut_off = match look.read(text) {
        Ok(()) => look.last_is_cut_off,
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => true,
        Err(error) if is_of_decompression(&error) => return damaged(&error),
        Err(error) => return Err(error).with_context(|| format!("reading {file}")),
    };
    Ok(Ok(WholeFile { look, bytes, is_cut_off }))
}

impl WholeFile {
    /// Why the file makes an import impossible, if it does.
    fn problem(&self, collection: Collection, may_be_empty: MayBeEmpty) -> Option<String> {
        let file = collection.file();
        let Self { look, bytes, is_cut_off } = self;
        if let Some(ShellSyntax { line, syntax }) = &look.shell {
            return Some(format!(
                "{file} is in the syntax of the mongo shell, and not JSON: line {line} has {syntax}."
            ));
        }
        if *is_cut_off {
            let (documents, last_line) = (look.documents, look.last_line.max(1));
            return Some(format!(
                "{file} is cut off: it ends at byte {bytes}, in the middle of the document or array of line {last_line}, \
                 after {documents} whole documents."
            ));
        }
        if look.documents > 0 {
            return None;
        }
        if look.broken > 0 {
            let what =
                if look.starts_like_csv { "is CSV or other text, and not JSON" } else { "has no document" };
            return Some(format!("{file} {what}: none of its {} lines can be read.", look.broken));
        }
        let option = match collection {
            Collection::Departments => {
                " If the workspace really has no units and departments, give --no-departments."
            }
            Collection::UnitMonitors => {
                " If the workspace really has no units' monitors, give --no-monitors."
            }
            Collection::Users | Collection::Permissions => "",
        };
        let is_right = may_be_empty.contains(collection);
        (!is_right).then(|| format!("{file} is empty: it has {bytes} bytes and 0 documents.{option}"))
    }
}

/// Whether the error comes from damaged compressed data. A file that is not compressed gives no such error.
fn is_of_decompression(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData)
}

/// Whether a user who counts and can be used has `services.resume`. Reads the users again until there is one, which usually is
/// the first.
fn has_user_with_login_tokens(export: &Export, superseded: &HashMap<u32, Superseded>) -> Result<bool> {
    let text = export.open(Collection::Users)?.text;
    let Ok(text) = text else { return Ok(false) };
    let mut documents = Documents::new(text);
    while let Some(document) = documents.read().context("reading users.json")? {
        if !superseded.contains_key(&document.number)
            && let Ok(fields) = document.parse()
            && has_resume(&fields)
            && User::parse(fields, Duration::ZERO).is_ok()
        {
            return Ok(true);
        }
    }
    Ok(false)
}

fn has_resume(user: &Document) -> bool {
    let resume = user.get("services").and_then(|services| services.get("resume"));
    resume.is_some_and(|resume| !resume.is_null())
}

/// What has been seen of a file so far.
#[derive(Default)]
struct Look {
    /// Documents that are JSON.
    documents: u64,
    /// Lines, or elements of an array, that are not.
    broken: u64,
    /// The line that the last one starts in.
    last_line: u64,
    last_is_cut_off: bool,
    starts_like_csv: bool,
    /// The first place that is in the syntax of the mongo shell.
    shell: Option<ShellSyntax>,
    /// Whether any document has `services.resume`.
    has_login_tokens: bool,
    /// The documents that have an `_id`, in their order. A sorted list takes less memory than a map.
    ids: Vec<(IdHash, Place)>,
    hasher: IdHasher,
}

/// A place that is in the syntax of the mongo shell.
struct ShellSyntax {
    line: u64,
    /// What stands there.
    syntax: String,
}

/// What the first look at a document found.
enum Outlined {
    /// It is not JSON, or no document.
    NotADocument,
    /// A document without an `_id` that can be used.
    WithoutId,
    /// A document, and the hash of its `_id`.
    WithId(IdHash),
}

impl From<Option<IdHash>> for Outlined {
    fn from(id: Option<IdHash>) -> Self {
        id.map_or(Self::WithoutId, Self::WithId)
    }
}

/// Where a document is in its file.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    number: u32,
    line: u32,
}

/// The parts of a document that are looked at. Skipping the rest is several times as fast as parsing it.
#[derive(Deserialize)]
struct Outline<'a> {
    #[serde(rename = "_id", borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    services: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Services {
    resume: Option<IgnoredAny>,
}

impl Look {
    fn read(&mut self, text: impl BufRead) -> io::Result<()> {
        let mut documents = Documents::new(text);
        let mut last = None;
        while let Some(document) = documents.read()? {
            self.last_line = document.line;
            last = self.document(document);
        }
        self.last_is_cut_off = last.is_some_and(|document| document.is_cut_off());
        Ok(())
    }

    /// Looks at a document. Returns it if it is not JSON.
    fn document(&mut self, document: RawDocument) -> Option<RawDocument> {
        match self.outline(&document) {
            Outlined::NotADocument => {
                self.broken += 1;
                if let Some(text) = document.text_so_far() {
                    let is_first = self.documents == 0 && self.broken == 1;
                    self.starts_like_csv |= is_first && !text.trim_ascii_start().starts_with(b"{");
                    if self.shell.is_none() {
                        let line = document.line;
                        self.shell = shell::syntax(text).map(|syntax| ShellSyntax { line, syntax });
                    }
                }
                return Some(document);
            }
            Outlined::WithoutId => {}
            Outlined::WithId(id) => {
                let RawDocument { number, line, .. } = document;
                self.ids.push((id, Place { number, line: u32::try_from(line).unwrap_or(u32::MAX) }));
            }
        }
        self.documents += 1;
        None
    }

    /// The documents after which another one has the same `_id`, by their numbers.
    fn superseded(mut self) -> HashMap<u32, Superseded> {
        self.ids.sort_unstable();
        let pairs = self.ids.windows(2).filter(|pair| pair[0].0 == pair[1].0);
        pairs
            .map(|pair| {
                let (Place { number, line }, by) = (pair[0].1, pair[1].1.line);
                (number, Superseded { line: line.into(), by: by.into() })
            })
            .collect()
    }

    fn outline(&mut self, document: &RawDocument) -> Outlined {
        let Some(text) = document.text() else { return Outlined::NotADocument };
        let is_object = text.trim_ascii_start().starts_with(b"{");
        if is_object && let Ok(Outline { id, services }) = serde_json::from_slice(text) {
            self.has_login_tokens |= services.is_some_and(has_login_tokens);
            let id = id.and_then(|id| match serde_json::from_str::<Cow<'_, str>>(id.get()) {
                Ok(id) => Some(self.hasher.hash(&id)),
                Err(_) => self.hash(&serde_json::from_str(id.get()).ok()?),
            });
            return id.into();
        }
        // For instance, a key is repeated, or a value is a word that JSON does not have.
        let Ok(fields) = document.parse() else { return Outlined::NotADocument };
        self.has_login_tokens |= has_resume(&fields);
        fields.get("_id").and_then(|id| self.hash(id)).into()
    }

    fn hash(&self, id: &Value) -> Option<IdHash> {
        extended_json::text(id).map(|id| self.hasher.hash(id))
    }
}

fn has_login_tokens(services: &RawValue) -> bool {
    let services = services.get();
    // A struct can be read from an array, too.
    services.starts_with('{')
        && match serde_json::from_str::<Services>(services) {
            Ok(services) => services.resume.is_some(),
            Err(_) => services.contains("\"resume\""),
        }
}
