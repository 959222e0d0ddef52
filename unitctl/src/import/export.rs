//! The files of an export, read on a thread of their own.

use std::fs::File;
use std::io::{BufRead, BufReader, Cursor};
use std::path::PathBuf;

use anyhow::{Context, Result};
use indicatif::ProgressBar;
use tokio::sync::mpsc;

use super::documents::{Broken, Document, Documents};

/// Documents that wait to be worked on: enough to keep eight batches busy, few enough to be no burden.
const WAITING_DOCUMENTS: usize = 400;

/// Where an export is.
#[derive(Clone, Debug)]
pub enum Export {
    /// The files in this folder.
    Folder(PathBuf),
    /// The sample that comes with this tool.
    Sample,
}

/// A collection of Rocket.Chat's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Collection {
    /// Users and their login tokens.
    Users,
    /// Who may do what.
    Permissions,
    /// Units, of type "u", and departments.
    Departments,
    /// Which users monitor which units.
    UnitMonitors,
}

/// A record with the line that it starts in.
pub type Record<T> = Result<(u64, T), Broken>;

impl Collection {
    /// In the order in which they are read.
    pub const ALL: [Self; 4] = [Self::UnitMonitors, Self::Departments, Self::Permissions, Self::Users];

    /// The collection's name in MongoDB; its file's, with `.json`.
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
    /// Checks that all files are there: one that is missing would look like a workspace that has none.
    ///
    /// # Errors
    /// One can't be opened.
    pub fn check(&self) -> Result<()> {
        for collection in Collection::ALL {
            self.open(collection)?;
        }
        Ok(())
    }

    /// A collection's file and its size in bytes.
    fn open(&self, collection: Collection) -> Result<(Box<dyn BufRead + Send>, u64)> {
        match self {
            Self::Folder(folder) => {
                let path = folder.join(collection.file());
                let file = File::open(&path).with_context(|| {
                    format!("opening {}: the collection {} is needed", path.display(), collection.name())
                })?;
                let size = file.metadata().with_context(|| format!("opening {}", path.display()))?.len();
                Ok((Box::new(BufReader::with_capacity(256 * 1024, file)), size))
            }
            Self::Sample => {
                let sample = collection.sample();
                Ok((Box::new(Cursor::new(sample)), sample.len() as u64))
            }
        }
    }

    /// Reads a collection's records as fast as the receiver takes them; `progress` follows in bytes. After
    /// the last record the channel ends. A failure to read is the last record, too.
    ///
    /// # Errors
    /// The file can't be opened.
    pub fn read<T: Send + 'static>(
        &self,
        collection: Collection,
        progress: ProgressBar,
        parse: impl Fn(Document) -> Result<T, String> + Send + 'static,
    ) -> Result<mpsc::Receiver<Result<Record<T>>>> {
        let (reader, size) = self.open(collection)?;
        progress.set_length(size);
        let (sender, receiver) = mpsc::channel(WAITING_DOCUMENTS);
        tokio::task::spawn_blocking(move || {
            let mut documents = Documents::new(reader);
            loop {
                let record = match documents.read() {
                    Ok(None) => return,
                    Ok(Some(document)) => Ok(document.and_then(|(line, document)| match parse(document) {
                        Ok(record) => Ok((line, record)),
                        Err(reason) => Err(Broken { line, reason }),
                    })),
                    Err(error) => Err(error).with_context(|| format!("reading {}", collection.file())),
                };
                progress.set_position(documents.bytes());
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
