//! The loop that reads all shards of the stream.

mod batch;
mod cursor;
mod progress;
mod request;

use std::collections::HashMap;
use std::time::Duration;

use anyhow::Result;
use aws_sdk_dynamodbstreams::Client;
use aws_sdk_dynamodbstreams::types::Record;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use self::batch::Batch;
use self::cursor::{Cursor, ERRORS_BEFORE_FAILING, MAX_PAUSE};
use self::progress::{Ended, Progress};
use self::request::{Answer, Request, now, read};
use super::client::{self, Page};
use super::event::StreamEvent;
use super::shards::{Listed, Position, Shards, Start};

/// The time between two requests for the records of a shard. DynamoDB allows five a second.
const READ_EVERY: Duration = Duration::from_millis(220);

/// The time between two lists of the shards while none was read to its end.
const LIST_EVERY: Duration = Duration::from_secs(30);

/// The time between two lists of the shards while children have to be found.
const LIST_FOR_CHILDREN_EVERY: Duration = Duration::from_secs(1);

/// The time between two messages that all is well.
const IDLE_EVERY: Duration = Duration::from_secs(1);

/// Follows a table's stream.
#[derive(Debug)]
pub struct Follower {
    streams: Client,
    dynamodb: aws_sdk_dynamodb::Client,
    table: String,
    shards: Shards,
    cursors: HashMap<String, Cursor>,
}

/// A stream that was opened.
#[derive(Debug)]
pub struct Opened {
    /// Its follower.
    pub follower: Follower,
    /// True if the position could not be used. Then a full pass is needed.
    pub was_lost: bool,
}

/// The table's stream now.
struct ListedStream {
    /// Its name.
    stream: String,
    /// Its shards.
    shards: Vec<Listed>,
}

impl Follower {
    /// Opens the stream at this position, or for what is written from now on if there is none. A full pass that begins after
    /// this function has returned misses nothing.
    ///
    /// # Errors
    /// The table has no stream ([`NoStream`](super::NoStream)), or DynamoDB refuses a request or can't be reached.
    pub async fn open(
        streams: Client,
        dynamodb: aws_sdk_dynamodb::Client,
        table: String,
        start: Option<&Position>,
    ) -> Result<Opened> {
        let stream = client::stream_of(&dynamodb, &table).await?;
        let listed = client::list_shards(&streams, &stream).await?;
        let resumed = start.and_then(|start| Shards::resume(start, &stream, &listed, now()));
        let was_lost = start.is_some() && resumed.is_none();
        let shards = resumed.unwrap_or_else(|| Shards::at_latest(&stream, &listed, now()));
        let mut follower = Self { streams, dynamodb, table, shards, cursors: HashMap::new() };
        follower.fix_latest().await?;
        Ok(Opened { follower, was_lost })
    }

    /// Gets the iterators of the shards that are read from now on. Each of them starts at the moment of its request, so
    /// the requests are sent at once.
    async fn fix_latest(&mut self) -> Result<()> {
        let latest = self.shards.readable().filter(|(_, start)| **start == Start::Latest);
        let ids: Vec<String> = latest.map(|(id, _)| id.to_owned()).collect();
        for id in ids {
            let mut pause = Duration::from_millis(100);
            let iterator = loop {
                match client::iterator(&self.streams, self.shards.stream(), &id, &Start::Latest).await {
                    Ok(iterator) => break Some(iterator),
                    // The shard is gone by now. Its children are read from their beginning.
                    Err(Page::Gone | Page::Trimmed { .. }) => break None,
                    Err(Page::Throttled) if pause < MAX_PAUSE => tokio::time::sleep(pause).await,
                    Err(Page::Failed(reason) | Page::BadIterator(reason)) => anyhow::bail!(reason),
                    Err(Page::Throttled | Page::Records { .. }) => anyhow::bail!(TOO_MANY),
                }
                pause *= 2;
            };
            self.cursors.insert(id, Cursor { iterator, ..Cursor::default() });
        }
        Ok(())
    }

    /// Follows the stream until the receiver is dropped. After an error it waits, and goes on.
    pub async fn run(mut self, sender: mpsc::Sender<StreamEvent>) {
        let mut progress = Progress::new(sender);
        let mut requests = FuturesUnordered::new();
        let mut next_list = Instant::now() + LIST_EVERY;
        loop {
            if Instant::now() >= next_list {
                if self.list(&mut progress).await.is_err() {
                    return;
                }
                next_list = Instant::now() + LIST_EVERY;
            }
            let next_read = self.send_due(&mut requests);
            if self.shards.lacks_children() {
                next_list = next_list.min(Instant::now() + LIST_FOR_CHILDREN_EVERY);
            }
            let next = next_read.map_or(next_list, |next| next.min(next_list));
            tokio::select! {
                Some(answer) = requests.next() => {
                    if self.take(answer, &mut progress).await.is_err() {
                        return;
                    }
                }
                () = sleep_until(next) => {}
                () = progress.sender.closed() => return,
            }
        }
    }

    /// Sends the requests that may be sent now. Returns when the next one may be.
    fn send_due(&mut self, requests: &mut FuturesUnordered<Request>) -> Option<Instant> {
        let now = Instant::now();
        let mut next: Option<Instant> = None;
        for (id, start) in self.shards.readable() {
            let cursor = self.cursors.entry(id.to_owned()).or_default();
            match cursor.due {
                None => {}
                Some(due) if due > now => next = Some(next.map_or(due, |next| next.min(due))),
                Some(_) => {
                    cursor.due = None;
                    let iterator = cursor.iterator.clone();
                    let (client, stream) = (self.streams.clone(), self.shards.stream().to_owned());
                    requests.push(Box::pin(read(client, stream, id.to_owned(), start.clone(), iterator)));
                }
            }
        }
        next
    }

    /// Handles the result of a request.
    async fn take(&mut self, answer: Answer, progress: &mut Progress) -> Result<(), Ended> {
        let Answer { shard: id, sent, sent_at, page } = answer;
        // If there is no cursor, the shard is not listed any more, or the stream is another one now.
        let Some(cursor) = self.cursors.get_mut(&id) else { return Ok(()) };
        let due = sent + READ_EVERY;
        match page {
            Page::Records { records, next_iterator } => {
                cursor.succeeded(next_iterator, due);
                self.take_records(&id, &records, sent_at, progress).await?;
            }
            Page::BadIterator(reason) => {
                self.shards.needs_iterator(&id);
                cursor.iterator = None;
                cursor.failed(due);
                // One iterator that has expired is no reason for a pause.
                if reason == "ExpiredIteratorException" && cursor.errors == 1 {
                    cursor.due = Some(due);
                }
                if cursor.is_failing() {
                    progress.fail(format!("DynamoDB Streams refuses to read a shard: {reason}")).await?;
                }
            }
            Page::Trimmed { is_certain } => {
                cursor.iterator = None;
                cursor.due = Some(due);
                if is_certain || cursor.was_trimmed {
                    cursor.was_trimmed = false;
                    self.shards.lost(&id);
                    progress.send(StreamEvent::Lost).await?;
                } else {
                    cursor.was_trimmed = true;
                    self.shards.needs_iterator(&id);
                }
            }
            Page::Gone => {
                cursor.iterator = None;
                cursor.failed(due);
                if cursor.is_failing() {
                    progress.fail("DynamoDB Streams lists a shard and does not find it".into()).await?;
                }
                self.list(progress).await?;
            }
            Page::Throttled => {
                cursor.failed(due);
                if cursor.errors >= 2 * ERRORS_BEFORE_FAILING {
                    progress.fail(TOO_MANY.into()).await?;
                }
            }
            Page::Failed(reason) => {
                cursor.failed(due);
                if cursor.is_failing() {
                    progress.fail(reason).await?;
                }
            }
        }
        Ok(())
    }

    /// Handles the records of a shard, for which the request was sent at this time (in seconds since 1970).
    async fn take_records(
        &mut self,
        id: &str,
        records: &[Record],
        sent_at: i64,
        progress: &mut Progress,
    ) -> Result<(), Ended> {
        let Batch { records, subjects, written_at, written_until } = Batch::new(records);
        for (record, about) in &records {
            self.shards.read(id, record, about);
        }
        self.shards.read_until(id, written_until.unwrap_or(sent_at));
        if self.cursors.get(id).is_some_and(|cursor| cursor.iterator.is_none()) {
            self.shards.finish(id);
            self.cursors.remove(id);
        }
        let is_failing = self.cursors.values().any(Cursor::is_failing);
        let position = || self.shards.position();
        if !subjects.is_empty() {
            progress.send(StreamEvent::Look { subjects, position: position(), written_at }).await?;
        } else if !is_failing && progress.last_event.elapsed() >= IDLE_EVERY {
            progress.send(StreamEvent::Idle { position: position() }).await?;
        }
        if !is_failing {
            progress.failing = None;
        }
        Ok(())
    }

    /// Looks for new shards, and for another stream.
    async fn list(&mut self, progress: &mut Progress) -> Result<(), Ended> {
        match self.listed().await {
            Ok(ListedStream { stream, shards: listed }) => {
                let is_lost = if stream == self.shards.stream() {
                    self.shards.update(&listed, now())
                } else {
                    // Something may have been written between the end of the old stream and the beginning of the new
                    // one.
                    self.shards = Shards::from_beginning(&stream, &listed, now());
                    self.cursors.clear();
                    true
                };
                self.cursors.retain(|id, _| listed.iter().any(|shard| shard.id == *id));
                if is_lost {
                    progress.send(StreamEvent::Lost).await?;
                }
                Ok(())
            }
            Err(error) => progress.fail(format!("{error:#}")).await,
        }
    }

    async fn listed(&self) -> Result<ListedStream> {
        let stream = client::stream_of(&self.dynamodb, &self.table).await?;
        let shards = client::list_shards(&self.streams, &stream).await?;
        Ok(ListedStream { stream, shards })
    }
}

const TOO_MANY: &str = "DynamoDB Streams refuses requests, because there are too many";

#[cfg(test)]
mod tests;
