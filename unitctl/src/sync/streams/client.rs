//! The requests to DynamoDB Streams, and what their errors mean.

use std::fmt;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use aws_sdk_dynamodbstreams::Client;
use aws_sdk_dynamodbstreams::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodbstreams::types::{Record, ShardIteratorType};
use tokio::time::timeout;

use super::shards::{Listed, Start};
use crate::database::code_and_message;

/// The maximum time of a request. On a dead connection there is never an answer.
const MAX_REQUEST: Duration = Duration::from_secs(10);

/// A table without a stream.
#[derive(Debug)]
pub struct NoStream {
    table: String,
}

impl std::error::Error for NoStream {}

impl fmt::Display for NoStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let table = &self.table;
        write!(
            f,
            "the table {table} has no stream: switch it on by deploying the template again, or with `aws dynamodb \
             update-table --table-name {table} --stream-specification StreamEnabled=true,StreamViewType=KEYS_ONLY`"
        )
    }
}

/// The result of a request about a shard.
#[derive(Debug)]
pub enum Page {
    /// The next records.
    Records {
        /// The records.
        records: Vec<Record>,
        /// The iterator of the next page. If there is none, the shard was read to its end.
        next_iterator: Option<String>,
    },
    /// The iterator is too old, or is refused for another reason: a new one is needed.
    BadIterator(String),
    /// The next record is older than 24 hours and gone.
    Trimmed {
        /// True if a new iterator was refused. Then any other new iterator would be refused, too.
        is_certain: bool,
    },
    /// There is no such shard.
    Gone,
    /// There are too many requests at the moment.
    Throttled,
    /// The stream can't be read at the moment, for this reason.
    Failed(String),
}

/// The name of the table's stream.
///
/// # Errors
/// There is none ([`NoStream`]), or DynamoDB refuses the request or can't be reached.
pub async fn stream_of(dynamodb: &aws_sdk_dynamodb::Client, table: &str) -> Result<String> {
    let request = dynamodb.describe_table().table_name(table).send();
    let output = timeout(MAX_REQUEST, request).await.context("DynamoDB does not answer")?;
    let output = output.map_err(|error| crate::database::Database::describe_error(table, error))?;
    let description = output.table.context("DynamoDB does not describe the table")?;
    // The name of the last stream stays after it is switched off.
    let is_on = description.stream_specification.is_some_and(|stream| stream.stream_enabled);
    let stream = description.latest_stream_arn.filter(|_| is_on);
    stream.ok_or_else(|| NoStream { table: table.to_owned() }.into())
}

/// All shards of a stream.
///
/// # Errors
/// DynamoDB refuses a request or can't be reached.
pub async fn list_shards(client: &Client, stream: &str) -> Result<Vec<Listed>> {
    let mut shards = Vec::new();
    let mut last = None;
    loop {
        let request = client.describe_stream().stream_arn(stream).set_exclusive_start_shard_id(last.take());
        let output = timeout(MAX_REQUEST, request.send()).await;
        let output = output.context("DynamoDB Streams does not answer")?.map_err(code_and_message)?;
        let description = output.stream_description.context("DynamoDB does not describe the stream")?;
        let listed = description.shards.unwrap_or_default().into_iter();
        shards.extend(
            listed.filter_map(|shard| Some(Listed { id: shard.shard_id?, parent: shard.parent_shard_id })),
        );
        last = description.last_evaluated_shard_id;
        if last.is_none() {
            return Ok(shards);
        }
    }
}

/// An iterator that starts at this place of the shard.
///
/// # Errors
/// What the error means for the shard.
pub async fn iterator(client: &Client, stream: &str, shard: &str, start: &Start) -> Result<String, Page> {
    let request = client.get_shard_iterator().stream_arn(stream).shard_id(shard);
    let request = match start {
        Start::Beginning => request.shard_iterator_type(ShardIteratorType::TrimHorizon),
        Start::Latest => request.shard_iterator_type(ShardIteratorType::Latest),
        Start::After(record) => {
            request.shard_iterator_type(ShardIteratorType::AfterSequenceNumber).sequence_number(record)
        }
    };
    let Ok(output) = timeout(MAX_REQUEST, request.send()).await else { return Err(no_answer()) };
    match output {
        Ok(output) => output.shard_iterator.ok_or_else(no_answer),
        Err(error) => Err(match error.code() {
            // The record is gone or unknown. An engine on this machine does not know it, for instance, after a restart
            // without its data.
            Some("TrimmedDataAccessException" | "ValidationException") => Page::Trimmed { is_certain: true },
            _ => page_of(error),
        }),
    }
}

/// The next records.
pub async fn records(client: &Client, iterator: &str) -> Page {
    let request = client.get_records().shard_iterator(iterator).send();
    let Ok(output) = timeout(MAX_REQUEST, request).await else { return no_answer() };
    match output {
        Ok(output) => Page::Records {
            records: output.records.unwrap_or_default(),
            next_iterator: output.next_shard_iterator,
        },
        Err(error) => page_of(error),
    }
}

fn no_answer() -> Page {
    Page::Failed("DynamoDB Streams does not answer".into())
}

fn page_of<E>(error: SdkError<E>) -> Page
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    const THROTTLED: [&str; 4] = [
        "LimitExceededException",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "ThrottlingException",
    ];
    const DENIED: [&str; 5] = [
        "AccessDeniedException",
        "ExpiredTokenException",
        "InvalidSignatureException",
        "MissingAuthenticationTokenException",
        "UnrecognizedClientException",
    ];
    match error.code() {
        Some(code) if THROTTLED.contains(&code) => Page::Throttled,
        Some("ResourceNotFoundException") => Page::Gone,
        Some("TrimmedDataAccessException") => Page::Trimmed { is_certain: false },
        Some(code) if !DENIED.contains(&code) => Page::BadIterator(code.to_owned()),
        _ => Page::Failed(format!("{:#}", anyhow!(code_and_message(error)).context("DynamoDB Streams"))),
    }
}
