//! Writes permissions, departments and units that differ from what is stored.

use std::collections::HashMap;

use anyhow::Result;
use aws_sdk_dynamodb::types::{AttributeValue, PutRequest, TransactWriteItem, WriteRequest};
use livechat_units::id::{DepartmentId, UnitId, UserId};
use livechat_units::item::{Item, Key};

use super::equality::{equal, equal_except};
use super::workspace::{PlannedUnit, StoredUnit, number};
use super::written::{Kind, Outcome, Written, WrittenBatch};
use crate::condition::{self, Condition};
use crate::database::Database;
use crate::limits::MAX_TRANSACTION_ACTIONS;
use crate::origin::{REV, department_base_key, unit_base_key};
use crate::requests::{self, ConditionalWrite, transact, write_on_condition};

/// A permission or department to be stored.
#[derive(Clone, Debug)]
pub struct ItemToWrite {
    /// What it is.
    pub kind: Kind,
    /// The item, without `rev`.
    pub item: Item,
    /// Whether a department stays where it is stored now, in its unit or in none.
    pub keeps_place: bool,
}

impl ItemToWrite {
    /// The key of the item in which a sync keeps the last place of a department that MongoDB and DynamoDB had in
    /// common. After the import has written the department, that place is not true any more.
    fn base_key(&self) -> Option<Item> {
        let id = partition(&self.item).strip_prefix("DEPARTMENT#").and_then(DepartmentId::parse);
        id.map(|id| department_base_key(&id))
    }

    fn key(&self) -> Item {
        let is_key = |name: &String| ["pk", "sk"].contains(&name.as_str());
        let attributes = self.item.iter().filter(|(name, _)| is_key(name));
        attributes.map(|(name, value)| (name.clone(), value.clone())).collect()
    }
}

/// Stores these items, at most [`MAX_BATCH_WRITE_ITEMS`](crate::limits::MAX_BATCH_WRITE_ITEMS) different ones, if they
/// differ from what is stored. Returns what was done with each.
///
/// # Errors
/// DynamoDB refuses the request for a reason that is not temporary.
pub async fn batch(database: Database, items: Vec<ItemToWrite>, is_dry_run: bool) -> Result<WrittenBatch> {
    let bases = items.iter().filter_map(ItemToWrite::base_key);
    let keys = items.iter().map(ItemToWrite::key).chain(bases).collect();
    let stored = database.get_all(keys).await?;
    let stored: HashMap<&str, &Item> = stored.iter().map(|item| (partition(item), item)).collect();

    let mut written = Vec::with_capacity(items.len());
    let mut puts = Vec::new();
    for item_to_write in items {
        let base = item_to_write.base_key().filter(|key| stored.contains_key(partition(key)));
        let ItemToWrite { kind, mut item, keeps_place } = item_to_write;
        let old = stored.get(partition(&item)).copied();
        if keeps_place {
            for name in ["parentId", "ancestors"] {
                let value = old.and_then(|old| old.get(name)).cloned();
                item.extend(value.map(|value| (name.to_owned(), value)));
            }
        }
        let is_stored = old.is_some_and(|old| old.contains_key(REV) && equal_except(&[REV], old, &item));
        let rev = old.map_or(0, |old| number(old, REV)) + u64::from(!is_stored);
        item.insert(REV.into(), AttributeValue::N(rev.to_string()));
        if let Some(base) = base
            && !is_stored
            && !is_dry_run
        {
            let delete = condition::delete(&database.tables.livechat, base)?;
            transact(&database, vec![delete]).await?;
        }
        let outcome = match old {
            _ if is_stored => Outcome::Unchanged,
            _ if is_dry_run => Outcome::Written,
            // A batch can't have conditions, and another program may have moved a department meanwhile.
            Some(old) if kind == Kind::Department => replace_department(&database, &item, old).await?,
            _ => {
                puts.push(put_request(std::mem::take(&mut item))?);
                Outcome::Written
            }
        };
        written.push(Written { kind, item: Some(item), outcome });
    }
    let table = database.tables.livechat.clone();
    if !puts.is_empty() {
        requests::send(&database, HashMap::from([(table, puts)])).await?;
    }
    Ok(WrittenBatch { written, unusable: Vec::new() })
}

/// An item of a BatchWriteItem.
///
/// # Errors
/// Never: the request is complete.
pub fn put_request(item: Item) -> Result<WriteRequest> {
    let put = PutRequest::builder().set_item(Some(item)).build()?;
    Ok(WriteRequest::builder().put_request(put).build())
}

/// Stores a department in the place of the one that was read, if it is still in the same unit.
async fn replace_department(database: &Database, item: &Item, old: &Item) -> Result<Outcome> {
    let put = database.client.put_item().table_name(&database.tables.livechat).set_item(Some(item.clone()));
    let put = match old.get("parentId") {
        Some(parent) => put
            .condition_expression("attribute_exists(pk) AND parentId = :parent")
            .expression_attribute_values(":parent", parent.clone()),
        None => put.condition_expression("attribute_exists(pk) AND attribute_not_exists(parentId)"),
    };
    let table = &database.tables.livechat;
    Ok(match write_on_condition(table, || put.clone().send()).await? {
        ConditionalWrite::Stored => Outcome::Written,
        ConditionalWrite::Refused => Outcome::ChangedMeanwhile,
    })
}

/// Stores a unit and its monitors, if the unit is still as it was when it was read.
///
/// If possible, everything is written in one transaction. If that needs too many actions, the monitors of a new unit are
/// written first, when nothing refers to them yet, and the monitors that a stored unit loses are deleted last.
///
/// # Errors
/// DynamoDB refuses the request for a reason that is not temporary.
pub async fn unit(
    database: &Database,
    unit: &PlannedUnit,
    stored: Option<&StoredUnit>,
    is_dry_run: bool,
) -> Result<Outcome> {
    if stored.is_some_and(|stored| stored.equals(unit)) {
        return Ok(Outcome::Unchanged);
    }
    if is_dry_run {
        return Ok(Outcome::Written);
    }
    let UnitWrite { before, together, after } = UnitWrite::new(&database.tables.livechat, unit, stored)?;
    for chunk in before.chunks(MAX_TRANSACTION_ACTIONS) {
        transact(database, chunk.to_vec()).await?;
    }
    if !transact(database, together).await? {
        return Ok(Outcome::ChangedMeanwhile);
    }
    for chunk in after.chunks(MAX_TRANSACTION_ACTIONS) {
        transact(database, chunk.to_vec()).await?;
    }
    Ok(Outcome::Written)
}

/// The actions that store a unit.
struct UnitWrite {
    /// The monitors that join and do not fit into the transaction.
    before: Vec<TransactWriteItem>,
    /// The transaction with the unit itself.
    together: Vec<TransactWriteItem>,
    /// The monitors that leave and do not fit into the transaction.
    after: Vec<TransactWriteItem>,
}

impl UnitWrite {
    fn new(table: &str, unit: &PlannedUnit, stored: Option<&StoredUnit>) -> Result<Self> {
        let is_version_read = Condition::unchanged(stored.map(|stored| &stored.item), "pk", &["version"]);
        let item = is_version_read.put(table, unit.item_to_replace(stored))?;
        // A sync may have stored the last state that MongoDB and DynamoDB had in common. It is not true any more.
        let base = condition::delete(table, unit_base_key(&unit.id))?;
        let mut together = vec![item, base];
        let mut before = joining(table, unit, stored)?;
        let mut after = leaving(table, unit, stored)?;
        for actions in [&mut before, &mut after] {
            let room = MAX_TRANSACTION_ACTIONS.saturating_sub(together.len());
            together.extend(actions.drain(..actions.len().min(room)));
        }
        Ok(Self { before, together, after })
    }
}

/// Stores the monitors of a unit that are not stored like this yet.
fn joining(table: &str, unit: &PlannedUnit, stored: Option<&StoredUnit>) -> Result<Vec<TransactWriteItem>> {
    let stored_monitor = |id| stored.and_then(|stored| stored.monitors.get(id));
    let is_stored = |id, item| stored_monitor(id).is_some_and(|stored| equal(stored, item));
    let joining = unit.monitors.iter().filter(|(id, item)| !is_stored(id, item));
    joining.map(|(_, item)| condition::put(table, item.clone())).collect()
}

/// Deletes the stored monitors that a unit does not have any more.
fn leaving(table: &str, unit: &PlannedUnit, stored: Option<&StoredUnit>) -> Result<Vec<TransactWriteItem>> {
    let stored = stored.into_iter().flat_map(|stored| stored.monitors.keys());
    let leaving = stored.filter(|id| !unit.monitors.contains_key(*id));
    let key = |id: &UserId| Key::Monitor(unit.id.clone(), id.clone()).attributes();
    leaving.map(|id| condition::delete(table, key(id))).collect()
}

/// Marks a unit that the import does not change as a unit of Rocket.Chat, unless it is marked already.
///
/// # Errors
/// DynamoDB refuses the request for a reason that is not temporary.
pub async fn mark_unit(database: &Database, unit: &UnitId, stored: Option<&StoredUnit>) -> Result<()> {
    if stored.is_none_or(|stored| stored.item.contains_key(REV)) {
        return Ok(());
    }
    let table = &database.tables.livechat;
    let update = database
        .client
        .update_item()
        .table_name(table)
        .set_key(Some(Key::Unit(unit.clone()).attributes()))
        .update_expression("SET #rev = :one")
        .condition_expression("attribute_exists(pk) AND attribute_not_exists(#rev)")
        .expression_attribute_names("#rev", REV)
        .expression_attribute_values(":one", AttributeValue::N("1".into()));
    // If the condition fails, somebody else has deleted or marked the unit.
    write_on_condition(table, || update.clone().send()).await.map(drop)
}

/// The value of the item's partition key, in either table. A department may have a field `hashedToken`, which is no key
/// there. No token has an attribute `pk`.
pub fn partition(item: &Item) -> &str {
    let key = item.get("pk").or_else(|| item.get("hashedToken"));
    key.and_then(|value: &AttributeValue| value.as_s().ok()).map_or("", String::as_str)
}
