//! Which shards of a stream to read, from where, and what has been read. There are no requests here.
//!
//! A shard closes after some hours, and when its partition is split. Its children have what is written later, so a
//! shard is read only after its parent has been read to its end ("Change data capture for DynamoDB Streams").
//!
//! A position names every shard that was known when it was stored. So a shard that it does not name is new, and is read
//! from its beginning.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::subject::About;

/// The maximum age of a position that can be used, in seconds. DynamoDB keeps records for 24 hours. This is two hours less,
/// because clocks differ and because the age is counted in full hours.
const MAX_AGE_SECONDS: i64 = 22 * 3600;

/// A shard as DescribeStream lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its id.
    pub id: String,
    /// Its parent, the shard whose records come before its own.
    pub parent: Option<String>,
}

/// A position in a stream: everything before it is dealt with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The stream.
    stream: String,
    /// The shards that are not read to their end, with the last record of each that is dealt with. A shard without such
    /// a record has to be read from its beginning.
    reading: BTreeMap<String, Option<String>>,
    /// The shards that were read to their end.
    finished: BTreeSet<String>,
    /// A time until which all records are dealt with, in hours since 1970. It changes only once an hour, so that an
    /// idle stream's position is seldom stored.
    hour: i64,
}

/// The place from which a shard is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// From the oldest record that it has.
    Beginning,
    /// From the next record that is written.
    Latest,
    /// From the record after this one.
    After(String),
}

/// The shards of a stream.
#[derive(Debug)]
pub struct Shards {
    stream: String,
    shards: BTreeMap<String, Shard>,
}

#[derive(Debug)]
struct Shard {
    parent: Option<String>,
    state: State,
    /// The last record that is part of a position: records of the sync's own items are not, because storing a position
    /// writes such a record.
    reported: Option<String>,
    /// The time until which its records have been read, in seconds since 1970.
    read_until: i64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Reading(Start),
    Finished,
}

impl Position {
    /// The text to store.
    pub fn to_text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Reads a stored text. `None` if it is no position.
    pub fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }
}

impl Shards {
    /// Shards of which only later records are read. Shards that have children are closed, so they count as read.
    pub fn at_latest(stream: &str, listed: &[Listed], now: i64) -> Self {
        let parents: BTreeSet<&str> = listed.iter().filter_map(|shard| shard.parent.as_deref()).collect();
        let mut shards = Self { stream: stream.to_owned(), shards: BTreeMap::new() };
        for shard in listed {
            let state = match parents.contains(shard.id.as_str()) {
                true => State::Finished,
                false => State::Reading(Start::Latest),
            };
            shards.add(shard, state, now);
        }
        shards
    }

    /// Shards of which all records are read.
    pub fn from_beginning(stream: &str, listed: &[Listed], now: i64) -> Self {
        let mut shards = Self { stream: stream.to_owned(), shards: BTreeMap::new() };
        shards.update(listed, now);
        shards
    }

    /// Shards of which the records after this position are read. `None` if some of these are lost: it is a position in
    /// another stream, or is too old, or a shard is gone that had not been read to its end.
    pub fn resume(position: &Position, stream: &str, listed: &[Listed], now: i64) -> Option<Self> {
        let read_until = position.hour.checked_mul(3600)?;
        let is_listed = |id: &String| listed.iter().any(|shard| shard.id == *id);
        if position.stream != stream
            || now.saturating_sub(read_until) > MAX_AGE_SECONDS
            || !position.reading.keys().all(is_listed)
        {
            return None;
        }
        let mut shards = Self { stream: stream.to_owned(), shards: BTreeMap::new() };
        for shard in listed {
            let state = match position.reading.get(&shard.id) {
                Some(Some(record)) => State::Reading(Start::After(record.clone())),
                None if position.finished.contains(&shard.id) => State::Finished,
                Some(None) | None => State::Reading(Start::Beginning),
            };
            shards.add(shard, state, read_until);
        }
        Some(shards)
    }

    fn add(&mut self, listed: &Listed, state: State, read_until: i64) {
        let reported = match &state {
            State::Reading(Start::After(record)) => Some(record.clone()),
            State::Reading(_) | State::Finished => None,
        };
        let shard = Shard { parent: listed.parent.clone(), state, reported, read_until };
        self.shards.insert(listed.id.clone(), shard);
    }

    /// The stream.
    pub fn stream(&self) -> &str {
        &self.stream
    }

    /// Takes over a new list of all shards. Returns whether records are lost: a shard is gone that had not been read to
    /// its end.
    pub fn update(&mut self, listed: &[Listed], now: i64) -> bool {
        let ids: BTreeSet<&str> = listed.iter().map(|shard| shard.id.as_str()).collect();
        let count = self.shards.values().filter(|shard| shard.state != State::Finished).count();
        self.shards.retain(|id, _| ids.contains(id.as_str()));
        let is_lost = self.shards.values().filter(|shard| shard.state != State::Finished).count() < count;
        for shard in listed {
            if !self.shards.contains_key(&shard.id) {
                self.add(shard, State::Reading(Start::Beginning), now);
            }
        }
        is_lost
    }

    /// The shards to read now, each with the place from which a new iterator has to start.
    pub fn readable(&self) -> impl Iterator<Item = (&str, &Start)> {
        self.shards.iter().filter_map(|(id, shard)| {
            let State::Reading(start) = &shard.state else { return None };
            // A parent that is not listed any more was closed more than a day ago.
            let parent = shard.parent.as_ref().and_then(|parent| self.shards.get(parent));
            parent.is_none_or(|parent| parent.state == State::Finished).then_some((id.as_str(), start))
        })
    }

    /// True if a shard was read to its end and its children are not known yet.
    pub fn lacks_children(&self) -> bool {
        let parents: BTreeSet<&str> =
            self.shards.values().filter_map(|shard| shard.parent.as_deref()).collect();
        self.shards.iter().any(|(id, shard)| shard.state == State::Finished && !parents.contains(id.as_str()))
    }

    /// A record of this shard has been read. A record of one of the sync's own items is never reported.
    pub fn read(&mut self, id: &str, record: &str, about: &About) {
        let Some(shard) = self.shards.get_mut(id) else { return };
        if shard.state != State::Finished {
            shard.state = State::Reading(Start::After(record.to_owned()));
        }
        if *about != About::Own {
            shard.reported = Some(record.to_owned());
        }
    }

    /// All records of this shard have been read that were written before this time, in seconds since 1970.
    pub fn read_until(&mut self, id: &str, time: i64) {
        if let Some(shard) = self.shards.get_mut(id) {
            shard.read_until = shard.read_until.max(time);
        }
    }

    /// The shard has been read to its end.
    pub fn finish(&mut self, id: &str) {
        if let Some(shard) = self.shards.get_mut(id) {
            shard.state = State::Finished;
        }
    }

    /// The shard needs a new iterator. If it was read from the latest record on, and none has come yet, that moment
    /// can't be found again. Then everything that the shard has is read.
    pub fn needs_iterator(&mut self, id: &str) {
        if let Some(shard) = self.shards.get_mut(id)
            && shard.state == State::Reading(Start::Latest)
        {
            shard.state = State::Reading(Start::Beginning);
        }
    }

    /// Records of the shard are lost. What it still has is read.
    pub fn lost(&mut self, id: &str) {
        if let Some(shard) = self.shards.get_mut(id) {
            shard.state = State::Reading(Start::Beginning);
            shard.reported = None;
        }
    }

    /// The position after what has been read.
    pub fn position(&self) -> Position {
        let mut position = Position {
            stream: self.stream.clone(),
            reading: BTreeMap::new(),
            finished: BTreeSet::new(),
            hour: i64::MAX,
        };
        for (id, shard) in &self.shards {
            if shard.state == State::Finished {
                position.finished.insert(id.clone());
            } else {
                position.reading.insert(id.clone(), shard.reported.clone());
                position.hour = position.hour.min(shard.read_until.div_euclid(3600));
            }
        }
        // For a short while all shards may be finished, until their children are listed.
        if position.reading.is_empty() {
            let newest = self.shards.values().map(|shard| shard.read_until.div_euclid(3600)).max();
            position.hour = newest.unwrap_or_default();
        }
        position
    }
}

#[cfg(test)]
mod tests;
