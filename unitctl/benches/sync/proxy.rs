//! A proxy in front of DynamoDB that counts the requests by operation.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::{TcpListener, TcpStream};

/// What is in the header `x-amz-target` before the name of the operation, of DynamoDB and of DynamoDB Streams.
const BEFORE_OPERATION: &[u8] = b"_20120810.";

type Counts = Arc<Mutex<BTreeMap<String, u64>>>;

pub struct Proxy {
    pub endpoint: String,
    counts: Counts,
}

impl Proxy {
    /// Forwards all connections to this host and port.
    pub async fn start(address: &'static str) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let endpoint = format!("http://{}", listener.local_addr()?);
        let counts = Counts::default();
        let shared = counts.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(forward(client, address, shared.clone()));
            }
        });
        Ok(Self { endpoint, counts })
    }

    /// The requests since the last call, by operation.
    pub fn take(&self) -> BTreeMap<String, u64> {
        std::mem::take(&mut *self.counts.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The reads of items among some requests.
pub fn reads(counts: &BTreeMap<String, u64>) -> u64 {
    ["GetItem", "BatchGetItem", "Query", "Scan"].into_iter().filter_map(|name| counts.get(name)).sum()
}

async fn forward(client: TcpStream, address: &str, counts: Counts) -> Result<()> {
    let server = TcpStream::connect(address).await?;
    for stream in [&client, &server] {
        stream.set_nodelay(true)?;
    }
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let replies = tokio::spawn(async move { copy(&mut from_server, &mut to_client).await });
    let mut buffer = vec![0; 16 * 1024];
    let mut unread = Vec::new();
    loop {
        let length = from_client.read(&mut buffer).await?;
        if length == 0 {
            break;
        }
        unread.extend_from_slice(&buffer[..length]);
        count(&mut unread, &counts);
        to_server.write_all(&buffer[..length]).await?;
    }
    replies.abort();
    Ok(())
}

/// Counts the names of operations, and leaves only what may be the beginning of the next one.
fn count(unread: &mut Vec<u8>, counts: &Counts) {
    let find =
        |bytes: &[u8]| bytes.windows(BEFORE_OPERATION.len()).position(|window| window == BEFORE_OPERATION);
    while let Some(start) = find(unread) {
        let name = &unread[start + BEFORE_OPERATION.len()..];
        let Some(length) = name.iter().position(|letter| !letter.is_ascii_alphabetic()) else {
            unread.drain(..start);
            return;
        };
        let name = String::from_utf8_lossy(&name[..length]).into_owned();
        *counts.lock().unwrap_or_else(PoisonError::into_inner).entry(name).or_default() += 1;
        unread.drain(..start + BEFORE_OPERATION.len() + length);
    }
    let rest = unread.len().saturating_sub(BEFORE_OPERATION.len());
    unread.drain(..rest);
}
