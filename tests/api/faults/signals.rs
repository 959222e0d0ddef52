//! The process of the function: killed or stopped while its requests are in flight, and searched for tokens in what it
//! prints.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use serde_json::{Value, json};
use testing::dynamodb::endpoint;
use testing::environment::Environment;
use testing::runtime_api::Answer;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::support::fault_proxy::{ConnectionFault, Proxy, proxy};
use crate::support::invariants::assert_invariants;
use crate::support::lag::in_time;
use crate::support::responses::UNAVAILABLE;
use crate::support::update_case::{Progress, TRANSACTIONS, UpdateCase, put_users};
use crate::support::{TOKEN, TestApp, body, event, logs, with_app};

/// The timeout of an invocation that succeeds.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The process of the function. Its output is searched for tokens.
struct Process {
    environment: Environment,
    output: [JoinHandle<String>; 2],
}

impl Process {
    async fn start(app: &TestApp, url: &str) -> Self {
        let binary = Path::new(env!("CARGO_BIN_EXE_livechat-units"));
        // The most verbose log.
        let variables =
            [("RUST_LOG", "trace"), ("AWS_LAMBDA_LOG_LEVEL", "TRACE"), ("RUST_BACKTRACE", "full")];
        let (out, err) = (Stdio::piped(), Stdio::piped());
        let environment = Environment::start_function(binary, url, &app.tables, &variables, out, err).await;
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
        let answer = self.environment.invoke(event.to_string(), TIMEOUT).await.expect("it answers");
        let Answer::Response(answer) = answer else { panic!("{answer:?}") };
        let answer = serde_json::from_slice::<Value>(&answer).expect("it is JSON");
        assert!(!logs::contains_a_token(&answer.to_string()), "{answer}");
        answer
    }

    async fn status(&mut self, event: &Value) -> Value {
        self.invoke(event).await["statusCode"].take()
    }

    /// Kills the process, and returns what it has printed.
    async fn kill(mut self) -> String {
        self.environment.process().start_kill().expect("it runs");
        let [out, err] = self.output;
        let printed = out.await.expect("it is read") + &err.await.expect("it is read");
        let with_token: Vec<&str> = printed.lines().filter(|line| logs::contains_a_token(line)).collect();
        assert!(with_token.is_empty(), "{with_token:#?}");
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

/// A proxy with this fault for one request. Requests are numbered from 0. If one is sent a second time, because no reply comes, both
/// have the same number. The request that the init sends has none, because the init may give it up before it is sent.
async fn proxy_with(fault: ConnectionFault, at: usize) -> Proxy {
    let bodies = Mutex::new(Vec::new());
    proxy(move |_, body| {
        let is_of_init = String::from_utf8_lossy(body).contains(r#""hashedToken":{"S":"-"}"#);
        if is_of_init {
            return ConnectionFault::Pass;
        }
        let mut bodies = bodies.lock().expect("no test panics with it");
        let number = bodies.iter().position(|known| known == body).unwrap_or_else(|| {
            bodies.push(body.to_vec());
            bodies.len() - 1
        });
        if number == at { fault } else { ConnectionFault::Pass }
    })
    .await
}

/// The requests of two updates. The first update reads the caller, reads the unit, and writes. The second one has a token that
/// was seen before, so it reads both at once, and writes.
const REQUESTS: usize = 5;

/// The requests of the first update.
const REQUESTS_OF_FIRST: usize = 3;

#[tokio::test]
async fn a_process_killed_during_a_request_stores_all_or_nothing() {
    with_app(async |app| {
        put_users(app).await;
        for (nth, fault) in [ConnectionFault::Hang, ConnectionFault::HangAfter].into_iter().enumerate() {
            for at in 0..REQUESTS {
                let mut proxy = proxy_with(fault, at).await;
                let mut process = Process::start(app, &proxy.url).await;
                let number = 100 * nth + 10 * at;
                let mut case = UpdateCase::new(app, false, number).await;
                if at >= REQUESTS_OF_FIRST {
                    assert_eq!(process.status(&case.event).await, 200);
                    case = UpdateCase::new(app, false, number + 1).await;
                }
                let before = app.stored_items().await;
                let halted = async { proxy.halted.wait_for(|halted| *halted >= 1).await.map(drop) };
                tokio::select! {
                    status = process.status(&case.event) => panic!("answered {status}"),
                    halted = halted => halted.expect("the proxy runs"),
                }
                process.kill().await;
                proxy.idle().await;

                let after = app.stored_items().await;
                assert_invariants(&after);
                let is_committed = fault == ConnectionFault::HangAfter
                    && [REQUESTS_OF_FIRST - 1, REQUESTS - 1].contains(&at);
                let progress = if is_committed { Progress::Everything } else { Progress::Nothing };
                assert_eq!(case.progress(&before, &after), progress, "{fault:?} at {at}");
                case.assert_repeatable(app, &app.another_function(), after, progress).await;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_process_stopped_during_a_request_continues_correctly() {
    with_app(async |app| {
        put_users(app).await;
        for at in 0..REQUESTS_OF_FIRST {
            // In ms. One is shorter than the timeout of a request, and one is longer.
            for (nth, stop) in [200, 1_300].into_iter().enumerate() {
                let mut proxy = proxy_with(ConnectionFault::Slow, at).await;
                let mut process = Process::start(app, &proxy.url).await;
                let case = UpdateCase::new(app, false, 10 * at + nth).await;
                let mut before = app.stored_items().await;
                let id = process.environment.process().id().expect("it runs");
                let stop_and_continue = async {
                    proxy.halted.wait_for(|halted| *halted >= 1).await.expect("the proxy runs");
                    signal(id, "STOP");
                    case.other_update(app)().await;
                    sleep(Duration::from_millis(stop)).await;
                    signal(id, "CONT");
                };
                let (status, ()) = tokio::join!(process.status(&case.event), stop_and_continue);
                assert_eq!(status, 200, "stopped at {at} for {stop} ms");
                case.increment_version(&mut before);
                assert!(case.is_stored(&before, &app.stored_items().await));
                process.kill().await;
            }
        }
    })
    .await;
}

/// The number of the request that is a large update's first transaction. Three requests come before it: one reads the caller,
/// and two read the unit and everything that the body lists.
const FIRST_TRANSACTION: usize = 3;

#[tokio::test]
async fn a_process_killed_between_the_transactions_of_a_large_update_leaves_a_consistent_unit() {
    with_app(async |app| {
        put_users(app).await;
        let mut seen = Vec::new();
        for (nth, fault) in [ConnectionFault::Hang, ConnectionFault::HangAfter].into_iter().enumerate() {
            for transaction in 0..TRANSACTIONS {
                let mut proxy = proxy_with(fault, FIRST_TRANSACTION + transaction).await;
                let mut process = Process::start(app, &proxy.url).await;
                let case = UpdateCase::new(app, true, 10 * transaction + nth).await;
                let before = app.stored_items().await;
                let halted = async { proxy.halted.wait_for(|halted| *halted >= 1).await.map(drop) };
                tokio::select! {
                    status = process.status(&case.event) => panic!("answered {status}"),
                    halted = halted => halted.expect("the proxy runs"),
                }
                process.kill().await;
                proxy.idle().await;

                let after = app.stored_items().await;
                assert_invariants(&after);
                let committed = (case.version(&after) - case.version(&before)) as usize;
                assert_eq!(committed, transaction + usize::from(fault == ConnectionFault::HangAfter));
                let progress = match committed {
                    0 => Progress::Nothing,
                    TRANSACTIONS => Progress::Everything,
                    _ => Progress::Part,
                };
                assert_eq!(
                    case.progress(&before, &after),
                    progress,
                    "{fault:?} at transaction {transaction}"
                );
                case.assert_repeatable(app, &app.another_function(), after, progress).await;
                seen.push(progress);
            }
        }
        for progress in [Progress::Nothing, Progress::Part, Progress::Everything] {
            assert!(seen.contains(&progress), "{seen:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_process_stopped_between_the_transactions_of_a_large_update_continues_correctly() {
    with_app(async |app| {
        put_users(app).await;
        for transaction in 0..TRANSACTIONS {
            let mut proxy = proxy_with(ConnectionFault::Slow, FIRST_TRANSACTION + transaction).await;
            let mut process = Process::start(app, &proxy.url).await;
            let case = UpdateCase::new(app, true, transaction).await;
            let mut before = app.stored_items().await;
            let id = process.environment.process().id().expect("it runs");
            let stop_and_continue = async {
                proxy.halted.wait_for(|halted| *halted >= 1).await.expect("the proxy runs");
                signal(id, "STOP");
                case.other_update(app)().await;
                sleep(Duration::from_millis(1_300)).await;
                signal(id, "CONT");
            };
            let (status, ()) = tokio::join!(process.status(&case.event), stop_and_continue);
            assert_eq!(status, 200, "stopped at transaction {transaction}");
            case.increment_version(&mut before);
            assert_eq!(case.progress(&before, &app.stored_items().await), Progress::Everything);
            process.kill().await;
        }
    })
    .await;
}

#[tokio::test]
async fn the_answer_comes_before_the_lambda_timeout() {
    with_app(async |app| {
        let proxy = proxy(|_, _| ConnectionFault::Hang).await;
        let event = event("U", &body(&[], &[]));
        // The timeout in the template, and a short one.
        for timeout in [Duration::from_secs(15), Duration::from_secs(2)] {
            in_time(async |_| {
                let mut process = Process::start(app, &proxy.url).await;
                let answer = process.environment.invoke(event.to_string(), timeout).await;
                process.kill().await;
                let answer = answer.map_err(|error| error.to_string())?.response().expect("no error");
                let answer: Value = serde_json::from_slice(&answer).expect("JSON");
                assert_eq!((&answer["statusCode"], &answer["body"]), (&json!(503), &json!(UNAVAILABLE)));
                Ok(())
            })
            .await;
        }
    })
    .await;
}

#[tokio::test]
async fn the_process_prints_no_token() {
    with_app(async |app| {
        put_users(app).await;
        let case = UpdateCase::new(app, false, 0).await;
        let mut process = Process::start(app, endpoint()).await;
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

        // It also prints no token if every request fails, or if the event is not JSON.
        let printed = in_time(async |_| {
            let mut process = Process::start(app, "http://127.0.0.1:1").await;
            let time = Duration::from_millis(1500);
            let answer = process.environment.invoke(case.event.to_string(), time).await;
            let printed = process.kill().await;
            answer.and_then(Answer::response).map_or_else(|error| Err(error.to_string()), |_| Ok(printed))
        })
        .await;
        assert!(printed.contains("request failed"), "{printed}");
        let mut process = Process::start(app, endpoint()).await;
        let event = format!(r#"{{"headers":{{"x-auth-token":"{TOKEN}""#);
        let answer = process.environment.invoke(event, Duration::from_secs(5)).await;
        assert!(!logs::contains_a_token(&format!("{answer:?}")), "{answer:?}");
        process.kill().await;
    })
    .await;
}
