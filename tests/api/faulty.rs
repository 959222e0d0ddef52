//! An HTTP client between the SDK and DynamoDB that lets a test decide what becomes of each request.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use aws_config::SdkConfig;
use aws_smithy_runtime_api::client::http::{HttpConnector, HttpConnectorFuture, SharedHttpConnector};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::http::StatusCode;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::byte_stream::ByteStream;
use futures_util::future::BoxFuture;
use serde_json::{Value, json};

use crate::intercept::{intercepted, plain};
use crate::wire::{self, Wire};

/// What happens to a request instead of a good reply.
#[derive(Clone)]
pub enum Fault {
    /// Nobody listens.
    Refused,
    /// Nobody takes the connection, and nobody refuses it.
    Unreachable,
    /// What networks do.
    Wire(Wire),
    /// This reply instead; DynamoDB never sees the request.
    Reply(u16, Value),
    /// A gateway's page instead.
    Html(u16),
    /// DynamoDB leaves the second half of each table's keys.
    SomeUnprocessed,
    /// DynamoDB leaves all keys.
    AllUnprocessed,
    /// A bug of ours.
    Panic,
    /// No fault: something else happens first.
    After(Meanwhile),
}

impl Fault {
    /// Whether DynamoDB carries the request out, and its reply is not read.
    pub fn loses_reply(&self) -> bool {
        use Wire::*;
        matches!(self, Self::Wire(ResetAfter | HangAfter | Cut | Empty | Drip | Late))
    }
}

pub type Meanwhile = Arc<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>;

/// A request as the SDK sends it.
#[derive(Clone)]
pub struct Sent {
    /// Its number, counted from 0, among those of the same operation.
    pub number: usize,
    pub is_write: bool,
    pub body: String,
    pub at: Instant,
}

impl Sent {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect("DynamoDB speaks JSON")
    }

    /// The keys of a BatchGetItem.
    pub fn keys(&self) -> Vec<Value> {
        let json = self.json();
        let tables = json["RequestItems"].as_object().into_iter().flat_map(|tables| tables.values());
        tables.flat_map(|table| table["Keys"].as_array().expect("a list").clone()).collect()
    }
}

type Decide = Arc<dyn Fn(&Sent) -> Option<Fault> + Send + Sync>;

#[derive(Clone)]
pub struct Faulty {
    decide: Decide,
    log: Arc<Mutex<Vec<Sent>>>,
}

impl Faulty {
    pub fn new(decide: impl Fn(&Sent) -> Option<Fault> + Send + Sync + 'static) -> Self {
        Self { decide: Arc::new(decide), log: Arc::default() }
    }

    pub fn sdk(&self) -> impl FnOnce(SdkConfig) -> SdkConfig {
        let faulty = self.clone();
        let client = intercepted(plain(), move |request, dynamodb| faulty.call(request, dynamodb));
        move |sdk| sdk.into_builder().http_client(client).build()
    }

    /// What was sent so far.
    pub fn sent(&self) -> Vec<Sent> {
        self.log.lock().expect("nobody panics with it").clone()
    }

    pub fn writes(&self) -> usize {
        self.sent().iter().filter(|sent| sent.is_write).count()
    }

    /// The number of keys of each BatchGetItem.
    pub fn keys_read(&self) -> Vec<usize> {
        self.sent().iter().filter(|sent| !sent.is_write).map(|sent| sent.keys().len()).collect()
    }
}

impl Faulty {
    fn call(&self, mut request: HttpRequest, dynamodb: &SharedHttpConnector) -> HttpConnectorFuture {
        let is_write = match request.headers().get("x-amz-target").unwrap_or_default() {
            "DynamoDB_20120810.BatchGetItem" => false,
            "DynamoDB_20120810.TransactWriteItems" => true,
            other => panic!("an update does not send {other}"),
        };
        let body = request.body().bytes().map(String::from_utf8_lossy).unwrap_or_default().into_owned();
        let sent = {
            let mut log = self.log.lock().expect("nobody panics with it");
            let number = log.iter().filter(|sent| sent.is_write == is_write).count();
            log.push(Sent { number, is_write, body, at: Instant::now() });
            log[log.len() - 1].clone()
        };
        match (self.decide)(&sent) {
            None => dynamodb.call(request),
            Some(Fault::Refused) => {
                // Nobody listens on port 1 of this machine.
                request.set_uri("http://127.0.0.1:1/").expect("it is a URI");
                dynamodb.call(request)
            }
            Some(Fault::Unreachable) => {
                request.set_uri(format!("http://{}/", wire::unreachable())).expect("it is a URI");
                dynamodb.call(request)
            }
            Some(Fault::Wire(wire)) => {
                request.set_uri(format!("{}/{wire:?}", wire::by_path())).expect("it is a URI");
                dynamodb.call(request)
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
            Some(Fault::Panic) => panic!("injected"),
            Some(Fault::After(meanwhile)) => {
                let dynamodb = dynamodb.clone();
                HttpConnectorFuture::new(async move {
                    meanwhile().await;
                    dynamodb.call(request).await
                })
            }
        }
    }
}

/// DynamoDB is asked for some of the keys only, and the others are put into its reply.
fn some_unprocessed(
    mut request: HttpRequest,
    sent: &Sent,
    dynamodb: &SharedHttpConnector,
) -> HttpConnectorFuture {
    let mut asked = sent.json();
    let mut left = json!({});
    for (name, table) in asked["RequestItems"].as_object_mut().expect("tables") {
        let keys = table["Keys"].as_array_mut().expect("a list");
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

/// An exception of DynamoDB's own, or one that all AWS services have.
pub fn exception(name: &str) -> Fault {
    let body = json!({ "__type": format!("com.amazonaws.dynamodb.v20120810#{name}"), "message": "injected" });
    Fault::Reply(if name == "InternalServerError" { 500 } else { 400 }, body)
}

/// A cancellation with these reasons at the first actions.
pub fn canceled(codes: &[&str]) -> Fault {
    let reasons = codes.iter().map(|code| json!({ "Code": code, "Message": "injected" }));
    let body = json!({
        "__type": "com.amazonaws.dynamodb.v20120810#TransactionCanceledException",
        "message": "Transaction cancelled, please refer cancellation reasons for specific reasons",
        "CancellationReasons": reasons.collect::<Value>(),
    });
    Fault::Reply(400, body)
}
