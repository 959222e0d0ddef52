//! Units

use anyhow::Result;
use clap::Subcommand;

use crate::output::Output;
use crate::target::Data;

/// Units
#[derive(Subcommand, Debug)]
pub enum Unit {
    A,
}

impl Unit {
    /// Runs it.
    ///
    /// # Errors
    /// DynamoDB refuses.
    pub async fn run(self, _data: &Data, _output: Output) -> Result<()> {
        unimplemented!()
    }
}
