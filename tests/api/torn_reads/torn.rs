//! An HTTP client between the function and DynamoDB that lets other updates come between.

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

use crate::intercept::intercepted;
use crate::model::steps::Step;
use crate::world::invoke;

/// A key of a read, as the request has it, and its table.
#[derive(Clone)]
pub struct Key {
    table: String,
    pub key: Value,
}

/// Keys that are read at once, and the updates that are committed before the next are.
pub type Part = (Vec<Key>, Vec<Step>);

/// A request to DynamoDB by its number, counted from 0, among those of its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    Read(usize),
    Write(usize),
}

/// Parts the keys of a read. A write has none and is not torn, but updates can come before it, too.
pub type Tearing = dyn Fn(Call, Vec<Key>) -> Vec<Part> + Send + Sync;

/// An HTTP client under one execution environment, which tears its reads.
#[derive(Clone)]
pub struct Torn {
    inner: SharedHttpClient,
    /// Another execution environment, which is left alone.
    others: Arc<Function>,
    tearing: Arc<Mutex<Option<Arc<Tearing>>>>,
    reads: Arc<AtomicUsize>,
    writes: Arc<AtomicUsize>,
    /// Held by the other update that is under way: their order is known only if they don't overlap.
    turn: Arc<AsyncMutex<()>>,
    /// The other updates that have begun.
    begun: Arc<AtomicUsize>,
    answered: Arc<Mutex<Vec<(Step, Response)>>>,
}

impl Torn {
    pub fn new(inner: SharedHttpClient, others: Arc<Function>) -> Self {
        Self {
            inner,
            others,
            tearing: Arc::default(),
            reads: Arc::default(),
            writes: Arc::default(),
            turn: Arc::default(),
            begun: Arc::default(),
            answered: Arc::default(),
        }
    }

    /// The client.
    pub fn client(&self) -> SharedHttpClient {
        let torn = self.clone();
        intercepted(self.inner.clone(), move |request, connector| torn.call(request, connector))
    }

    fn call(&self, request: HttpRequest, connector: &SharedHttpConnector) -> HttpConnectorFuture {
        let target = request.headers().get("x-amz-target").unwrap_or_default();
        let tearing = self.tearing.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(tearing) = tearing else { return connector.call(request) };
        let (torn, connector) = (self.clone(), connector.clone());
        if target.ends_with(".BatchGetItem") {
            let number = Call::Read(torn.reads.fetch_add(1, Ordering::Relaxed));
            HttpConnectorFuture::new(torn.read(connector, request, tearing, number))
        } else {
            let number = Call::Write(torn.writes.fetch_add(1, Ordering::Relaxed));
            HttpConnectorFuture::new(async move {
                for (_, updates) in tearing(number, Vec::new()) {
                    torn.update(updates).await;
                }
                connector.call(request).await
            })
        }
    }

    /// Tears the requests from here on.
    pub fn tear(&self, tearing: Arc<Tearing>) {
        *self.tearing.lock().expect("nobody panics") = Some(tearing);
    }

    /// The other updates and their answers, in their order; `None` if one was cut off.
    pub fn others(&self) -> Option<Vec<(Step, Response)>> {
        let answered = self.answered.lock().expect("nobody panics").clone();
        (answered.len() == self.begun.load(Ordering::Relaxed)).then_some(answered)
    }

    /// Reads part by part, with the other updates between.
    async fn read(
        self,
        connector: SharedHttpConnector,
        request: HttpRequest,
        tearing: Arc<Tearing>,
        number: Call,
    ) -> Result<HttpResponse, ConnectorError> {
        let body = request.body().bytes().expect("the SDK sends JSON at once");
        let asked: Value = serde_json::from_slice(body).expect("it is JSON");
        let tables = asked["RequestItems"].as_object().expect("a read has tables");
        let keys = tables.iter().flat_map(|(table, of_table)| {
            let keys = of_table["Keys"].as_array().expect("a table has keys");
            keys.iter().map(|key| Key { table: table.clone(), key: key.clone() })
        });
        let mut found = json!({ "Responses": {}, "UnprocessedKeys": {} });
        for (keys, updates) in tearing(number, keys.collect()) {
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
                    let place = &mut found["Responses"][table];
                    let known = place.as_array().into_iter().flatten().cloned();
                    *place = known.chain(items.as_array().expect("a list").iter().cloned()).collect();
                }
            }
            self.update(updates).await;
        }
        let status = StatusCode::try_from(200).expect("a status");
        let mut response = HttpResponse::new(status, SdkBody::from(found.to_string()));
        response.headers_mut().insert("content-type", "application/x-amz-json-1.0");
        Ok(response)
    }

    /// Commits other updates.
    async fn update(&self, updates: Vec<Step>) {
        let _turn = self.turn.lock().await;
        for update in updates {
            self.begun.fetch_add(1, Ordering::Relaxed);
            let response = invoke(&self.others, &update.event().expect("an update"), None).await;
            let mut answered = self.answered.lock().unwrap_or_else(PoisonError::into_inner);
            answered.push((update, response));
        }
    }
}

/// The same read of these keys only.
fn part_of(asked: &Value, keys: Vec<Key>) -> Value {
    let mut items = json!({});
    for Key { table, key } in keys {
        if items.get(&table).is_none() {
            items[&table] = asked["RequestItems"][&table].clone();
            items[&table]["Keys"] = json!([]);
        }
        items[&table]["Keys"].as_array_mut().expect("a list").push(key);
    }
    json!({ "RequestItems": items })
}
