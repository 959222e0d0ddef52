//! Requests to DynamoDB that go on when the function no longer waits for their replies, as on a network.

use std::sync::Arc;
use std::time::Duration;

use aws_smithy_runtime_api::client::http::{HttpConnector, HttpConnectorFuture, SharedHttpClient};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::ConnectorError;
use tokio::sync::watch;

use super::interceptor::intercepting_client;

/// The requests that DynamoDB may still execute.
#[derive(Clone, Default)]
pub struct InFlight(Arc<watch::Sender<()>>);

impl InFlight {
    /// Sends a request in a task of its own.
    pub fn send(
        &self,
        call: impl Future<Output = Result<HttpResponse, ConnectorError>> + Send + 'static,
    ) -> HttpConnectorFuture {
        let until_executed = self.until_executed();
        let call = tokio::spawn(async move {
            let reply = call.await;
            drop(until_executed);
            reply
        });
        HttpConnectorFuture::new(async move { call.await.expect("it does not panic") })
    }

    /// Counts a request until this is dropped.
    pub fn until_executed(&self) -> watch::Receiver<()> {
        self.0.subscribe()
    }

    /// Waits until DynamoDB has executed all requests.
    pub async fn all_executed(&self) {
        let executed = tokio::time::timeout(Duration::from_secs(300), self.0.closed());
        executed.await.expect("DynamoDB executes all requests");
    }

    /// A client whose requests go on.
    pub fn client(&self, inner: SharedHttpClient) -> SharedHttpClient {
        let in_flight = self.clone();
        intercepting_client(inner, move |request, dynamodb| in_flight.send(dynamodb.call(request)))
    }
}
