//! The binary, as Lambda runs it.

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

use crate::world::{UNAVAILABLE, body, endpoint, event, world};

const BINARY: &str = env!("CARGO_BIN_EXE_livechat-units");

async fn start(endpoint: &str, tables: &Tables) -> Environment {
    let binary = Path::new(BINARY);
    let environment =
        Environment::start_function(binary, endpoint, tables, &[], Stdio::null(), Stdio::inherit());
    environment.await.expect("it starts")
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
