//! Writes what differs from what is stored, in the batches that DynamoDB takes.

use std::collections::HashMap;

use anyhow::Result;
use aws_sdk_dynamodb::error::ProvideErrorMetadata;
use aws_sdk_dynamodb::types::{AttributeValue, Delete, Put, PutRequest, TransactWriteItem, WriteRequest};
use livechat_units::Tables;
use livechat_units::item::{Item, Key};

use super::same::same;
use super::workspace::{PlannedUnit, StoredUnit};
use crate::database::Database;
use crate::requests::{self, MAX_ACTIONS, transact};

/// Most items of one BatchWriteItem.
pub const MAX_BATCH: usize = 25;

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
pub async fn batch(data: Database, writes: Vec<Write>, is_dry_run: bool) -> Result<Vec<(Write, Outcome)>> {
    let mut keys: HashMap<String, Vec<Item>> = HashMap::new();
    for write in &writes {
        keys.entry(write.table(&data.tables).to_owned()).or_default().push(write.key());
    }
    let stored = requests::read(&data.client, keys).await?;
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
    requests::send(&data, requests).await?;
    Ok(outcomes)
}

/// Stores a department in place of the one that was read, if it is still where it was.
async fn replace(data: &Database, item: &Item, old: &Item) -> Result<Outcome> {
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
        Err(error) => Err(Database::describe_error(&data.tables.livechat, error)),
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
    data: &Database,
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
        transact(data, chunk.to_vec()).await?;
    }
    if !transact(data, together).await? {
        return Ok(Outcome::Lost);
    }
    for chunk in after.chunks(MAX_ACTIONS) {
        transact(data, chunk.to_vec()).await?;
    }
    Ok(Outcome::Written)
}

/// The partition key's value, of whichever table.
fn partition(item: &Item) -> &str {
    let key = item.get("hashedToken").or_else(|| item.get("pk"));
    key.and_then(|value: &AttributeValue| value.as_s().ok()).map_or("", String::as_str)
}
