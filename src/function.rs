//! The function: one request from API Gateway's event to the response, and the request's log line and metrics.

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use aws_config::SdkConfig;
use futures_util::FutureExt;
use futures_util::future::join;
use lambda_http::LambdaEvent;
use serde_json::value::RawValue;
use time::OffsetDateTime;

use crate::auth::{Caller, Credentials, SeenCredentials};
use crate::budget::Budget;
use crate::dynamodb::{Store, Tables};
use crate::error::Error;
use crate::id::{UnitId, UserId};
use crate::item::{Items, Key, Stored, Unit};
use crate::limits::MAX_BATCH_GET_KEYS;
use crate::load::{self, Loaded};
use crate::metrics::RequestMetrics;
use crate::request::{ApiRequest, Body, Update};
use crate::response::{Response, UpdatedUnit};
use crate::timestamp::rfc3339;
use crate::update::carry_out;

/// The maximum number of user ids in the log line about users who were left out. A body can list tens of thousands.
const MAX_LOGGED_USERS: usize = 20;

/// The function as one execution environment holds it, for all its invocations.
pub struct Function {
    store: Store,
    seen: SeenCredentials,
    /// The `FunctionName` of the metrics. `None` switches them off.
    metrics_name: Option<String>,
    /// True until the first request of this execution environment.
    is_cold: AtomicBool,
}

/// The answer to a request, and other facts for its log line.
struct Answer {
    result: Result<Response, Error>,
    log: RequestLog,
}

/// Facts for the request's log line. Each is set only after verification, because an unverified id could be anything,
/// even a token.
#[derive(Default)]
struct RequestLog {
    /// The caller, once authorized.
    user_id: Option<String>,
    /// The unit, once found.
    unit_id: Option<String>,
    /// The number of listed users who were left out, once the update is committed.
    left_out_monitors: usize,
}

/// An authorized caller, and what their update needs.
struct Authorized {
    caller: Caller,
    /// What the caller asks for. An error here is answered only to an authorized caller.
    update: Result<LoadedUpdate, Error>,
}

/// An update, and the items that it needs.
struct LoadedUpdate {
    update: Update,
    items: Items,
}

/// A request with credentials that are not checked yet.
struct UncheckedRequest {
    credentials: Credentials,
    unit: Option<UnitId>,
    body: Body,
    now: OffsetDateTime,
}

impl Function {
    /// The function with the region, credentials and endpoint of `sdk`.
    pub fn new(sdk: &SdkConfig, tables: Tables) -> Self {
        Self {
            store: Store::new(sdk, tables),
            seen: SeenCredentials::default(),
            metrics_name: None,
            is_cold: AtomicBool::new(true),
        }
    }

    /// Makes the function write a line of CloudWatch metrics to standard output for every request. Their dimension
    /// `FunctionName` is `function_name`.
    #[must_use]
    pub fn with_metrics(mut self, function_name: String) -> Self {
        self.metrics_name = Some(function_name);
        self
    }

    /// Connects to DynamoDB before the first invocation. Lambda gives the init phase a full CPU, and invocations only a
    /// share of one that depends on the function's memory. If DynamoDB can't be reached, a warning is logged.
    pub async fn connect(&self) {
        self.store.connect().await;
    }

    /// Answers one invocation. Every event gets an answer, even if the code panics.
    pub async fn handle(&self, event: LambdaEvent<Box<RawValue>>) -> Response {
        let started = Instant::now();
        let LambdaEvent { payload, context } = event;
        let budget = Budget::start((context.deadline > 0).then(|| context.deadline()));
        let Answer { result, log } = self.answer(&payload, &budget).await;
        let (response, outcome) = match &result {
            Ok(response) => (response.clone(), "updated"),
            Err(error) => (error.response(), error.outcome()),
        };

        let request_id = context.request_id.as_str();
        let version = context.env_config.version.as_str();
        if let Some(cause) = result.err().and_then(|error| error.cause_chain()) {
            tracing::error!(request_id, version, cause, "request failed");
        }
        let metrics = RequestMetrics {
            status: response.status_code,
            outcome,
            duration: started.elapsed(),
            is_cold: self.is_cold.swap(false, Ordering::Relaxed),
            left_out_monitors: log.left_out_monitors,
            usage: budget.usage(),
        };
        tracing::info!(
            request_id,
            version,
            trace_id = context.xray_trace_id.as_deref(),
            user_id = log.user_id,
            unit_id = log.unit_id,
            status = metrics.status,
            outcome,
            calls = metrics.usage.calls,
            transactions = metrics.usage.transactions,
            hedged = metrics.usage.hedged,
            conflicts = metrics.usage.conflicts,
            left_out_monitors = metrics.left_out_monitors,
            ms = metrics.milliseconds(),
            "request"
        );
        if let Some(function_name) = &self.metrics_name {
            metrics.print(function_name, version);
        }
        response
    }

    /// The request in its steps: parse, authorize, load, carry out.
    async fn answer(&self, event: &RawValue, budget: &Budget) -> Answer {
        let mut log = RequestLog::default();
        let steps = async {
            let now = OffsetDateTime::now_utc();
            let ApiRequest { unit, credentials, body } = ApiRequest::parse(event)?;
            let credentials = credentials.ok_or(Error::NotLoggedIn)?;

            let request = UncheckedRequest { credentials, unit, body, now };
            let Authorized { caller, update } = self.authorize(request, budget).await?;
            log.user_id = Some(caller.id.to_string());

            let LoadedUpdate { update, items } = update?;
            let mut loaded = Loaded::new(&update, &caller, items);
            log.unit_id = loaded.unit.exists().then(|| update.unit.to_string());

            let updated_at = rfc3339(now);
            carry_out(&caller, &mut loaded, self.store.writes(&updated_at, budget), budget).await?;
            let Stored::Present(unit) = &loaded.unit else { return Err(Error::UnitNotFound) };
            log.left_out_monitors = log_left_out_monitors(unit, &loaded);
            Ok(updated_response(&update, unit, &updated_at))
        };
        // A panic drops the future with everything in it. `seen` and the budget's usage live on, behind locks that
        // survive a panic.
        let result = AssertUnwindSafe(steps).catch_unwind().await;
        let result = result.unwrap_or_else(|_| Err(Error::Internal("panicked".into())));
        Answer { result, log }
    }

    /// Authorizes the caller, and reads what the update needs.
    ///
    /// If these credentials have authenticated here before, the caller and the unit are read together. Otherwise the
    /// caller is read first, so that a stranger can't make the function parse or read more.
    async fn authorize(&self, request: UncheckedRequest, budget: &Budget) -> Result<Authorized, Error> {
        let UncheckedRequest { credentials, unit, body, now } = request;
        if self.seen.contains(&credentials) {
            let update = Update::parse(unit, body);
            let update_keys = update.iter().flat_map(|update| load::keys(update, credentials.claimed_user()));
            let mut keys: Vec<Key> = credentials.keys().into_iter().chain(update_keys).collect();
            // The caller's items are in the first batch. So the caller is authorized even if a later batch can't be
            // read.
            let rest = keys.split_off(keys.len().min(MAX_BATCH_GET_KEYS));
            let (items, rest) = join(self.store.read(keys, budget), self.store.read(rest, budget)).await;
            let mut items = items?;
            let caller = self.check_credentials(&credentials, &items, now)?;
            let update = update.and_then(|update| {
                items.extend(rest?);
                Ok(LoadedUpdate { update, items })
            });
            return Ok(Authorized { caller, update });
        }

        let items = self.store.read(credentials.keys(), budget).await?;
        let caller = self.check_credentials(&credentials, &items, now)?;
        let update = match Update::parse(unit, body) {
            Ok(update) => {
                let items = self.store.read(load::keys(&update, &caller.id), budget).await;
                items.map(|items| LoadedUpdate { update, items })
            }
            Err(error) => Err(error),
        };
        Ok(Authorized { caller, update })
    }

    /// Authorizes the caller by the items that were read, and remembers or forgets the credentials.
    fn check_credentials(
        &self,
        credentials: &Credentials,
        items: &Items,
        now: OffsetDateTime,
    ) -> Result<Caller, Error> {
        let caller = credentials.authorize(items, now.unix_timestamp_nanos() as f64 / 1e9);
        match &caller {
            Ok(_) => self.seen.remember(credentials),
            Err(_) => self.seen.forget(credentials),
        }
        caller
    }
}

fn updated_response(update: &Update, unit: &Unit, updated_at: &str) -> Response {
    let body = UpdatedUnit {
        name: &update.name,
        visibility: update.visibility.as_str(),
        r#type: "u",
        num_monitors: unit.monitors.len(),
        num_departments: unit.departments.len(),
        updated_at,
        id: update.unit.as_str(),
        success: true,
    };
    Response::json(200, &body)
}

/// Logs the listed users who can't be monitors, and returns their number. As in newer versions of Rocket.Chat, the
/// answer to the client does not mention them. The log names only ids of users that exist, because any other id could
/// be anything, even a token.
fn log_left_out_monitors(unit: &Unit, loaded: &Loaded) -> usize {
    let update = loaded.update;
    let count = update.listed_monitors - unit.monitors.len();
    if count > 0 {
        let user_ids: Vec<&str> = update
            .monitors
            .iter()
            .filter(|id| loaded.users.contains_key(*id))
            .map(UserId::as_str)
            .filter(|id| !unit.monitors.contains_key(*id))
            .take(MAX_LOGGED_USERS)
            .collect();
        tracing::info!(
            unit_id = update.unit.as_str(),
            count,
            ?user_ids,
            "left out users who are no monitors"
        );
    }
    count
}
