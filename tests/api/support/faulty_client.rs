//! An HTTP client for the SDK that makes chosen requests to DynamoDB fail.

use std::collections::BTreeSet;
use std::future::pending;
use std::panic;
use std::sync::{Arc, Mutex, Once};
use std::time::{Duration, Instant};

use aws_config::SdkConfig;
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpClient, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::http::StatusCode;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::byte_stream::ByteStream;
use futures_util::future::{BoxFuture, FutureExt};
use livechat_units::dynamodb::connections::OnNewConnection;
use serde_json::{Value, json};
use tokio::sync::{OnceCell, oneshot};
use tokio::time::sleep;

use super::fault_proxy::{self, ConnectionFault};
use super::in_flight::InFlight;
use super::interceptor::{intercepting_client, plain_http_client};

/// What happens to a request.
#[derive(Clone)]
pub enum Fault {
    /// The connection is refused.
    Refused,
    /// The connection is neither accepted nor refused.
    Unreachable,
    /// The connection breaks.
    Connection(ConnectionFault),
    /// The request reaches DynamoDB when the function no longer waits for the reply.
    Late,
    /// This reply, and DynamoDB never sees the request.
    Reply(u16, Value),
    /// A gateway's HTML page with this status, and DynamoDB never sees the request.
    Html(u16),
    /// DynamoDB reads the first half of each table's keys, and returns the others as unprocessed.
    SomeUnprocessed,
    /// DynamoDB returns all keys as unprocessed.
    AllUnprocessed,
    /// The HTTP client panics. Nothing is printed.
    Panic,
    /// No fault, but another write happens before the request.
    After(OtherWrite),
    /// The first time is how late the request arrives, and the second how late the reply is. Both go on if nobody waits
    /// for the reply any more.
    Delayed(Duration, Duration),
}

impl Fault {
    /// Whether DynamoDB executes the request and the reply is lost.
    pub fn loses_reply(&self) -> bool {
        use ConnectionFault::*;
        matches!(self, Self::Late | Self::Connection(ResetAfter | HangAfter | Cut | Empty | Drip))
    }
}

/// A write that happens between two requests of an update.
pub type OtherWrite = Arc<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>;

/// A write that happens once, however often it is asked for. Those who ask meanwhile wait for it.
pub fn once(write: OtherWrite) -> OtherWrite {
    let done = Arc::new(OnceCell::new());
    Arc::new(move || {
        let (write, done) = (write.clone(), done.clone());
        async move { *done.get_or_init(|| write()).await }.boxed()
    })
}

/// A request as the SDK sends it.
#[derive(Clone)]
pub struct SentRequest {
    /// Its number among the requests of the same operation, from 0.
    pub number: usize,
    pub is_write: bool,
    /// Whether it is sent on a connection of its own, because no reply came to an earlier copy.
    pub is_repeated: bool,
    pub body: String,
    pub at: Instant,
}

impl SentRequest {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect("the SDK sends JSON")
    }

    /// The keys of a BatchGetItem, of both tables.
    pub fn keys(&self) -> Vec<Value> {
        let json = self.json();
        let tables = json["RequestItems"].as_object().into_iter().flat_map(|tables| tables.values());
        tables.flat_map(|table| table["Keys"].as_array().expect("keys are a list").clone()).collect()
    }
}

/// Numbers different requests from 0. All copies of a request have the same number.
#[derive(Default)]
pub struct Numbers(Mutex<Vec<String>>);

impl Numbers {
    pub fn number(&self, sent: &SentRequest) -> usize {
        let mut bodies = self.0.lock().expect("no test panics with it");
        bodies.iter().position(|known| *known == sent.body).unwrap_or_else(|| {
            bodies.push(sent.body.clone());
            bodies.len() - 1
        })
    }
}

type ChooseFault = Arc<dyn Fn(&SentRequest) -> Option<Fault> + Send + Sync>;

/// Makes chosen requests fail, and records all of them.
#[derive(Clone)]
pub struct FaultyClient {
    choose_fault: ChooseFault,
    sent: Arc<Mutex<Vec<SentRequest>>>,
    stored: Arc<Mutex<BTreeSet<String>>>,
    /// The writes that DynamoDB may still execute.
    unexecuted: InFlight,
}

/// What an injected panic says.
const INJECTED: &str = "injected";

/// Makes injected panics print nothing, so that the output of a failed test shows the panic that failed it.
fn silence_injected_panics() {
    static DONE: Once = Once::new();
    DONE.call_once(|| {
        let print = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            if panic.payload().downcast_ref() != Some(&INJECTED) {
                print(panic);
            }
        }));
    });
}

impl FaultyClient {
    /// `choose_fault` is called with each request; `None` lets the request pass.
    pub fn new(choose_fault: impl Fn(&SentRequest) -> Option<Fault> + Send + Sync + 'static) -> Self {
        silence_injected_panics();
        Self {
            choose_fault: Arc::new(choose_fault),
            sent: Arc::default(),
            stored: Arc::default(),
            unexecuted: InFlight::default(),
        }
    }

    /// Puts this client into an SDK configuration.
    pub fn sdk(&self) -> impl FnOnce(SdkConfig) -> SdkConfig {
        self.sdk_through(plain_http_client())
    }

    /// Puts this client into an SDK configuration. The requests that pass go through another client.
    pub fn sdk_through(&self, other: SharedHttpClient) -> impl FnOnce(SdkConfig) -> SdkConfig {
        let faulty = self.clone();
        let client = intercepting_client(other, move |request, dynamodb| faulty.call(request, dynamodb));
        move |sdk| sdk.into_builder().http_client(client).build()
    }

    /// All requests so far.
    pub fn sent(&self) -> Vec<SentRequest> {
        self.sent.lock().expect("no test panics with it").clone()
    }

    /// The number of transactions so far, without the copies that were sent because no reply came in time.
    pub fn writes(&self) -> usize {
        self.sent().iter().filter(|sent| sent.is_write && !sent.is_repeated).count()
    }

    /// The number of keys of each BatchGetItem so far, without the copies that were sent because no reply came in time.
    pub fn keys_read(&self) -> Vec<usize> {
        let sent = self.sent();
        sent.iter().filter(|sent| !sent.is_write && !sent.is_repeated).map(|sent| sent.keys().len()).collect()
    }

    /// The `ClientRequestToken`s of the [delayed](Fault::Delayed) transactions that DynamoDB has stored so far.
    pub fn stored(&self) -> BTreeSet<String> {
        self.stored.lock().expect("no test panics with it").clone()
    }

    /// Waits until DynamoDB has executed every write that was sent, although the function may have stopped waiting for
    /// the reply.
    pub async fn all_executed(&self) {
        self.unexecuted.all_executed().await;
    }

    fn call(&self, mut request: HttpRequest, dynamodb: &SharedHttpConnector) -> HttpConnectorFuture {
        let is_write = match request.headers().get("x-amz-target").unwrap_or_default() {
            "DynamoDB_20120810.BatchGetItem" => false,
            "DynamoDB_20120810.TransactWriteItems" => true,
            other => panic!("an update does not call {other}"),
        };
        let body = request.body().bytes().map(String::from_utf8_lossy).unwrap_or_default().into_owned();
        let sent = {
            let mut log = self.sent.lock().expect("no test panics with it");
            let number = log.iter().filter(|sent| sent.is_write == is_write).count();
            let is_repeated = request.extension::<OnNewConnection>().is_some();
            log.push(SentRequest { number, is_write, is_repeated, body, at: Instant::now() });
            log[log.len() - 1].clone()
        };
        match (self.choose_fault)(&sent) {
            None if is_write => self.unexecuted.send(dynamodb.call(request)),
            None => dynamodb.call(request),
            Some(Fault::Refused) => {
                // No server listens on port 1 of this machine.
                request.set_uri("http://127.0.0.1:1/").expect("it is a URI");
                dynamodb.call(request)
            }
            Some(Fault::Unreachable) => {
                request
                    .set_uri(format!("http://{}/", fault_proxy::unreachable_address()))
                    .expect("it is a URI");
                dynamodb.call(request)
            }
            Some(Fault::Connection(fault @ (ConnectionFault::ResetBefore | ConnectionFault::Hang))) => {
                request.set_uri(format!("{}/{fault:?}", fault_proxy::by_path())).expect("it is a URI");
                dynamodb.call(request)
            }
            Some(Fault::Connection(fault)) => {
                let number = fault_proxy::register(self.unexecuted.until_executed());
                request
                    .set_uri(format!("{}/{fault:?}/{number}", fault_proxy::by_path()))
                    .expect("it is a URI");
                let call = dynamodb.call(request);
                let call = tokio::spawn(async move {
                    let reply = call.await;
                    fault_proxy::unregister(number);
                    reply
                });
                HttpConnectorFuture::new(async move { call.await.expect("it does not panic") })
            }
            Some(Fault::Late) => {
                let (waiting, given_up) = oneshot::channel::<()>();
                let (dynamodb, until_executed) = (dynamodb.clone(), self.unexecuted.until_executed());
                tokio::spawn(async move {
                    drop(given_up.await);
                    drop(dynamodb.call(request).await);
                    drop(until_executed);
                });
                HttpConnectorFuture::new(async move {
                    let _waiting = waiting;
                    pending().await
                })
            }
            Some(Fault::Reply(status, body)) => reply(status, "application/x-amz-json-1.0", body.to_string()),
            Some(Fault::Html(status)) => {
                reply(status, "text/html", "<html><h1>Bad Gateway</h1></html>".into())
            }
            Some(Fault::SomeUnprocessed) => some_unprocessed(request, &sent, dynamodb),
            Some(Fault::AllUnprocessed) => {
                let reply_body = json!({ "Responses": {}, "UnprocessedKeys": sent.json()["RequestItems"] });
                reply(200, "application/x-amz-json-1.0", reply_body.to_string())
            }
            Some(Fault::Panic) => panic::panic_any(INJECTED),
            Some(Fault::Delayed(request_delay, reply_delay)) => {
                let (dynamodb, stored) = (dynamodb.clone(), self.stored.clone());
                let until_executed = self.unexecuted.until_executed();
                let call = tokio::spawn(async move {
                    sleep(request_delay).await;
                    let reply = dynamodb.call(request).await?;
                    if sent.is_write && reply.status().is_success() {
                        let token =
                            sent.json()["ClientRequestToken"].as_str().expect("it has one").to_owned();
                        stored.lock().expect("no test panics with it").insert(token);
                    }
                    drop(until_executed);
                    sleep(reply_delay).await;
                    Ok(reply)
                });
                HttpConnectorFuture::new(async move { call.await.expect("it does not panic") })
            }
            Some(Fault::After(meanwhile)) => {
                let dynamodb = dynamodb.clone();
                self.unexecuted.send(async move {
                    meanwhile().await;
                    dynamodb.call(request).await
                })
            }
        }
    }
}

/// Asks DynamoDB for some of the keys, and adds the others to its reply as unprocessed.
fn some_unprocessed(
    mut request: HttpRequest,
    sent: &SentRequest,
    dynamodb: &SharedHttpConnector,
) -> HttpConnectorFuture {
    let mut asked = sent.json();
    let mut left = json!({});
    for (name, table) in asked["RequestItems"].as_object_mut().expect("tables") {
        let keys = table["Keys"].as_array_mut().expect("keys are a list");
        let rest = keys.split_off(keys.len().div_ceil(2));
        if !rest.is_empty() {
            left[name] = table.clone();
            left[name]["Keys"] = rest.into();
        }
    }
    let body = asked.to_string();
    request.headers_mut().insert("content-length", body.len().to_string());
    *request.body_mut() = SdkBody::from(body);
    let call = dynamodb.call(request);
    HttpConnectorFuture::new(async move {
        let body = ByteStream::new(call.await?.into_body()).collect().await;
        let body = body.map_err(|error| ConnectorError::io(error.into()))?.into_bytes();
        let mut body: Value = serde_json::from_slice(&body).expect("DynamoDB answers JSON");
        body["UnprocessedKeys"] = left;
        reply(200, "application/x-amz-json-1.0", body.to_string()).await
    })
}

fn reply(status: u16, content_type: &'static str, body: String) -> HttpConnectorFuture {
    let status = StatusCode::try_from(status).expect("a status");
    let mut response = HttpResponse::new(status, SdkBody::from(body));
    response.headers_mut().insert("content-type", content_type);
    HttpConnectorFuture::ready(Ok(response))
}

/// An exception, either DynamoDB's own or one that all AWS services have.
pub fn exception(name: &str) -> Fault {
    let body = json!({ "__type": format!("com.amazonaws.dynamodb.v20120810#{name}"), "message": "injected" });
    Fault::Reply(if name == "InternalServerError" { 500 } else { 400 }, body)
}

/// A cancelled transaction, with these reasons for the first actions.
pub fn cancelled(codes: &[&str]) -> Fault {
    let reasons = codes.iter().map(|code| json!({ "Code": code, "Message": "injected" }));
    let body = json!({
        "__type": "com.amazonaws.dynamodb.v20120810#TransactionCanceledException",
        "message": "Transaction cancelled, please refer cancellation reasons for specific reasons",
        "CancellationReasons": reasons.collect::<Value>(),
    });
    Fault::Reply(400, body)
}
