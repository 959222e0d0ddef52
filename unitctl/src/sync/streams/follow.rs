//! The loop that reads all shards of the stream.

use std::collections::{BTreeSet, HashMap};
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use anyhow::Result;
use aws_sdk_dynamodbstreams::Client;
use aws_sdk_dynamodbstreams::types::Record;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use time::OffsetDateTime;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::StreamEvent;
use super::client::{self, Page};
use super::shards::{Listed, Position, Shards, Start};
use super::subject::About;

/// The time between two requests for the records of a shard. DynamoDB allows five a second.
const READ_EVERY: Duration = Duration::from_millis(220);

/// The time between two lists of the shards while none was read to its end.
const LIST_EVERY: Duration = Duration::from_secs(30);

/// The time between two lists of the shards while children have to be found.
const LIST_FOR_CHILDREN_EVERY: Duration = Duration::from_secs(1);

/// The time between two messages that all is well.
const IDLE_EVERY: Duration = Duration::from_secs(1);

/// The longest pause after errors.
const MAX_PAUSE: Duration = Duration::from_secs(5);

/// The number of errors in a row of one shard after which the receiver is informed.
const ERRORS_BEFORE_FAILING: u32 = 3;

/// Follows a table's stream.
#[derive(Debug)]
pub struct Follower {
    streams: Client,
    dynamodb: aws_sdk_dynamodb::Client,
    table: String,
    shards: Shards,
    cursors: HashMap<String, Cursor>,
}

/// Where the reader of a shard is.
#[derive(Debug)]
struct Cursor {
    iterator: Option<String>,
    /// When the next request may be sent. `None` while one is unanswered.
    due: Option<Instant>,
    errors: u32,
    /// True if the last iterator led to a record that is gone.
    was_trimmed: bool,
}

/// The result of a request for records, of the shard with this id.
struct Answer {
    shard: String,
    /// When the request was sent.
    sent: Instant,
    sent_at: i64,
    page: Page,
}

/// What goes on while the follower runs.
struct Progress {
    sender: mpsc::Sender<StreamEvent>,
    /// The reason of the last message that the stream can't be read.
    failing: Option<String>,
    last_event: Instant,
}

/// The receiver does not listen any more.
struct Ended;

impl Default for Cursor {
    fn default() -> Self {
        Self { iterator: None, due: Some(Instant::now()), errors: 0, was_trimmed: false }
    }
}

impl Follower {
    /// Opens the stream at this position, or for what is written from now on if there is none. Also returns true if the
    /// position could not be used. Then a full pass is needed. A full pass that begins after this function has returned
    /// misses nothing.
    ///
    /// # Errors
    /// The table has no stream ([`NoStream`](super::NoStream)), or DynamoDB refuses a request or can't be reached.
    pub async fn open(
        streams: Client,
        dynamodb: aws_sdk_dynamodb::Client,
        table: String,
        start: Option<&Position>,
    ) -> Result<(Self, bool)> {
        let stream = client::stream_of(&dynamodb, &table).await?;
        let listed = client::list_shards(&streams, &stream).await?;
        let resumed = start.and_then(|start| Shards::resume(start, &stream, &listed, now()));
        let was_lost = start.is_some() && resumed.is_none();
        let shards = resumed.unwrap_or_else(|| Shards::at_latest(&stream, &listed, now()));
        let mut follower = Self { streams, dynamodb, table, shards, cursors: HashMap::new() };
        follower.fix_latest().await?;
        Ok((follower, was_lost))
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
                    Err(Page::Throttled | Page::Records(..)) => anyhow::bail!(TOO_MANY),
                }
                pause *= 2;
            };
            self.cursors.insert(id, Cursor { iterator, ..Cursor::default() });
        }
        Ok(())
    }

    /// Follows the stream until the receiver is dropped. After an error it waits, and goes on.
    pub async fn run(mut self, sender: mpsc::Sender<StreamEvent>) {
        // The first message that all is well comes after [`IDLE_EVERY`].
        let mut progress = Progress { sender, failing: None, last_event: Instant::now() };
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
        let mut due = sent + READ_EVERY;
        match page {
            Page::Records(records, next) => {
                (cursor.errors, cursor.was_trimmed) = (0, false);
                let is_end = next.is_none();
                cursor.iterator = next;
                cursor.due = Some(due);
                let batch = Batch::new(&records);
                for (record, about) in &batch.records {
                    self.shards.read(&id, record, *about == About::Own);
                }
                self.shards.read_until(&id, batch.written_until.unwrap_or(sent_at));
                if is_end {
                    self.shards.finish(&id);
                    self.cursors.remove(&id);
                }
                let is_failing = self.cursors.values().any(|cursor| cursor.errors >= ERRORS_BEFORE_FAILING);
                let position = || self.shards.position();
                if !batch.subjects.is_empty() {
                    let Batch { subjects, written_at, .. } = batch;
                    progress.send(StreamEvent::Look { subjects, position: position(), written_at }).await?;
                } else if !is_failing && progress.last_event.elapsed() >= IDLE_EVERY {
                    progress.send(StreamEvent::Idle { position: position() }).await?;
                }
                if !is_failing {
                    progress.failing = None;
                }
                return Ok(());
            }
            Page::BadIterator(reason) => {
                cursor.iterator = None;
                self.shards.needs_iterator(&id);
                cursor.errors += 1;
                let is_expired = reason == "ExpiredIteratorException";
                if !is_expired || cursor.errors > 1 {
                    due += pause(cursor.errors);
                }
                cursor.due = Some(due);
                if cursor.errors >= ERRORS_BEFORE_FAILING {
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
                cursor.errors += 1;
                cursor.due = Some(due + pause(cursor.errors));
                if cursor.errors >= ERRORS_BEFORE_FAILING {
                    progress.fail("DynamoDB Streams lists a shard and does not find it".into()).await?;
                }
                self.list(progress).await?;
            }
            Page::Throttled => {
                cursor.errors += 1;
                cursor.due = Some(due + pause(cursor.errors));
                if cursor.errors >= 2 * ERRORS_BEFORE_FAILING {
                    progress.fail(TOO_MANY.into()).await?;
                }
            }
            Page::Failed(reason) => {
                cursor.errors += 1;
                cursor.due = Some(due + pause(cursor.errors));
                if cursor.errors >= ERRORS_BEFORE_FAILING {
                    progress.fail(reason).await?;
                }
            }
        }
        Ok(())
    }

    /// Looks for new shards, and for another stream.
    async fn list(&mut self, progress: &mut Progress) -> Result<(), Ended> {
        match self.listed().await {
            Ok((stream, listed)) => {
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

    async fn listed(&self) -> Result<(String, Vec<Listed>)> {
        let stream = client::stream_of(&self.dynamodb, &self.table).await?;
        let listed = client::list_shards(&self.streams, &stream).await?;
        Ok((stream, listed))
    }
}

const TOO_MANY: &str = "DynamoDB Streams refuses requests, because there are too many";

type Request = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// Reads the next records of a shard.
async fn read(
    client: Client,
    stream: String,
    shard: String,
    start: Start,
    iterator: Option<String>,
) -> Answer {
    let (sent, sent_at) = (Instant::now(), now());
    let iterator = match iterator {
        Some(iterator) => Ok(iterator),
        None => client::iterator(&client, &stream, &shard, &start).await,
    };
    let page = match iterator {
        Ok(iterator) => client::records(&client, &iterator).await,
        Err(page) => page,
    };
    Answer { shard, sent, sent_at, page }
}

impl Progress {
    async fn send(&mut self, event: StreamEvent) -> Result<(), Ended> {
        self.last_event = Instant::now();
        self.sender.send(event).await.map_err(|_| Ended)
    }

    /// Reports that the stream can't be read for this reason. A reason that lasts is reported once.
    async fn fail(&mut self, reason: String) -> Result<(), Ended> {
        if self.failing.as_ref() == Some(&reason) {
            return Ok(());
        }
        self.failing = Some(reason.clone());
        self.send(StreamEvent::Failing(reason)).await
    }
}

/// What some records say.
struct Batch {
    /// The records' sequence numbers, and what each is about.
    records: Vec<(String, About)>,
    subjects: BTreeSet<crate::sync::model::Subject>,
    /// When the oldest record that has a subject was written.
    written_at: Option<OffsetDateTime>,
    /// When the newest record was written, in seconds since 1970.
    written_until: Option<i64>,
}

impl Batch {
    fn new(records: &[Record]) -> Self {
        let mut batch =
            Self { records: Vec::new(), subjects: BTreeSet::new(), written_at: None, written_until: None };
        for record in records.iter().filter_map(|record| record.dynamodb.as_ref()) {
            let key = record.keys.as_ref().and_then(|keys| keys.get("pk")?.as_s().ok());
            let about = About::partition(key.map_or("", String::as_str));
            let written = record.approximate_creation_date_time.map(|time| time.secs());
            batch.written_until = batch.written_until.max(written);
            if let About::Subject(subject) = &about {
                batch.subjects.insert(subject.clone());
                let written = written.and_then(|written| OffsetDateTime::from_unix_timestamp(written).ok());
                batch.written_at = batch.written_at.into_iter().chain(written).min();
            }
            batch.records.extend(record.sequence_number.clone().map(|number| (number, about)));
        }
        batch
    }
}

/// The pause after this many errors in a row. A random part of it, up to a half, is left out.
fn pause(errors: u32) -> Duration {
    let longest = Duration::from_millis(200).saturating_mul(1 << errors.min(10)).min(MAX_PAUSE);
    longest.mul_f64(0.5 + fastrand::f64() / 2.0)
}

/// Seconds since 1970.
fn now() -> i64 {
    OffsetDateTime::now_utc().unix_timestamp()
}

#[cfg(test)]
mod tests;
