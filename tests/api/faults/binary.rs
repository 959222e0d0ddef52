//! The binary as Lambda runs it: how it starts, connects, and chooses the certificates that it trusts.

use std::fs::{self, File};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use livechat_units::Tables;
use serde_json::{Value, json};
use testing::dynamodb::{address, endpoint};
use testing::environment::Environment;
use testing::tls;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};

use crate::support::lag::in_time;
use crate::support::responses::UNAVAILABLE;
use crate::support::{body, event, with_app};

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

/// The time for an update that succeeds.
const LONG: Duration = Duration::from_secs(30);

/// Sends an update of the unit U to the binary, and returns status and body of the answer.
///
/// # Errors
/// There is no answer in this time.
async fn update(environment: &mut Environment, time: Duration) -> Result<(Value, Value), String> {
    let event = event("U", &body(&["m"], &["d"])).to_string();
    let answer = environment.invoke(event, time).await.and_then(|answer| answer.response());
    let answer = answer.map_err(|error| error.to_string())?;
    let mut answer: Value = serde_json::from_slice(&answer).expect("JSON");
    Ok((answer["statusCode"].take(), answer["body"].take()))
}

#[tokio::test]
async fn the_binary_answers_one_event_after_another() {
    with_app(async |app| {
        app.put_unit("U", &["m"], &["d"]).await;
        let mut environment = start(endpoint(), &app.tables).await;
        for version in 8..10 {
            environment.idle().await.expect("it asks for an event");
            let (status, body) = update(&mut environment, LONG).await.expect("the binary answers");
            assert_eq!(status, 200, "{body}");
            assert_eq!(app.stored_unit("U").await["version"], version);
        }
    })
    .await;
}

#[tokio::test]
async fn the_binary_does_not_start_without_tables() {
    let mut environment =
        Environment::start(Path::new(BINARY), &[], Stdio::null(), Stdio::null()).await.expect("it starts");
    let error = environment.idle().await.expect_err("the names of the tables are missing");
    assert_eq!(error.to_string(), "the process ended with exit status: 1");
    let answer = environment.invoke(json!({}).to_string(), Duration::from_secs(1)).await;
    answer.expect_err("the process has ended");
}

#[tokio::test]
async fn the_first_update_uses_the_connection_made_during_init() {
    with_app(async |app| {
        app.put_unit("U", &["m"], &["d"]).await;
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let local_address = listener.local_addr().expect("it is bound");
        let connections = Arc::new(AtomicUsize::new(0));
        let count = connections.clone();
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::Relaxed);
                let mut engine = TcpStream::connect(address()).await.expect("the engine is there");
                tokio::spawn(async move { copy_bidirectional(&mut client, &mut engine).await });
            }
        });
        // On a busy machine the init may be over before it has connected. A reply may also take so long that the update sends a
        // second request, which opens a connection.
        in_time(async |_| {
            connections.store(0, Ordering::Relaxed);
            let mut environment = start(&format!("http://{local_address}"), &app.tables).await;
            environment.idle().await.expect("it asks for an event");
            let after_init = connections.load(Ordering::Relaxed);
            let (status, body) = update(&mut environment, LONG).await?;
            assert_eq!(status, 200, "{body}");
            match (after_init, connections.load(Ordering::Relaxed)) {
                (1, 1) => Ok(()),
                opened => Err(format!("connections after the init and after the first update: {opened:?}")),
            }
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn the_binary_starts_without_dynamodb() {
    // No server listens on port 1 of this machine. The other address accepts connections and never replies.
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let silent = format!("http://{}", silent.local_addr().expect("it is bound"));
    let tables = Tables { tokens: "tokens".into(), livechat: "livechat".into() };
    for endpoint in ["http://127.0.0.1:1", &silent] {
        in_time(async |_| {
            let mut environment = start(endpoint, &tables).await;
            environment.idle().await.expect("it asks for an event");
            let answer = update(&mut environment, Duration::from_millis(1300)).await?;
            assert_eq!(answer, (json!(503), json!(UNAVAILABLE)), "{endpoint}");
            Ok(())
        })
        .await;
    }
}

#[tokio::test]
async fn the_binary_trusts_ssl_cert_file_and_no_other_certificate() {
    const FALLBACK_WARNING: &str = "Amazon's root certificates did not sign DynamoDB's certificate: the system's root certificates are trusted from now on";
    with_app(async |app| {
        app.put_unit("U", &["m"], &["d"]).await;
        let tls::Identity { acceptor, certificate } = tls::identity();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let endpoint = format!("https://localhost:{}", listener.local_addr().expect("it is bound").port());
        tls::forward(listener, acceptor, address());
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let file = folder.join("process-roots.pem");
        fs::write(&file, certificate).expect("it is written");
        let ssl_cert_file = [("SSL_CERT_FILE", file.to_str().expect("UTF-8"))];
        // The second update meets no certificate that is trusted, so it is answered when its time is over.
        for (variables, expected, time) in
            [(&ssl_cert_file[..], json!(200), LONG), (&[], json!(503), Duration::from_secs(3))]
        {
            in_time(async |_| {
                let log = folder.join("process-log");
                let stdout = File::create(&log).expect("it is created");
                let mut environment = start_with(&endpoint, &app.tables, variables, stdout.into()).await;
                let (status, body) = update(&mut environment, time).await?;
                assert_eq!(status, expected, "{body}");
                let log = fs::read_to_string(&log).expect("it is read");
                let (warnings, expected) =
                    (log.matches(FALLBACK_WARNING).count(), usize::from(variables.is_empty()));
                if warnings < expected {
                    return Err(format!("the time was over before it saw the certificate: {log}"));
                }
                assert_eq!(warnings, expected, "{log}");
                Ok(())
            })
            .await;
        }
    })
    .await;
}
