//! stub
use anyhow::Result;
use clap::Args;

use crate::output::Output;
use crate::target::Data;

/// Import
#[derive(Args, Debug)]
pub struct Import {}

impl Import {
    /// Runs it.
    ///
    /// # Errors
    /// DynamoDB refuses.
    pub async fn run(self, _data: &Data, _output: Output) -> Result<bool> {
        unimplemented!()
    }
}
