//! The DynamoDB of the tests and benchmarks, and new tables in it.

use std::sync::{OnceLock, mpsc};
use std::thread;

use anyhow::{Context, Result};
use aws_sdk_dynamodb::Client;
use axum::http::{HeaderMap, StatusCode};
use livechat_units::Tables;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
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

/// DynamoDB's reply to a request.
pub struct Reply {
    /// Its status.
    pub status: StatusCode,
    /// Its body.
    pub body: Value,
}

/// Sends a request to the DynamoDB at this host and port, for a proxy that has changed its body: the headers are those that
/// the proxy got.
///
/// # Panics
/// DynamoDB can't be reached, or its reply is not JSON.
pub async fn send(address: &str, headers: &HeaderMap, body: &str) -> Reply {
    let mut stream = TcpStream::connect(address).await.expect("it is there");
    let header = |name: &str| format!("{name}: {}\r\n", headers[name].to_str().expect("ASCII"));
    let head = format!(
        "POST / HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {}\r\n{}{}{}{}\r\n",
        body.len(),
        header("x-amz-target"),
        header("content-type"),
        header("x-amz-date"),
        header("authorization"),
    );
    stream.write_all(format!("{head}{body}").as_bytes()).await.expect("it is sent");
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await.expect("it answers in UTF-8");
    let (head, body) = reply.split_once("\r\n\r\n").expect("a reply has a head");
    let status = head.split(' ').nth(1).and_then(|status| StatusCode::from_bytes(status.as_bytes()).ok());
    Reply {
        status: status.expect("a status"),
        body: serde_json::from_str(body).expect("DynamoDB answers JSON"),
    }
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

/// Creates both tables as the template declares them, but without the stream. Most tests need none, and the embedded engine
/// keeps a record of each write to a table that has one.
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
