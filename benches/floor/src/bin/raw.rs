//! The floor of every Lambda function on DynamoDB: an HTTP client without an SDK. It sends the requests that are in the
//! event over one connection, signs nothing, and does not read the responses. If the environment variable `CONNECT` is
//! set, it connects during the init.

use std::env;

use futures_util::future::try_join_all;
use http_body_util::BodyExt;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use lambda_http::http::Request;
use lambda_http::lambda_runtime::{self, LambdaEvent};
use lambda_http::{Error, service_fn};
use serde::Deserialize;

/// Requests in steps. The requests of one step are sent at the same time.
#[derive(Deserialize)]
struct Event {
    steps: Vec<Vec<Call>>,
}

#[derive(Deserialize)]
struct Call {
    operation: String,
    body: String,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let endpoint = env::var("AWS_ENDPOINT_URL_DYNAMODB")?;
    let connector = HttpsConnectorBuilder::new().with_native_roots()?.https_or_http().enable_http1().build();
    let client = Client::builder(TokioExecutor::new()).build(connector);
    let (client, endpoint) = (&client, endpoint.as_str());
    if env::var_os("CONNECT").is_some() {
        // The function connects with the same request.
        let body = format!(
            r#"{{"RequestItems":{{"{}":{{"Keys":[{{"hashedToken":{{"S":"-"}}}}]}}}}}}"#,
            env::var("TOKENS_TABLE")?
        );
        send(client, endpoint, Call { operation: "BatchGetItem".into(), body }).await?;
    }
    let handler = async |event: LambdaEvent<Event>| {
        for step in event.payload.steps {
            try_join_all(step.into_iter().map(|call| send(client, endpoint, call))).await?;
        }
        Ok::<_, Error>(floor::ok())
    };
    lambda_runtime::run(service_fn(handler)).await
}

async fn send(
    client: &Client<HttpsConnector<HttpConnector>, String>,
    endpoint: &str,
    call: Call,
) -> Result<(), Error> {
    let request = Request::post(endpoint)
        .header("content-type", "application/x-amz-json-1.0")
        .header("x-amz-target", format!("DynamoDB_20120810.{}", call.operation))
        .header("x-amz-date", "20211206T144059Z")
        .header(
            "authorization",
            "AWS4-HMAC-SHA256 Credential=local/20211206/us-east-1/dynamodb/aws4_request, \
             SignedHeaders=content-type;host;x-amz-date;x-amz-target, \
             Signature=0000000000000000000000000000000000000000000000000000000000000000",
        )
        .body(call.body)?;
    let response = client.request(request).await?;
    if !response.status().is_success() {
        return Err(format!("DynamoDB answered {}", response.status()).into());
    }
    response.into_body().collect().await?;
    Ok(())
}
