//! Lambda's side of an execution environment: starts a function's binary and serves it the Runtime API as
//! Lambda does ("Using the Lambda runtime API for custom runtimes", Lambda Developer Guide).

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path as Parameter, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use livechat_units::Tables;
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use uuid::Uuid;

/// A function's largest response.
const MAX_RESPONSE_BYTES: usize = 6 * 1024 * 1024;

/// What every event carries beside its id and deadline.
const ARN: &str = "arn:aws:lambda:us-east-1:000000000000:function:local";
const TRACE: &str = "Root=1-61ae1f3b-5f84d3d11c9f6a1e6d2b7c40;Parent=3995c3f42cd8ad8c;Sampled=0";

/// What a function made of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Its response.
    Response(Bytes),
    /// The description of its failure.
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

/// The Runtime API for one process. It ends when this is dropped.
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
    /// Who waits for the answers, by the events' ids.
    waiting: Mutex<HashMap<String, oneshot::Sender<Answer>>>,
    progress: watch::Sender<Progress>,
}

#[derive(Default)]
struct Progress {
    /// When the process began to wait for the next event, if it does.
    idle_since: Option<Instant>,
    init_error: Option<Bytes>,
}

impl RuntimeApi {
    /// Serves on a free port of the loopback interface.
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

    /// What the process finds as `AWS_LAMBDA_RUNTIME_API`.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until the process polls for an event, and has none. The first time this is the end of its
    /// init phase. Returns when it began to wait.
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

    /// Gives the process an event, once it asks for one, and waits for its answer as long as the function's
    /// timeout is.
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
            // Answered before, too late, or never asked.
            _ => StatusCode::FORBIDDEN,
        }
    }
}

async fn next(State(shared): State<Arc<Shared>>) -> Response {
    shared.progress.send_modify(|now| now.idle_since = Some(Instant::now()));
    let Some(event) = shared.events.lock().await.recv().await else {
        // The handle is gone: as on Lambda, who waits for an event that never comes is not told.
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

/// A process that runs a function's binary, with the Runtime API that it is on. It is killed when this is
/// dropped.
pub struct Environment {
    // Before the Runtime API, whose end it need not see.
    process: Child,
    api: RuntimeApi,
}

impl Environment {
    /// Starts `binary` with these environment variables, beside those that Lambda itself sets, and no others.
    ///
    /// # Errors
    /// The binary can't be started.
    pub async fn start(
        binary: &Path,
        variables: &[(&str, &str)],
        stdout: impl Into<Stdio>,
        stderr: impl Into<Stdio>,
    ) -> Result<Self> {
        let api = RuntimeApi::start().await?;
        let process = Command::new(binary)
            .env_clear()
            .env("AWS_LAMBDA_RUNTIME_API", api.address().to_string())
            .env("AWS_LAMBDA_FUNCTION_NAME", "local")
            .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256")
            .env("AWS_REGION", "us-east-1")
            .env("AWS_ACCESS_KEY_ID", "local")
            .env("AWS_SECRET_ACCESS_KEY", "local")
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(stderr)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("starting {}", binary.display()))?;
        Ok(Self { process, api })
    }

    /// As [`Environment::start`], for the function itself, on the tables that a DynamoDB has.
    ///
    /// # Errors
    /// The binary can't be started.
    pub async fn start_function(
        binary: &Path,
        endpoint: &str,
        tables: &Tables,
        variables: &[(&str, &str)],
        stdout: impl Into<Stdio>,
        stderr: impl Into<Stdio>,
    ) -> Result<Self> {
        let mut all = vec![
            ("AWS_ENDPOINT_URL_DYNAMODB", endpoint),
            ("TOKENS_TABLE", &tables.tokens),
            ("LIVECHAT_TABLE", &tables.livechat),
        ];
        all.extend(variables);
        Self::start(binary, &all, stdout, stderr).await
    }

    /// The process, for whoever reads its output.
    pub fn process(&mut self) -> &mut Child {
        &mut self.process
    }

    /// As [`RuntimeApi::idle`].
    ///
    /// # Errors
    /// The init failed, or the process has ended.
    pub async fn idle(&mut self) -> Result<Instant> {
        tokio::select! {
            since = self.api.idle() => since,
            ended = self.process.wait() => bail!("the process ended with {}", ended?),
        }
    }

    /// As [`RuntimeApi::invoke`].
    ///
    /// # Errors
    /// There is no answer in time, or the process has ended.
    pub async fn invoke(&mut self, event: impl Into<Bytes>, time: Duration) -> Result<Answer> {
        tokio::select! {
            biased;
            answer = self.api.invoke(event, time) => answer,
            ended = self.process.wait() => bail!("the process ended with {}", ended?),
        }
    }
}
