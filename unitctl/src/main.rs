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
#[cfg(feature = "sync")]
use unitctl::sync::Sync;
use unitctl::target::Target;
use unitctl::token::Token;
use unitctl::unit::Unit;
use unitctl::user::User;

/// The exit code of a command that succeeded but found problems in the data: lines that can't be imported, items that
/// violate a rule, differences from MongoDB, or something that the sync could not carry over or remove. A failure is 1,
/// and clap exits with 2 if the command line is invalid.
const DATA_NOT_IN_ORDER: u8 = 3;

const HELP: &str = "\
The tables are those of --stack, or --tokens-table and --livechat-table, or TOKENS_TABLE and LIVECHAT_TABLE in the
environment. Region and credentials are found as the AWS CLI finds them.

Examples:
  unitctl local
  unitctl import dump/ --stack livechat-units
  unitctl check --stack livechat-units
  unitctl unit show o5zNtKy7BcTMgyXtm --endpoint http://127.0.0.1:8000 \\
      --tokens-table local-tokens --livechat-table local-livechat

Exit codes:
  0  success, and the data is in order
  1  failure; standard error gives the reason
  2  invalid command line
  3  success, but the data is not in order: `import` found lines that it could not use, `check` found violations that
     it did not repair or differences from MongoDB, or `sync --once` could not carry over or remove everything";

/// The operators' tool of livechat-units: imports a workspace, manages tokens and units, and checks the data.
#[derive(Parser)]
#[command(version, after_help = HELP)]
struct Cli {
    #[command(flatten)]
    target: Target,
    /// Format of the results
    #[arg(long, global = true, value_enum, default_value_t)]
    output: Output,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Local(Local),
    Import(Import),
    #[cfg(feature = "sync")]
    Sync(Sync),
    /// Say how to get a build that has this command
    #[cfg(not(feature = "sync"))]
    #[command(hide = true)]
    Sync {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
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
        /// Name of the shell
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
        Ok(false) => ExitCode::from(DATA_NOT_IN_ORDER),
        Err(error) => {
            output::error(&error);
            ExitCode::FAILURE
        }
    }
}

/// Runs the command. Returns whether the data that it read is in order.
async fn run(cli: Cli) -> Result<bool> {
    let Cli { target, output, command } = cli;
    match command {
        Command::Local(local) => local.run().await?,
        Command::Import(import) => return import.run(&target.database().await?, output).await,
        #[cfg(not(feature = "sync"))]
        Command::Sync { .. } => anyhow::bail!(
            "this unitctl was built without `sync`; install it with `cargo install --locked --path unitctl --features sync`"
        ),
        #[cfg(feature = "sync")]
        Command::Sync(sync) => return sync.run(target.database().await?, target.streams().await).await,
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
