//! An HTTP client that can send a single request on a new connection. If the new connection answers, the client stops
//! using the older ones.

use std::fmt;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use aws_smithy_http_client::Connector;
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector,
    http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;

/// The extension of a request that is sent on a connection opened for it.
#[derive(Clone, Copy, Debug)]
pub struct OnNewConnection;

/// Which connection a request is sent on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connection {
    /// One of the pool, or a new one if the pool has none that is free.
    Pooled,
    /// One that is opened for this request, which therefore has the extension [`OnNewConnection`].
    New,
}

impl Connection {
    /// The connection for the next try. `is_silent`: the last try's reply did not come in time, so its connection may be dead.
    pub fn after_silence(is_silent: bool) -> Self {
        if is_silent { Self::New } else { Self::Pooled }
    }
}

/// Makes a connector, with no connection yet, for the given timeouts.
type Connect = dyn Fn(&HttpConnectorSettings, &RuntimeComponents) -> Connector + Send + Sync;

/// A client with pooled connections, which `connect` provides. A request with the extension [`OnNewConnection`] does
/// not use the pool. If it is answered, its connection becomes the first of a new pool, and no later request uses the
/// old pool: after a freeze of the execution environment, all connections of a pool may be dead, and nothing shows it.
///
/// All requests have the settings and runtime components of the first. The function has one DynamoDB client, so they
/// never differ.
pub fn renewable_client(
    connect: impl Fn(&HttpConnectorSettings, &RuntimeComponents) -> Connector + Send + Sync + 'static,
) -> SharedHttpClient {
    let connect: Arc<Connect> = Arc::new(connect);
    let connections = OnceLock::new();
    http_client_fn(move |settings, components| {
        let connections = connections.get_or_init(|| {
            let (connect, settings, components) = (connect.clone(), settings.clone(), components.clone());
            let connect = move || SharedHttpConnector::new(connect(&settings, &components));
            SharedHttpConnector::new(Connections {
                pool: Arc::new(RwLock::new(connect())),
                connect: Box::new(connect),
            })
        });
        connections.clone()
    })
}

struct Connections {
    /// The connector with the pool that requests use.
    pool: Arc<RwLock<SharedHttpConnector>>,
    connect: Box<dyn Fn() -> SharedHttpConnector + Send + Sync>,
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connections").finish_non_exhaustive()
    }
}

impl HttpConnector for Connections {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        if request.extension::<OnNewConnection>().is_none() {
            let pool = self.pool.read().unwrap_or_else(PoisonError::into_inner).clone();
            return pool.call(request);
        }
        let new = (self.connect)();
        let pool = self.pool.clone();
        HttpConnectorFuture::new(async move {
            let response = new.call(request).await;
            if response.is_ok() {
                *pool.write().unwrap_or_else(PoisonError::into_inner) = new;
            }
            response
        })
    }
}
