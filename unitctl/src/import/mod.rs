//! `unitctl import`: brings a mongoexport of a Rocket.Chat workspace.

mod decimal;
pub(crate) mod documents;
mod encoding;
pub(crate) mod equality;
mod events;
mod export;
pub(crate) mod extended_json;
pub(crate) mod fields;
mod id_hash;
mod importer;
mod inspect;
pub(crate) mod item_size;
mod json;
mod plan;
mod plan_monitors;
pub(crate) mod records;
mod report;
mod shell;
mod stored;
pub(crate) mod user;
pub(crate) mod workspace;
pub(crate) mod write;
mod write_users;

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;

use self::export::Export;
use self::importer::Importer;
use self::report::Report;
use crate::database::Database;
use crate::output::Output;

const HELP: &str = "\
DIR holds four files, made by mongoexport from the workspace's database:

  mongoexport --uri URI --collection users --out DIR/users.json \\
      --fields username,active,roles,services.resume.loginTokens
  mongoexport --uri URI --collection rocketchat_permissions --out DIR/rocketchat_permissions.json
  mongoexport --uri URI --collection rocketchat_livechat_department --out DIR/rocketchat_livechat_department.json
  mongoexport --uri URI --collection rocketchat_livechat_unit_monitors --out DIR/rocketchat_livechat_unit_monitors.json

The files may have one document a line, or be made with --jsonArray or --pretty. They may be in relaxed or canonical
JSON, in UTF-8 or UTF-16, and compressed by gzip. Of the users, mongoexport writes all of `services`, password hashes
included: let nobody else read DIR, and delete it when you are done.

The import repairs what Rocket.Chat leaves inconsistent (counters, monitors without the role, duplicate rows, parents
that do not exist) and reports each repair. If an `_id` occurs twice in a file, its last line counts.

The import reads what is stored and writes what differs. So it can be stopped and started again, and a second run
writes nothing. A unit that was updated since it was imported stays as it is, with its departments, unless you give
--overwrite. An import deletes the login tokens that it brought before and that their user does not have any more. It
deletes no user, permission, unit or department. A file that is empty or cut off stops the import before anything is
written. If a line can't be used, the import removes nothing that is missing from that file.

Examples:
  unitctl import dump/ --stack livechat-units --dry-run
  unitctl import dump/ --stack livechat-units
  unitctl import dump/ --stack livechat-units --strict --output json > import.log";

/// Bring the users, tokens, permissions, units and departments of a mongoexport.
#[derive(Args, Clone, Debug)]
#[command(after_help = HELP)]
pub struct Import {
    /// The folder with the export
    dir: PathBuf,
    /// Write nothing; print what would be written
    #[arg(long)]
    dry_run: bool,
    /// Stop at the first line that can't be used, instead of going on and ending with exit code 3
    #[arg(long)]
    strict: bool,
    /// Overwrite units that were updated since they were imported
    #[arg(long)]
    overwrite: bool,
    /// How long login tokens live: the workspace's setting `Accounts_LoginExpiration`
    #[arg(long, value_name = "DAYS", default_value_t = 90, value_parser = clap::value_parser!(i64).range(1..=36500))]
    token_lifetime: i64,
    /// The workspace has no units and no departments, so that their file may be empty
    #[arg(long)]
    no_departments: bool,
    /// The workspace's units have no monitors, so that the file of unit monitors may be empty
    #[arg(long)]
    no_monitors: bool,
}

impl Import {
    /// Imports the folder. Returns whether every line could be used and every item is now as it was exported.
    ///
    /// # Errors
    /// A file can't be read or is not a complete export, a line can't be used and the import is strict, or DynamoDB
    /// refuses a request.
    pub async fn run(self, database: &Database, output: Output) -> Result<bool> {
        let export = Export::Folder(self.dir.clone());
        let mut report = Report::new(Some(output), self.strict, self.dry_run);
        Importer::new(&self, database, export).run(&mut report).await?;
        report.finish()
    }
}

/// Imports the sample that comes with this tool.
///
/// # Errors
/// DynamoDB refuses a request, or the sample is not in order.
pub async fn sample(database: &Database) -> Result<()> {
    let options = Import {
        dir: PathBuf::new(),
        dry_run: false,
        strict: true,
        overwrite: false,
        token_lifetime: 90,
        no_departments: false,
        no_monitors: false,
    };
    let mut report = Report::new(None, true, false);
    Importer::new(&options, database, Export::Sample).run(&mut report).await?;
    if !report.finish()? {
        bail!("the sample is not in order");
    }
    Ok(())
}
