//! Lambda's Runtime API for one process ("Using the Lambda runtime API for custom runtimes", AWS Lambda Developer
//! Guide).

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path as Parameter, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use uuid::Uuid;

/// A function's largest response.
const MAX_RESPONSE_BYTES: usize = 6 * 1024 * 1024;

/// Values of headers that every invocation has beside its id and deadline.
const ARN: &str = "arn:aws:lambda:us-east-1:000000000000:function:local";
const TRACE: &str = "Root=1-61ae1f3b-5f84d3d11c9f6a1e6d2b7c40;Parent=3995c3f42cd8ad8c;Sampled=0";

/// How an invocation ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The function returned this response.
    Response(Bytes),
    /// The function failed, with this description of the failure.
    Error(Bytes),
}

impl Answer {
    /// The response.
    ///
    /// # Errors
    /// The function failed.
    pub fn response(self) -> Result<Bytes> {
        match self {
            Self::Response(response) => Ok(response),
            Self::Error(error) => bail!("the function failed: {}", String::from_utf8_lossy(&error)),
        }
    }
}

/// The Runtime API for one process. The server stops when this is dropped.
pub struct RuntimeApi {
    address: SocketAddr,
    shared: Arc<Shared>,
    events: mpsc::UnboundedSender<Event>,
    server: JoinHandle<()>,
}

struct Event {
    id: String,
    payload: Bytes,
    deadline: SystemTime,
}

struct Shared {
    events: tokio::sync::Mutex<mpsc::UnboundedReceiver<Event>>,
    /// Where the answers go, by the id of the invocation.
    waiting: Mutex<HashMap<String, oneshot::Sender<Answer>>>,
    progress: watch::Sender<Progress>,
}

#[derive(Default)]
struct Progress {
    /// When the process began to wait for the next event; `None` while it works.
    idle_since: Option<Instant>,
    init_error: Option<Bytes>,
}

impl RuntimeApi {
    /// Starts the server on a free port of the loopback interface.
    ///
    /// # Errors
    /// There is no free port.
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("listening")?;
        let address = listener.local_addr()?;
        let (events, receiver) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            events: tokio::sync::Mutex::new(receiver),
            waiting: Mutex::default(),
            progress: watch::Sender::default(),
        });
        let routes = Router::new()
            .route("/invocation/next", get(next))
            .route("/invocation/{id}/response", post(response))
            .route("/invocation/{id}/error", post(error))
            .route("/init/error", post(init_error))
            .layer(DefaultBodyLimit::max(MAX_RESPONSE_BYTES))
            .with_state(shared.clone());
        let app = Router::new().nest("/2018-06-01/runtime", routes);
        let server = tokio::spawn(async move {
            let _: std::io::Result<()> = axum::serve(listener, app).await;
        });
        Ok(Self { address, shared, events, server })
    }

    /// The value of `AWS_LAMBDA_RUNTIME_API` for the process.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until the process asks for an event and there is none. The first time, this is the end of its init phase.
    /// Returns when it began to wait.
    ///
    /// # Errors
    /// The process reports that its init failed.
    pub async fn idle(&self) -> Result<Instant> {
        let mut progress = self.shared.progress.subscribe();
        let progress = progress.wait_for(|now| now.idle_since.is_some() || now.init_error.is_some()).await?;
        match (&progress.init_error, progress.idle_since) {
            (None, Some(since)) => Ok(since),
            (error, _) => {
                bail!("the init failed: {}", String::from_utf8_lossy(error.as_deref().unwrap_or_default()))
            }
        }
    }

    /// Sends the process an event and waits for its answer for at most `time`, the function's timeout.
    ///
    /// # Errors
    /// There is no answer in time.
    pub async fn invoke(&self, event: impl Into<Bytes>, time: Duration) -> Result<Answer> {
        let id = Uuid::new_v4().to_string();
        let (sender, answer) = oneshot::channel();
        self.shared.waiting().insert(id.clone(), sender);
        self.events.send(Event { id, payload: event.into(), deadline: SystemTime::now() + time })?;
        timeout(time, answer).await.context("the function timed out")?.context("the Runtime API ended")
    }
}

impl Drop for RuntimeApi {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Shared {
    fn waiting(&self) -> std::sync::MutexGuard<'_, HashMap<String, oneshot::Sender<Answer>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(&self, id: &str, answer: Answer) -> StatusCode {
        match self.waiting().remove(id).map(|waiting| waiting.send(answer)) {
            Some(Ok(())) => StatusCode::ACCEPTED,
            // The invocation was answered before, timed out, or never existed.
            _ => StatusCode::FORBIDDEN,
        }
    }
}

async fn next(State(shared): State<Arc<Shared>>) -> Response {
    shared.progress.send_modify(|now| now.idle_since = Some(Instant::now()));
    let Some(event) = shared.events.lock().await.recv().await else {
        // The `RuntimeApi` was dropped. As on Lambda, a process that waits for its next event gets no reply.
        return std::future::pending().await;
    };
    shared.progress.send_modify(|now| now.idle_since = None);
    let deadline = event.deadline.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let headers = [
        ("content-type", "application/json".to_owned()),
        ("lambda-runtime-aws-request-id", event.id),
        ("lambda-runtime-deadline-ms", deadline.to_string()),
        ("lambda-runtime-invoked-function-arn", ARN.to_owned()),
        ("lambda-runtime-trace-id", TRACE.to_owned()),
    ];
    (headers, event.payload).into_response()
}

async fn response(
    State(shared): State<Arc<Shared>>,
    Parameter(id): Parameter<String>,
    body: Bytes,
) -> StatusCode {
    shared.answer(&id, Answer::Response(body))
}

async fn error(
    State(shared): State<Arc<Shared>>,
    Parameter(id): Parameter<String>,
    body: Bytes,
) -> StatusCode {
    shared.answer(&id, Answer::Error(body))
}

async fn init_error(State(shared): State<Arc<Shared>>, body: Bytes) -> StatusCode {
    shared.progress.send_modify(|now| now.init_error = Some(body));
    StatusCode::ACCEPTED
}
