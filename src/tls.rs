//! The HTTP client to DynamoDB, and which authorities vouch for the server at its other end.

use std::env;
use std::error::Error as StdError;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aws_sdk_dynamodb::config::SharedHttpClient;
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use aws_smithy_http_client::{Builder, ConnectorBuilder};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;

/// The five roots of Amazon Trust Services, whose certificates DynamoDB's endpoints have (Amazon DynamoDB Developer
/// Guide, "Troubleshooting SSL/TLS connection establishment issues with DynamoDB"), as its repository at
/// amazontrust.com recommends for trust stores: all five.
const AMAZON_ROOTS: &[u8] = include_bytes!("amazon-roots.pem");

/// The client for [`Function`](crate::Function)'s SDK configuration. It trusts Amazon's own roots; should
/// DynamoDB's certificate not be from these any more, it trusts the system's from then on. Parsing those, some
/// 150, would take a fifth of every init's CPU time.
///
/// `SSL_CERT_FILE` and `SSL_CERT_DIR` say instead what is trusted, and then nothing else is.
pub fn http_client() -> SharedHttpClient {
    let is_said = ["SSL_CERT_FILE", "SSL_CERT_DIR"].iter().any(|name| env::var_os(name).is_some());
    let system = client(TrustStore::default());
    if is_said {
        return system;
    }
    first_of(client(TrustStore::empty().with_pem_certificate(AMAZON_ROOTS)), system)
}

/// The SDK's default HTTP client but for the trust store, and for one thing: that one makes a connector, the roots
/// parsed for it, when a DynamoDB client is made, to see that it can; drops it; and makes another for the
/// first request.
fn client(trusted: TrustStore) -> SharedHttpClient {
    let client = Builder::new().build_with_connector_fn(move |settings, components| {
        let tls = TlsContext::builder().with_trust_store(trusted.clone()).build();
        let mut connector = ConnectorBuilder::default()
            .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
            // Not the default context, which would trust others.
            .tls_context(tls.expect("it never fails"));
        connector.set_connector_settings(settings.cloned());
        connector.set_sleep_impl(components.and_then(|components| components.sleep_impl()));
        connector.set_proxy_config(Some(ProxyConfig::from_env()));
        connector.build()
    });
    http_client_fn(move |settings, components| client.http_connector(settings, components))
}

/// The first client, until it meets a certificate that it does not trust; from the next request on, the other.
fn first_of(first: SharedHttpClient, then: SharedHttpClient) -> SharedHttpClient {
    let is_distrusted = Arc::new(AtomicBool::new(false));
    http_client_fn(move |settings, components| {
        if is_distrusted.load(Ordering::Relaxed) {
            return then.http_connector(settings, components);
        }
        let connector = first.http_connector(settings, components);
        SharedHttpConnector::new(First { connector, is_distrusted: is_distrusted.clone() })
    })
}

#[derive(Debug)]
struct First {
    connector: SharedHttpConnector,
    is_distrusted: Arc<AtomicBool>,
}

impl HttpConnector for First {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let call = self.connector.call(request);
        let is_distrusted = self.is_distrusted.clone();
        HttpConnectorFuture::new(async move {
            let response = call.await;
            // The request itself is the caller's to repeat, who repeats requests anyway.
            if let Err(error) = &response
                && is_untrusted(error)
                && !is_distrusted.swap(true, Ordering::Relaxed)
            {
                tracing::warn!(
                    "DynamoDB's certificate is not from Amazon's roots: trusting the system's from now on"
                );
            }
            response
        })
    }
}

/// True if a certificate was refused, and neither the network nor the server is to blame.
pub(crate) fn is_untrusted(error: &(dyn StdError + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(tls) = error.downcast_ref::<rustls::Error>() {
            return matches!(tls, rustls::Error::InvalidCertificate(_));
        }
        next = match error.downcast_ref::<io::Error>() {
            // Its `source` is that of the error in it, and passes over the error itself.
            Some(io) => io.get_ref().map(|inner| inner as &(dyn StdError + 'static)),
            None => error.source(),
        };
    }
    false
}

#[cfg(test)]
#[path = "../tests/api/certificate.rs"]
mod certificate;

#[cfg(test)]
mod tests {
    use std::sync::OnceLock;

    use aws_sdk_dynamodb::Client;
    use aws_sdk_dynamodb::config::Builder;
    use sha2::{Digest, Sha256};
    use tokio::io::copy_bidirectional;
    use tokio::net::{TcpListener, TcpStream};
    use tokio_rustls::TlsAcceptor;
    use tokio_rustls::rustls::pki_types::CertificateDer;
    use tokio_rustls::rustls::pki_types::pem::PemObject;
    use unitctl::engine;

    use super::certificate::acceptor;
    use super::*;

    /// DynamoDB behind TLS, and what it is trusted by.
    struct Server {
        acceptor: TlsAcceptor,
        certificate: String,
        port: u16,
    }

    fn dynamodb() -> &'static str {
        static ENDPOINT: OnceLock<String> = OnceLock::new();
        ENDPOINT.get_or_init(|| engine::serve_in_background().expect("the engine starts"))
    }

    async fn listen(port: u16) -> TcpListener {
        TcpListener::bind(("127.0.0.1", port)).await.expect("the port is free")
    }

    impl Server {
        async fn start() -> Self {
            let server = Self::absent().await;
            server.listen().await;
            server
        }

        /// One that does not listen yet.
        async fn absent() -> Self {
            let (acceptor, certificate) = acceptor();
            let port = listen(0).await.local_addr().expect("it is bound").port();
            Self { acceptor, certificate, port }
        }

        async fn listen(&self) {
            let (listener, acceptor) = (listen(self.port).await, self.acceptor.clone());
            tokio::spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    // Who does not trust the certificate goes away.
                    let Ok(mut stream) = acceptor.accept(stream).await else { continue };
                    let engine = TcpStream::connect(dynamodb().trim_start_matches("http://")).await;
                    let mut engine = engine.expect("the engine is there");
                    tokio::spawn(async move { copy_bidirectional(&mut stream, &mut engine).await });
                }
            });
        }

        fn trust(&self) -> TrustStore {
            TrustStore::empty().with_pem_certificate(self.certificate.clone())
        }

        fn client(&self, http: SharedHttpClient) -> Client {
            let sdk = engine::sdk_config(&format!("https://localhost:{}", self.port));
            let retries = aws_config::retry::RetryConfig::disabled();
            let config = Builder::from(&sdk).retry_config(retries).http_client(http);
            Client::from_conf(config.build())
        }
    }

    /// An authority that no server has a certificate from.
    fn nobody() -> TrustStore {
        TrustStore::empty().with_pem_certificate(acceptor().1)
    }

    /// Whether each of some requests, one after the other, is answered.
    async fn answers(client: &Client, requests: usize) -> Vec<bool> {
        let mut answers = Vec::new();
        for _ in 0..requests {
            answers.push(client.list_tables().send().await.is_ok());
        }
        answers
    }

    #[tokio::test]
    async fn a_certificate_from_the_first_roots_does() {
        let server = Server::start().await;
        let client = server.client(first_of(client(server.trust()), client(nobody())));
        assert_eq!(answers(&client, 3).await, [true, true, true]);
    }

    #[tokio::test]
    async fn a_certificate_from_other_roots_does_after_the_first_request() {
        let server = Server::start().await;
        let client = server.client(first_of(client(nobody()), client(server.trust())));
        assert_eq!(answers(&client, 3).await, [false, true, true]);
    }

    #[tokio::test]
    async fn a_certificate_from_nowhere_never_does() {
        let server = Server::start().await;
        let client = server.client(first_of(client(nobody()), client(nobody())));
        assert_eq!(answers(&client, 3).await, [false, false, false]);
    }

    #[tokio::test]
    async fn an_absent_server_says_nothing_of_its_certificate() {
        let server = Server::absent().await;
        let client = server.client(first_of(client(server.trust()), client(nobody())));
        assert_eq!(answers(&client, 2).await, [false, false]);
        server.listen().await;
        assert_eq!(answers(&client, 2).await, [true, true]);
    }

    /// The roots are those of the repository, by the hashes of their public keys that it publishes.
    #[test]
    fn the_roots_are_amazon_trust_services() {
        let roots: Vec<String> = CertificateDer::pem_slice_iter(AMAZON_ROOTS)
            .map(|root| {
                let root = root.expect("it is PEM");
                let anchor = webpki::anchor_from_trusted_cert(&root).expect("it is a certificate");
                let key = anchor.subject_public_key_info.as_ref();
                // Without the head of the sequence that it is.
                let head: &[u8] = match key.len() {
                    length @ 0..128 => &[0x30, length as u8],
                    length @ 128..256 => &[0x30, 0x81, length as u8],
                    length => &[0x30, 0x82, (length >> 8) as u8, length as u8],
                };
                let hash = Sha256::new().chain_update(head).chain_update(key).finalize();
                hash.iter().map(|byte| format!("{byte:02x}")).collect()
            })
            .collect();
        assert_eq!(
            roots,
            [
                "fbe3018031f9586bcbf41727e417b7d1c45c2f47f93be372a17b96b50757d5a2",
                "7f4296fc5b6a4e3b35d3c369623e364ab1af381d8fa7121533c9d6c633ea2461",
                "36abc32656acfc645c61b71613c4bf21c787f5cabbee48348d58597803d7abc9",
                "f7ecded5c66047d28ed6466b543c40e0743abe81d109254dcf845d4c2c7853c5",
                "2b071c59a0a0ae76b0eadb2bad23bad4580b69c3601b630c2eaf0613afa83f92",
            ]
        );
    }
}
