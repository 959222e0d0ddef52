//! Requests that DynamoDB may refuse for the moment or process only in part. They are repeated until they are complete.

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::iter;
use std::time::Duration;

use anyhow::Result;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
#[cfg(feature = "sync")]
use aws_sdk_dynamodb::operation::scan::builders::ScanFluentBuilder;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{AttributeValue, KeysAndAttributes, TransactWriteItem, WriteRequest};
use futures_util::{StreamExt, TryStreamExt, stream};
use livechat_units::id::UnitId;
use livechat_units::item::{Item, Key};

use crate::database::Database;
use crate::limits::MAX_BATCH_GET_KEYS;
use crate::output::warn;

/// The maximum pause before the unprocessed part of a request is sent again.
const MAX_PAUSE: Duration = Duration::from_secs(5);

/// The maximum number of requests of one read at the same time.
const MAX_READS_AT_ONCE: usize = 8;

/// The number of tries in a row without any progress after which the operator is informed. With the pauses they take
/// more than a minute.
const TRIES_BEFORE_WARNING: u32 = 20;

impl Database {
    /// Reads the items of the livechat table that exist under these keys, strongly consistent.
    ///
    /// # Errors
    /// DynamoDB refuses the request for good, or can't be reached.
    pub async fn get_all(&self, keys: Vec<Item>) -> Result<Vec<Item>> {
        read(&self.client, HashMap::from([(self.tables.livechat.clone(), keys)])).await
    }

    /// Reads a unit's item and the items of its monitors, strongly consistent: they share a partition key.
    ///
    /// # Errors
    /// DynamoDB refuses the request for good, or can't be reached.
    pub async fn unit_partition(&self, id: &UnitId) -> Result<Vec<Item>> {
        let table = &self.tables.livechat;
        let query = self.client.query().table_name(table).consistent_read(true);
        let query = query.key_condition_expression("pk = :pk");
        let partition = AttributeValue::S(Key::Unit(id.clone()).partition());
        let query = query.expression_attribute_values(":pk", partition);
        let items = repeat(|| query.clone().into_paginator().items().send().try_collect()).await;
        items.map_err(|error| Self::describe_error(table, error))
    }
}

/// Reads the items that exist under these keys, by table, strongly consistent.
///
/// # Errors
/// DynamoDB refuses a request for good, or can't be reached.
pub async fn read(client: &Client, keys: HashMap<String, Vec<Item>>) -> Result<Vec<Item>> {
    let chunks = keys.into_iter().flat_map(|(table, keys)| {
        let mut keys = keys.into_iter();
        iter::from_fn(move || {
            let chunk: Vec<Item> = keys.by_ref().take(MAX_BATCH_GET_KEYS).collect();
            (!chunk.is_empty()).then(|| (table.clone(), chunk))
        })
    });
    let reads = chunks.map(|(table, chunk)| {
        let client = client.clone();
        async move { read_chunk(&client, &table, chunk).await }
    });
    let items: Vec<Vec<Item>> = stream::iter(reads).buffer_unordered(MAX_READS_AT_ONCE).try_collect().await?;
    Ok(items.into_iter().flatten().collect())
}

/// Reads at most [`MAX_BATCH_GET_KEYS`] items of one table.
async fn read_chunk(client: &Client, table: &str, keys: Vec<Item>) -> Result<Vec<Item>> {
    let mut items = Vec::new();
    let request = KeysAndAttributes::builder().consistent_read(true).set_keys(Some(keys)).build()?;
    let mut unread = HashMap::from([(table.to_owned(), request)]);
    let mut pause = Pause::default();
    while !unread.is_empty() {
        let output = match client.batch_get_item().set_request_items(Some(unread.clone())).send().await {
            Ok(output) => output,
            Err(error) if is_temporary(&error) => {
                pause.before_next_try(Progress::None).await;
                continue;
            }
            Err(error) => return Err(Database::describe_error(table, error)),
        };
        // Every reply has at least one of these fields. A reply whose body was lost has neither, and the SDK accepts
        // it. Without this check, it would seem that no item exists.
        if output.responses.is_none() && output.unprocessed_keys.is_none() {
            pause.before_next_try(Progress::None).await;
            continue;
        }
        let read: Vec<Item> = output.responses.unwrap_or_default().into_values().flatten().collect();
        unread = output.unprocessed_keys.unwrap_or_default();
        if !unread.is_empty() {
            pause.before_next_try(if read.is_empty() { Progress::None } else { Progress::Some }).await;
        }
        items.extend(read);
    }
    Ok(items)
}

/// A page of a scan.
#[cfg(feature = "sync")]
pub struct ScanPage {
    /// Its items.
    pub items: Vec<Item>,
    /// The key after which the next page begins. `None` if this is the last one.
    pub last_key: Option<Item>,
}

/// Reads one page of a scan of a table.
///
/// # Errors
/// DynamoDB refuses the request for good, or can't be reached.
#[cfg(feature = "sync")]
pub async fn scan_page(scan: ScanFluentBuilder, table: &str) -> Result<ScanPage> {
    let scan = scan.table_name(table).consistent_read(true);
    let output = repeat(|| scan.clone().send()).await;
    let output = output.map_err(|error| Database::describe_error(table, error))?;
    Ok(ScanPage { items: output.items.unwrap_or_default(), last_key: output.last_evaluated_key })
}

/// Sends these write requests, by table: at most [`MAX_BATCH_WRITE_ITEMS`](crate::limits::MAX_BATCH_WRITE_ITEMS) in total.
///
/// # Errors
/// DynamoDB refuses a request for good, or can't be reached.
pub async fn send(database: &Database, mut requests: HashMap<String, Vec<WriteRequest>>) -> Result<()> {
    let mut pause = Pause::default();
    let count =
        |requests: &HashMap<String, Vec<WriteRequest>>| requests.values().map(Vec::len).sum::<usize>();
    while !requests.is_empty() {
        let sent = count(&requests);
        let tables = requests.keys().cloned().collect::<Vec<_>>().join(" or ");
        let request = database.client.batch_write_item().set_request_items(Some(requests.clone()));
        let output = match request.send().await {
            Ok(output) => output,
            Err(error) if is_temporary(&error) => {
                pause.before_next_try(Progress::None).await;
                continue;
            }
            Err(error) => return Err(Database::describe_error(&tables, error)),
        };
        requests = output.unprocessed_items.unwrap_or_default();
        if !requests.is_empty() {
            let progress = if count(&requests) < sent { Progress::Some } else { Progress::None };
            pause.before_next_try(progress).await;
        }
    }
    Ok(())
}

/// Sends a transaction. Returns whether it was committed: `false` means that a condition failed and nothing was
/// written.
///
/// # Errors
/// DynamoDB refuses the transaction for another reason that a retry does not change, or can't be reached.
pub async fn transact(database: &Database, actions: Vec<TransactWriteItem>) -> Result<bool> {
    let table = &database.tables.livechat;
    let mut pause = Pause::default();
    loop {
        let request = database.client.transact_write_items().set_transact_items(Some(actions.clone()));
        let Err(error) = request.send().await else { return Ok(true) };
        if is_temporary(&error) {
            pause.before_next_try(Progress::None).await;
            continue;
        }
        let Some(TransactWriteItemsError::TransactionCanceledException(canceled)) = error.as_service_error()
        else {
            return Err(Database::describe_error(table, error));
        };
        let codes: HashSet<&str> =
            canceled.cancellation_reasons().iter().filter_map(|reason| reason.code()).collect();
        if codes.contains("ConditionalCheckFailed") {
            return Ok(false);
        }
        let temporary = ["None", "ThrottlingError", "ProvisionedThroughputExceeded", "TransactionConflict"];
        if !codes.iter().all(|code| temporary.contains(code)) {
            return Err(Database::describe_error(table, error));
        }
        pause.before_next_try(Progress::None).await;
    }
}

/// Whether the condition of a write was fulfilled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConditionalWrite {
    /// It was, and the write is stored.
    Stored,
    /// It was not, and nothing was written.
    Refused,
}

/// Sends a write that has a condition.
///
/// # Errors
/// DynamoDB refuses the write for another reason that a retry does not change, or can't be reached.
pub async fn write_on_condition<T, E, F>(table: &str, send: impl Fn() -> F) -> Result<ConditionalWrite>
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    F: Future<Output = Result<T, SdkError<E>>>,
{
    match repeat(send).await {
        Ok(_) => Ok(ConditionalWrite::Stored),
        Err(error) if error.code() == Some("ConditionalCheckFailedException") => {
            Ok(ConditionalWrite::Refused)
        }
        Err(error) => Err(Database::describe_error(table, error)),
    }
}

/// Sends a request again for as long as DynamoDB refuses it for the moment. Returns the reply to the last one.
async fn repeat<T, E, F>(send: impl Fn() -> F) -> Result<T, SdkError<E>>
where
    E: ProvideErrorMetadata,
    F: Future<Output = Result<T, SdkError<E>>>,
{
    let mut pause = Pause::default();
    loop {
        match send().await {
            Err(error) if is_temporary(&error) => pause.before_next_try(Progress::None).await,
            reply => return reply,
        }
    }
}

/// Whether DynamoDB refused a request for a reason that passes, so that the same request succeeds later. The SDK itself
/// gives up after some tries, and does not try again after a conflict.
fn is_temporary<E: ProvideErrorMetadata>(error: &SdkError<E>) -> bool {
    const CODES: [&str; 7] = [
        "InternalServerError",
        "ProvisionedThroughputExceededException",
        "ReplicatedWriteConflictException",
        "RequestLimitExceeded",
        "ThrottlingException",
        "TransactionConflictException",
        "TransactionInProgressException",
    ];
    error.code().is_some_and(|code| CODES.contains(&code))
}

/// The pauses between the tries of one request. They grow as long as DynamoDB makes no progress.
#[derive(Default)]
struct Pause {
    tries_without_progress: u32,
}

/// What the last try has achieved.
#[derive(Clone, Copy)]
enum Progress {
    /// DynamoDB has processed a part of the request.
    Some,
    /// DynamoDB has processed nothing.
    None,
}

impl Pause {
    /// Waits for a random part of the current pause ("full jitter"). What DynamoDB refuses for the moment is tried
    /// again for as long as the operator waits.
    async fn before_next_try(&mut self, progress: Progress) {
        self.tries_without_progress = match progress {
            Progress::Some => 0,
            Progress::None => self.tries_without_progress + 1,
        };
        if self.tries_without_progress == TRIES_BEFORE_WARNING {
            warn(
                "DynamoDB has refused a request for more than a minute, because of throttling or conflicts; trying again",
            );
        }
        let exponent = self.tries_without_progress.min(10);
        let longest = Duration::from_millis(50).saturating_mul(1 << exponent).min(MAX_PAUSE);
        tokio::time::sleep(longest.mul_f64(fastrand::f64())).await;
    }
}
