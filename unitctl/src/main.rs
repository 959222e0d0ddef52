//! The command line of the operators' tool.

use std::io;
use std::process::ExitCode;

use anyhow::Result;
use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use unitctl::check::Check;
use unitctl::department::Department;
use unitctl::import::Import;
use unitctl::local::Local;
use unitctl::output::{self, Output};
use unitctl::role::{Grant, Revoke};
use unitctl::target::Target;
use unitctl::token::Token;
use unitctl::unit::Unit;
use unitctl::user::User;

/// The command was carried out and found the data wrong: lines that can't be imported, items that are
/// not sound. 1 is a failure; 2, clap's own, a command line that makes no sense.
const FOUND_WRONG: u8 = 3;

const HELP: &str = "\
Tables come from --stack, or --tokens-table and --livechat-table, or TOKENS_TABLE and LIVECHAT_TABLE in the
environment. Region and credentials are the AWS CLI's.

Examples:
  unitctl local
  unitctl import dump/ --stack livechat-units
  unitctl check --stack livechat-units
  unitctl unit show o5zNtKy7BcTMgyXtm --endpoint http://127.0.0.1:8000 \\
      --tokens-table local-tokens --livechat-table local-livechat

Exit codes:
  0  done, and everything is in order
  1  it failed; standard error says why
  2  the command line makes no sense
  3  done, but the data is not in order: `import` met lines that it could not use, `check` found items that
     are not sound (and that --repair, if given, did not mend)";

/// The operators' tool of livechat-units: brings the data, issues tokens, proves the data sound.
#[derive(Parser)]
#[command(version, after_help = HELP)]
struct Cli {
    #[command(flatten)]
    target: Target,
    /// How results are printed
    #[arg(long, global = true, value_enum, default_value_t)]
    output: Output,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Local(Local),
    Import(Import),
    Check(Check),
    Token(Token),
    User(User),
    Grant(Grant),
    Revoke(Revoke),
    Unit(Unit),
    Department(Department),
    /// Print the completions of a shell
    #[command(
        after_help = "Example:\n  unitctl completions bash > ~/.local/share/bash-completion/completions/unitctl"
    )]
    Completions {
        /// The shell
        shell: Shell,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    if cli.target.is_ambiguous() {
        let message = "--stack cannot be used with --tokens-table or --livechat-table";
        Cli::command().error(ErrorKind::ArgumentConflict, message).exit();
    }
    match run(cli).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(FOUND_WRONG),
        Err(error) => {
            output::error(&error);
            ExitCode::FAILURE
        }
    }
}

/// Returns whether the data is in order, as far as the command looks at it.
async fn run(cli: Cli) -> Result<bool> {
    let Cli { target, output, command } = cli;
    match command {
        Command::Local(local) => local.run().await?,
        Command::Import(import) => return import.run(&target.database().await?, output).await,
        Command::Check(check) => return check.run(&target.database().await?, output).await,
        Command::Token(token) => token.run(&target.database().await?, output).await?,
        Command::User(user) => user.run(&target.database().await?, output).await?,
        Command::Grant(grant) => grant.run(&target.database().await?, output).await?,
        Command::Revoke(revoke) => revoke.run(&target.database().await?, output).await?,
        Command::Unit(unit) => unit.run(&target.database().await?, output).await?,
        Command::Department(department) => department.run(&target.database().await?, output).await?,
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "unitctl", &mut io::stdout());
        }
    }
    Ok(true)
}
