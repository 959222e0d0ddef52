//! `--listen`: `/health` for a load balancer or Kubernetes, and `/metrics` for Prometheus.

use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::time::Instant;

use super::report::Reporter;

/// The longest time that a change may wait to be carried over while the process counts as healthy, in milliseconds.
const MAX_LAG_MS: u64 = 30_000;

/// What the process is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// It waits for a database.
    #[default]
    Connecting,
    /// Another process works; this one takes over if that one ends.
    Waiting,
    /// The first full pass has not ended yet.
    FirstPass,
    /// It follows the changes of both sides.
    Following,
}

/// The state of the process, as far as it is shown.
#[derive(Debug, Default)]
pub struct Status {
    phase: Mutex<(Phase, String)>,
    /// True while a change stream or DynamoDB's stream can't be read.
    pub is_interrupted: AtomicBool,
    /// True if the last full pass removed nothing because too much was missing.
    pub is_held_back: AtomicBool,
    /// How many subjects wait or are looked at.
    pub pending: AtomicU64,
    lag: Mutex<Option<Instant>>,
}

impl Status {
    /// Records what the process does now, in words.
    pub fn set(&self, phase: Phase, words: impl Into<String>) {
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner) = (phase, words.into());
    }

    /// Records when the change that has waited longest began to wait.
    pub fn set_oldest(&self, since: Option<Instant>) {
        *self.lag.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }

    /// How long the change that has waited longest has waited, in milliseconds.
    fn lag_ms(&self, now: Instant) -> u64 {
        let since = *self.lag.lock().unwrap_or_else(PoisonError::into_inner);
        since.map_or(0, |since| u64::try_from(now.duration_since(since).as_millis()).unwrap_or(u64::MAX))
    }

    /// Why the process is not healthy. `None` if it is.
    fn problem(&self, now: Instant) -> Option<String> {
        let (phase, words) = self.phase.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match phase {
            Phase::Waiting => None,
            Phase::Connecting | Phase::FirstPass => Some(words),
            Phase::Following if self.is_held_back.load(Ordering::Relaxed) => {
                Some("the last full pass removed nothing, because MongoDB lacks too much".into())
            }
            Phase::Following if self.is_interrupted.load(Ordering::Relaxed) => {
                Some("a stream of changes can't be read".into())
            }
            Phase::Following => {
                let lag = self.lag_ms(now);
                (lag > MAX_LAG_MS).then(|| format!("a change has waited for {} seconds", lag / 1000))
            }
        }
    }
}

/// What the handlers need.
type Shared = (Arc<Status>, Arc<Reporter>);

/// Serves both paths until the process ends.
///
/// # Errors
/// The address can't be used.
pub async fn serve(address: SocketAddr, status: Arc<Status>, reporter: Arc<Reporter>) -> Result<()> {
    let listener =
        TcpListener::bind(address).await.with_context(|| format!("--listen {address} can't be used"))?;
    let router = Router::new()
        .route("/health", get(health))
        .route("/metrics", get(metrics))
        .with_state((status, reporter));
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(())
}

async fn health(State((status, _)): State<Shared>) -> Response {
    match status.problem(Instant::now()) {
        None => (StatusCode::OK, "ok\n".to_owned()).into_response(),
        Some(problem) => (StatusCode::SERVICE_UNAVAILABLE, format!("{problem}\n")).into_response(),
    }
}

async fn metrics(State((status, reporter)): State<Shared>) -> Response {
    let counters = &reporter.counters;
    let phase = status.phase.lock().unwrap_or_else(PoisonError::into_inner).0;
    let mut text = String::new();
    let mut metric = |name: &str, kind: &str, help: &str, value: u64| {
        let _ = writeln!(
            text,
            "# HELP unitctl_sync_{name} {help}\n# TYPE unitctl_sync_{name} {kind}\nunitctl_sync_{name} {value}"
        );
    };
    let gauge = "gauge";
    metric(
        "following",
        gauge,
        "1 if this process follows the changes of both sides.",
        u64::from(phase == Phase::Following),
    );
    metric(
        "healthy",
        gauge,
        "1 if /health answers 200.",
        u64::from(status.problem(Instant::now()).is_none()),
    );
    metric(
        "lag_milliseconds",
        gauge,
        "For how long the oldest change that is not carried over has waited.",
        status.lag_ms(Instant::now()),
    );
    metric(
        "pending",
        gauge,
        "Users, permissions, departments and units that are to be looked at.",
        status.pending.load(Ordering::Relaxed),
    );
    metric("open_facts", gauge, "Facts that can't be carried over now.", reporter.open_count() as u64);
    metric(
        "held_back",
        gauge,
        "Items that only DynamoDB has and that were not removed.",
        reporter.held_back_count() as u64,
    );
    let counter = "counter";
    for (name, help, value) in [
        ("looks_total", "Looks at a user, permission, department or unit.", &counters.looks),
        ("writes_to_dynamodb_total", "Changes that were written to DynamoDB.", &counters.writes_to_dynamodb),
        ("writes_to_mongodb_total", "Changes that were written to MongoDB.", &counters.writes_to_mongodb),
        (
            "refused_writes_total",
            "Writes that were refused because something had changed meanwhile.",
            &counters.refusals,
        ),
        (
            "overwritten_facts_total",
            "Facts of one side that a later change of the other side overwrote.",
            &counters.overwritten,
        ),
        ("failures_total", "Looks and passes that failed and were repeated.", &counters.failures),
        ("full_passes_total", "Full passes that ended.", &counters.passes),
    ] {
        metric(name, counter, help, value.load(Ordering::Relaxed));
    }
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_process_is_healthy_while_it_waits_for_the_lease_and_while_it_follows() {
        let status = Status::default();
        let now = Instant::now();
        assert!(status.problem(now).is_some());
        status.set(Phase::Waiting, "another process works");
        assert_eq!(status.problem(now), None);
        status.set(Phase::FirstPass, "the first full pass has not ended yet");
        assert_eq!(status.problem(now).as_deref(), Some("the first full pass has not ended yet"));
        status.set(Phase::Following, "");
        assert_eq!(status.problem(now), None);
        status.is_interrupted.store(true, Ordering::Relaxed);
        assert!(status.problem(now).is_some());
        status.is_interrupted.store(false, Ordering::Relaxed);
        status.set_oldest(Some(now));
        assert_eq!(status.problem(now + Duration::from_secs(30)), None);
        let later = now + Duration::from_secs(31);
        assert_eq!(status.problem(later).as_deref(), Some("a change has waited for 31 seconds"));
        status.set_oldest(None);
        status.is_held_back.store(true, Ordering::Relaxed);
        assert!(status.problem(now).is_some());
    }
}
