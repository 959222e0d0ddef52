//! The HTTP client for DynamoDB, and the root certificates that it trusts.

use std::env;
use std::error::Error as StdError;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aws_sdk_dynamodb::config::SharedHttpClient;
use aws_smithy_http_client::ConnectorBuilder;
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;

use super::connections::renewable_client;

/// The five root certificates of Amazon Trust Services, in PEM. They sign the certificates of DynamoDB's endpoints
/// (Amazon DynamoDB Developer Guide, "Troubleshooting SSL/TLS connection establishment issues with DynamoDB"). The
/// repository at amazontrust.com recommends that trust stores contain all five.
pub const AMAZON_ROOTS: &[u8] = include_bytes!("amazon-roots.pem");

/// The HTTP client for the SDK configuration of [`Function`](crate::Function). It trusts Amazon's own root
/// certificates. After the first certificate that they did not sign, it trusts the system's root certificates. It does
/// not trust those from the start, because parsing some 150 of them would take a fifth of the CPU time of every init.
///
/// If `SSL_CERT_FILE` or `SSL_CERT_DIR` is set, the client trusts only the certificates that it names.
pub fn http_client() -> SharedHttpClient {
    let is_overridden = ["SSL_CERT_FILE", "SSL_CERT_DIR"].iter().any(|name| env::var_os(name).is_some());
    let system = client_trusting(TrustStore::default());
    if is_overridden {
        return system;
    }
    with_fallback(client_trusting(TrustStore::empty().with_pem_certificate(AMAZON_ROOTS)), system)
}

/// A [`renewable_client`] that trusts only these root certificates.
pub fn client_trusting(trusted: TrustStore) -> SharedHttpClient {
    renewable_client(move |settings, components| {
        let tls = TlsContext::builder().with_trust_store(trusted.clone()).build();
        let mut connector = ConnectorBuilder::default()
            .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
            // The default context would trust the system's root certificates.
            .tls_context(tls.expect("a context without a client certificate always builds"));
        connector.set_connector_settings(Some(settings.clone()));
        connector.set_sleep_impl(components.sleep_impl());
        connector.set_proxy_config(Some(ProxyConfig::from_env()));
        connector.build()
    })
}

/// A client that uses `first` until it meets a certificate that `first` does not trust. From the next request on it
/// uses `fallback`.
pub fn with_fallback(first: SharedHttpClient, fallback: SharedHttpClient) -> SharedHttpClient {
    let use_fallback = Arc::new(AtomicBool::new(false));
    http_client_fn(move |settings, components| {
        if use_fallback.load(Ordering::Relaxed) {
            return fallback.http_connector(settings, components);
        }
        let connector = first.http_connector(settings, components);
        SharedHttpConnector::new(FallbackConnector { connector, use_fallback: use_fallback.clone() })
    })
}

#[derive(Debug)]
struct FallbackConnector {
    connector: SharedHttpConnector,
    use_fallback: Arc<AtomicBool>,
}

impl HttpConnector for FallbackConnector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let call = self.connector.call(request);
        let use_fallback = self.use_fallback.clone();
        HttpConnectorFuture::new(async move {
            let response = call.await;
            // This request fails. Its caller retries it, as it retries every failed request.
            if let Err(error) = &response
                && is_untrusted(error)
                && !use_fallback.swap(true, Ordering::Relaxed)
            {
                tracing::warn!(
                    "Amazon's root certificates did not sign DynamoDB's certificate: the system's root certificates are trusted from now on"
                );
            }
            response
        })
    }
}

/// True if the request failed because the server's certificate is not trusted.
pub(crate) fn is_untrusted(error: &(dyn StdError + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(tls) = error.downcast_ref::<rustls::Error>() {
            return matches!(tls, rustls::Error::InvalidCertificate(_));
        }
        next = match error.downcast_ref::<io::Error>() {
            // `source` of an `io::Error` skips the error inside it and returns that error's source.
            Some(io) => io.get_ref().map(|inner| inner as &(dyn StdError + 'static)),
            None => error.source(),
        };
    }
    false
}
