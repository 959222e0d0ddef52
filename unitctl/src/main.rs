//! The command line of the operators' tool.

use anyhow::Result;
use clap::{Parser, Subcommand};
use unitctl::local::Local;

/// The operators' tool of livechat-units.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Local(Local),
}

#[tokio::main]
async fn main() -> Result<()> {
    match Cli::parse().command {
        Command::Local(local) => local.run().await,
    }
}
