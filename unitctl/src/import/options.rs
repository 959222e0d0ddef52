//! The options of `unitctl import`.

use std::path::PathBuf;

use clap::Args;

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
    pub dir: PathBuf,
    /// Write nothing; print what would be written
    #[arg(long)]
    pub dry_run: bool,
    /// Stop at the first line that can't be used, instead of going on and ending with exit code 3
    #[arg(long)]
    pub strict: bool,
    /// Overwrite units that were updated since they were imported
    #[arg(long)]
    pub overwrite: bool,
    /// How long login tokens live: the workspace's setting `Accounts_LoginExpiration`
    #[arg(long, value_name = "DAYS", default_value_t = 90, value_parser = clap::value_parser!(i64).range(1..=36500))]
    pub token_lifetime: i64,
    /// The workspace has no units and no departments, so that their file may be empty
    #[arg(long)]
    pub no_departments: bool,
    /// The workspace's units have no monitors, so that the file of unit monitors may be empty
    #[arg(long)]
    pub no_monitors: bool,
}

impl Import {
    /// The options for the sample that comes with this tool, which has to be in order.
    pub fn of_sample() -> Self {
        Self {
            dir: PathBuf::new(),
            dry_run: false,
            strict: true,
            overwrite: false,
            token_lifetime: 90,
            no_departments: false,
            no_monitors: false,
        }
    }
}
