//! What some records of the stream say.

use std::collections::BTreeSet;

use aws_sdk_dynamodbstreams::types::Record;
use time::OffsetDateTime;

use crate::sync::model::Subject;
use crate::sync::streams::subject::About;

/// What some records say.
pub struct Batch {
    /// The records' sequence numbers, and what each is about.
    pub records: Vec<(String, About)>,
    /// What the records are about.
    pub subjects: BTreeSet<Subject>,
    /// When the oldest record that has a subject was written.
    pub written_at: Option<OffsetDateTime>,
    /// When the newest record was written, in seconds since 1970.
    pub written_until: Option<i64>,
}

impl Batch {
    /// Reads these records.
    pub fn new(records: &[Record]) -> Self {
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
