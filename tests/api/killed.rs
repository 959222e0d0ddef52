//! The function's own process, killed or stopped while its requests are under way; and what it prints.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::task::JoinHandle;
use tokio::time::sleep;
use unitctl::runtime_api::{Answer, Environment};

use crate::case::Case;
use crate::invariants::assert_invariants;
use crate::logs;
use crate::wire::{Proxy, Wire, proxy};
use crate::world::{TOKEN, UNAVAILABLE, World, body, endpoint, event, world};

const TIME: Duration = Duration::from_secs(30);

/// The function's process, whose output is read for tokens.
struct Process {
    environment: Environment,
    output: [JoinHandle<String>; 2],
}

impl Process {
    async fn start(world: &World, url: &str) -> Self {
        let binary = Path::new(env!("CARGO_BIN_EXE_livechat-units"));
        // As much as it ever logs.
        let variables =
            [("RUST_LOG", "trace"), ("AWS_LAMBDA_LOG_LEVEL", "TRACE"), ("RUST_BACKTRACE", "full")];
        let (out, err) = (Stdio::piped(), Stdio::piped());
        let environment = Environment::start_function(binary, url, &world.tables, &variables, out, err).await;
        let mut environment = environment.expect("it starts");
        let process = environment.process();
        let output = [
            read(process.stdout.take().expect("it is piped")),
            read(process.stderr.take().expect("it is piped")),
        ];
        environment.idle().await.expect("it asks for an event");
        Self { environment, output }
    }

    async fn invoke(&mut self, event: &Value) -> Value {
        let answer = self.environment.invoke(event.to_string(), TIME).await.expect("it answers");
        let Answer::Response(answer) = answer else { panic!("{answer:?}") };
        let answer = serde_json::from_slice::<Value>(&answer).expect("it is JSON");
        assert!(!logs::tells_a_token(&answer.to_string()), "{answer}");
        answer
    }

    async fn status(&mut self, event: &Value) -> Value {
        self.invoke(event).await["statusCode"].take()
    }

    /// Kills it as it is, and returns what it has printed.
    async fn kill(mut self) -> String {
        self.environment.process().start_kill().expect("it runs");
        let [out, err] = self.output;
        let printed = out.await.expect("it is read") + &err.await.expect("it is read");
        let telling: Vec<&str> = printed.lines().filter(|line| logs::tells_a_token(line)).collect();
        assert!(telling.is_empty(), "{telling:#?}");
        printed
    }
}

fn signal(process: u32, name: &str) {
    let done = Command::new("sh").args(["-c", &format!("kill -{name} {process}")]).status();
    assert!(done.expect("there is a shell").success());
}

fn read(mut stream: impl AsyncRead + Unpin + Send + 'static) -> JoinHandle<String> {
    tokio::spawn(async move {
        let mut text = String::new();
        stream.read_to_string(&mut text).await.expect("it prints UTF-8");
        text
    })
}

/// A proxy that does this to the request of this number, not counting the one by which init connects.
async fn proxy_with(fault: Wire, at: usize) -> Proxy {
    let number = Arc::new(AtomicUsize::new(0));
    proxy(move |_| if number.fetch_add(1, Ordering::Relaxed) == at + 1 { fault } else { Wire::Pass }).await
}

/// The requests of two updates: caller, unit, transaction; caller and unit, transaction.
const REQUESTS: usize = 5;

/// Those of the first.
const FIRST: usize = 3;

#[tokio::test]
async fn killed_while_a_request_is_under_way() {
    world(async |world| {
        world.monitors(&["m", "n"]).await;
        for (nth, fault) in [Wire::Hang, Wire::HangAfter].into_iter().enumerate() {
            for at in 0..REQUESTS {
                let mut proxy = proxy_with(fault, at).await;
                let mut process = Process::start(world, &proxy.url).await;
                let number = 100 * nth + 10 * at;
                let mut case = Case::new(world, false, number).await;
                if at >= FIRST {
                    assert_eq!(process.status(&case.event).await, 200);
                    case = Case::new(world, false, number + 1).await;
                }
                let before = world.items().await;
                let halted = async { proxy.halted.wait_for(|halted| *halted == 1).await.map(drop) };
                tokio::select! {
                    status = process.status(&case.event) => panic!("answered {status}"),
                    halted = halted => halted.expect("the proxy runs"),
                }
                process.kill().await;

                let after = world.items().await;
                assert_invariants(&after);
                let is_committed = fault == Wire::HangAfter && [FIRST - 1, REQUESTS - 1].contains(&at);
                assert_eq!(case.is_stored(&before, &after), is_committed, "{fault:?} at {at}");
                case.repeat(world, &world.another_function(), after, is_committed).await;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn stopped_while_a_request_is_under_way_and_others_go_on() {
    world(async |world| {
        world.monitors(&["m", "n"]).await;
        for at in 0..FIRST {
            // Shorter than a try may take, and longer.
            for (nth, stop) in [200, 1_300].into_iter().enumerate() {
                let mut proxy = proxy_with(Wire::Slow, at).await;
                let mut process = Process::start(world, &proxy.url).await;
                let case = Case::new(world, false, 10 * at + nth).await;
                let mut before = world.items().await;
                let id = process.environment.process().id().expect("it runs");
                let others = async {
                    proxy.halted.wait_for(|halted| *halted == 1).await.expect("the proxy runs");
                    signal(id, "STOP");
                    case.competitor(world)().await;
                    sleep(Duration::from_millis(stop)).await;
                    signal(id, "CONT");
                };
                let (status, ()) = tokio::join!(process.status(&case.event), others);
                assert_eq!(status, 200, "stopped at {at} for {stop} ms");
                case.count_update(&mut before);
                assert!(case.is_stored(&before, &world.items().await));
                process.kill().await;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn it_answers_before_lambda_ends_it() {
    world(async |world| {
        let proxy = proxy(|_| Wire::Hang).await;
        let mut process = Process::start(world, &proxy.url).await;
        let event = event("U", &body(&[], &[]));
        // The template's timeout, and a short one.
        for timeout in [Duration::from_secs(15), Duration::from_secs(2)] {
            let answer = process.environment.invoke(event.to_string(), timeout).await.expect("in time");
            let answer: Value = serde_json::from_slice(&answer.response().expect("no error")).expect("JSON");
            assert_eq!((&answer["statusCode"], &answer["body"]), (&json!(503), &json!(UNAVAILABLE)));
        }
        process.kill().await;
    })
    .await;
}

#[tokio::test]
async fn nothing_that_it_prints_has_a_token() {
    world(async |world| {
        world.monitors(&["m", "n"]).await;
        let case = Case::new(world, false, 0).await;
        let mut process = Process::start(world, endpoint()).await;
        let events = logs::revealing_events(&case.unit);
        for event in &events {
            process.invoke(event).await;
        }
        assert_eq!(process.status(&case.event).await, 200);
        let printed = process.kill().await;
        let lines: Vec<Value> = printed.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let metrics = lines.iter().filter(|line| line.get("_aws").is_some()).count();
        let requests = lines.iter().filter(|line| line["message"] == "request").count();
        assert_eq!((metrics, requests), (events.len() + 1, events.len() + 1), "{printed}");

        // Nor when all fails, with what the SDK and the runtime say then.
        let mut process = Process::start(world, "http://127.0.0.1:1").await;
        let answer = process.environment.invoke(case.event.to_string(), Duration::from_millis(1500)).await;
        assert!(matches!(answer, Ok(Answer::Response(_))), "{answer:?}");
        let printed = process.kill().await;
        assert!(printed.contains("request failed"), "{printed}");
        let mut process = Process::start(world, endpoint()).await;
        let event = format!(r#"{{"headers":{{"x-auth-token":"{TOKEN}""#);
        let answer = process.environment.invoke(event, Duration::from_secs(5)).await;
        assert!(!logs::tells_a_token(&format!("{answer:?}")), "{answer:?}");
        process.kill().await;
    })
    .await;
}
