//! TLS in front of DynamoDB, with a certificate that no system trusts.

use std::sync::Arc;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;

/// A certificate for `localhost`, and the server's side of TLS with it.
pub struct Identity {
    /// The server's side of TLS.
    pub acceptor: TlsAcceptor,
    /// The certificate in PEM. It is also the authority that a client has to trust.
    pub certificate: String,
}

/// A new certificate.
///
/// # Panics
/// The certificate can't be made.
pub fn identity() -> Identity {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let key = PrivatePkcs8KeyDer::from(signing_key.serialize_der());
    let mut config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key.into())
        .expect("the key belongs to the certificate");
    // DynamoDB does not speak HTTP/2.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Identity { acceptor: TlsAcceptor::from(Arc::new(config)), certificate: cert.pem() }
}

/// Forwards each TLS connection of the listener to the plain HTTP server at `address`, until the runtime ends.
pub fn forward(listener: TcpListener, acceptor: TlsAcceptor, address: &'static str) {
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            // A client that does not trust the certificate breaks off the handshake.
            let Ok(mut client) = acceptor.accept(client).await else { continue };
            let Ok(mut server) = TcpStream::connect(address).await else { continue };
            tokio::spawn(async move { copy_bidirectional(&mut client, &mut server).await });
        }
    });
}
