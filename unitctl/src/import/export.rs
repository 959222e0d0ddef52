//! The files of an export, each read on a thread of its own.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Cursor, Read};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result, anyhow};
use indicatif::ProgressBar;
use tokio::sync::mpsc;

use super::document::{Broken, Document};
use super::encoding::{self, Binary, Text};
use super::split::Documents;

/// The maximum number of documents that wait to be imported. It keeps all batches busy and needs little memory.
const MAX_WAITING_DOCUMENTS: usize = 400;

/// Files in other formats that a collection may have been exported to: the ending of the file's name, and what the
/// format is.
const OTHER_FORMS: [(&str, &str); 5] = [
    (".bson", "is BSON, as mongodump writes it, which is not read"),
    (".bson.gz", "is BSON, as mongodump writes it, which is not read"),
    (".json.gz", "is compressed by gzip, which is read under the name without .gz"),
    (".csv", "is CSV, which is not read"),
    (".tsv", "is TSV, which is not read"),
];

/// Where an export is.
#[derive(Clone, Debug)]
pub enum Export {
    /// The files in this folder.
    Folder(PathBuf),
    /// The sample that comes with this tool.
    Sample,
}

/// A collection of Rocket.Chat's database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Collection {
    /// Users and their login tokens.
    Users,
    /// Permissions: which roles may do what.
    Permissions,
    /// Units, which have the type "u", and departments.
    Departments,
    /// Units' monitors: which users monitor which units.
    UnitMonitors,
}

/// A file that has been opened.
pub struct Opened {
    /// Its text, if it is text.
    pub text: Result<Text, Binary>,
    /// Its size in bytes, as it is on the disk.
    pub bytes: u64,
    /// How many of these bytes have been read so far.
    pub bytes_read: Arc<AtomicU64>,
}

/// A document of a collection.
#[derive(Debug)]
pub enum Record<T> {
    /// A document that counts.
    Usable(Usable<T>),
    /// A document in this line that does not count, since a later line has the same `_id`.
    Superseded(Superseded),
    /// A document that can't be used.
    Broken(Broken),
}

/// A document that counts.
#[derive(Debug)]
pub struct Usable<T> {
    /// The line that it starts in.
    pub line: u64,
    /// The document as it was parsed.
    pub value: T,
}

/// A document that does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Superseded {
    /// The line that it starts in.
    pub line: u64,
    /// The line of the next document with the same `_id`.
    pub by: u64,
}

impl Collection {
    /// In the order in which they are read.
    pub const ALL: [Self; 4] = [Self::UnitMonitors, Self::Departments, Self::Permissions, Self::Users];

    /// The collection's name in MongoDB. Its file has the same name with `.json`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Users => "users",
            Self::Permissions => "rocketchat_permissions",
            Self::Departments => "rocketchat_livechat_department",
            Self::UnitMonitors => "rocketchat_livechat_unit_monitors",
        }
    }

    /// The name of its file.
    pub fn file(self) -> String {
        format!("{}.json", self.name())
    }

    fn sample(self) -> &'static str {
        match self {
            Self::Users => include_str!("../../sample/users.json"),
            Self::Permissions => include_str!("../../sample/rocketchat_permissions.json"),
            Self::Departments => include_str!("../../sample/rocketchat_livechat_department.json"),
            Self::UnitMonitors => include_str!("../../sample/rocketchat_livechat_unit_monitors.json"),
        }
    }
}

impl Export {
    /// The command that exports the collection to the place where it is looked for.
    pub fn command(&self, collection: Collection) -> String {
        let folder = match self {
            Self::Folder(folder) => folder.clone(),
            Self::Sample => PathBuf::from("DIR"),
        };
        let file = folder.join(collection.file());
        let fields = match collection {
            Collection::Users => " --fields username,active,roles,services.resume.loginTokens",
            _ => "",
        };
        format!("mongoexport --uri URI --collection {} --out {}{fields}", collection.name(), file.display())
    }

    /// What is wrong if there is no file of a collection. It names the other form of the collection that is there.
    pub fn missing(&self, collection: Collection) -> Option<String> {
        let Self::Folder(folder) = self else { return None };
        let is_there = |file: &str| folder.join(file).exists();
        let file = collection.file();
        if is_there(&file) {
            return None;
        }
        let others = OTHER_FORMS.map(|(ending, form)| (format!("{}{ending}", collection.name()), form));
        let other = others.into_iter().find(|(other, _)| is_there(other));
        let other = other.map(|(other, form)| format!(", and {other} {form}")).unwrap_or_default();
        Some(format!("{file} is missing in {}{other}", folder.display()))
    }

    /// Opens a collection's file.
    ///
    /// # Errors
    /// The file is not there, or can't be read.
    pub fn open(&self, collection: Collection) -> Result<Opened> {
        let bytes_read = Arc::new(AtomicU64::new(0));
        match self {
            Self::Folder(folder) => {
                let path = folder.join(collection.file());
                let open = || {
                    let file = File::open(&path)?;
                    let bytes = file.metadata()?.len();
                    let text = encoding::decode(Counted { file, bytes_read: bytes_read.clone() })?;
                    Ok::<_, io::Error>((text, bytes))
                };
                let (text, bytes) = open().with_context(|| {
                    format!("opening {}: the collection {} is needed", path.display(), collection.name())
                })?;
                Ok(Opened { text, bytes, bytes_read })
            }
            Self::Sample => {
                let sample = collection.sample();
                Ok(Opened { text: Ok(Box::new(Cursor::new(sample))), bytes: sample.len() as u64, bytes_read })
            }
        }
    }

    /// Reads a collection's documents as fast as the receiver takes them. `superseded` has those that do not count,
    /// by their numbers. The channel ends after the last record. A failure to read is the last record, too.
    ///
    /// # Errors
    /// The file can't be opened.
    pub fn read<T: Send + 'static>(
        &self,
        collection: Collection,
        superseded: Arc<HashMap<u32, Superseded>>,
        progress: ProgressBar,
        parse: impl Fn(Document) -> Result<T, String> + Send + 'static,
    ) -> Result<mpsc::Receiver<Result<Record<T>>>> {
        let Opened { text, bytes, bytes_read } = self.open(collection)?;
        let text = text.map_err(|_| anyhow!("{} was replaced during the import", collection.file()))?;
        progress.set_length(bytes);
        let (sender, receiver) = mpsc::channel(MAX_WAITING_DOCUMENTS);
        tokio::task::spawn_blocking(move || {
            let mut documents = Documents::new(text);
            loop {
                let record = match documents.read() {
                    Ok(None) => return,
                    Ok(Some(document)) => Ok(match superseded.get(&document.number) {
                        Some(superseded) => Record::Superseded(*superseded),
                        None => match document.parse().map(&parse) {
                            Ok(Ok(value)) => Record::Usable(Usable { line: document.line, value }),
                            Ok(Err(reason)) => Record::Broken(Broken { line: document.line, reason }),
                            Err(broken) => Record::Broken(broken),
                        },
                    }),
                    Err(error) => Err(error).with_context(|| format!("reading {}", collection.file())),
                };
                progress.set_position(bytes_read.load(Ordering::Relaxed));
                let is_last = record.is_err();
                // The receiver is gone when the import has failed.
                if sender.blocking_send(record).is_err() || is_last {
                    return;
                }
            }
        });
        Ok(receiver)
    }
}

/// Counts the bytes that are read of a file.
struct Counted {
    file: File,
    bytes_read: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.bytes_read.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}
