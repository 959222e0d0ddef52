//! Batches that are being written at the same time.

use std::future::Future;

use anyhow::Result;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::task::JoinHandle;

use super::export::Collection;
use super::report::Report;
use super::written::WrittenBatch;

/// The maximum number of batches, or of units, that are written at the same time.
pub const MAX_IN_FLIGHT: usize = 8;

/// Batches that are being written, each by a task of its own so that all processors make requests.
#[derive(Default)]
pub struct InFlight {
    tasks: FuturesUnordered<JoinHandle<Result<WrittenBatch>>>,
}

impl InFlight {
    /// Starts to write a batch.
    pub fn start(&mut self, write: impl Future<Output = Result<WrittenBatch>> + Send + 'static) {
        self.tasks.push(tokio::spawn(write));
    }

    /// Waits until another batch may be started. Reports the batches that end meanwhile.
    ///
    /// # Errors
    /// A batch could not be written, or a line can't be used and the import is strict.
    pub async fn make_room(&mut self, report: &mut Report) -> Result<()> {
        while self.tasks.len() >= MAX_IN_FLIGHT {
            self.finish_one(report).await?;
        }
        Ok(())
    }

    /// Waits for one batch, if any is in flight, and reports it.
    async fn finish_one(&mut self, report: &mut Report) -> Result<()> {
        if let Some(batch) = self.tasks.next().await {
            let WrittenBatch { written, unusable } = batch??;
            for written in written {
                report.written(written)?;
            }
            for broken in unusable {
                report.broken(Collection::Users, broken)?;
            }
        }
        Ok(())
    }

    /// Waits for all batches, and reports them.
    ///
    /// # Errors
    /// A batch could not be written, or a line can't be used and the import is strict.
    pub async fn finish(mut self, report: &mut Report) -> Result<()> {
        while !self.tasks.is_empty() {
            self.finish_one(report).await?;
        }
        Ok(())
    }
}
