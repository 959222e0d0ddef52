//! A proxy in front of DynamoDB that leaves a part of every batch unprocessed, and that drops the body of some replies.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use axum::{Router, serve};
use serde_json::{Map, Value, json};
use testing::dynamodb::{Reply, send};
use tokio::net::TcpListener;

pub struct Proxy {
    pub url: String,
    state: Arc<Proxied>,
}

struct Proxied {
    /// The host and port of DynamoDB.
    behind: String,
    requests: AtomicUsize,
    keys: AtomicUsize,
    items: AtomicUsize,
}

impl Proxy {
    /// The numbers of keys and of items that were left unprocessed.
    pub fn unprocessed(&self) -> (usize, usize) {
        (self.state.keys.load(Ordering::Relaxed), self.state.items.load(Ordering::Relaxed))
    }
}

/// Starts a proxy in front of the DynamoDB at `endpoint`.
pub async fn proxy(endpoint: &str) -> Proxy {
    let behind = endpoint.strip_prefix("http://").expect("plain HTTP").to_owned();
    let [requests, keys, items] = [AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0)];
    let state = Arc::new(Proxied { behind, requests, keys, items });
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    let app = Router::new().fallback(forward).with_state(state.clone());
    tokio::spawn(async move { serve(listener, app).await.expect("it serves") });
    Proxy { url, state }
}

async fn forward(State(state): State<Arc<Proxied>>, headers: HeaderMap, body: Bytes) -> impl IntoResponse {
    let operation = headers["x-amz-target"].to_str().expect("ASCII").rsplit('.').next().unwrap_or_default();
    let mut request: Value = serde_json::from_slice(&body).expect("DynamoDB speaks JSON");
    let (field, counter) = match operation {
        "BatchGetItem" => ("UnprocessedKeys", &state.keys),
        "BatchWriteItem" => ("UnprocessedItems", &state.items),
        _ => ("", &state.items),
    };
    let number = state.requests.fetch_add(1, Ordering::Relaxed);
    let content_type = [("content-type", "application/x-amz-json-1.0")];
    if operation == "BatchGetItem" && number % 11 == 4 {
        return (StatusCode::OK, content_type, String::new());
    }
    // Every third request is left unprocessed completely, the others by half.
    let all = number % 3 == 2;
    let left =
        if field.is_empty() { json!({}) } else { take_out(&mut request["RequestItems"], all, counter) };
    let nothing = request["RequestItems"].as_object().is_some_and(Map::is_empty);
    let Reply { status, body: mut reply } = if nothing {
        Reply { status: StatusCode::OK, body: json!({}) }
    } else {
        send(&state.behind, &headers, &request.to_string()).await
    };
    if status == StatusCode::OK && !field.is_empty() {
        reply[field] = left;
    }
    (status, content_type, reply.to_string())
}

/// Takes half of the requests of each table out, or all of them, and returns them.
fn take_out(tables: &mut Value, all: bool, counter: &AtomicUsize) -> Value {
    let tables = tables.as_object_mut().expect("tables");
    let mut left = Map::new();
    for (name, requests) in tables.iter_mut() {
        let mut kept = requests.clone();
        let from = if requests.is_array() { &mut *requests } else { &mut requests["Keys"] };
        let from = from.as_array_mut().expect("a list");
        let count = if all { from.len() } else { from.len() / 2 };
        let taken: Vec<Value> = from.drain(..count).collect();
        counter.fetch_add(taken.len(), Ordering::Relaxed);
        if !taken.is_empty() {
            let into = if kept.is_array() { &mut kept } else { &mut kept["Keys"] };
            *into = taken.into();
            left.insert(name.clone(), kept);
        }
    }
    tables.retain(|_, requests| {
        let list = if requests.is_array() { &*requests } else { &requests["Keys"] };
        list.as_array().is_some_and(|list| !list.is_empty())
    });
    left.into()
}
