//! Which workspace the tables belong to.

use anyhow::{Result, bail};
use aws_sdk_dynamodb::types::AttributeValue;
use livechat_units::item::Item;

use crate::condition::Condition;
use crate::database::Database;
use crate::origin::state_key;
use crate::requests::transact;
use crate::sync::mongodb::Identity;

/// The sort key of the item.
const WORKSPACE: &str = "WORKSPACE";

/// The attributes of the item, except its key.
const ATTRIBUTES: [&str; 3] = ["uniqueID", "replicaSet", "database"];

/// Refuses any workspace except the one that these tables were filled from. The first workspace is stored.
///
/// # Errors
/// It is another workspace, or it is in another place than before and `was_moved` is false, or DynamoDB refuses a
/// request.
pub async fn check(database: &Database, found: &Identity, was_moved: bool, is_dry_run: bool) -> Result<()> {
    loop {
        let stored = database.get_all(vec![state_key(WORKSPACE)]).await?.pop();
        let Some(item) = item_to_store(stored.as_ref(), found, was_moved)? else { return Ok(()) };
        if is_dry_run {
            return Ok(());
        }
        let put = Condition::unchanged(stored.as_ref(), "pk", &ATTRIBUTES);
        if transact(database, vec![put.put(&database.tables.livechat, item)?]).await? {
            return Ok(());
        }
    }
}

/// The item to store for this workspace. `None` if it is stored already.
///
/// # Errors
/// The database is no workspace, or is another one than the stored one, or is in another place than the stored one and
/// `was_moved` is false.
fn item_to_store(stored: Option<&Item>, found: &Identity, was_moved: bool) -> Result<Option<Item>> {
    let Some(unique_id) = found.unique_id.as_deref().filter(|id| !id.is_empty()) else {
        bail!(
            "the database {} has no setting uniqueID, so it is no workspace of Rocket.Chat's; nothing is written",
            found.database
        )
    };
    let text = |name: &str| stored.and_then(|item| item.get(name)?.as_s().ok()).map(String::as_str);
    let before = ATTRIBUTES.map(text);
    let now = [unique_id, &found.replica_set, &found.database];
    if before == now.map(Some) {
        return Ok(None);
    }
    if let [Some(old), replica_set, name] = before {
        let [replica_set, name] = [replica_set, name].map(|text| text.unwrap_or("unknown"));
        if old != unique_id {
            bail!(
                "these tables belong to another workspace: their uniqueID is {old}, and that of the database {} is \
                 {unique_id}; nothing is written",
                found.database
            );
        }
        if !was_moved {
            bail!(
                "this workspace was in the replica set {replica_set}, database {name}, and is now in the replica set {}, \
                 database {}; use --moved if it was moved, but not if this is a copy",
                found.replica_set,
                found.database
            );
        }
    }
    let mut item = state_key(WORKSPACE);
    item.extend(
        ATTRIBUTES.into_iter().zip(now).map(|(name, text)| (name.into(), AttributeValue::S(text.to_owned()))),
    );
    Ok(Some(item))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::dynamodb::testing::database;

    fn identity(unique_id: &str, database: &str) -> Identity {
        Identity {
            unique_id: (!unique_id.is_empty()).then(|| unique_id.to_owned()),
            replica_set: "rs0".into(),
            database: database.into(),
        }
    }

    #[tokio::test]
    async fn only_the_first_workspace_is_served() {
        let tables = database().await;
        let check = async |id: &str, name: &str, was_moved, is_dry_run| {
            check(&tables, &identity(id, name), was_moved, is_dry_run)
                .await
                .map_err(|error| error.to_string())
        };
        // A dry run notes nothing.
        assert_eq!(check("a", "chat", false, true).await, Ok(()));
        assert_eq!(check("b", "chat", false, false).await, Ok(()));
        assert_eq!(check("b", "chat", false, false).await, Ok(()));
        assert_eq!(
            check("a", "chat", true, false).await,
            Err("these tables belong to another workspace: their uniqueID is b, and that of the database chat is a; \
                 nothing is written"
                .into())
        );
        assert_eq!(
            check("", "chat", true, false).await,
            Err("the database chat has no setting uniqueID, so it is no workspace of Rocket.Chat's; nothing is written"
                .into())
        );
        let elsewhere = "this workspace was in the replica set rs0, database chat, and is now in the replica set rs0, \
                         database copy; use --moved if it was moved, but not if this is a copy";
        assert_eq!(check("b", "copy", false, false).await, Err(elsewhere.into()));
        // A dry run with --moved does not move it.
        assert_eq!(check("b", "copy", true, true).await, Ok(()));
        assert_eq!(check("b", "copy", false, false).await, Err(elsewhere.into()));
        assert_eq!(check("b", "copy", true, false).await, Ok(()));
        assert_eq!(check("b", "copy", false, false).await, Ok(()));
    }
}
