//! Starts and ends the sync: connects, checks the workspace, gets the lease, and follows or makes one pass.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use tokio::time::{Instant, sleep, timeout};

use super::dynamodb::workspace;
use super::follow::{self, End, follow, recount_when_quiet};
use super::health::{self, Phase, Status};
use super::mongodb::{Access, Cause, Failure, MongoDb};
use super::options::Sync;
use super::pass;
use super::report::Reporter;
use super::sides::{Mode, Sides};
use crate::database::Database;
use crate::lease::{Candidate, Lease};

/// How long `--once` waits for a database that can't be reached.
const PATIENCE_OF_ONCE: Duration = Duration::from_secs(30);

/// The pause between two tries to reach a database.
const PAUSE: Duration = Duration::from_secs(1);

/// The name under which the lease shows this process to others.
const PURPOSE: &str = "unitctl sync";

/// Ready when the process gets the signal to end.
type Shutdown = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Runs the command until the process gets the signal to end. Returns true if no fact stays open and nothing is held
/// back.
///
/// # Errors
/// A problem that does not go away by itself, such as a wrong password, another workspace or a table without a stream.
/// With `--once` also a database that can't be reached, and another process that works.
pub(super) async fn run(
    options: &Sync,
    database: Database,
    streams: aws_sdk_dynamodbstreams::Client,
) -> Result<bool> {
    let process = Process {
        options,
        database,
        reporter: Arc::new(Reporter::new(options.dry_run)),
        status: Arc::new(Status::default()),
        start: Instant::now(),
    };
    process.status.set(Phase::Connecting, "a database can't be reached");
    if let Some(address) = options.listen {
        health::serve(address, Arc::clone(&process.status), Arc::clone(&process.reporter)).await?;
    }
    let mut shutdown: Shutdown = Box::pin(shutdown()?);
    let mongodb = tokio::select! {
        mongodb = process.patiently(|| process.connect()) => mongodb?,
        () = &mut shutdown => return Ok(true),
    };
    if options.once {
        process.once(mongodb, &mut shutdown).await
    } else {
        process.follow(mongodb, streams, &mut shutdown).await
    }
}

/// Ready when the process gets SIGINT (Ctrl-C) or SIGTERM.
fn shutdown() -> Result<impl Future<Output = ()>> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut interrupt = signal(SignalKind::interrupt()).context("waiting for SIGINT")?;
        let mut terminate = signal(SignalKind::terminate()).context("waiting for SIGTERM")?;
        Ok(async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        })
    }
    #[cfg(not(unix))]
    Ok(async {
        let _ = tokio::signal::ctrl_c().await;
    })
}

struct Process<'a> {
    options: &'a Sync,
    database: Database,
    reporter: Arc<Reporter>,
    status: Arc<Status>,
    start: Instant,
}

impl Process<'_> {
    /// Makes an attempt again and again until it succeeds, or fails for a reason that does not go away by itself. With
    /// `--once`, gives up after [`PATIENCE_OF_ONCE`].
    async fn patiently<T, E, F>(&self, mut attempt: impl FnMut() -> F) -> Result<T>
    where
        E: Into<anyhow::Error>,
        F: Future<Output = Result<T, E>>,
    {
        let mut said = None;
        loop {
            let error: anyhow::Error = match attempt().await {
                Ok(result) => return Ok(result),
                Err(error) => error.into(),
            };
            if !is_passing(&error) || (self.options.once && self.start.elapsed() >= PATIENCE_OF_ONCE) {
                return Err(error);
            }
            let words = format!("{error:#}");
            if said.as_ref() != Some(&words) {
                self.reporter.failure(None, &words);
                said = Some(words);
            }
            sleep(PAUSE).await;
        }
    }

    async fn connect(&self) -> Result<MongoDb, Failure> {
        let mongodb = MongoDb::connect(&self.options.mongodb_uri).await?;
        let reads_only = self.options.dry_run || self.options.from_mongodb;
        mongodb.check_rights(if reads_only { Access::Read } else { Access::ReadAndWrite }).await?;
        Ok(mongodb)
    }

    /// Checks that the tables belong to the workspace of this database.
    async fn check_workspace(&self, mongodb: &MongoDb) -> Result<()> {
        let found = mongodb.workspace().await?;
        workspace::check(&self.database, &found, self.options.moved, self.options.dry_run).await
    }

    fn sides(&self, mongodb: MongoDb, lease: Option<Lease>, lifetime: time::Duration) -> Sides {
        let mode = Mode {
            is_dry_run: self.options.dry_run,
            is_from_mongodb: self.options.from_mongodb,
            prefer: self.options.prefer.map(Into::into),
        };
        Sides::new(self.database.clone(), mongodb, Arc::clone(&self.reporter), mode, lease, lifetime)
    }

    /// Makes one full pass.
    async fn once(&self, mongodb: MongoDb, shutdown: &mut Shutdown) -> Result<bool> {
        self.patiently(|| self.check_workspace(&mongodb)).await?;
        let lease = if self.options.dry_run {
            None
        } else {
            let mut candidate = Candidate::new(&self.database, PURPOSE);
            let on_wait =
                |other: &_| self.reporter.note(format!("waiting to see whether {other} still works"));
            let held = timeout(PATIENCE_OF_ONCE, candidate.acquire_or_refuse(on_wait)).await;
            let late = || anyhow!("the lease was not free within {} seconds", PATIENCE_OF_ONCE.as_secs());
            Some(held.map_err(|_| late())??)
        };
        let lifetime = self.patiently(|| mongodb.login_expiration()).await?;
        let sides = self.sides(mongodb, lease, lifetime);
        let work = async {
            let outcome = self.patiently(|| pass::run(&sides, self.options.allow_removals)).await?;
            recount_when_quiet(&sides, &outcome.written_units).await?;
            Ok::<_, anyhow::Error>(outcome)
        };
        let outcome = tokio::select! {
            outcome = work => Some(outcome),
            () = shutdown => None,
        };
        if let Some(lease) = sides.lease {
            lease.release().await?;
        }
        let Some(outcome) = outcome else {
            self.reporter.note("ended before the pass was done; the next one begins again");
            return Ok(true);
        };
        let outcome = outcome?;
        let (open, held_back) = (self.reporter.open_count(), self.reporter.held_back_count());
        self.reporter.note(format!(
            "compared {} documents; {open} facts stay open, {held_back} items were not removed",
            outcome.documents
        ));
        Ok(open == 0 && held_back == 0 && outcome.suspicion.is_none())
    }

    /// Follows, or waits for the lease, until the process gets the signal to end.
    async fn follow(
        &self,
        mongodb: MongoDb,
        streams: aws_sdk_dynamodbstreams::Client,
        shutdown: &mut Shutdown,
    ) -> Result<bool> {
        loop {
            let ready = async {
                self.patiently(|| self.check_workspace(&mongodb)).await?;
                let lease = if self.options.dry_run {
                    None
                } else {
                    self.status.set(Phase::Waiting, "another process works");
                    let on_error = |error: anyhow::Error| self.reporter.failure(None, format!("{error:#}"));
                    Some(Candidate::new(&self.database, PURPOSE).wait(on_error).await)
                };
                self.status.set(Phase::FirstPass, "the first full pass has not ended yet");
                let lifetime = self.patiently(|| mongodb.login_expiration()).await?;
                Ok::<_, anyhow::Error>(self.sides(mongodb.clone(), lease, lifetime))
            };
            let sides = tokio::select! {
                sides = ready => Arc::new(sides?),
                () = &mut *shutdown => return Ok(true),
            };
            let options = follow::Options {
                allow_removals: self.options.allow_removals,
                full_pass_every: Duration::from_secs(self.options.full_pass_every * 3600),
            };
            let status = Arc::clone(&self.status);
            let end = follow(Arc::clone(&sides), streams.clone(), status, options, shutdown).await;
            // This is `None` if an aborted task has not dropped its clone yet. Then the lease is not released, and
            // another process takes over when the lease has run out.
            let lease = Arc::into_inner(sides).and_then(|sides| sides.lease);
            if let Some(lease) = lease
                && !matches!(end, Ok(End::LeaseLost))
            {
                lease.release().await?;
            }
            match end? {
                End::Shutdown => {
                    self.reporter.note("ended");
                    return Ok(true);
                }
                End::LeaseLost => self.reporter.warn("another process has taken over; this one waits"),
            }
        }
    }
}

/// True for an error that goes away by itself: a database can't be reached, or a transaction met another write.
fn is_passing(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| match cause.downcast_ref::<Failure>() {
        Some(failure) => matches!(failure.cause, Cause::Unreachable | Cause::Conflict),
        // The SDK's words for a request that got no reply.
        None => ["dispatch failure", "request has timed out"].contains(&cause.to_string().as_str()),
    })
}
