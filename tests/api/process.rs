//! The binary, as Lambda runs it.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use unitctl::runtime_api::{Answer, Environment};

use crate::world::{body, endpoint, event, success, world};
use livechat_units::Response;

const BINARY: &str = env!("CARGO_BIN_EXE_livechat-units");

#[tokio::test]
async fn the_binary_answers_one_event_after_another() {
    world(async |world| {
        world.unit("U", &["m"], &["d"]).await;
        let mut environment = Environment::start_function(
            Path::new(BINARY),
            endpoint(),
            &world.tables,
            &[],
            Stdio::null(),
            Stdio::inherit(),
        )
        .await
        .expect("it starts");
        for version in 8..10 {
            environment.idle().await.expect("it asks for an event");
            let event = event("U", &body(&["m"], &["d"])).to_string();
            let answer = environment.invoke(event, Duration::from_secs(15)).await.expect("it answers");
            let Answer::Response(answer) = answer else { panic!("{answer:?}") };
            let answer: Value = serde_json::from_slice(&answer).expect("it is JSON");
            let response = Response {
                status_code: 200,
                headers: Default::default(),
                body: answer["body"].as_str().expect("a text").to_owned(),
                is_base64_encoded: false,
            };
            assert_eq!(answer["statusCode"], 200);
            assert_eq!(response.body, success("U", 1, 1, &response));
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
    let error = environment.invoke(json!({}).to_string(), Duration::from_secs(1)).await;
    error.expect_err("nobody answers");
}
