//! A proxy between the function and the engine. It speaks TLS, as DynamoDB does on AWS, can delay requests, and can record
//! them.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::serve::Listener;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use testing::tls::acceptor;
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
    engine: String,
    client: Client<HttpConnector, Full<Bytes>>,
    delay_us: AtomicU64,
    /// The sum of the actual delays, which are longer than the set delay, and their number.
    delayed_us: AtomicU64,
    delays: AtomicU64,
    is_recording: AtomicBool,
    calls: Mutex<Vec<Call>>,
}

impl Proxy {
    /// Starts a proxy before the engine at this address.
    pub async fn start(engine: &str) -> Result<Self> {
        let (acceptor, certificate) = acceptor();
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let endpoint = format!("https://localhost:{}", listener.local_addr()?.port());
        let shared = Arc::new(Shared {
            engine: engine.to_owned(),
            client: Client::builder(TokioExecutor::new()).build_http(),
            delay_us: AtomicU64::default(),
            delayed_us: AtomicU64::default(),
            delays: AtomicU64::default(),
            is_recording: AtomicBool::default(),
            calls: Mutex::default(),
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

    /// Records the requests that pass during `work`.
    pub async fn record<T>(&self, work: impl Future<Output = Result<T>>) -> Result<(T, Vec<Call>)> {
        self.shared.is_recording.store(true, Ordering::Relaxed);
        let done = work.await;
        self.shared.is_recording.store(false, Ordering::Relaxed);
        let calls = std::mem::take(&mut *self.shared.calls.lock().expect("no task panics with it"));
        Ok((done?, calls))
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
    match forwarded(&shared, headers, body).await {
        Ok(response) => response,
        Err(error) => (StatusCode::BAD_GATEWAY, format!("{error:#}")).into_response(),
    }
}

async fn forwarded(shared: &Shared, mut headers: HeaderMap, body: Bytes) -> Result<Response> {
    let delay = shared.delay_us.load(Ordering::Relaxed);
    if delay > 0 {
        let start = Instant::now();
        tokio::time::sleep(Duration::from_micros(delay)).await;
        shared.delayed_us.fetch_add(start.elapsed().as_micros() as u64, Ordering::Relaxed);
        shared.delays.fetch_add(1, Ordering::Relaxed);
    }
    let target = headers.get("x-amz-target").and_then(|target| target.to_str().ok()).unwrap_or_default();
    let operation = target.rsplit('.').next().unwrap_or_default().to_owned();
    headers.remove(header::HOST);
    let mut request = Request::post(&shared.engine).body(Full::new(body.clone()))?;
    *request.headers_mut() = headers;
    let (mut parts, response) = shared.client.request(request).await?.into_parts();
    let response = response.collect().await?.to_bytes();
    if shared.is_recording.load(Ordering::Relaxed) {
        let call = Call { operation, request: body, response: response.clone() };
        shared.calls.lock().expect("no task panics with it").push(call);
    }
    parts.headers.remove(header::TRANSFER_ENCODING);
    Ok(Response::from_parts(parts, Body::from(response)))
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
