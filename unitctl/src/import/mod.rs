//! `unitctl import`: brings a mongoexport of a Rocket.Chat workspace.

mod decimal;
pub(crate) mod document;
mod encoding;
pub(crate) mod equality;
mod events;
mod export;
pub(crate) mod extended_json;
pub(crate) mod fields;
mod id_hash;
mod importer;
mod in_flight;
mod inspect;
pub(crate) mod item_size;
mod json;
mod options;
mod plan;
mod plan_monitors;
mod progress;
pub(crate) mod records;
mod report;
mod shell;
mod split;
mod stored;
pub(crate) mod user;
pub(crate) mod workspace;
pub(crate) mod write;
mod write_users;
mod written;

use anyhow::{Result, bail};

use self::export::Export;
use self::importer::Importer;
pub use self::options::Import;
use self::report::Report;
use crate::database::Database;
use crate::output::Output;

impl Import {
    /// Imports the folder. Returns whether every line could be used and every item is now as it was exported.
    ///
    /// # Errors
    /// A file can't be read or is not a complete export, a line can't be used and the import is strict, or DynamoDB
    /// refuses a request.
    pub async fn run(self, database: &Database, output: Output) -> Result<bool> {
        let export = Export::Folder(self.dir.clone());
        let mut report = Report::new(Some(output), &self);
        Importer::new(&self, database, export).run(&mut report).await?;
        report.finish()
    }
}

/// Imports the sample that comes with this tool.
///
/// # Errors
/// DynamoDB refuses a request, or the sample is not in order.
pub async fn sample(database: &Database) -> Result<()> {
    let options = Import::of_sample();
    let mut report = Report::new(None, &options);
    Importer::new(&options, database, Export::Sample).run(&mut report).await?;
    if !report.finish()? {
        bail!("the sample is not in order");
    }
    Ok(())
}
