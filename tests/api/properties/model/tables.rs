//! The function's tables, brought to the state of the model with as few writes as possible.

use std::sync::{Mutex, MutexGuard};

use aws_sdk_dynamodb::types::{DeleteRequest, PutRequest, WriteRequest};
use livechat_units::Response;
use serde_json::Value;
use testing::items::{attribute, item};

use super::reference::{Answer, StoredTables};
use super::steps::Step;
use crate::support::in_flight::InFlight;
use crate::support::{Items, TestApp};

pub struct ModelTables {
    pub app: TestApp,
    /// Their content, as last written or read.
    known: Mutex<StoredTables>,
    /// The requests of the functions that DynamoDB may still execute.
    in_flight: InFlight,
}

impl ModelTables {
    pub async fn new() -> Self {
        // All execution environments share one pool of connections.
        let in_flight = InFlight::default();
        let http = in_flight.client(aws_smithy_http_client::Builder::new().build_http());
        let app = TestApp::new(|sdk| sdk.into_builder().http_client(http).build()).await;
        Self { app, known: Mutex::default(), in_flight }
    }

    /// Brings the tables to the state of the model.
    pub async fn store(&self, model: &StoredTables) {
        let known = std::mem::replace(&mut *self.known(), model.clone());
        let tables = &self.app.tables;
        for (table, names, old, new) in [
            (&tables.livechat, &["pk", "sk"][..], &known.livechat, &model.livechat),
            (&tables.tokens, &["hashedToken"], &known.tokens, &model.tokens),
        ] {
            let puts = new.iter().filter(|(key, item)| old.get(key) != Some(item)).map(|(_, item)| put(item));
            let deleted = old.iter().filter(|(key, _)| !new.contains_key(key));
            self.write(table, puts.chain(deleted.map(|(_, item)| delete(item, names))).collect()).await;
        }
    }

    /// Stores these items of the livechat table at once, whatever the table has.
    pub async fn put(&self, items: impl IntoIterator<Item = &Value>) {
        self.write(&self.app.tables.livechat, items.into_iter().map(put).collect()).await;
    }

    async fn write(&self, table: &str, writes: Vec<WriteRequest>) {
        for batch in writes.chunks(25) {
            let request = self.app.client.batch_write_item().request_items(table, batch.to_vec());
            let output = request.send().await.expect("the items are written");
            assert!(
                output.unprocessed_items.is_none_or(|items| items.is_empty()),
                "DynamoDB left items unprocessed"
            );
        }
    }

    /// Reads the livechat table, when nothing can be stored later.
    pub async fn items(&self) -> Items {
        self.in_flight.all_executed().await;
        let items = self.app.stored_items().await;
        self.known().livechat = items.clone();
        items
    }

    pub async fn tokens(&self) -> Items {
        let tokens = self.app.stored_tokens().await;
        self.known().tokens = tokens.clone();
        tokens
    }

    fn known(&self) -> MutexGuard<'_, StoredTables> {
        self.known.lock().expect("no holder has panicked")
    }
}

fn put(json: &Value) -> WriteRequest {
    let put = PutRequest::builder().set_item(Some(item(json))).build().expect("it has an item");
    WriteRequest::builder().put_request(put).build()
}

fn delete(json: &Value, key: &[&str]) -> WriteRequest {
    let delete =
        key.iter().fold(DeleteRequest::builder(), |delete, name| delete.key(*name, attribute(&json[*name])));
    WriteRequest::builder().delete_request(delete.build().expect("it has a key")).build()
}

impl StoredTables {
    /// Applies a request, and returns the model's answer. The time comes from the function's answer.
    pub fn expected_answer(&mut self, request: &Step, response: &Response) -> Answer {
        let (caller, unit, sent) = request.request().expect("it is a request");
        let body: Value = serde_json::from_str(&response.body).expect("a body is JSON");
        self.handle(caller, unit.0, &sent, body["_updatedAt"].as_str().unwrap_or("no time"))
    }
}

/// Describes the items that differ from the model.
pub fn difference(stored: &Items, model: &Items) -> Option<String> {
    let keys = stored.keys().chain(model.keys().filter(|key| !stored.contains_key(*key)));
    let differ = keys.filter(|key| stored.get(*key) != model.get(*key)).map(|key| {
        let show = |item: Option<&Value>| item.map_or("nothing".into(), Value::to_string);
        format!("\n  {}\n  but in the model there is {}", show(stored.get(key)), show(model.get(key)))
    });
    let differ: String = differ.collect();
    (!differ.is_empty()).then(|| format!("the tables have{differ}"))
}
