//! Requests that DynamoDB may leave undone, in part or for now: made again until they are done.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use anyhow::{Result, bail};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{KeysAndAttributes, TransactWriteItem, WriteRequest};
use livechat_units::item::Item;

use crate::database::Database;

/// Most actions of one transaction.
pub const MAX_ACTIONS: usize = 100;

/// Most keys of one BatchGetItem.
const MAX_KEYS: usize = 100;

/// Longest pause before what was left undone is sent again.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How often in a row DynamoDB may do nothing at all of a request: with the pauses, over a minute.
const MOST_FUTILE_TRIES: u32 = 20;

impl Database {
    /// Reads the items of the livechat table that exist under these keys, strongly consistent.
    ///
    /// # Errors
    /// DynamoDB refuses, or processes nothing for over a minute.
    pub async fn get_all(&self, keys: Vec<Item>) -> Result<Vec<Item>> {
        read(&self.client, HashMap::from([(self.tables.livechat.clone(), keys)])).await
    }
}

/// The items of these keys, strongly consistent.
///
/// # Errors
/// DynamoDB refuses, or processes nothing for over a minute.
pub async fn read(client: &Client, keys: HashMap<String, Vec<Item>>) -> Result<Vec<Item>> {
    let mut found = Vec::new();
    for (table, keys) in keys {
        for chunk in keys.chunks(MAX_KEYS) {
            let request =
                KeysAndAttributes::builder().consistent_read(true).set_keys(Some(chunk.to_vec())).build()?;
            let mut unread = HashMap::from([(table.clone(), request)]);
            let mut pause = Pause::default();
            while !unread.is_empty() {
                let output = client.batch_get_item().set_request_items(Some(unread.clone())).send().await;
                let output = output.map_err(|error| Database::describe_error(&table, error))?;
                // The SDK takes a reply that lost its body for one that has nothing: no item would seem to exist.
                if output.responses.is_none() && output.unprocessed_keys.is_none() {
                    pause.before_next(false).await?;
                    continue;
                }
                let items: Vec<Item> = output.responses.unwrap_or_default().into_values().flatten().collect();
                unread = output.unprocessed_keys.unwrap_or_default();
                if !unread.is_empty() {
                    pause.before_next(!items.is_empty()).await?;
                }
                found.extend(items);
            }
        }
    }
    Ok(found)
}

/// Writes these, by table: at most 25 in all.
///
/// # Errors
/// DynamoDB refuses, or processes nothing for over a minute.
pub async fn send(data: &Database, mut requests: HashMap<String, Vec<WriteRequest>>) -> Result<()> {
    let mut pause = Pause::default();
    let count =
        |requests: &HashMap<String, Vec<WriteRequest>>| requests.values().map(Vec::len).sum::<usize>();
    while !requests.is_empty() {
        let sent = count(&requests);
        let tables = requests.keys().cloned().collect::<Vec<_>>().join(" or ");
        let output = data.client.batch_write_item().set_request_items(Some(requests)).send().await;
        let output = output.map_err(|error| Database::describe_error(&tables, error))?;
        requests = output.unprocessed_items.unwrap_or_default();
        if !requests.is_empty() {
            pause.before_next(count(&requests) < sent).await?;
        }
    }
    Ok(())
}

/// Full jitter, growing as long as nothing is processed.
#[derive(Default)]
struct Pause {
    futile: u32,
}

impl Pause {
    async fn before_next(&mut self, got_on: bool) -> Result<()> {
        self.futile = if got_on { 0 } else { self.futile + 1 };
        if self.futile > MOST_FUTILE_TRIES {
            bail!("DynamoDB throttles all requests; try again later, or with more capacity");
        }
        let longest = Duration::from_millis(50).saturating_mul(1 << self.futile.min(10)).min(LONGEST_PAUSE);
        tokio::time::sleep(longest.mul_f64(fastrand::f64())).await;
        Ok(())
    }
}

/// Commits a transaction. Returns whether it did; it did not if a condition failed.
///
/// # Errors
/// DynamoDB refuses for another reason, or does nothing for over a minute.
pub async fn transact(data: &Database, actions: Vec<TransactWriteItem>) -> Result<bool> {
    let mut pause = Pause::default();
    loop {
        let result =
            data.client.transact_write_items().set_transact_items(Some(actions.clone())).send().await;
        let Err(error) = result else { return Ok(true) };
        let Some(TransactWriteItemsError::TransactionCanceledException(canceled)) = error.as_service_error()
        else {
            return Err(Database::describe_error(&data.tables.livechat, error));
        };
        let codes: HashSet<&str> =
            canceled.cancellation_reasons().iter().filter_map(|reason| reason.code()).collect();
        if codes.contains("ConditionalCheckFailed") {
            return Ok(false);
        }
        let passing = ["None", "ThrottlingError", "ProvisionedThroughputExceeded", "TransactionConflict"];
        if !codes.iter().all(|code| passing.contains(code)) {
            return Err(Database::describe_error(&data.tables.livechat, error));
        }
        pause.before_next(false).await?;
    }
}
