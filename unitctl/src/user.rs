//! Users

use anyhow::Result;
use clap::Subcommand;

use crate::output::Output;
use crate::target::Data;

/// Users
#[derive(Subcommand, Debug)]
pub enum User {
    A,
}

impl User {
    /// Runs it.
    ///
    /// # Errors
    /// DynamoDB refuses.
    pub async fn run(self, _data: &Data, _output: Output) -> Result<()> {
        unimplemented!()
    }
}
