//! The binary, as Lambda runs it.

use std::fs::{self, File};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use livechat_units::Tables;
use serde_json::{Value, json};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use unitctl::runtime_api::Environment;

use crate::certificate::acceptor;
use crate::world::{UNAVAILABLE, body, endpoint, event, world};

const BINARY: &str = env!("CARGO_BIN_EXE_livechat-units");

async fn start(endpoint: &str, tables: &Tables) -> Environment {
    start_with(endpoint, tables, &[], Stdio::null()).await
}

async fn start_with(
    endpoint: &str,
    tables: &Tables,
    variables: &[(&str, &str)],
    stdout: Stdio,
) -> Environment {
    let binary = Path::new(BINARY);
    let environment =
        Environment::start_function(binary, endpoint, tables, variables, stdout, Stdio::inherit());
    environment.await.expect("it starts")
}

/// Puts TLS before the engine, with a certificate that nobody knows. Returns the endpoint, and the certificate
/// in PEM.
async fn tls_before_engine() -> (String, String) {
    let (acceptor, certificate) = acceptor();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let port = listener.local_addr().expect("it is bound").port();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            // Who does not trust the certificate goes away.
            let Ok(mut client) = acceptor.accept(client).await else { continue };
            let engine = endpoint().trim_start_matches("http://");
            let mut engine = TcpStream::connect(engine).await.expect("the engine is there");
            tokio::spawn(async move { copy_bidirectional(&mut client, &mut engine).await });
        }
    });
    (format!("https://localhost:{port}"), certificate)
}

/// Invokes the binary on an update of the unit U, and returns status and body of the answer.
async fn update(environment: &mut Environment, time: Duration) -> (Value, Value) {
    let event = event("U", &body(&["m"], &["d"])).to_string();
    let answer = environment.invoke(event, time).await.and_then(|answer| answer.response());
    let mut answer: Value = serde_json::from_slice(&answer.expect("it answers")).expect("JSON");
    (answer["statusCode"].take(), answer["body"].take())
}

#[tokio::test]
async fn the_binary_answers_one_event_after_another() {
    world(async |world| {
        world.unit("U", &["m"], &["d"]).await;
        let mut environment = start(endpoint(), &world.tables).await;
        for version in 8..10 {
            environment.idle().await.expect("it asks for an event");
            let (status, body) = update(&mut environment, Duration::from_secs(15)).await;
            assert_eq!(status, 200, "{body}");
            assert_eq!(world.unit_of("U").await["version"], version);
        }
    })
    .await;
}

#[tokio::test]
async fn the_binary_does_not_start_without_tables() {
    let mut environment =
        Environment::start(Path::new(BINARY), &[], Stdio::null(), Stdio::null()).await.expect("it starts");
    let error = environment.idle().await.expect_err("it has no tables");
    assert_eq!(error.to_string(), "the process ended with exit status: 1");
    let answer = environment.invoke(json!({}).to_string(), Duration::from_secs(1)).await;
    answer.expect_err("nobody answers");
}

#[tokio::test]
async fn the_first_update_finds_the_connection_that_the_init_made() {
    world(async |world| {
        world.unit("U", &["m"], &["d"]).await;
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let connections = Arc::new(AtomicUsize::new(0));
        let count = connections.clone();
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::Relaxed);
                let engine = endpoint().trim_start_matches("http://");
                let mut engine = TcpStream::connect(engine).await.expect("the engine is there");
                tokio::spawn(async move { copy_bidirectional(&mut client, &mut engine).await });
            }
        });
        let mut environment = start(&format!("http://{address}"), &world.tables).await;
        environment.idle().await.expect("it asks for an event");
        assert_eq!(connections.load(Ordering::Relaxed), 1, "after the init");
        let (status, body) = update(&mut environment, Duration::from_secs(15)).await;
        assert_eq!(status, 200, "{body}");
        assert_eq!(connections.load(Ordering::Relaxed), 1, "after the first update");
    })
    .await;
}

#[tokio::test]
async fn the_binary_starts_whether_dynamodb_is_there_or_not() {
    // Nobody listens on port 1 of this machine; the other takes connections and never says a word.
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let silent = format!("http://{}", silent.local_addr().expect("it is bound"));
    let tables = Tables { tokens: "tokens".into(), livechat: "livechat".into() };
    for endpoint in ["http://127.0.0.1:1", &silent] {
        let mut environment = start(endpoint, &tables).await;
        environment.idle().await.expect("it asks for an event");
        let answer = update(&mut environment, Duration::from_millis(1300)).await;
        assert_eq!(answer, (json!(503), json!(UNAVAILABLE)), "{endpoint}");
    }
}

#[tokio::test]
async fn the_binary_trusts_the_certificate_that_it_is_told_to_and_no_other() {
    const DISTRUST: &str = "Amazon's root certificates did not sign DynamoDB's certificate: the system's root certificates are trusted from now on";
    world(async |world| {
        world.unit("U", &["m"], &["d"]).await;
        let (endpoint, certificate) = tls_before_engine().await;
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let file = folder.join("process-roots.pem");
        fs::write(&file, certificate).expect("it is written");
        let told = [("SSL_CERT_FILE", file.to_str().expect("UTF-8"))];
        for (variables, expected) in [(&told[..], json!(200)), (&[], json!(503))] {
            let log = folder.join("process-log");
            let stdout = File::create(&log).expect("it is created");
            let mut environment = start_with(&endpoint, &world.tables, variables, stdout.into()).await;
            let (status, body) = update(&mut environment, Duration::from_millis(1500)).await;
            assert_eq!(status, expected, "{body}");
            let log = fs::read_to_string(&log).expect("it is read");
            assert_eq!(log.matches(DISTRUST).count(), usize::from(variables.is_empty()), "{log}");
        }
    })
    .await;
}
