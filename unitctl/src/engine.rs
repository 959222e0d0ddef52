//! The embedded DynamoDB engine: it serves DynamoDB's HTTP API on this machine.

use std::future::Future;
use std::path::Path;

use anyhow::{Context, Result};
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::{Credentials, SharedCredentialsProvider};
use dynoxide::Database;
use livechat_units::Tables;
use tokio::net::TcpListener;

use crate::template::Table;

/// Opens a database that is kept in `file`, or in memory without a file.
///
/// # Errors
/// The file can't be opened, or it is not a database.
pub fn open(file: Option<&Path>) -> Result<Database> {
    let opened = match file {
        None => Database::memory(),
        Some(file) => {
            let path = file.to_str().context("the path of the data file is not UTF-8")?;
            Database::new(path)
        }
    };
    opened.map_err(|error| anyhow::anyhow!("opening the database: {error}"))
}

/// Serves DynamoDB's HTTP API until `shutdown` is ready.
///
/// # Errors
/// The listener fails.
pub async fn serve(
    listener: TcpListener,
    database: Database,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<()> {
    dynoxide::server::serve_with_shutdown(listener, database, shutdown)
        .await
        .map_err(|error| anyhow::anyhow!("serving DynamoDB: {error}"))
}

/// The SDK's configuration for a local engine. It has a made-up region and credentials, which the engine requires but does
/// not check.
pub fn sdk_config(endpoint: &str) -> SdkConfig {
    let credentials = Credentials::new("local", "local", None, None, "local");
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::from_static("us-east-1"))
        .endpoint_url(endpoint)
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .build()
}

/// Creates both tables as the template declares them. Returns `false` if the livechat table exists already. If that one has
/// no stream, because an older version made it, it gets one.
///
/// # Errors
/// The template does not declare the tables, or DynamoDB refuses to create them.
pub async fn create_tables(client: &Client, tables: &Tables) -> Result<bool> {
    let existing = client.list_tables().send().await.context("listing tables")?;
    let livechat = Table::of_variable("LIVECHAT_TABLE")?;
    if existing.table_names().contains(&tables.livechat) {
        livechat.ensure_stream(client, &tables.livechat).await?;
        return Ok(false);
    }
    Table::of_variable("TOKENS_TABLE")?.create(client, &tables.tokens).await?;
    livechat.create(client, &tables.livechat).await?;
    Ok(true)
}
