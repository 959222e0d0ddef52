//! The positions in the change streams from which another process can go on.

use std::collections::BTreeMap;

use anyhow::Result;
use aws_sdk_dynamodb::types::AttributeValue;

use crate::condition;
use crate::database::Database;
use crate::origin::state_key;
use crate::requests::transact;

/// The sort key of the item.
const POSITIONS: &str = "POSITIONS";

/// The positions by the name of the stream, such as a collection's. Empty if none were ever stored.
///
/// # Errors
/// DynamoDB refuses the request.
pub async fn load(database: &Database) -> Result<BTreeMap<String, String>> {
    let item = database.get_all(vec![state_key(POSITIONS)]).await?.pop().unwrap_or_default();
    let Some(AttributeValue::M(positions)) = item.get("positions") else { return Ok(BTreeMap::new()) };
    let texts = positions.iter().filter_map(|(name, value)| Some((name.clone(), value.as_s().ok()?.clone())));
    Ok(texts.collect())
}

/// Stores all positions in place of the old ones. If a process replaces newer positions with older ones, the only harm
/// is that some subjects are looked at again.
///
/// # Errors
/// DynamoDB refuses the request for a reason that a retry does not change.
pub async fn store(database: &Database, positions: &BTreeMap<String, String>) -> Result<()> {
    let mut item = state_key(POSITIONS);
    let texts = positions.iter().map(|(name, text)| (name.clone(), AttributeValue::S(text.clone())));
    item.insert("positions".into(), AttributeValue::M(texts.collect()));
    transact(database, vec![condition::put(&database.tables.livechat, item)?]).await.map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::dynamodb::testing::database;

    #[tokio::test]
    async fn positions_are_those_that_were_stored_last() {
        let database = database().await;
        assert_eq!(load(&database).await.expect("it is read"), BTreeMap::new());
        let position = |text: &str| BTreeMap::from([("users".to_owned(), text.to_owned())]);
        for text in ["one", "two"] {
            store(&database, &position(text)).await.expect("it is stored");
            assert_eq!(load(&database).await.expect("it is read"), position(text));
        }
    }
}
