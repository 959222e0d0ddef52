//! Writes what differs from what is stored, in the batches that DynamoDB takes.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::ProvideErrorMetadata;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{
    AttributeValue, Delete, KeysAndAttributes, Put, PutRequest, TransactWriteItem, WriteRequest,
};
use livechat_units::Tables;
use livechat_units::item::{Item, Key};

use super::same::same;
use super::workspace::{PlannedUnit, StoredUnit};
use crate::target::Data;

/// Most items of one BatchWriteItem.
pub const MAX_BATCH: usize = 25;

/// Most keys of one BatchGetItem.
const MAX_KEYS: usize = 100;

/// Most actions of one transaction.
const MAX_ACTIONS: usize = 100;

/// Longest pause before what was left unprocessed is sent again.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How often in a row DynamoDB may process nothing at all of a request: with the pauses, over a minute.
const MOST_FUTILE_TRIES: u32 = 20;

/// What an item is, for the counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A user.
    User,
    /// A login token.
    Token,
    /// A permission.
    Permission,
    /// A department.
    Department,
    /// A unit, with its monitors.
    Unit,
}

/// An item to be stored as it is.
#[derive(Clone, Debug)]
pub struct Write {
    /// What it is.
    pub kind: Kind,
    /// The item.
    pub item: Item,
    /// Whether a department stays where it is stored now, in its unit or in none.
    pub keeps_place: bool,
}

/// What became of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Outcome {
    /// It is stored now, or would be, but for a dry run.
    Written,
    /// It was stored just so already.
    Unchanged,
    /// It changed between reading and writing, and stays as it is.
    Lost,
}

impl Write {
    /// The partition key's value, which is the whole identity of all that is written in batches.
    pub fn partition(&self) -> &str {
        let name = if self.kind == Kind::Token { "hashedToken" } else { "pk" };
        self.item.get(name).and_then(|value| value.as_s().ok()).map_or("", String::as_str)
    }

    fn table<'a>(&self, tables: &'a Tables) -> &'a str {
        if self.kind == Kind::Token { &tables.tokens } else { &tables.livechat }
    }

    fn key(&self) -> Item {
        let is_key = |name: &String| ["hashedToken", "pk", "sk"].contains(&name.as_str());
        let attributes = self.item.iter().filter(|(name, _)| is_key(name));
        attributes.map(|(name, value)| (name.clone(), value.clone())).collect()
    }
}

/// Makes these items, at most [`MAX_BATCH`] distinct ones, what is stored. Returns what became of each.
///
/// # Errors
/// DynamoDB refuses, or processes nothing for over a minute.
pub async fn batch(data: Data, writes: Vec<Write>, is_dry_run: bool) -> Result<Vec<(Write, Outcome)>> {
    let mut keys: HashMap<String, Vec<Item>> = HashMap::new();
    for write in &writes {
        keys.entry(write.table(&data.tables).to_owned()).or_default().push(write.key());
    }
    let stored = read(&data.client, keys).await?;
    let stored: HashMap<&str, &Item> = stored.iter().map(|item| (partition(item), item)).collect();

    let mut outcomes = Vec::with_capacity(writes.len());
    let mut requests: HashMap<String, Vec<WriteRequest>> = HashMap::new();
    for mut write in writes {
        let old = stored.get(write.partition()).copied();
        if write.keeps_place {
            for name in ["parentId", "ancestors"] {
                let value = old.and_then(|old| old.get(name)).cloned();
                write.item.extend(value.map(|value| (name.to_owned(), value)));
            }
        }
        let outcome = match old {
            Some(old) if same(old, &write.item) => Outcome::Unchanged,
            _ if is_dry_run => Outcome::Written,
            // A batch knows no conditions; where others may have moved a department meanwhile, that matters.
            Some(old) if write.kind == Kind::Department => replace(&data, &write.item, old).await?,
            _ => {
                let put = PutRequest::builder().set_item(Some(write.item.clone())).build()?;
                let request = WriteRequest::builder().put_request(put).build();
                requests.entry(write.table(&data.tables).to_owned()).or_default().push(request);
                Outcome::Written
            }
        };
        outcomes.push((write, outcome));
    }
    send(&data.client, requests).await?;
    Ok(outcomes)
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
                let output = client.batch_get_item().set_request_items(Some(unread)).send().await;
                let output = output.with_context(|| format!("reading the table {table}"))?;
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

async fn send(client: &Client, mut requests: HashMap<String, Vec<WriteRequest>>) -> Result<()> {
    let mut pause = Pause::default();
    let count =
        |requests: &HashMap<String, Vec<WriteRequest>>| requests.values().map(Vec::len).sum::<usize>();
    while !requests.is_empty() {
        let sent = count(&requests);
        let output = client.batch_write_item().set_request_items(Some(requests)).send().await;
        requests = output.context("writing")?.unprocessed_items.unwrap_or_default();
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

/// Stores a department in place of the one that was read, if it is still where it was.
async fn replace(data: &Data, item: &Item, old: &Item) -> Result<Outcome> {
    let put = data.client.put_item().table_name(&data.tables.livechat).set_item(Some(item.clone()));
    let put = match old.get("parentId") {
        Some(parent) => put
            .condition_expression("attribute_exists(pk) AND parentId = :parent")
            .expression_attribute_values(":parent", parent.clone()),
        None => put.condition_expression("attribute_exists(pk) AND attribute_not_exists(parentId)"),
    };
    match put.send().await {
        Ok(_) => Ok(Outcome::Written),
        Err(error) if error.code() == Some("ConditionalCheckFailedException") => Ok(Outcome::Lost),
        Err(error) => Err(error).context("writing a department"),
    }
}

/// Stores a unit and its monitors, if it is as it was when it was read.
///
/// All in one transaction, unless that would be too many actions: then the monitors of a new unit come
/// first, which are nobody's until the unit is there, and what an old one loses comes last.
///
/// # Errors
/// DynamoDB refuses.
pub async fn unit(
    data: &Data,
    unit: &PlannedUnit,
    stored: Option<&StoredUnit>,
    is_dry_run: bool,
) -> Result<Outcome> {
    if stored.is_some_and(|stored| stored.is(unit)) {
        return Ok(Outcome::Unchanged);
    }
    if is_dry_run {
        return Ok(Outcome::Written);
    }
    let table = &data.tables.livechat;
    let of_old = |id| stored.and_then(|stored| stored.monitors.get(id));
    let joining = unit.monitors.iter().filter(|(id, item)| !of_old(id).is_some_and(|old| same(old, item)));
    let puts = joining.map(|(_, item)| {
        let put = Put::builder().table_name(table).set_item(Some(item.clone())).build()?;
        Ok(TransactWriteItem::builder().put(put).build())
    });
    let mut before = puts.collect::<Result<Vec<_>>>()?;
    let leaving = stored.into_iter().flat_map(|stored| stored.monitors.keys());
    let deletes = leaving.filter(|id| !unit.monitors.contains_key(*id)).map(|id| {
        let key = Key::Monitor(unit.id.clone(), id.clone()).attributes();
        let delete = Delete::builder().table_name(table).set_key(Some(key)).build()?;
        Ok(TransactWriteItem::builder().delete(delete).build())
    });
    let mut after = deletes.collect::<Result<Vec<_>>>()?;

    let put = Put::builder().table_name(table).set_item(Some(unit.item_over(stored)));
    let put = match stored {
        None => put.condition_expression("attribute_not_exists(pk)"),
        Some(stored) => match stored.item.get("version") {
            None => put.condition_expression("attribute_exists(pk) AND attribute_not_exists(version)"),
            Some(version) => put
                .condition_expression("version = :version")
                .expression_attribute_values(":version", version.clone()),
        },
    };
    let item = TransactWriteItem::builder().put(put.build()?).build();

    let mut together = vec![item];
    let room = |used: usize| MAX_ACTIONS.saturating_sub(used);
    let fit = before.len().min(room(together.len()));
    together.extend(before.drain(..fit));
    let fit = after.len().min(room(together.len()));
    together.extend(after.drain(..fit));

    for chunk in before.chunks(MAX_ACTIONS) {
        transact(&data.client, chunk.to_vec()).await?;
    }
    let outcome = transact(&data.client, together).await?;
    if outcome == Outcome::Written {
        for chunk in after.chunks(MAX_ACTIONS) {
            transact(&data.client, chunk.to_vec()).await?;
        }
    }
    Ok(outcome)
}

async fn transact(client: &Client, actions: Vec<TransactWriteItem>) -> Result<Outcome> {
    let mut pause = Pause::default();
    loop {
        let result = client.transact_write_items().set_transact_items(Some(actions.clone())).send().await;
        let Err(error) = result else { return Ok(Outcome::Written) };
        let Some(TransactWriteItemsError::TransactionCanceledException(canceled)) = error.as_service_error()
        else {
            return Err(error).context("writing a unit");
        };
        let codes: HashSet<&str> =
            canceled.cancellation_reasons().iter().filter_map(|reason| reason.code()).collect();
        if codes.contains("ConditionalCheckFailed") {
            return Ok(Outcome::Lost);
        }
        let passing = ["None", "ThrottlingError", "ProvisionedThroughputExceeded", "TransactionConflict"];
        if !codes.iter().all(|code| passing.contains(code)) {
            return Err(error).context("writing a unit");
        }
        pause.before_next(false).await?;
    }
}

/// The partition key's value, of whichever table.
fn partition(item: &Item) -> &str {
    let key = item.get("hashedToken").or_else(|| item.get("pk"));
    key.and_then(|value: &AttributeValue| value.as_s().ok()).map_or("", String::as_str)
}
