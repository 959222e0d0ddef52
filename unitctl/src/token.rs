//! Login tokens

use anyhow::Result;
use clap::Subcommand;

use crate::output::Output;
use crate::target::Data;

/// Login tokens
#[derive(Subcommand, Debug)]
pub enum Token {
    A,
}

impl Token {
    /// Runs it.
    ///
    /// # Errors
    /// DynamoDB refuses.
    pub async fn run(self, _data: &Data, _output: Output) -> Result<()> {
        unimplemented!()
    }
}
