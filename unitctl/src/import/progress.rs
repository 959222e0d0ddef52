//! Reads a collection of an export, with a progress bar.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::Result;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::sync::mpsc;

use super::document::Document;
use super::export::{Collection, Export, Record, Superseded};

/// A collection's records, and the progress bar that follows them. The bar disappears when this is dropped.
pub struct Records<T> {
    receiver: mpsc::Receiver<Result<Record<T>>>,
    bar: ProgressBar,
}

impl<T: Send + 'static> Records<T> {
    /// Starts to read a collection. `superseded` has the documents that do not count, by their numbers. The sample has no
    /// progress bar.
    ///
    /// # Errors
    /// The file can't be opened.
    pub fn start(
        export: &Export,
        collection: Collection,
        superseded: Arc<HashMap<u32, Superseded>>,
        parse: impl Fn(Document) -> Result<T, String> + Send + 'static,
    ) -> Result<Self> {
        let bar = match export {
            Export::Folder(_) => ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr()),
            Export::Sample => ProgressBar::hidden(),
        };
        let style = "{prefix} [{bar:30}] {percent}% {bytes_per_sec}, {eta} left";
        bar.set_style(
            ProgressStyle::with_template(style).expect("the template is valid").progress_chars("=> "),
        );
        bar.set_prefix(collection.name());
        let receiver = export.read(collection, superseded, bar.clone(), parse)?;
        Ok(Self { receiver, bar })
    }

    /// The next record. `None` at the end.
    ///
    /// # Errors
    /// The file can't be read.
    pub async fn next(&mut self) -> Result<Option<Record<T>>> {
        self.receiver.recv().await.transpose()
    }
}

impl<T> Drop for Records<T> {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
