//! What the sync says: each change and why, what it overwrote, and what it could not carry over.
//!
//! On a terminal these are lines for people, otherwise JSON lines. No line has a token or the hash of one.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use owo_colors::OwoColorize;
use serde::Serialize;
use time::OffsetDateTime;

use super::model::{Side, Subject};
use crate::timestamp::rfc3339;

/// Prints, and counts what it prints.
#[derive(Debug)]
pub struct Reporter {
    is_terminal: bool,
    is_dry_run: bool,
    /// The facts that are open now, and the documents that can't be used, by subject.
    open: Mutex<BTreeMap<Subject, BTreeSet<String>>>,
    /// The changes that would be written, if they are collected instead of printed.
    collected: Option<Mutex<BTreeMap<Subject, Vec<String>>>>,
    /// The subjects that a look or a full pass did not remove, because removals are held back.
    held_back: Mutex<BTreeSet<Subject>>,
    /// The counters, for `/metrics`.
    pub counters: Counters,
}

/// Numbers that only grow.
#[derive(Debug, Default)]
pub struct Counters {
    /// Subjects that were looked at.
    pub looks: AtomicU64,
    /// Changes that were written to DynamoDB.
    pub writes_to_dynamodb: AtomicU64,
    /// Changes that were written to MongoDB.
    pub writes_to_mongodb: AtomicU64,
    /// Writes that were refused because something had changed meanwhile.
    pub refusals: AtomicU64,
    /// Facts of one side that were overwritten with the other side's.
    pub overwritten: AtomicU64,
    /// Looks that failed.
    pub failures: AtomicU64,
    /// Full passes that ended.
    pub passes: AtomicU64,
}

#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "UPPERCASE")]
enum Level {
    Info,
    Warn,
    Error,
}

#[derive(Serialize)]
struct Line<'a> {
    time: String,
    level: Level,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    written_to: Option<Side>,
}

impl Reporter {
    /// Prints for people if standard output is a terminal.
    pub fn new(is_dry_run: bool) -> Self {
        Self {
            is_terminal: io::stdout().is_terminal(),
            is_dry_run,
            open: Mutex::default(),
            collected: None,
            held_back: Mutex::default(),
            counters: Counters::default(),
        }
    }

    /// Prints nothing, and collects what a dry run would write.
    pub fn collecting() -> Self {
        Self { collected: Some(Mutex::default()), ..Self::new(true) }
    }

    /// Takes what was collected since the last call, by subject.
    pub fn take_collected(&self) -> BTreeMap<Subject, Vec<String>> {
        self.collected.as_ref().map(|collected| std::mem::take(&mut *lock(collected))).unwrap_or_default()
    }

    /// Reports a change that was written, or would be written in a dry run.
    pub fn change(&self, subject: &Subject, side: Side, what: impl Display) {
        let counter = match side {
            Side::DynamoDb => &self.counters.writes_to_dynamodb,
            Side::MongoDb => &self.counters.writes_to_mongodb,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        if let Some(collected) = &self.collected {
            let difference = format!("a sync would write to {side}: {what}");
            lock(collected).entry(subject.clone()).or_default().push(difference);
            return;
        }
        let verb = if self.is_dry_run { "would write" } else { "wrote" };
        self.line(Level::Info, Some(subject), Some(side), &format!("{verb} to {side}: {what}"));
    }

    /// Reports a fact of one side before it is overwritten.
    pub fn overwritten(&self, subject: &Subject, what: impl Display) {
        self.counters.overwritten.fetch_add(1, Ordering::Relaxed);
        self.line(Level::Warn, Some(subject), None, &what.to_string());
    }

    /// Sets which facts of this subject can't be carried over now. Each is printed once, for as long as it stays open.
    pub fn open(&self, subject: &Subject, facts: BTreeSet<String>) {
        let before = {
            let mut open = lock(&self.open);
            let before = open.remove(subject).unwrap_or_default();
            if !facts.is_empty() {
                open.insert(subject.clone(), facts.clone());
            }
            before
        };
        for fact in facts.difference(&before) {
            self.line(Level::Warn, Some(subject), None, fact);
        }
    }

    /// Sets whether something of this subject is in DynamoDB only and was not removed.
    pub fn held_back(&self, subject: &Subject, is_held_back: bool) {
        let mut held_back = lock(&self.held_back);
        if is_held_back {
            held_back.insert(subject.clone());
        } else {
            held_back.remove(subject);
        }
    }

    /// Reports something unexpected that an operator should look at.
    pub fn warn(&self, message: impl Display) {
        self.line(Level::Warn, None, None, &message.to_string());
    }

    /// Reports something that failed and is tried again.
    pub fn failure(&self, subject: Option<&Subject>, message: impl Display) {
        self.counters.failures.fetch_add(1, Ordering::Relaxed);
        self.line(Level::Error, subject, None, &message.to_string());
    }

    /// Reports what the process is doing.
    pub fn note(&self, message: impl Display) {
        self.line(Level::Info, None, None, &message.to_string());
    }

    /// The number of facts that are open.
    pub fn open_count(&self) -> usize {
        lock(&self.open).values().map(BTreeSet::len).sum()
    }

    /// The subjects of which facts are open.
    pub fn open_subjects(&self) -> Vec<Subject> {
        lock(&self.open).keys().cloned().collect()
    }

    /// Whether a fact of a subject stays open, or its removal was held back.
    pub fn is_unfinished(&self, subject: &Subject) -> bool {
        lock(&self.open).contains_key(subject) || lock(&self.held_back).contains(subject)
    }

    /// The number of subjects that were not removed.
    pub fn held_back_count(&self) -> usize {
        lock(&self.held_back).len()
    }

    fn line(&self, level: Level, subject: Option<&Subject>, written_to: Option<Side>, message: &str) {
        if self.collected.is_some() {
            return;
        }
        // If the reader of a pipe is gone, the sync goes on all the same.
        let _ = if self.is_terminal {
            let level = match level {
                Level::Info => String::new(),
                Level::Warn => format!("{} ", "warning:".yellow()),
                Level::Error => format!("{} ", "error:".red()),
            };
            let subject = subject.map(|subject| format!("{subject}: ")).unwrap_or_default();
            writeln!(anstream::stdout(), "{level}{subject}{message}")
        } else {
            let time = rfc3339(OffsetDateTime::now_utc());
            let subject = subject.map(ToString::to_string);
            let line = Line { time, level, message, subject, written_to };
            let mut text = serde_json::to_string(&line).unwrap_or_default();
            text.push('\n');
            io::stdout().lock().write_all(text.as_bytes())
        };
    }
}

/// A lock is used even after a panic: each change is a single call, so no change can be half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
