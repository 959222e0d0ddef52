//! A second client that reads all items after each transaction, and so also between two transactions of an update.

use std::sync::{Arc, Mutex};

use aws_config::SdkConfig;
use aws_sdk_dynamodb::Client;
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpClient, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use livechat_units::Function;
use serde_json::Value;

use super::Items;
use super::app::{TestApp, read_items};
use super::in_flight::InFlight;
use super::interceptor::{intercepting_client, plain_http_client};
use super::invariants::broken_invariant;
use super::items::text;

/// Looks at all items after each transaction of the functions that it makes, and lets no two transactions happen at the
/// same time.
#[derive(Clone)]
pub struct Observer {
    client: Client,
    table: String,
    sdk: SdkConfig,
    app_tables: livechat_units::Tables,
    turn: Arc<tokio::sync::Mutex<()>>,
    committed: Arc<Mutex<Vec<Committed>>>,
    /// The transactions that DynamoDB may still execute.
    unexecuted: InFlight,
}

/// A committed transaction.
#[derive(Clone)]
pub struct Committed {
    /// The name of the function that sent it.
    pub by: &'static str,
    /// The number of its actions.
    pub actions: usize,
    /// The `_updatedAt` that it wrote.
    pub updated_at: String,
    /// All items after it.
    pub items: Items,
    /// Its `ClientRequestToken`.
    pub request_token: String,
}

impl Observer {
    pub fn new(app: &TestApp) -> Self {
        Self {
            client: app.client.clone(),
            table: app.tables.livechat.clone(),
            sdk: app.sdk.clone(),
            app_tables: app.tables.clone(),
            turn: Arc::default(),
            committed: Arc::default(),
            unexecuted: InFlight::default(),
        }
    }

    /// An execution environment whose transactions are observed.
    pub fn function(&self, name: &'static str) -> Function {
        let sdk = self.sdk.to_builder().http_client(self.http_client(name)).build();
        Function::new(&sdk, self.app_tables.clone())
    }

    /// The HTTP client of a function with this name.
    pub fn http_client(&self, name: &'static str) -> SharedHttpClient {
        let observer = self.clone();
        intercepting_client(plain_http_client(), move |request, dynamodb| {
            observer.call(name, request, dynamodb)
        })
    }

    /// The number of committed transactions so far. One more may be stored and not yet observed.
    pub fn count(&self) -> usize {
        self.committed.lock().expect("no test panics with it").len()
    }

    /// Waits until every transaction is executed and observed, although a function may have stopped waiting for the reply.
    pub async fn all_executed(&self) {
        self.unexecuted.all_executed().await;
    }

    /// All committed transactions so far.
    pub fn committed(&self) -> Vec<Committed> {
        self.committed.lock().expect("no test panics with it").clone()
    }

    /// The committed transactions of this function.
    pub fn committed_by(&self, name: &str) -> Vec<Committed> {
        self.committed().into_iter().filter(|committed| committed.by == name).collect()
    }

    fn call(
        &self,
        by: &'static str,
        request: HttpRequest,
        dynamodb: &SharedHttpConnector,
    ) -> HttpConnectorFuture {
        if request.headers().get("x-amz-target") != Some("DynamoDB_20120810.TransactWriteItems") {
            return dynamodb.call(request);
        }
        let (observer, dynamodb) = (self.clone(), dynamodb.clone());
        let body: Value = serde_json::from_slice(request.body().bytes().unwrap_or_default()).expect("JSON");
        // It goes on if the function gives up the request while the items are read.
        self.unexecuted.send(async move {
            let _turn = observer.turn.lock().await;
            let response = dynamodb.call(request).await;
            if response.as_ref().is_ok_and(|response| response.status().is_success()) {
                observer.look(by, &body).await;
            }
            response
        })
    }

    async fn look(&self, by: &'static str, transaction: &Value) {
        let request_token = text(transaction, "ClientRequestToken");
        let is_copy = |committed: &Committed| committed.request_token == request_token;
        if self.committed.lock().expect("no test panics with it").iter().any(is_copy) {
            // A second copy of a transaction changes nothing.
            return;
        }
        let actions = transaction["TransactItems"].as_array().expect("a list");
        let unit = &actions[0]["Update"];
        let updated_at = unit["ExpressionAttributeValues"][":_updatedAt"]["S"].as_str().expect("a time");
        let committed = Committed {
            by,
            actions: actions.len(),
            updated_at: updated_at.to_owned(),
            items: read_items(&self.client, &self.table).await,
            request_token,
        };
        self.committed.lock().expect("no test panics with it").push(committed);
    }

    /// Checks that the invariants held after each transaction.
    pub fn assert_always_consistent(&self) {
        for (number, committed) in self.committed().iter().enumerate() {
            let broken = broken_invariant(&committed.items);
            assert_eq!(broken, None, "after transaction {number}, of {}", committed.by);
        }
    }
}
