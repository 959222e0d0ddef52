//! Departments

use anyhow::Result;
use clap::Subcommand;

use crate::output::Output;
use crate::target::Data;

/// Departments
#[derive(Subcommand, Debug)]
pub enum Department {
    A,
}

impl Department {
    /// Runs it.
    ///
    /// # Errors
    /// DynamoDB refuses.
    pub async fn run(self, _data: &Data, _output: Output) -> Result<()> {
        unimplemented!()
    }
}
