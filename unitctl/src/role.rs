//! Grant a permission

use anyhow::Result;
use clap::Args;

use crate::output::Output;
use crate::target::Data;

/// Grant a permission
#[derive(Args, Debug)]
pub struct Grant {}

impl Grant {
    /// Runs it.
    ///
    /// # Errors
    /// DynamoDB refuses.
    pub async fn run(self, _data: &Data, _output: Output) -> Result<()> {
        unimplemented!()
    }
}
/// Revoke a permission
#[derive(Args, Debug)]
pub struct Revoke {}

impl Revoke {
    /// Runs it.
    ///
    /// # Errors
    /// DynamoDB refuses.
    pub async fn run(self, _data: &Data, _output: Output) -> Result<()> {
        unimplemented!()
    }
}
