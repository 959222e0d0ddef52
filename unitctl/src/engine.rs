//! The embedded DynamoDB engine: it serves DynamoDB's HTTP API on this machine.

use std::future::Future;
use std::path::Path;

use anyhow::{Context, Result};
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::{Credentials, SharedCredentialsProvider};
use dynoxide::Database;
use dynoxide::storage::Storage;
use livechat_units::Tables;
use tokio::net::TcpListener;

use crate::template::Table;

/// An index of the stream's records. Without it, the engine reads all records that there are for each write to a table that has
/// a stream, and for each read of the stream. It keeps the records forever, so both would become slower and slower.
const INDEX: &str = "CREATE INDEX IF NOT EXISTS stream_records_by_number \
                     ON _stream_records (table_name, CAST(sequence_number AS INTEGER))";

/// Opens a database that is kept in `file`, or in memory without a file.
///
/// # Errors
/// The file can't be opened, or it is not a database.
pub fn open(file: Option<&Path>) -> Result<Database> {
    let path =
        file.map(|file| file.to_str().context("the path of the data file is not UTF-8")).transpose()?;
    let opened = match path {
        None => in_memory(),
        Some(path) => with_index(path).and_then(|_| Database::new(path)),
    };
    opened.map_err(|error| anyhow::anyhow!("opening the database: {error}"))
}

/// A database in memory. It is a copy of one that has the index, because an index can't be made in the database itself.
fn in_memory() -> dynoxide::Result<Database> {
    let name = format!("file:{}?mode=memory&cache=shared", fastrand::u64(..));
    let source = with_index(&name)?;
    let database = Database::memory()?;
    database.restore_from(&name)?;
    drop(source);
    Ok(database)
}

fn with_index(path: &str) -> dynoxide::Result<Storage> {
    let storage = Storage::new(path)?;
    storage.conn().execute_batch(INDEX)?;
    Ok(storage)
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

/// Whether [`create_tables`] had to create the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Creation {
    /// The tables are new and empty.
    Created,
    /// The tables existed already.
    Existed,
}

/// Creates both tables as the template declares them, unless the livechat table exists already. If an older version
/// made that table without a stream, it gets one.
///
/// # Errors
/// The template does not declare the tables, or DynamoDB refuses to create them.
pub async fn create_tables(client: &Client, tables: &Tables) -> Result<Creation> {
    let existing = client.list_tables().send().await.context("listing tables")?;
    let livechat = Table::of_variable("LIVECHAT_TABLE")?;
    if existing.table_names().contains(&tables.livechat) {
        livechat.ensure_stream(client, &tables.livechat).await?;
        return Ok(Creation::Existed);
    }
    Table::of_variable("TOKENS_TABLE")?.create(client, &tables.tokens).await?;
    livechat.create(client, &tables.livechat).await?;
    Ok(Creation::Created)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_engine_finds_records_of_a_stream_by_an_index() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name).to_str().expect("it is UTF-8").to_owned();
        let (file, copy) = (path("units.db"), path("copy.db"));
        open(Some(Path::new(&file))).expect("it is opened");
        open(None).expect("it is opened").vacuum_into(&copy).expect("it is written");
        for path in [&file, &copy] {
            let storage = Storage::new(path).expect("it is a database");
            // As the engine's version 3.2.0 writes them: one for each write, and one for each read of the stream.
            for statement in [
                "SELECT COALESCE(MAX(CAST(sequence_number AS INTEGER)), 0) + 1 FROM _stream_records \
                 WHERE table_name = ?1",
                "SELECT event_name FROM _stream_records WHERE table_name = ?1 AND shard_id = ?2 \
                 AND CAST(sequence_number AS INTEGER) > ?3 ORDER BY CAST(sequence_number AS INTEGER) ASC LIMIT ?4",
            ] {
                let explain = format!("EXPLAIN QUERY PLAN {statement}");
                let mut explain = storage.conn().prepare(&explain).expect("it is valid");
                let mut rows = explain.raw_query();
                let mut plan = Vec::new();
                while let Some(row) = rows.next().expect("it is a row") {
                    plan.push(row.get::<_, String>(3).expect("a text"));
                }
                let by_index = "INDEX stream_records_by_number (table_name=?";
                let is_found = |step: &String| step.starts_with("SEARCH ") && step.contains(by_index);
                assert!(matches!(plan.as_slice(), [step] if is_found(step)), "{plan:?}");
            }
        }
    }

    #[tokio::test]
    async fn a_data_file_of_an_older_version_gets_a_stream() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("units.db");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let endpoint = format!("http://{}", listener.local_addr().expect("it is bound"));
        let database = open(Some(&file)).expect("it is opened");
        tokio::spawn(serve(listener, database, std::future::pending()));
        let client = Client::new(&sdk_config(&endpoint));
        let tables = Tables { tokens: "tokens".into(), livechat: "livechat".into() };
        let creation = create_tables(&client, &tables).await.expect("they are created");
        assert_eq!(creation, Creation::Created);
        let view = async || {
            let described = client.describe_table().table_name("livechat").send().await.expect("it is there");
            let stream = described.table.and_then(|table| table.stream_specification);
            stream.filter(|stream| stream.stream_enabled).and_then(|stream| stream.stream_view_type)
        };
        let keys_only = Some(aws_sdk_dynamodb::types::StreamViewType::KeysOnly);
        assert_eq!(view().await, keys_only);

        let off = aws_sdk_dynamodb::types::StreamSpecification::builder().stream_enabled(false);
        let update = client.update_table().table_name("livechat");
        let update = update.stream_specification(off.build().expect("it is complete"));
        update.send().await.expect("it is switched off");
        assert_eq!(view().await, None);
        for _ in 0..2 {
            let creation = create_tables(&client, &tables).await.expect("they are there");
            assert_eq!(creation, Creation::Existed);
            assert_eq!(view().await, keys_only);
        }
    }
}
