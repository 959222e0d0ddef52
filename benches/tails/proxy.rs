//! A proxy in front of the engine that delays replies, loses some, and lets connections fall silent.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Result;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, State};
use axum::http::HeaderMap;
use axum::response::Response;
use testing::proxy::{Forwarder, Reply, answer, operation};
use tokio::net::TcpListener;
use tokio::time::sleep;

/// The proxy. It runs until the process ends.
pub struct Proxy {
    pub endpoint: String,
    shared: Arc<Shared>,
}

/// How late replies are, and what goes wrong.
#[derive(Clone, Copy, Default)]
pub struct Replies {
    /// The delay of each reply.
    pub delay: Delay,
    /// What happens to one request in a hundred.
    pub fault: Option<Fault>,
}

/// A delay of two parts.
#[derive(Clone, Copy, Default)]
pub struct Delay {
    /// The constant part, in ms.
    pub constant_ms: f64,
    /// The mean of an exponentially distributed part, in ms.
    pub mean_ms: f64,
}

#[derive(Clone, Copy)]
pub enum Fault {
    /// The reply is late by this time.
    Late(Duration),
    /// The reply never comes, and the connection stays open and silent.
    Silent,
}

/// The numbers of requests that have come.
#[derive(Clone, Copy, Default)]
pub struct Counts {
    pub requests: usize,
    pub transactions: usize,
}

struct Shared {
    forwarder: Forwarder,
    state: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    replies: Replies,
    counts: Counts,
    /// Whether each connection is silent, by the client's address.
    connections: HashMap<SocketAddr, bool>,
}

impl Proxy {
    /// Starts a proxy in front of the engine at this address.
    pub async fn start(engine: &str) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let endpoint = format!("http://{}", listener.local_addr()?);
        let shared = Arc::new(Shared { forwarder: Forwarder::new(engine), state: Mutex::default() });
        let app = Router::new().fallback(forward).with_state(shared.clone());
        let app = app.into_make_service_with_connect_info::<SocketAddr>();
        tokio::spawn(async move { axum::serve(listener, app).await });
        Ok(Self { endpoint, shared })
    }

    pub fn set_replies(&self, replies: Replies) {
        self.with(|state| state.replies = replies);
    }

    /// The numbers of requests since the last call.
    pub fn take_counts(&self) -> Counts {
        self.with(|state| std::mem::take(&mut state.counts))
    }

    /// Makes all open connections silent. New ones work.
    pub fn silence_all(&self) {
        self.with(|state| state.connections.values_mut().for_each(|is_silent| *is_silent = true));
    }

    fn with<T>(&self, change: impl FnOnce(&mut Inner) -> T) -> T {
        change(&mut self.shared.state.lock().expect("no holder of the lock panics"))
    }
}

async fn forward(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(client): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    answer(forwarded(&shared, client, headers, body).await)
}

async fn forwarded(shared: &Shared, client: SocketAddr, headers: HeaderMap, body: Bytes) -> Result<Reply> {
    let is_transaction = operation(&headers) == "TransactWriteItems";
    let (replies, is_silent) = {
        let mut state = shared.state.lock().expect("no holder of the lock panics");
        state.counts.requests += 1;
        state.counts.transactions += usize::from(is_transaction);
        (state.replies, *state.connections.entry(client).or_default())
    };
    if is_silent {
        return std::future::pending().await;
    }
    let reply = shared.forwarder.forward(headers, body).await?;
    let Delay { constant_ms, mean_ms } = replies.delay;
    sleep(Duration::from_secs_f64((constant_ms - mean_ms * (1.0 - fastrand::f64()).ln()) / 1e3)).await;
    if let Some(fault) = replies.fault
        && fastrand::u8(..100) == 0
    {
        match fault {
            Fault::Late(time) => sleep(time).await,
            Fault::Silent => {
                shared.state.lock().expect("no holder of the lock panics").connections.insert(client, true);
                return std::future::pending().await;
            }
        }
    }
    Ok(reply)
}
