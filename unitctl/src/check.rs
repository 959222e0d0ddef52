//! Check the data

use anyhow::Result;
use clap::Args;

use crate::output::Output;
use crate::target::Data;

/// Check the data
#[derive(Args, Debug)]
pub struct Check {}

impl Check {
    /// Runs it.
    ///
    /// # Errors
    /// DynamoDB refuses.
    pub async fn run(self, _data: &Data, _output: Output) -> Result<bool> {
        unimplemented!()
    }
}
