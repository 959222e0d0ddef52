//! Reads documents of MongoDB before they are needed.

use anyhow::Result;
use tokio::sync::mpsc;

use crate::import::document::Document;
use crate::sync::mongodb::Batches;

/// Reads batches of documents, one ahead of what the receiver takes. So MongoDB works while earlier batches are compared and
/// written.
pub fn ahead(mut batches: Batches) -> mpsc::Receiver<Result<Vec<Document>>> {
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        while let Some(batch) = batches.next().await.transpose() {
            let is_last = batch.is_err();
            if sender.send(batch.map_err(Into::into)).await.is_err() || is_last {
                return;
            }
        }
    });
    receiver
}
