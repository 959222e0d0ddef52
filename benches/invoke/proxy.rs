//! A proxy between the function and the engine. It speaks TLS, as DynamoDB does on AWS, can delay requests, and can record
//! them.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use axum::serve::Listener;
use serde_json::Value;
use testing::proxy::{Forwarder, Reply, answer, operation};
use testing::tls::{Identity, identity};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// The proxy. It runs until the process ends.
pub struct Proxy {
    pub endpoint: String,
    /// The proxy's certificate. Clients have to trust it as a certificate authority.
    pub certificate: String,
    shared: Arc<Shared>,
}

/// A request to DynamoDB and its response.
pub struct Call {
    pub operation: String,
    pub request: Bytes,
    pub response: Bytes,
}

struct Shared {
    forwarder: Forwarder,
    delay_us: AtomicU64,
    /// The sum of the actual delays, which are longer than the set delay, and their number.
    delayed_us: AtomicU64,
    delays: AtomicU64,
    is_recording: AtomicBool,
    calls: Mutex<Vec<Call>>,
    limit: Mutex<Limit>,
}

/// What a partition key takes: a token bucket of one second, as all large updates here are of one unit.
#[derive(Default)]
struct Limit {
    /// Write units a second. `None` if there is no limit.
    units_a_second: Option<f64>,
    /// Units that are left. Below zero when the last transaction took more than there were.
    left: f64,
    filled: Option<Instant>,
    passed: Transactions,
}

/// Transactions that a proxy was asked for.
#[derive(Clone, Copy, Default)]
pub struct Transactions {
    /// The number of those that were stored.
    pub stored: usize,
    /// The number of those that were throttled.
    pub throttled: usize,
}

impl Limit {
    /// Whether there is room for a transaction.
    fn has_room(&mut self) -> bool {
        let Some(units) = self.units_a_second else { return true };
        let now = Instant::now();
        let passed = self.filled.replace(now).map_or(1.0, |filled| (now - filled).as_secs_f64());
        self.left = (self.left + passed * units).min(units);
        self.left > 0.0
    }
}

impl Proxy {
    /// Starts a proxy before the engine at this address.
    pub async fn start(engine: &str) -> Result<Self> {
        let Identity { acceptor, certificate } = identity();
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let endpoint = format!("https://localhost:{}", listener.local_addr()?.port());
        let shared = Arc::new(Shared {
            forwarder: Forwarder::new(engine),
            delay_us: AtomicU64::default(),
            delayed_us: AtomicU64::default(),
            delays: AtomicU64::default(),
            is_recording: AtomicBool::default(),
            calls: Mutex::default(),
            limit: Mutex::default(),
        });
        let app = Router::new().fallback(forward).with_state(shared.clone());
        let listener = TlsListener { listener, acceptor };
        tokio::spawn(async move { axum::serve(listener, app).await });
        Ok(Self { endpoint, certificate, shared })
    }

    /// Delays every request by this much from now on.
    pub fn delay(&self, delay: Duration) {
        self.shared.delay_us.store(delay.as_micros() as u64, Ordering::Relaxed);
        self.shared.delayed_us.store(0, Ordering::Relaxed);
        self.shared.delays.store(0, Ordering::Relaxed);
    }

    /// The mean of the delays since the last call of [`Proxy::delay`], in ms.
    pub fn mean_delay_ms(&self) -> f64 {
        let delays = self.shared.delays.load(Ordering::Relaxed).max(1);
        self.shared.delayed_us.load(Ordering::Relaxed) as f64 / delays as f64 / 1e3
    }

    /// Lets transactions through at this rate from now on. Returns the transactions since the last call.
    pub fn limit(&self, units_a_second: Option<f64>) -> Transactions {
        let mut limit = self.shared.limit.lock().expect("no task panics with it");
        std::mem::replace(&mut *limit, Limit { units_a_second, ..Limit::default() }).passed
    }

    /// Records the requests that pass during `work`.
    pub async fn record<T>(&self, work: impl Future<Output = Result<T>>) -> Result<Vec<Call>> {
        self.shared.is_recording.store(true, Ordering::Relaxed);
        let done = work.await;
        self.shared.is_recording.store(false, Ordering::Relaxed);
        let calls = std::mem::take(&mut *self.shared.calls.lock().expect("no task panics with it"));
        done.map(|_| calls)
    }
}

impl Call {
    /// The capacity units that the request consumed.
    pub fn units(&self) -> Result<f64> {
        let response: Value = serde_json::from_slice(&self.response)?;
        let capacity = &response["ConsumedCapacity"];
        let tables = capacity.as_array().context("the response has no capacity")?;
        Ok(tables.iter().filter_map(|table| table["CapacityUnits"].as_f64()).sum())
    }
}

async fn forward(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    answer(forwarded(&shared, headers, body).await)
}

async fn forwarded(shared: &Shared, headers: HeaderMap, body: Bytes) -> Result<Reply> {
    let delay = shared.delay_us.load(Ordering::Relaxed);
    if delay > 0 {
        let start = Instant::now();
        tokio::time::sleep(Duration::from_micros(delay)).await;
        shared.delayed_us.fetch_add(start.elapsed().as_micros() as u64, Ordering::Relaxed);
        shared.delays.fetch_add(1, Ordering::Relaxed);
    }
    let operation = operation(&headers).to_owned();
    let is_transaction = operation == "TransactWriteItems";
    if is_transaction {
        let mut limit = shared.limit.lock().expect("no task panics with it");
        if !limit.has_room() {
            limit.passed.throttled += 1;
            return Ok(throttled());
        }
    }
    let reply = shared.forwarder.forward(headers, body.clone()).await?;
    let call = Call { operation, request: body, response: reply.body().clone() };
    if is_transaction && reply.status().is_success() {
        let units = call.units()?;
        let mut limit = shared.limit.lock().expect("no task panics with it");
        limit.left -= units;
        limit.passed.stored += 1;
    }
    if shared.is_recording.load(Ordering::Relaxed) {
        shared.calls.lock().expect("no task panics with it").push(call);
    }
    Ok(reply)
}

/// How DynamoDB answers a transaction that a partition has no room for.
fn throttled() -> Reply {
    let body = serde_json::json!({
        "__type": "com.amazonaws.dynamodb.v20120810#TransactionCanceledException",
        "message": "Transaction cancelled, please refer cancellation reasons for specific reasons [ThrottlingError]",
        "CancellationReasons": [{ "Code": "ThrottlingError", "Message": "Throughput exceeds the current capacity" }],
    });
    let mut reply = Reply::new(body.to_string().into());
    *reply.status_mut() = StatusCode::BAD_REQUEST;
    let content_type = HeaderValue::from_static("application/x-amz-json-1.0");
    reply.headers_mut().insert(header::CONTENT_TYPE, content_type);
    reply
}

struct TlsListener {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let Ok((stream, address)) = self.listener.accept().await else { continue };
            let _late = stream.set_nodelay(true);
            // Only the benchmark's own processes connect, and they begin the handshake at once.
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}
