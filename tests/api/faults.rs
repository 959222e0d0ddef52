//! Rows 12 to 14 of the contract: what DynamoDB can do to a request, injected between it and the SDK.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use aws_config::SdkConfig;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
    SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_runtime_api::http::StatusCode;
use aws_smithy_types::body::SdkBody;
use serde_json::{Value, json};

use crate::world::{
    BUSY, INTERNAL, UNAVAILABLE, World, assert_refused, assert_success, body, event, invoke, world,
    world_through,
};

/// What happens to a request instead of a good reply.
#[derive(Clone)]
enum Fault {
    /// No connection.
    Refused,
    /// The request arrives and is carried out, and the reply is lost.
    ReplyLost,
    /// No reply, ever.
    Hang,
    /// This reply instead.
    Reply(u16, Value),
    /// The reply's first bytes only.
    Truncated,
    /// A bug.
    Panic,
}

/// Decides by the operation and its number, counted from 0, among the requests of that operation.
type Decide = Arc<dyn Fn(&str, usize) -> Option<Fault> + Send + Sync>;

/// An HTTP client that lets a test decide what becomes of each request.
#[derive(Clone)]
pub struct Faulty {
    inner: SharedHttpClient,
    decide: Decide,
    reads: Arc<AtomicUsize>,
    writes: Arc<AtomicUsize>,
    log: Arc<Mutex<Vec<Value>>>,
}

impl fmt::Debug for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Faulty")
    }
}

#[derive(Debug)]
struct FaultyConnector(Faulty, SharedHttpConnector);

impl Faulty {
    fn new(decide: impl Fn(&str, usize) -> Option<Fault> + Send + Sync + 'static) -> Self {
        Self {
            inner: aws_smithy_http_client::Builder::new().build_http(),
            decide: Arc::new(decide),
            reads: Arc::default(),
            writes: Arc::default(),
            log: Arc::default(),
        }
    }

    fn sdk(&self) -> impl FnOnce(SdkConfig) -> SdkConfig {
        let client = SharedHttpClient::new(self.clone());
        move |sdk| sdk.into_builder().http_client(client).build()
    }

    fn writes(&self) -> usize {
        self.writes.load(Ordering::Relaxed)
    }

    /// The keys of each BatchGetItem, by number.
    fn keys_read(&self) -> Vec<usize> {
        let log = self.log.lock().expect("nobody panics");
        let tables = log.iter().filter_map(|request| request["RequestItems"].as_object());
        tables
            .map(|tables| tables.values().map(|table| table["Keys"].as_array().map_or(0, Vec::len)).sum())
            .collect()
    }
}

impl HttpClient for Faulty {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        let inner = self.inner.http_connector(settings, components);
        SharedHttpConnector::new(FaultyConnector(self.clone(), inner))
    }
}

impl HttpConnector for FaultyConnector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let target = request.headers().get("x-amz-target").unwrap_or_default();
        let operation = target.rsplit('.').next().unwrap_or_default().to_owned();
        let counter = if operation == "BatchGetItem" { &self.0.reads } else { &self.0.writes };
        let fault = (self.0.decide)(&operation, counter.fetch_add(1, Ordering::Relaxed));
        let sent = request.body().bytes().and_then(|bytes| serde_json::from_slice(bytes).ok());
        self.0.log.lock().expect("nobody panics").push(sent.unwrap_or_default());
        let io = |what: &'static str| ConnectorError::io(std::io::Error::other(what).into());
        match fault {
            None => self.1.call(request),
            Some(Fault::Refused) => HttpConnectorFuture::ready(Err(io("refused"))),
            Some(Fault::Panic) => panic!("injected"),
            Some(Fault::Hang) => HttpConnectorFuture::new(std::future::pending()),
            Some(Fault::Reply(status, body)) => {
                let status = StatusCode::try_from(status).expect("a status");
                let mut response = HttpResponse::new(status, SdkBody::from(body.to_string()));
                response.headers_mut().insert("content-type", "application/x-amz-json-1.0");
                HttpConnectorFuture::ready(Ok(response))
            }
            Some(Fault::ReplyLost) => {
                let call = self.1.call(request);
                HttpConnectorFuture::new(async move {
                    call.await?;
                    Err(io("connection reset"))
                })
            }
            Some(Fault::Truncated) => {
                let call = self.1.call(request);
                HttpConnectorFuture::new(async move {
                    let status = call.await?.status();
                    Ok(HttpResponse::new(status, SdkBody::from(r#"{"Resp"#)))
                })
            }
        }
    }
}

fn exception(name: &str) -> Value {
    json!({ "__type": format!("com.amazonaws.dynamodb.v20120810#{name}"), "message": "injected" })
}

/// A cancellation with these reasons at the first actions.
fn canceled(codes: &[&str]) -> Fault {
    let mut body = exception("TransactionCanceledException");
    let reasons = codes.iter().map(|code| json!({ "Code": code, "Message": "injected" }));
    body["CancellationReasons"] = reasons.collect();
    Fault::Reply(400, body)
}

fn throttled() -> Fault {
    Fault::Reply(400, exception("ProvisionedThroughputExceededException"))
}

/// The faults that pass.
fn passing() -> Vec<Fault> {
    vec![
        Fault::Refused,
        Fault::ReplyLost,
        Fault::Hang,
        Fault::Truncated,
        throttled(),
        Fault::Reply(400, exception("ThrottlingException")),
        Fault::Reply(400, exception("RequestLimitExceeded")),
        Fault::Reply(500, exception("InternalServerError")),
        Fault::Reply(503, json!({})),
    ]
}

/// Invokes the function on an execution environment that has so much time, and sees that this was enough.
async fn update_through(
    faulty: &Faulty,
    remaining: Duration,
    test: impl AsyncFnOnce(&World, livechat_units::Response),
) {
    world_through(faulty.sdk(), async |world| {
        world.unit("U", &["m"], &["d"]).await;
        world.unit("V", &[], &["e"]).await;
        let event = event("U", &body(&["m"], &["e"]));
        let started = Instant::now();
        let response = invoke(&world.function, &event, Some(remaining)).await;
        assert!(started.elapsed() < remaining.max(Duration::from_secs(1)), "too late");
        test(world, response).await;
    })
    .await;
}

#[tokio::test]
async fn one_failure_of_any_kind_does_not_fail_an_update() {
    for fault in passing() {
        for operation in ["BatchGetItem", "TransactWriteItems"] {
            for n in 0..2 {
                // The second transaction is only there if the first failed, too.
                let decide = fault.clone();
                let faulty = Faulty::new(move |of, number| {
                    let hit = of == operation && (number == n || (of == "TransactWriteItems" && number < n));
                    hit.then(|| decide.clone())
                });
                update_through(&faulty, Duration::from_secs(20), async |world, response| {
                    assert_success(&response, "U", 1, 1);
                    assert_eq!(
                        world.unit_of("U").await["version"],
                        8,
                        "a repeated send was carried out twice"
                    );
                    assert_eq!(world.unit_of("V").await["version"], 8);
                })
                .await;
            }
        }
    }
}

#[tokio::test]
async fn what_does_not_end_is_unavailable_in_time() {
    for fault in passing() {
        for operation in ["BatchGetItem", "TransactWriteItems"] {
            let decide = fault.clone();
            let faulty = Faulty::new(move |of, _| (of == operation).then(|| decide.clone()));
            update_through(&faulty, Duration::from_millis(1400), async |_, response| {
                // A lost reply may be that of a stored update, which a repeated send is answered with.
                if !matches!(fault, Fault::ReplyLost | Fault::Truncated) || response.status_code != 200 {
                    assert_refused(&response, 503, UNAVAILABLE);
                    assert_eq!(response.headers["retry-after"], "1");
                }
            })
            .await;
        }
    }
}

#[tokio::test]
async fn conflicts_are_tried_again_and_busy_in_the_end() {
    let conflicts = [
        canceled(&["TransactionConflict"]),
        canceled(&["None", "TransactionConflict", "None", "None"]),
        Fault::Reply(400, exception("TransactionInProgressException")),
    ];
    for fault in conflicts {
        let decide = fault.clone();
        let faulty = Faulty::new(move |of, n| (of == "TransactWriteItems" && n < 3).then(|| decide.clone()));
        update_through(&faulty, Duration::from_secs(20), async |_, response| {
            assert_success(&response, "U", 1, 1);
            assert_eq!(faulty.writes(), 4);
        })
        .await;
        let faulty = Faulty::new(move |of, _| (of == "TransactWriteItems").then(|| fault.clone()));
        update_through(&faulty, Duration::from_millis(1400), async |_, response| {
            assert_refused(&response, 503, BUSY);
            assert_eq!(response.headers["retry-after"], "1");
        })
        .await;
    }
}

#[tokio::test]
async fn throttling_in_a_cancellation_is_unavailable_in_the_end() {
    for codes in [
        &["ThrottlingError"][..],
        &["ProvisionedThroughputExceeded"],
        &["TransactionConflict", "ThrottlingError", "None"],
    ] {
        let fault = canceled(codes);
        let decide = fault.clone();
        let faulty = Faulty::new(move |of, n| (of == "TransactWriteItems" && n < 2).then(|| decide.clone()));
        update_through(&faulty, Duration::from_secs(20), async |_, response| {
            assert_success(&response, "U", 1, 1);
        })
        .await;
        let faulty = Faulty::new(move |of, _| (of == "TransactWriteItems").then(|| fault.clone()));
        update_through(&faulty, Duration::from_millis(1300), async |_, response| {
            assert_refused(&response, 503, UNAVAILABLE);
        })
        .await;
    }
}

#[tokio::test]
async fn a_failed_condition_comes_before_other_reasons() {
    // It says that the unit is gone, so the plan is made again of that, whatever else was wrong.
    for other in ["TransactionConflict", "ThrottlingError", "ValidationError"] {
        let faulty = Faulty::new(move |of, _| {
            (of == "TransactWriteItems").then(|| canceled(&["ConditionalCheckFailed", other, "None"]))
        });
        update_through(&faulty, Duration::from_secs(5), async |_, response| {
            assert_refused(&response, 400, crate::world::UNIT_NOT_FOUND);
        })
        .await;
    }
}

#[tokio::test]
async fn what_no_repetition_cures_is_our_fault() {
    for fault in [
        Fault::Reply(400, exception("AccessDeniedException")),
        Fault::Reply(400, exception("ResourceNotFoundException")),
        Fault::Reply(400, exception("ValidationException")),
        Fault::Reply(400, exception("UnrecognizedClientException")),
    ] {
        for operation in ["BatchGetItem", "TransactWriteItems"] {
            let decide = fault.clone();
            let faulty = Faulty::new(move |of, _| (of == operation).then(|| decide.clone()));
            update_through(&faulty, Duration::from_secs(5), async |_, response| {
                assert_refused(&response, 500, INTERNAL);
            })
            .await;
        }
    }
    let faulty =
        Faulty::new(|of, _| (of == "TransactWriteItems").then(|| canceled(&["None", "ValidationError"])));
    update_through(&faulty, Duration::from_secs(5), async |_, response| {
        assert_refused(&response, 500, INTERNAL);
        assert_eq!(faulty.writes(), 1);
    })
    .await;
}

#[tokio::test]
async fn unprocessed_keys_are_read_again() {
    // The engine processes all keys, so the first reply is made up: nothing found, all left.
    let unprocessed = Arc::new(Mutex::new(Value::Null));
    for times in [1, 3, usize::MAX] {
        let left = unprocessed.clone();
        let faulty = Faulty::new(move |of, n| {
            let reply =
                json!({ "Responses": {}, "UnprocessedKeys": left.lock().expect("nobody panics").clone() });
            (of == "BatchGetItem" && (1..=times).contains(&n)).then_some(Fault::Reply(200, reply))
        });
        world_through(faulty.sdk(), async |world| {
            world.unit("U", &[], &[]).await;
            let key = |pk: &str, sk: &str| json!({ "pk": { "S": pk }, "sk": { "S": sk } });
            *unprocessed.lock().expect("nobody panics") =
                json!({ world.tables.livechat.clone(): { "Keys": [key("UNIT#U", "UNIT")], "ConsistentRead": true } });
            let event = event("U", &body(&[], &[]));
            let remaining = if times == usize::MAX { Duration::from_millis(1300) } else { Duration::from_secs(20) };
            let response = invoke(&world.function, &event, Some(remaining)).await;
            if times == usize::MAX {
                assert_refused(&response, 503, UNAVAILABLE);
            } else {
                assert_success(&response, "U", 0, 0);
            }
        })
        .await;
    }
}

#[tokio::test]
async fn a_panic_is_one_500_and_the_next_request_works() {
    for operation in ["BatchGetItem", "TransactWriteItems"] {
        let faulty = Faulty::new(move |of, n| (of == operation && n == 0).then_some(Fault::Panic));
        update_through(&faulty, Duration::from_secs(20), async |world, response| {
            assert_refused(&response, 500, INTERNAL);
            assert_success(&world.update("U", &["m"], &["e"]).await, "U", 1, 1);
        })
        .await;
    }
}

#[tokio::test]
async fn a_large_batch_is_read_in_parts() {
    // The first reply to the unit's read has some of the keys, and leaves the others.
    let left = Arc::new(Mutex::new(Value::Null));
    let reply = left.clone();
    let faulty = Faulty::new(move |of, n| {
        let reply = reply.lock().expect("nobody panics").clone();
        (of == "BatchGetItem" && n == 1).then_some(Fault::Reply(200, reply))
    });
    world_through(faulty.sdk(), async |world| {
        world.unit("U", &[], &["d"]).await;
        let table = world.tables.livechat.clone();
        let department = json!({
            "pk": { "S": "DEPARTMENT#d" }, "parentId": { "S": "U" }, "ancestors": { "L": [{ "S": "U" }] },
        });
        let unit =
            json!({ "Keys": [{ "pk": { "S": "UNIT#U" }, "sk": { "S": "UNIT" } }], "ConsistentRead": true });
        *left.lock().expect("nobody panics") =
            json!({ "Responses": { table.clone(): [department] }, "UnprocessedKeys": { table: unit } });
        assert_success(&world.update("U", &[], &["d"]).await, "U", 0, 1);
        assert_eq!(faulty.keys_read(), [3, 2, 1]);
    })
    .await;
}

#[tokio::test]
async fn a_short_lambda_timeout_is_answered_in_time() {
    for remaining in [0, 300, 999] {
        let faulty = Faulty::new(|_, _| None);
        update_through(&faulty, Duration::from_millis(remaining), async |_, response| {
            assert_refused(&response, 503, UNAVAILABLE);
            assert_eq!(faulty.keys_read(), Vec::<usize>::new(), "there was no time to begin");
        })
        .await;
    }
}

#[tokio::test]
async fn nobody_reaches_a_dynamodb_that_is_away() {
    world(async |world| {
        // Nobody listens on port 1 of this machine.
        let sdk = unitctl::engine::sdk_config("http://127.0.0.1:1");
        let function = livechat_units::Function::new(&sdk, world.tables.clone());
        let response = invoke(&function, &event("U", ""), Some(Duration::from_millis(1300))).await;
        assert_refused(&response, 503, UNAVAILABLE);
    })
    .await;
}

#[tokio::test]
async fn strangers_cost_three_items_and_known_callers_two_reads_at_once() {
    let faulty = Faulty::new(|_, _| None);
    world_through(faulty.sdk(), async |world| {
        world.unit("U", &["m"], &["d"]).await;
        let departments: Vec<String> = (0..200).map(|n| format!("d{n}")).collect();
        let departments: Vec<&str> = departments.iter().map(String::as_str).collect();
        let mut strangers = event("U", &body(&["m"], &departments));
        strangers["headers"]["x-auth-token"] = "unknown".into();
        world.invoke(&strangers).await;
        assert_eq!(faulty.keys_read(), [3]);

        world.invoke(&event("U", &body(&["m"], &["d"]))).await;
        assert_eq!(faulty.keys_read(), [3, 3, 3]);
        // A broken body makes a known caller read no more either.
        world.invoke(&event("U", "{")).await;
        assert_eq!(faulty.keys_read(), [3, 3, 3, 3]);
        // A token that was revoked is a stranger's after its first refusal.
        world.delete_token(crate::world::TOKEN).await;
        world.invoke(&event("U", &body(&["m"], &["d"]))).await;
        world.invoke(&event("U", &body(&["m"], &["d"]))).await;
        assert_eq!(faulty.keys_read()[4..], [3, 3, 3]);
    })
    .await;
}
