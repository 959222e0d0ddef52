//! Rocket.Chat's "Update Unit" endpoint, `POST /api/v1/livechat/units/{id}`, on DynamoDB.
//!
//! One request goes `parse -> authenticate -> load -> plan -> commit`; [`Function::handle`] is the way in,
//! and `Function::update` below it is that line, in that order.

mod auth;
mod budget;
mod error;
mod event;
mod failure;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod id;
pub mod item;
mod json;
mod load;
mod metrics;
mod plan;
mod response;
mod store;
pub mod telemetry;
#[cfg(test)]
mod template_tests;
mod tls;
mod transaction;
mod update;

use std::env;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use aws_config::SdkConfig;
use futures_util::FutureExt;
use futures_util::future::join;
use lambda_http::LambdaEvent;
use serde::Serialize;
use serde_json::value::RawValue;
use time::OffsetDateTime;
use time::macros::format_description;

pub use auth::hashed_token;
use auth::{Caller, Credentials, SeenTokens};
use budget::{Budget, Tries};
use error::Error;
use event::Call;
use id::UserId;
use item::Key;
use load::Loaded;
use metrics::Report;
use plan::{Next, Plan};
pub use response::Response;
pub use store::Tables;
use store::{Commit, Items, Store};
pub use tls::http_client;
use update::Update;

/// The steps that do no I/O, for `benches/plan.rs` alone.
#[doc(hidden)]
pub mod steps {
    pub use crate::auth::Caller;
    pub use crate::event::Call;
    pub use crate::load::Loaded;
    pub use crate::plan::{Next, plan};
    pub use crate::store::Items;
    pub use crate::transaction::item as action_item;
    pub use crate::update::Update;
}

/// The function as one execution environment holds it, for all its invocations.
pub struct Function {
    store: Store,
    seen: SeenTokens,
    /// The name that metrics go under, if they are wanted.
    metrics: Option<String>,
    /// True until the first request of this execution environment.
    is_cold: AtomicBool,
}

/// An environment variable that the function can't start without.
#[derive(Debug)]
pub struct MissingVariable(&'static str);

impl fmt::Display for MissingVariable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the environment variable {} is not set", self.0)
    }
}

impl std::error::Error for MissingVariable {}

impl Tables {
    /// The tables that `TOKENS_TABLE` and `LIVECHAT_TABLE` name.
    ///
    /// # Errors
    /// One of them is missing or empty.
    pub fn from_env() -> Result<Self, MissingVariable> {
        let variable =
            |name| env::var(name).ok().filter(|value| !value.is_empty()).ok_or(MissingVariable(name));
        Ok(Self { tokens: variable("TOKENS_TABLE")?, livechat: variable("LIVECHAT_TABLE")? })
    }
}

/// What a committed update answers, in the order of Rocket.Chat's documentation.
#[derive(Serialize)]
struct Updated<'a> {
    name: &'a str,
    visibility: &'static str,
    r#type: &'static str,
    #[serde(rename = "numMonitors")]
    num_monitors: usize,
    #[serde(rename = "numDepartments")]
    num_departments: usize,
    #[serde(rename = "_updatedAt")]
    updated_at: &'a str,
    #[serde(rename = "_id")]
    id: &'a str,
    success: bool,
}

/// What a request's log line tells beside its answer. A user is named only once they are authenticated, and
/// a unit once it is found: an id that names nothing may be anything, a token included.
#[derive(Default)]
struct Told {
    user: Option<String>,
    unit: Option<String>,
    left_out_monitors: usize,
}

impl Function {
    /// The function on the DynamoDB that `sdk` leads to.
    pub fn new(sdk: &SdkConfig, tables: Tables) -> Self {
        Self {
            store: Store::new(sdk, tables),
            seen: SeenTokens::default(),
            metrics: None,
            is_cold: AtomicBool::new(true),
        }
    }

    /// The same, and a line of CloudWatch metrics on standard output for every request, under this name.
    #[must_use]
    pub fn with_metrics(mut self, function_name: String) -> Self {
        self.metrics = Some(function_name);
        self
    }

    /// Connects to DynamoDB ahead of the first invocation, if it is there: Lambda gives a full CPU to the init
    /// phase, and a share of it by the function's memory to invocations.
    pub async fn connect(&self) {
        self.store.connect().await;
    }

    /// Answers one invocation. Every event gets an answer, a panic of ours included.
    pub async fn handle(&self, event: LambdaEvent<Box<RawValue>>) -> Response {
        let started = Instant::now();
        let LambdaEvent { payload, context } = event;
        let budget = Budget::start((context.deadline > 0).then(|| context.deadline()));
        let mut told = Told::default();
        // Whatever a panic leaves behind is dropped with the future: `seen` and `spent` are single
        // collections and counters behind locks that survive it.
        let answer = AssertUnwindSafe(self.answer(&payload, &budget, &mut told)).catch_unwind().await;
        let answer = answer.unwrap_or_else(|_| Err(Error::Internal("panicked".into())));
        let (response, outcome) = match &answer {
            Ok(response) => (response.clone(), "updated"),
            Err(error) => (error.response(), error.outcome()),
        };

        let request_id = context.request_id.as_str();
        if let Some(cause) = answer.err().and_then(|error| error.cause_chain()) {
            tracing::error!(request_id, cause, "request failed");
        }
        let report = Report {
            status: response.status_code,
            outcome,
            duration: started.elapsed(),
            is_cold: self.is_cold.swap(false, Ordering::Relaxed),
            left_out_monitors: told.left_out_monitors,
            spent: budget.spent(),
        };
        tracing::info!(
            request_id,
            trace_id = context.xray_trace_id.as_deref(),
            user_id = told.user,
            unit_id = told.unit,
            status = report.status,
            outcome,
            attempts = report.spent.attempts,
            round_trips = report.spent.round_trips,
            conflicts = report.spent.conflicts,
            left_out_monitors = report.left_out_monitors,
            ms = report.milliseconds(),
            "request"
        );
        if let Some(function_name) = &self.metrics {
            report.print(function_name);
        }
        response
    }

    async fn answer(&self, event: &RawValue, budget: &Budget, told: &mut Told) -> Result<Response, Error> {
        self.update(Call::parse(event)?, budget, told).await
    }

    async fn update(&self, call: Call, budget: &Budget, told: &mut Told) -> Result<Response, Error> {
        let now = OffsetDateTime::now_utc();
        let Call { unit, credentials, body } = call;
        let credentials = credentials.ok_or(Error::NotLoggedIn)?;

        // Authenticate and load. For a token that has authenticated here before, one read brings all; for any other, a
        // stranger's perhaps, nothing more is parsed or read until the caller is known.
        let (caller, update, items) = if self.seen.contains(&credentials) {
            // What is wrong with the body, or fails with the rest, is told after what is wrong with the caller.
            let update = Update::parse(unit, body);
            let more = update.iter().flat_map(|update| load::keys(update, credentials.user()));
            let mut keys: Vec<Key> = credentials.keys().into_iter().chain(more).collect();
            let rest = keys.split_off(keys.len().min(store::MAX_KEYS));
            let (items, rest) = join(self.store.read(keys, budget), self.store.read(rest, budget)).await;
            let mut items = items?;
            let caller = self.authenticate(&credentials, &mut items, now, told)?;
            let update = update?;
            items.extend(rest?);
            (caller, update, items)
        } else {
            let mut items = self.store.read(credentials.keys(), budget).await?;
            let caller = self.authenticate(&credentials, &mut items, now, told)?;
            let update = Update::parse(unit, body)?;
            let items = self.store.read(load::keys(&update, &caller.id), budget).await?;
            (caller, update, items)
        };
        let mut loaded = Loaded::new(&update, &caller, items);
        told.unit = loaded.unit.is_some().then(|| update.unit.to_string());

        // Plan and commit, until no other update comes between.
        let updated_at = rfc3339(now);
        let mut tries = Tries::new(budget);
        loop {
            let plan = match plan::plan(&caller, &update, &loaded)? {
                Next::Write(plan) => plan,
                Next::Read(keys) => {
                    let items = self.store.read(keys.clone(), budget).await?;
                    loaded.add(keys, items, &update);
                    continue;
                }
            };
            match self.store.commit(&plan, &updated_at, budget, &mut tries).await? {
                Commit::Done => {
                    told.left_out_monitors = log_left_out(&update, &plan, &loaded);
                    return Ok(updated(&update, &plan, &updated_at));
                }
                Commit::Refused(refused) => {
                    loaded.correct(&plan, refused, &update);
                    tries.pause(Error::Busy).await?;
                }
            }
        }
    }

    fn authenticate(
        &self,
        credentials: &Credentials,
        items: &mut Items,
        now: OffsetDateTime,
        told: &mut Told,
    ) -> Result<Caller, Error> {
        let caller = credentials.judge(items, now.unix_timestamp_nanos() as f64 / 1e9);
        match &caller {
            Ok(caller) => {
                self.seen.remember(credentials);
                told.user = Some(caller.id.to_string());
            }
            Err(_) => self.seen.forget(credentials),
        }
        caller
    }
}

fn updated(update: &Update, plan: &Plan, updated_at: &str) -> Response {
    let body = Updated {
        name: &update.name,
        visibility: update.visibility.as_str(),
        r#type: "u",
        num_monitors: plan.monitors.len(),
        num_departments: plan.num_departments,
        updated_at,
        id: update.unit.as_str(),
        success: true,
    };
    Response::json(200, &body)
}

/// The client is not told of listed users who can't be monitors, as in newer versions of Rocket.Chat; the
/// operator is, by name of those who are users at all. Returns how many they are.
fn log_left_out(update: &Update, plan: &Plan, loaded: &Loaded) -> usize {
    /// A body can list tens of thousands; a log line needs some.
    const MOST_NAMED: usize = 20;
    let count = update.listed_monitors - plan.monitors.len();
    if count > 0 {
        let some: Vec<&str> = update
            .monitors
            .iter()
            .filter(|id| loaded.users.contains_key(*id))
            .map(UserId::as_str)
            .filter(|id| !plan.monitors.contains_key(*id))
            .take(MOST_NAMED)
            .collect();
        tracing::info!(unit_id = update.unit.as_str(), count, ?some, "left out users who are no monitors");
    }
    count
}

/// RFC 3339 in UTC with exactly three decimals, as Rocket.Chat's JSON has it.
fn rfc3339(time: OffsetDateTime) -> String {
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    time.format(format).expect("a clock between the years 0 and 9999")
}
