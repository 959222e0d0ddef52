//! Follows a change stream without end: after a failure it connects again and goes on from the last position, and reports
//! when that is not possible.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use livechat_units::id::UnitId;
use mongodb::bson::{Bson, Document as BsonDocument, doc};
use mongodb::change_stream::ChangeStream;
use mongodb::change_stream::event::ResumeToken;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::client::MongoDb;
use super::collections::{DEPARTMENTS, UNIT_MONITORS};
use super::failure::{Cause, Failure, Step, within};
use super::ids::{id_text, with_id};
use super::watch_event::{Event, Meaning, Watch, WatchEvent, Watched, row_in_unit, unit_or_department};

/// How long the server waits for an event before it answers that there is none, with its newest position.
const AWAIT: Duration = Duration::from_secs(1);

/// The pause after a reply that has no event and came early. Some servers reply whenever anything at all is written, and
/// would get hundreds of requests a second.
const AFTER_EARLY_REPLY: Duration = Duration::from_millis(50);

/// The time between two reports of an idle stream's position.
const IDLE: Duration = Duration::from_secs(2);

/// The pauses between attempts to open the stream again.
const MIN_PAUSE: Duration = Duration::from_millis(100);
const MAX_PAUSE: Duration = Duration::from_secs(5);

/// Follows the stream of a collection from a position, or from now on without one. It ends only when nobody receives
/// its events any more.
pub async fn watch(mongo: MongoDb, stream: Watched, start: Option<String>, sender: mpsc::Sender<Watch>) {
    let mut follower =
        Follower { mongo, stream, sender, position: start, lost: None, was_open: false, pause: MIN_PAUSE };
    while let Err(end) = follower.follow().await {
        let failure = match end {
            End::NobodyReceives => return,
            End::Invalidated => continue,
            End::Failed(failure) => failure,
        };
        if failure.cause == Cause::Position {
            follower.position = None;
            follower.lost = Some(failure.to_string());
        }
        let interrupted = WatchEvent::Interrupted { reason: failure.to_string() };
        let pause = follower.pause.mul_f64(fastrand::f64() / 2.0 + 0.5);
        follower.pause = (follower.pause * 2).min(MAX_PAUSE);
        if follower.send(interrupted).await.is_err() {
            return;
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = follower.sender.closed() => return,
        }
    }
}

/// Why a stream is not read any more.
enum End {
    NobodyReceives,
    /// The collection was dropped or renamed. The stream can be started after the event that said so.
    Invalidated,
    Failed(Failure),
}

impl From<Failure> for End {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

struct Follower {
    mongo: MongoDb,
    stream: Watched,
    sender: mpsc::Sender<Watch>,
    /// The position of the newest event that was sent.
    position: Option<String>,
    /// Why the stream can't go on from the position that it had.
    lost: Option<String>,
    /// Whether the stream was open before. Then a start without a position means that events may be missing.
    was_open: bool,
    pause: Duration,
}

impl Follower {
    /// Opens the stream and reads it until it ends.
    async fn follow(&mut self) -> Result<(), End> {
        let (mut stream, lost) = self.open().await?;
        self.was_open = true;
        self.send(WatchEvent::Opened).await?;
        if let Some(reason) = lost {
            self.send(WatchEvent::Lost { reason }).await?;
        }
        let mut said = Instant::now();
        if let Some(token) = stream.resume_token() {
            self.idle(&token).await?;
        }
        loop {
            let asked = Instant::now();
            let event = within(self.step(), stream.next_if_any()).await?;
            let is_early = event.is_none() && asked.elapsed() < AWAIT / 2;
            match event {
                Some(event) => {
                    self.event(event).await?;
                    said = Instant::now();
                }
                None if !stream.is_alive() => return Err(End::Invalidated),
                None if said.elapsed() >= IDLE => {
                    if let Some(token) = stream.resume_token() {
                        self.idle(&token).await?;
                    }
                    said = Instant::now();
                }
                None => {}
            }
            if is_early {
                tokio::time::sleep(AFTER_EARLY_REPLY).await;
            }
            self.pause = MIN_PAUSE;
        }
    }

    /// Opens the stream. If events may be missing, also returns why.
    async fn open(&mut self) -> Result<(ChangeStream<Event>, Option<String>), End> {
        let mut lost = self.lost.clone();
        if let Some(position) = &self.position {
            let opened = match parse_token(position) {
                Some(token) => self.open_after(Some(token)).await,
                None => {
                    Err(Failure::new(Cause::Position, "The stored position of a change stream is damaged"))
                }
            };
            match opened {
                Ok(stream) => return Ok((stream, None)),
                Err(failure) if failure.cause == Cause::Unreachable => return Err(failure.into()),
                // Servers refuse a token that they can't read with many different codes. If the token is not the
                // reason, they also refuse the stream without a token, below.
                Err(failure) => lost = Some(failure.to_string()),
            }
        } else if self.was_open && lost.is_none() {
            lost = Some("A change stream broke before it had a position".into());
        }
        let stream = self.open_after(None).await?;
        self.position = None;
        self.lost = None;
        Ok((stream, lost))
    }

    async fn open_after(&self, token: Option<ResumeToken>) -> Result<ChangeStream<Event>, Failure> {
        let collection = self.mongo.collection(self.stream.collection());
        let watch = collection.watch().pipeline(self.stream.pipeline()).max_await_time(AWAIT);
        // Unlike `resumeAfter`, this also goes on after the collection was dropped or renamed.
        let watch = match token {
            Some(token) => watch.start_after(token),
            None => watch,
        };
        Ok(within(self.step(), watch).await?.with_type())
    }

    fn step(&self) -> Step {
        Step { action: "changeStream", collection: self.stream.collection() }
    }

    /// Sends what follows from an event.
    async fn event(&mut self, event: Event) -> Result<(), End> {
        let token = token_text(&event.token);
        let is_deletion = event.is_deletion();
        let known = &self.mongo.known;
        let is_own = event.is_own(known);
        let subjects = match event.meaning(self.stream, known) {
            // The look that made the change has read and written everything that belongs to it. If it fails, it is repeated.
            Meaning::Look(_) | Meaning::AllUnits | Meaning::KindOf(_) | Meaning::UnitOf(_) if is_own => {
                return self.advance(token.clone(), WatchEvent::Idle { token }).await;
            }
            Meaning::Look(subjects) => subjects,
            Meaning::AllUnits => {
                return self.advance(token.clone(), WatchEvent::LookAtAllUnits { token }).await;
            }
            Meaning::Settings => {
                return self.advance(token.clone(), WatchEvent::SettingsChanged { token }).await;
            }
            Meaning::KindOf(id) => {
                let is_unit = self.is_unit(&id).await?;
                if let Some(is_unit) = is_unit {
                    known.note_kind(id.clone(), is_unit);
                }
                unit_or_department(id, is_unit)
            }
            Meaning::UnitOf(row) => match self.unit_of_row(&row).await? {
                Some(unit) => row_in_unit(row, unit, known),
                // The row is gone already. The event of its deletion follows.
                None => Vec::new(),
            },
            Meaning::Gone => {
                let collection = self.stream.collection();
                let reason = format!("The collection {collection} was dropped or renamed");
                return self.advance(token, WatchEvent::Lost { reason }).await;
            }
            Meaning::Ended => {
                self.position = Some(token);
                return Err(End::Invalidated);
            }
        };
        self.advance(token.clone(), WatchEvent::Look { subjects, is_deletion, token }).await
    }

    async fn idle(&mut self, token: &ResumeToken) -> Result<(), End> {
        let token = token_text(token);
        self.advance(token.clone(), WatchEvent::Idle { token }).await
    }

    async fn advance(&mut self, token: String, event: WatchEvent) -> Result<(), End> {
        self.send(event).await?;
        self.position = Some(token);
        Ok(())
    }

    async fn send(&self, event: WatchEvent) -> Result<(), End> {
        let watch = Watch { stream: self.stream, event };
        self.sender.send(watch).await.map_err(|_| End::NobodyReceives)
    }

    /// Whether a document is a unit. `None` if it is gone.
    async fn is_unit(&self, id: &str) -> Result<Option<bool>, Failure> {
        let document = self.look_up(DEPARTMENTS, id, "type").await?;
        Ok(document.map(|document| document.get_str("type").is_ok_and(|kind| kind == "u")))
    }

    async fn unit_of_row(&self, row: &str) -> Result<Option<UnitId>, Failure> {
        let document = self.look_up(UNIT_MONITORS, row, "unitId").await?;
        Ok(document.and_then(|document| UnitId::parse(id_text(document.get("unitId")?)?)))
    }

    async fn look_up(
        &self,
        collection: &'static str,
        id: &str,
        field: &str,
    ) -> Result<Option<BsonDocument>, Failure> {
        let step = Step { action: "find", collection };
        let documents = self.mongo.collection(collection);
        let find = documents.find_one(with_id(id)).projection(doc! { field: 1 });
        within(step, find).await
    }
}

/// A position as text: the bytes of the token in base64.
fn token_text(token: &ResumeToken) -> String {
    // A token is a document, which always has bytes. An empty text would count as a lost position.
    let bytes = mongodb::bson::serialize_to_vec(token).unwrap_or_default();
    BASE64.encode(bytes)
}

/// A position that was made by [`token_text`].
fn parse_token(text: &str) -> Option<ResumeToken> {
    let bytes = BASE64.decode(text).ok()?;
    let document: BsonDocument = mongodb::bson::deserialize_from_slice(&bytes).ok()?;
    mongodb::bson::deserialize_from_bson(Bson::Document(document)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_survives_as_text() {
        let bson = Bson::Document(doc! { "_data": "8263", "_typeBits": Bson::Binary(mongodb::bson::Binary {
            subtype: mongodb::bson::spec::BinarySubtype::Generic,
            bytes: vec![0x82],
        }) });
        let token: ResumeToken = mongodb::bson::deserialize_from_bson(bson).expect("it is a token");
        let text = token_text(&token);
        assert_eq!(parse_token(&text), Some(token));
        for damaged in ["", "{", "AAAA", &text[4..]] {
            assert_eq!(parse_token(damaged), None, "{damaged}");
        }
    }
}
