//! The certificates that the client of DynamoDB trusts: Amazon's roots first, then the system's.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::{Builder, SharedHttpClient};
use aws_smithy_http_client::tls::TrustStore;
use livechat_units::dynamodb::tls::{AMAZON_ROOTS, client_trusting, with_fallback};
use sha2::{Digest, Sha256};
use testing::dynamodb::address;
use testing::tls::{Identity, forward, identity};
use tokio::net::TcpSocket;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use unitctl::engine;

/// DynamoDB behind TLS.
struct Server {
    acceptor: TlsAcceptor,
    /// Its certificate in PEM, which is also the authority that a client has to trust.
    certificate: String,
    port: u16,
}

impl Server {
    fn start() -> Self {
        let (server, socket) = Self::absent();
        server.listen(socket);
        server
    }

    /// A server that does not listen yet, and the socket that has its port. Connections to it are refused.
    fn absent() -> (Self, TcpSocket) {
        let Identity { acceptor, certificate } = identity();
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(([127, 0, 0, 1], 0).into()).expect("a port is free");
        let port = socket.local_addr().expect("it is bound").port();
        (Self { acceptor, certificate, port }, socket)
    }

    fn listen(&self, socket: TcpSocket) {
        forward(socket.listen(100).expect("it listens"), self.acceptor.clone(), address());
    }

    /// A trust store with its certificate only.
    fn trust_store(&self) -> TrustStore {
        TrustStore::empty().with_pem_certificate(self.certificate.clone())
    }

    fn client(&self, http: SharedHttpClient) -> Client {
        let sdk = engine::sdk_config(&format!("https://localhost:{}", self.port));
        let retries = aws_config::retry::RetryConfig::disabled();
        let config = Builder::from(&sdk).retry_config(retries).http_client(http);
        Client::from_conf(config.build())
    }
}

/// A trust store with an authority that has certified no server.
fn other_trust_store() -> TrustStore {
    TrustStore::empty().with_pem_certificate(identity().certificate)
}

/// Sends some requests one after the other, and returns which of them succeed.
async fn successes(client: &Client, requests: usize) -> Vec<bool> {
    let mut successes = Vec::new();
    for _ in 0..requests {
        successes.push(client.list_tables().send().await.is_ok());
    }
    successes
}

#[tokio::test]
async fn a_certificate_from_the_first_roots_is_accepted() {
    let server = Server::start();
    let client = server
        .client(with_fallback(client_trusting(server.trust_store()), client_trusting(other_trust_store())));
    assert_eq!(successes(&client, 3).await, [true, true, true]);
}

#[tokio::test]
async fn a_certificate_from_the_fallback_roots_is_accepted_after_the_first_request() {
    let server = Server::start();
    let client = server
        .client(with_fallback(client_trusting(other_trust_store()), client_trusting(server.trust_store())));
    assert_eq!(successes(&client, 3).await, [false, true, true]);
}

#[tokio::test]
async fn a_certificate_from_other_roots_is_never_accepted() {
    let server = Server::start();
    let client = server
        .client(with_fallback(client_trusting(other_trust_store()), client_trusting(other_trust_store())));
    assert_eq!(successes(&client, 3).await, [false, false, false]);
}

#[tokio::test]
async fn an_unreachable_server_does_not_cause_the_fallback() {
    let (server, socket) = Server::absent();
    let client = server
        .client(with_fallback(client_trusting(server.trust_store()), client_trusting(other_trust_store())));
    assert_eq!(successes(&client, 2).await, [false, false]);
    server.listen(socket);
    assert_eq!(successes(&client, 2).await, [true, true]);
}

/// The repository at amazontrust.com publishes these hashes of the public keys.
#[test]
fn the_roots_are_those_of_amazon_trust_services() {
    let roots: Vec<String> = CertificateDer::pem_slice_iter(AMAZON_ROOTS)
        .map(|root| {
            let root = root.expect("it is PEM");
            let anchor = webpki::anchor_from_trusted_cert(&root).expect("it is a certificate");
            let key = anchor.subject_public_key_info.as_ref();
            // `key` lacks the header of its DER sequence.
            let header: &[u8] = match key.len() {
                length @ 0..128 => &[0x30, length as u8],
                length @ 128..256 => &[0x30, 0x81, length as u8],
                length => &[0x30, 0x82, (length >> 8) as u8, length as u8],
            };
            let hash = Sha256::new().chain_update(header).chain_update(key).finalize();
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
