//! A proxy in front of MongoDB that counts the commands of the sync, and how long the server takes to reply.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use mongodb::bson::RawDocument;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::OwnedReadHalf;
use tokio::net::{TcpListener, TcpStream};

/// The bytes of a message before its first document: the header, the flags, and the kind of the section. The first four are
/// the length of the whole message.
const BEFORE_DOCUMENT: usize = 21;

/// The largest message that MongoDB accepts.
const MAX_MESSAGE: usize = 48_000_000;

/// How often a command was sent, and how long its replies took in sum.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counted {
    pub number: u64,
    pub replies: Duration,
}

type Counts = Arc<Mutex<BTreeMap<String, Counted>>>;

pub struct Commands {
    /// The URI of the proxy. The driver must not ask the server for its address, so it names no replica set.
    pub uri: String,
    counts: Counts,
}

impl Commands {
    /// Forwards all connections to the server of a URI of one host.
    pub async fn start(uri: &str) -> Result<Self> {
        let rest = uri.strip_prefix("mongodb://").context("the URI is not one of MongoDB's")?;
        let (host, rest) = rest.split_once('/').context("the URI has no database")?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (database, options) = rest.split_once('?').unwrap_or((rest, ""));
        let separator = if options.is_empty() { "" } else { "&" };
        let address = listener.local_addr()?;
        let uri = format!("mongodb://{address}/{database}?{options}{separator}directConnection=true");
        let counts = Counts::default();
        let (host, shared) = (host.to_owned(), counts.clone());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(forward(client, host.clone(), shared.clone()));
            }
        });
        Ok(Self { uri, counts })
    }

    /// The commands since the last call, with their collections.
    pub fn take(&self) -> BTreeMap<String, Counted> {
        std::mem::take(&mut *lock(&self.counts))
    }
}

/// A driver sends the next command on a connection only after the reply to the last one. But to a `hello` the server may
/// send many replies.
async fn forward(client: TcpStream, host: String, counts: Counts) -> Result<()> {
    let server = TcpStream::connect(host).await?;
    for stream in [&client, &server] {
        stream.set_nodelay(true)?;
    }
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let open: Mutex<Option<(String, Instant)>> = Mutex::default();
    let commands = async {
        loop {
            let command = read(&mut from_client).await?;
            let name = command.get(BEFORE_DOCUMENT..).and_then(name);
            *lock(&open) = name.map(|name| (name, Instant::now()));
            to_server.write_all(&command).await?;
        }
    };
    let replies = async {
        loop {
            let reply = read(&mut from_server).await?;
            if let Some((name, start)) = lock(&open).take() {
                let mut counts = lock(&counts);
                let counted = counts.entry(name).or_default();
                counted.number += 1;
                counted.replies += start.elapsed();
            }
            to_client.write_all(&reply).await?;
        }
    };
    tokio::select! {
        ended = commands => ended,
        ended = replies => ended,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads one message.
async fn read(from: &mut OwnedReadHalf) -> Result<Vec<u8>> {
    let mut message = vec![0; 4];
    from.read_exact(&mut message).await?;
    let length = u32::from_le_bytes(message[..4].try_into()?) as usize;
    ensure!((4..=MAX_MESSAGE).contains(&length), "a message of {length} bytes");
    message.resize(length, 0);
    from.read_exact(&mut message[4..]).await?;
    Ok(message)
}

/// A command's name and collection.
fn name(bytes: &[u8]) -> Option<String> {
    let length = u32::from_le_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
    let document = RawDocument::from_bytes(bytes.get(..length)?).ok()?;
    let (name, value) = document.iter().next()?.ok()?;
    let is_watch = name == "getMore";
    let collection = if is_watch { document.get_str("collection").ok() } else { value.as_str() };
    Some(match collection {
        Some(collection) => format!("{name} {collection}"),
        None => name.to_string(),
    })
}
