//! An HTTP client for the SDK that hands each request to a function of the test.

use std::fmt;
use std::sync::Arc;

use aws_smithy_http_client::ConnectorBuilder;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, SharedHttpClient, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use livechat_units::dynamodb::connections::renewable_client;

/// Answers a request, with the help of the connector to DynamoDB or without it.
type Intercept = dyn Fn(HttpRequest, &SharedHttpConnector) -> HttpConnectorFuture + Send + Sync;

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

/// A client that hands each request to `intercept`, together with a connector of `inner`.
pub fn intercepting_client(
    inner: SharedHttpClient,
    intercept: impl Fn(HttpRequest, &SharedHttpConnector) -> HttpConnectorFuture + Send + Sync + 'static,
) -> SharedHttpClient {
    let intercept: Arc<Intercept> = Arc::new(intercept);
    http_client_fn(move |settings, components| {
        let connector = inner.http_connector(settings, components);
        SharedHttpConnector::new(Intercepted(intercept.clone(), connector))
    })
}

/// A client for plain HTTP, because the engines of the tests have no TLS. It opens new connections on demand, as the
/// function's own client does.
pub fn plain_http_client() -> SharedHttpClient {
    renewable_client(|settings, components| {
        let mut connector = ConnectorBuilder::default().connector_settings(settings.clone());
        connector.set_sleep_impl(components.sleep_impl());
        connector.build_http()
    })
}
