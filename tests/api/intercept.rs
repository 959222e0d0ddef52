//! An HTTP client for the SDK that gives each request to a function of the test's, with the way to DynamoDB.

use std::fmt;
use std::sync::Arc;

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, SharedHttpClient, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;

/// What becomes of a request: the connector leads to DynamoDB.
pub type Intercept = dyn Fn(HttpRequest, &SharedHttpConnector) -> HttpConnectorFuture + Send + Sync;

struct Intercepted(Arc<Intercept>, SharedHttpConnector);

impl fmt::Debug for Intercepted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Intercepted")
    }
}

impl HttpConnector for Intercepted {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        (self.0)(request, &self.1)
    }
}

/// A client whose requests go through `intercept`, and on by `inner`.
pub fn intercepted(
    inner: SharedHttpClient,
    intercept: impl Fn(HttpRequest, &SharedHttpConnector) -> HttpConnectorFuture + Send + Sync + 'static,
) -> SharedHttpClient {
    let intercept: Arc<Intercept> = Arc::new(intercept);
    http_client_fn(move |settings, components| {
        let connector = inner.http_connector(settings, components);
        SharedHttpConnector::new(Intercepted(intercept.clone(), connector))
    })
}

/// A client for plain HTTP, as the engines of the tests speak it.
pub fn plain() -> SharedHttpClient {
    aws_smithy_http_client::Builder::new().build_http()
}
