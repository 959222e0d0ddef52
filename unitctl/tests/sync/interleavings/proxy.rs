//! A proxy between a process and one of its databases. Its connections can be slow or cut, and a request can be held.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::sleep;

use crate::following::SOON;

/// What the proxy does with its connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Everything passes.
    Open,
    /// Everything passes, after this time in each direction.
    Slow(Duration),
    /// All connections are closed, and new ones are closed at once.
    Cut,
}

/// Sees a part of a request before it is forwarded. Returns whether it is held.
type Inspect = Box<dyn FnMut(&[u8]) -> bool + Send>;

/// A running proxy. A clone is the same proxy.
#[derive(Clone)]
pub struct Proxy {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    server: String,
    mode: watch::Sender<Mode>,
    inspect: Mutex<Option<Inspect>>,
    is_held: watch::Sender<bool>,
}

impl Proxy {
    /// Starts a proxy in front of a server, which is named by host and port.
    pub async fn start(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let shared = Arc::new(Shared {
            server: server.to_owned(),
            mode: watch::Sender::new(Mode::Open),
            inspect: Mutex::default(),
            is_held: watch::Sender::new(false),
        });
        let proxy = Self { address, shared: shared.clone() };
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let shared = shared.clone();
                // Errors are expected, since the proxy closes connections itself.
                tokio::spawn(async move { serve(client, &shared).await.ok() });
            }
        });
        proxy
    }

    pub fn set(&self, mode: Mode) {
        self.shared.mode.send_replace(mode);
    }

    /// Looks at each part of a request. If `inspect` returns true, that part and what follows it on the connection is held.
    pub fn inspect(&self, inspect: impl FnMut(&[u8]) -> bool + Send + 'static) {
        *self.shared.inspect.lock().expect("no panic") = Some(Box::new(inspect));
    }

    /// Waits until something is held.
    pub async fn held(&self) {
        let mut is_held = self.shared.is_held.subscribe();
        let held = tokio::time::timeout(SOON, is_held.wait_for(|is_held| *is_held)).await;
        assert!(held.is_ok(), "no such request came");
    }

    /// Lets go what is held, and looks at nothing any more.
    pub fn release(&self) {
        *self.shared.inspect.lock().expect("no panic") = None;
        self.shared.is_held.send_replace(false);
    }
}

/// Whether a part of a request has this text.
pub fn has(part: &[u8], text: &str) -> bool {
    part.windows(text.len()).any(|window| window == text.as_bytes())
}

async fn serve(client: TcpStream, shared: &Shared) -> io::Result<()> {
    let mut mode = shared.mode.subscribe();
    if *mode.borrow() == Mode::Cut {
        return client.set_zero_linger();
    }
    let server = TcpStream::connect(&shared.server).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::select! {
        result = forward(from_client, to_server, shared, true) => result,
        result = forward(from_server, to_client, shared, false) => result,
        _ = mode.wait_for(|mode| *mode == Mode::Cut) => Ok(()),
    }
}

async fn forward(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    shared: &Shared,
    is_request: bool,
) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let length = from.read(&mut buffer).await?;
        if length == 0 {
            return Ok(());
        }
        let mode = *shared.mode.borrow();
        if let Mode::Slow(time) = mode {
            sleep(time).await;
        }
        if is_request && is_to_be_held(shared, &buffer[..length]) {
            let mut is_held = shared.is_held.subscribe();
            shared.is_held.send_replace(true);
            is_held.wait_for(|is_held| !is_held).await.map_err(io::Error::other)?;
        }
        to.write_all(&buffer[..length]).await?;
    }
}

fn is_to_be_held(shared: &Shared, part: &[u8]) -> bool {
    let mut inspect = shared.inspect.lock().expect("no panic");
    inspect.as_mut().is_some_and(|inspect| inspect(part))
}
