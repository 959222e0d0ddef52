//! Permissions: which roles hold each.

use std::collections::HashMap;
use std::fmt;

use anyhow::Result;
use aws_sdk_dynamodb::types::AttributeValue;
use livechat_units::item::{Item, Key};
use time::OffsetDateTime;

use super::{Decision, Written, next_rev};
use crate::condition::Condition;
use crate::database::Database;
use crate::import::document::Document;
use crate::import::equality::equal_except;
use crate::import::records::parse_permission;
use crate::import::workspace::number;
use crate::import::write::partition;
use crate::origin::REV;
use crate::requests::transact;
use crate::sync::model::Removal;

/// What to write of a permission.
#[derive(Clone, Debug)]
pub struct PermissionWrite {
    id: String,
    old: Option<Item>,
    /// The new item. `None` if it is deleted.
    new: Option<Item>,
}

/// Reads these permissions. Every id is in the result.
///
/// # Errors
/// DynamoDB refuses a request for good, or can't be reached.
pub async fn read(database: &Database, ids: &[String]) -> Result<HashMap<String, Option<Item>>> {
    let mut found: HashMap<String, Option<Item>> = ids.iter().map(|id| (id.clone(), None)).collect();
    let keys = found.keys().map(|id| Key::Permission(id.clone()).attributes()).collect();
    for item in database.get_all(keys).await? {
        let id = partition(&item).strip_prefix("PERMISSION#");
        if let Some(permission) = id.and_then(|id| found.get_mut(id)) {
            *permission = Some(item);
        }
    }
    Ok(found)
}

/// Says what to write so that DynamoDB has the permission as MongoDB has it. If MongoDB has no permission with this id,
/// a stored one that did not come from Rocket.Chat stays.
pub fn decide(
    id: &str,
    stored: Option<&Item>,
    document: Option<Document>,
    removal: Removal,
    now: OffsetDateTime,
) -> Decision<PermissionWrite> {
    let change = |new| PermissionWrite { id: id.to_owned(), old: stored.cloned(), new };
    let Some(document) = document else {
        return match stored {
            Some(old) if old.contains_key(REV) => Decision::removal(change(None), removal),
            _ => Decision::nothing(),
        };
    };
    let mut item = match parse_permission(document) {
        Ok(item) => item,
        Err(reason) => return Decision::problem(reason),
    };
    if stored.is_some_and(|old| old.contains_key(REV) && equal_except(&[REV], old, &item)) {
        return Decision::nothing();
    }
    let rev = next_rev(stored.map(|old| number(old, REV)), now);
    item.insert(REV.into(), AttributeValue::N(rev.to_string()));
    Decision::write(change(Some(item)))
}

/// Writes the permission.
///
/// # Errors
/// DynamoDB refuses a request for a reason that a retry does not change.
pub async fn write(database: &Database, write: &PermissionWrite) -> Result<Written> {
    let table = &database.tables.livechat;
    let condition = Condition::unchanged(write.old.as_ref(), "pk", &[REV]);
    let action = match &write.new {
        Some(item) => condition.put(table, item.clone())?,
        None => condition.delete(table, Key::Permission(write.id.clone()).attributes())?,
    };
    Ok(transact(database, vec![action]).await?.into())
}

impl fmt::Display for PermissionWrite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let change = if self.new.is_some() { "stored as MongoDB has it" } else { "deleted" };
        write!(f, "permission {}: {change}", self.id)
    }
}

#[cfg(test)]
mod tests;
