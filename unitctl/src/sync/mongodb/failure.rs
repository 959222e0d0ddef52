//! What went wrong at MongoDB, as one sentence. The driver's own text is never shown: it may have a server's whole
//! reply, with values of documents, or a part of the URI, with the password.

use std::fmt;
use std::future::IntoFuture;
use std::time::Duration;

use mongodb::error::{Error, ErrorKind, WriteFailure};

/// How long one operation may take. The driver itself waits forever if a server is frozen and does not reply.
const MAX_OPERATION: Duration = Duration::from_secs(20);

/// What a failure means for the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The servers can't be reached, or none of them is the primary now. A later try may succeed.
    Unreachable,
    /// A transaction met another write. Nothing was written, and it can be tried again.
    Conflict,
    /// It is not known whether a transaction was committed. The commit can be tried again.
    UnknownCommit,
    /// A change stream can't go on from this position.
    Position,
    /// Anything else: a user or a right that is refused, a URI or a server that can't be used.
    Other,
}

/// An operation that failed. It is shown as one sentence without a full stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What it means for the caller.
    pub cause: Cause,
    sentence: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence)
    }
}

impl std::error::Error for Failure {}

/// What was done, and where.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// MongoDB's name of the right that it needs.
    pub action: &'static str,
    /// The collection.
    pub collection: &'static str,
}

/// Runs an operation. A reply that does not come in time is a failure.
pub async fn within<T>(
    step: Step,
    operation: impl IntoFuture<Output = Result<T, Error>>,
) -> Result<T, Failure> {
    within_limit(MAX_OPERATION, step, operation).await
}

/// As [`within`], with another limit than usual.
pub async fn within_limit<T>(
    limit: Duration,
    step: Step,
    operation: impl IntoFuture<Output = Result<T, Error>>,
) -> Result<T, Failure> {
    match tokio::time::timeout(limit, operation.into_future()).await {
        Ok(result) => result.map_err(|error| Failure::of(&error, step)),
        Err(_) => Err(Failure::silent(limit)),
    }
}

/// Runs an operation that needs no right on a collection.
pub async fn within_connect<T>(operation: impl IntoFuture<Output = Result<T, Error>>) -> Result<T, Failure> {
    match tokio::time::timeout(MAX_OPERATION, operation.into_future()).await {
        Ok(result) => result.map_err(|error| Failure::of_connect(&error)),
        Err(_) => Err(Failure::silent(MAX_OPERATION)),
    }
}

impl Failure {
    /// A failure with this sentence.
    pub fn new(cause: Cause, sentence: impl Into<String>) -> Self {
        Self { cause, sentence: sentence.into() }
    }

    /// The failure of an operation on a collection.
    pub fn of(error: &Error, step: Step) -> Self {
        let Step { action, collection } = step;
        match code(error) {
            Some(13) => Self::lacks_right(step),
            _ => Self::general(error, &format!("`{action}` on the collection {collection}")),
        }
    }

    /// The failure to connect.
    pub fn of_connect(error: &Error) -> Self {
        Self::general(error, "the connection")
    }

    fn silent(limit: Duration) -> Self {
        let seconds = limit.as_secs();
        Self::new(Cause::Unreachable, format!("MongoDB did not answer within {seconds} seconds"))
    }

    fn general(error: &Error, what: &str) -> Self {
        use mongodb::error::{TRANSIENT_TRANSACTION_ERROR, UNKNOWN_TRANSACTION_COMMIT_RESULT};
        let code = code(error);
        if error.contains_label(UNKNOWN_TRANSACTION_COMMIT_RESULT) {
            return Self::new(Cause::UnknownCommit, "MongoDB did not confirm a transaction");
        }
        match (&*error.kind, code) {
            (ErrorKind::Authentication { .. }, _) | (_, Some(18)) => {
                Self::new(Cause::Other, "MongoDB refuses the user name or the password of the URI")
            }
            (_, Some(20 | 40573)) => Self::new(
                Cause::Other,
                "MongoDB is a standalone server, which has no change streams and no transactions; it has to be a \
                 replica set, as for Rocket.Chat itself",
            ),
            (_, Some(286)) => {
                Self::new(Cause::Position, "The position of a change stream is older than MongoDB's oplog")
            }
            (_, Some(260 | 280)) => {
                Self::new(Cause::Position, "MongoDB can't resume a change stream from its position")
            }
            (_, Some(10334)) => {
                Self::new(Cause::Position, "An event of a change stream is larger than MongoDB can send")
            }
            // The states of a server that is not the primary any more, or shuts down.
            (
                _,
                Some(
                    6 | 7 | 89 | 91 | 133 | 189 | 262 | 9001 | 10058 | 10107 | 11600 | 11602 | 13435 | 13436,
                ),
            ) => Self::new(Cause::Unreachable, "MongoDB's primary steps down or shuts down"),
            // A connection that breaks in a transaction has the label, too, but no code.
            (_, Some(_)) if error.contains_label(TRANSIENT_TRANSACTION_ERROR) => {
                Self::new(Cause::Conflict, "A transaction in MongoDB conflicted with another write")
            }
            (_, Some(code)) => {
                Self::new(Cause::Other, format!("MongoDB answers {what} with the error code {code}"))
            }
            (ErrorKind::ServerSelection { .. }, _) => Self::new(
                Cause::Unreachable,
                "MongoDB can't be reached: none of the servers of the URI answers as the primary",
            ),
            (ErrorKind::Io(error), _) => {
                Self::new(Cause::Unreachable, format!("The connection to MongoDB broke: {}", error.kind()))
            }
            (ErrorKind::ConnectionPoolCleared { .. } | ErrorKind::Internal { .. }, _) => {
                Self::new(Cause::Unreachable, "The connection to MongoDB broke")
            }
            (ErrorKind::DnsResolve { .. }, _) => {
                Self::new(Cause::Unreachable, "The DNS names of the MongoDB URI can't be looked up")
            }
            (ErrorKind::InvalidTlsConfig { .. }, _) => {
                Self::new(Cause::Other, "The TLS options of the MongoDB URI can't be used")
            }
            (ErrorKind::InvalidArgument { .. }, _) => Self::new(
                Cause::Other,
                "The MongoDB URI is not valid; special characters in its user name and its password must be \
                 percent-encoded",
            ),
            (ErrorKind::IncompatibleServer { .. }, _) => {
                Self::new(Cause::Other, "This version of MongoDB is too old or too new for unitctl")
            }
            _ => Self::new(Cause::Other, format!("MongoDB's reply to {what} can't be used")),
        }
    }
}

/// The server's error code.
fn code(error: &Error) -> Option<i32> {
    match &*error.kind {
        ErrorKind::Command(error) => Some(error.code),
        ErrorKind::Write(WriteFailure::WriteError(error)) => Some(error.code),
        ErrorKind::Write(WriteFailure::WriteConcernError(error)) => Some(error.code),
        ErrorKind::BulkWrite(error) => error.write_errors.values().next().map(|error| error.code),
        _ => None,
    }
}
