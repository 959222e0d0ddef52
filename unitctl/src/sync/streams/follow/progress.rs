//! What the follower has sent to the receiver of its events.

use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::sync::streams::event::StreamEvent;

/// The receiver, and what it knows.
pub struct Progress {
    /// The way to the receiver.
    pub sender: mpsc::Sender<StreamEvent>,
    /// The reason of the last message that the stream can't be read.
    pub failing: Option<String>,
    /// When the last event was sent.
    pub last_event: Instant,
}

/// The receiver does not listen any more.
pub struct Ended;

impl Progress {
    /// Nothing was sent yet. The time of the first message that all is well counts from now.
    pub fn new(sender: mpsc::Sender<StreamEvent>) -> Self {
        Self { sender, failing: None, last_event: Instant::now() }
    }

    /// Sends an event.
    ///
    /// # Errors
    /// The receiver does not listen any more.
    pub async fn send(&mut self, event: StreamEvent) -> Result<(), Ended> {
        self.last_event = Instant::now();
        self.sender.send(event).await.map_err(|_| Ended)
    }

    /// Reports that the stream can't be read for this reason. A reason that lasts is reported once.
    ///
    /// # Errors
    /// The receiver does not listen any more.
    pub async fn fail(&mut self, reason: String) -> Result<(), Ended> {
        if self.failing.as_ref() == Some(&reason) {
            return Ok(());
        }
        self.failing = Some(reason.clone());
        self.send(StreamEvent::Failing(reason)).await
    }
}
