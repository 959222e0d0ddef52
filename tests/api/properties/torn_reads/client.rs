//! An HTTP client between the function and DynamoDB that commits other updates in the middle of a read.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpClient, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::http::StatusCode;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::byte_stream::ByteStream;
use futures_util::lock::Mutex as AsyncMutex;
use livechat_units::{Function, Response};
use serde_json::{Value, json};

use crate::properties::model::steps::Step;
use crate::support::in_flight::InFlight;
use crate::support::interceptor::intercepting_client;
use crate::support::invoke;

/// A key of a read in DynamoDB's JSON, and its table.
#[derive(Clone)]
pub struct Key {
    table: String,
    pub key: Value,
}

/// Keys that are read at once, and the updates that are committed after them.
pub type Part = (Vec<Key>, Vec<Step>);

/// A request to DynamoDB: its kind, and its number among the requests of this kind, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Read(usize),
    Write(usize),
}

/// Divides the keys of a read into parts. A write has no keys, but updates can be committed before it.
pub type Tearing = dyn Fn(Operation, Vec<Key>) -> Vec<Part> + Send + Sync;

/// The HTTP client of one execution environment, which tears the reads.
#[derive(Clone)]
pub struct TearingClient {
    inner: SharedHttpClient,
    /// The execution environment of the other updates, whose reads are not torn.
    other_function: Arc<Function>,
    tearing: Arc<Mutex<Option<Arc<Tearing>>>>,
    reads: Arc<AtomicUsize>,
    writes: Arc<AtomicUsize>,
    /// Held during each of the other updates, because their order is known only if they do not overlap.
    turn: Arc<AsyncMutex<()>>,
    /// The other updates with their answers, in their order.
    answered: Arc<Mutex<Vec<(Step, Response)>>>,
    /// The requests that are not executed yet. They go on if the function gives them up, and with them the other updates.
    in_flight: InFlight,
}

impl TearingClient {
    pub fn new(inner: SharedHttpClient, other_function: Arc<Function>) -> Self {
        Self {
            inner,
            other_function,
            tearing: Arc::default(),
            reads: Arc::default(),
            writes: Arc::default(),
            turn: Arc::default(),
            answered: Arc::default(),
            in_flight: InFlight::default(),
        }
    }

    /// The client for the SDK.
    pub fn client(&self) -> SharedHttpClient {
        let torn = self.clone();
        intercepting_client(self.inner.clone(), move |request, connector| torn.call(request, connector))
    }

    fn call(&self, request: HttpRequest, connector: &SharedHttpConnector) -> HttpConnectorFuture {
        let target = request.headers().get("x-amz-target").unwrap_or_default();
        let tearing = self.tearing.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(tearing) = tearing else { return connector.call(request) };
        let (torn, connector) = (self.clone(), connector.clone());
        if target.ends_with(".BatchGetItem") {
            let operation = Operation::Read(torn.reads.fetch_add(1, Ordering::Relaxed));
            self.in_flight.send(torn.read(connector, request, tearing, operation))
        } else {
            let operation = Operation::Write(torn.writes.fetch_add(1, Ordering::Relaxed));
            self.in_flight.send(async move {
                for (_, updates) in tearing(operation, Vec::new()) {
                    torn.commit(updates).await;
                }
                connector.call(request).await
            })
        }
    }

    /// Begins to tear the reads.
    pub fn tear(&self, tearing: Arc<Tearing>) {
        *self.tearing.lock().expect("no test panics with it") = Some(tearing);
    }

    /// Waits until all requests are executed. Returns the other updates and their answers, in their order.
    pub async fn other_updates(&self) -> Vec<(Step, Response)> {
        self.in_flight.all_executed().await;
        self.answered.lock().expect("no test panics with it").clone()
    }

    /// Reads part by part, and commits the other updates between the parts.
    async fn read(
        self,
        connector: SharedHttpConnector,
        request: HttpRequest,
        tearing: Arc<Tearing>,
        operation: Operation,
    ) -> Result<HttpResponse, ConnectorError> {
        let body = request.body().bytes().expect("the SDK sends a body in memory");
        let asked: Value = serde_json::from_slice(body).expect("it is JSON");
        let tables = asked["RequestItems"].as_object().expect("a read has tables");
        let keys = tables.iter().flat_map(|(table, of_table)| {
            let keys = of_table["Keys"].as_array().expect("a table has keys");
            keys.iter().map(|key| Key { table: table.clone(), key: key.clone() })
        });
        let mut reply = json!({ "Responses": {}, "UnprocessedKeys": {} });
        for (keys, updates) in tearing(operation, keys.collect()) {
            if !keys.is_empty() {
                let mut part = request.try_clone().expect("its body is in memory");
                let body = part_of(&asked, keys).to_string();
                part.headers_mut().insert("content-length", body.len().to_string());
                *part.body_mut() = SdkBody::from(body);
                let response = connector.call(part).await?;
                assert!(response.status().is_success(), "the engine refuses a part of a read");
                let body = ByteStream::new(response.into_body()).collect().await;
                let body = body.expect("the engine answers").into_bytes();
                let body: Value = serde_json::from_slice(&body).expect("in JSON");
                for (table, items) in body["Responses"].as_object().expect("there are responses") {
                    let items_of_table = &mut reply["Responses"][table];
                    let known = items_of_table.as_array().into_iter().flatten().cloned();
                    *items_of_table =
                        known.chain(items.as_array().expect("a list").iter().cloned()).collect();
                }
            }
            self.commit(updates).await;
        }
        let status = StatusCode::try_from(200).expect("a status");
        let mut response = HttpResponse::new(status, SdkBody::from(reply.to_string()));
        response.headers_mut().insert("content-type", "application/x-amz-json-1.0");
        Ok(response)
    }

    /// Commits other updates.
    async fn commit(&self, updates: Vec<Step>) {
        let _turn = self.turn.lock().await;
        for update in updates {
            let response = invoke(&self.other_function, &update.event().expect("an update"), None).await;
            let mut answered = self.answered.lock().unwrap_or_else(PoisonError::into_inner);
            answered.push((update, response));
        }
    }
}

/// The same read, of these keys only.
fn part_of(request: &Value, keys: Vec<Key>) -> Value {
    let mut items = json!({});
    for Key { table, key } in keys {
        if items.get(&table).is_none() {
            items[&table] = request["RequestItems"][&table].clone();
            items[&table]["Keys"] = json!([]);
        }
        items[&table]["Keys"].as_array_mut().expect("a list").push(key);
    }
    json!({ "RequestItems": items })
}
