//! The two tables, and a client that reaches them.

use anyhow::{Result, anyhow};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use livechat_units::Tables;
use livechat_units::item::{Item, Key};

/// The two tables, and a client that reaches them.
#[derive(Clone, Debug)]
pub struct Database {
    /// A client of the DynamoDB that has the tables.
    pub client: Client,
    /// The names of the tables.
    pub tables: Tables,
}

impl Database {
    /// Describes a failed request to a table, for an operator.
    pub fn describe_error<E>(table: &str, error: SdkError<E>) -> anyhow::Error
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        if error.code() == Some("ResourceNotFoundException") {
            return anyhow!("there is no table {table} in this region and account");
        }
        code_and_message(error).context(format!("table {table}"))
    }

    /// Reads an item, strongly consistent. Returns `None` if it does not exist.
    ///
    /// # Errors
    /// DynamoDB refuses the request or can't be reached.
    pub async fn get(&self, key: &Key) -> Result<Option<Item>> {
        let table = self.table(key);
        let request = self.client.get_item().table_name(table).consistent_read(true);
        let output = request.set_key(Some(key.attributes())).send().await;
        Ok(output.map_err(|error| Self::describe_error(table, error))?.item)
    }

    /// The table that holds the item of this key.
    pub fn table(&self, key: &Key) -> &str {
        if matches!(key, Key::Token(_)) { &self.tables.tokens } else { &self.tables.livechat }
    }
}

/// An error that names AWS's error code and message. If there was no reply, it is the SDK's own error with its causes.
pub(crate) fn code_and_message<E>(error: SdkError<E>) -> anyhow::Error
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    match (error.code(), error.message()) {
        (Some(code), Some(message)) => anyhow!("{code}: {message}"),
        (Some(code), None) => anyhow!("{code}"),
        (None, _) => error.into(),
    }
}
