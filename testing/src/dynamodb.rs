//! The DynamoDB of the tests and benchmarks, and new tables in it.

use std::sync::{OnceLock, mpsc};
use std::thread;

use anyhow::{Context, Result};
use aws_sdk_dynamodb::Client;
use livechat_units::Tables;
use tokio::net::TcpListener;
use unitctl::engine;
use unitctl::template::Table;
use uuid::Uuid;

/// The endpoint of the engine that all tests of a process share: the environment variable `DYNAMODB_ENDPOINT`, or an
/// embedded engine that is started here.
///
/// # Panics
/// The engine does not start.
pub fn endpoint() -> &'static str {
    static ENDPOINT: OnceLock<String> = OnceLock::new();
    ENDPOINT.get_or_init(|| {
        std::env::var("DYNAMODB_ENDPOINT").unwrap_or_else(|_| start_engine().expect("the engine starts"))
    })
}

/// Host and port of [`endpoint`], for a proxy in front of it.
///
/// # Panics
/// The engine does not start, or the endpoint is not plain HTTP.
pub fn address() -> &'static str {
    endpoint().strip_prefix("http://").expect("the endpoint is plain HTTP").trim_end_matches('/')
}

/// Starts an embedded engine with its data in memory, and returns its endpoint.
///
/// The engine runs in a thread of its own until the process ends, because a test's runtime ends with the test.
///
/// # Errors
/// There is no thread, runtime or port for it.
pub fn start_engine() -> Result<String> {
    let (sender, receiver) = mpsc::channel();
    thread::Builder::new().name("dynamodb".into()).spawn(move || -> Result<()> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            sender.send(format!("http://{}", listener.local_addr()?))?;
            engine::serve(listener, engine::open(None)?, std::future::pending()).await
        })
    })?;
    receiver.recv().context("the engine did not start")
}

/// Creates both tables as the template declares them, but without the stream. The embedded engine goes through all
/// records of a stream for each write, so a table with one gets slower with each test.
///
/// # Errors
/// The template does not declare the tables, or DynamoDB refuses to create them.
pub async fn create_tables(client: &Client, tables: &Tables) -> Result<()> {
    Table::of_variable("TOKENS_TABLE")?.create(client, &tables.tokens).await?;
    Table::of_variable("LIVECHAT_TABLE")?.without_stream().create(client, &tables.livechat).await
}

/// Creates both tables, without the stream, under names that no other test uses.
///
/// # Panics
/// DynamoDB refuses.
pub async fn new_tables(client: &Client) -> Tables {
    let tables = new_names();
    create_tables(client, &tables).await.expect("the tables are created");
    tables
}

/// Creates both tables, with the stream, under names that no other test uses.
///
/// # Panics
/// DynamoDB refuses.
pub async fn new_tables_with_stream(client: &Client) -> Tables {
    let tables = new_names();
    engine::create_tables(client, &tables).await.expect("the tables are created");
    tables
}

fn new_names() -> Tables {
    let name = Uuid::new_v4();
    Tables { tokens: format!("{name}-tokens"), livechat: format!("{name}-livechat") }
}
