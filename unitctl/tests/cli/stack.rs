//! A stand-in for CloudFormation that has one stack.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use tokio::net::TcpListener;

/// Whether a request is what CloudFormation accepts: the form of a DescribeStacks request, with a signature for
/// CloudFormation.
fn is_valid(headers: &HeaderMap, body: &str) -> bool {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let authorization = header("authorization");
    header("content-type") == "application/x-www-form-urlencoded"
        && body.starts_with("Action=DescribeStacks&Version=2010-05-15&StackName=")
        && authorization.starts_with("AWS4-HMAC-SHA256 Credential=test/")
        && authorization.contains("/eu-west-1/cloudformation/aws4_request, SignedHeaders=")
}

/// Starts the server and returns its URL. It has the stacks `livechat-units` and `busy`
/// with these outputs, and no other stack. The first request for `busy` fails.
pub async fn cloudformation(outputs: &[(&str, &str)]) -> String {
    let members: String = outputs
        .iter()
        .map(|(key, value)| {
            format!("<member><OutputKey>{key}</OutputKey><OutputValue>{value}</OutputValue></member>")
        })
        .collect();
    let found = format!(
        "<DescribeStacksResponse xmlns=\"http://cloudformation.amazonaws.com/doc/2010-05-15/\">\
         <DescribeStacksResult><Stacks><member><StackName>livechat-units</StackName>\
         <CreationTime>2026-01-01T00:00:00Z</CreationTime><StackStatus>CREATE_COMPLETE</StackStatus>\
         <Outputs>{members}</Outputs></member></Stacks></DescribeStacksResult></DescribeStacksResponse>"
    );
    let missing = "<ErrorResponse xmlns=\"http://cloudformation.amazonaws.com/doc/2010-05-15/\"><Error>\
         <Type>Sender</Type><Code>ValidationError</Code><Message>Stack with id other does not exist</Message>\
         </Error></ErrorResponse>";
    let is_free = Arc::new(AtomicBool::new(false));
    let answer = async move |headers: HeaderMap, body: String| match body.rsplit('=').next() {
        _ if !is_valid(&headers, &body) => (StatusCode::FORBIDDEN, format!("{headers:?} {body}")),
        Some("livechat-units") => (StatusCode::OK, found),
        Some("busy") if is_free.swap(true, Ordering::Relaxed) => (StatusCode::OK, found),
        Some("busy") => (StatusCode::SERVICE_UNAVAILABLE, "busy".into()),
        _ => (StatusCode::BAD_REQUEST, missing.into()),
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    let app = Router::new().fallback(answer);
    tokio::spawn(async move { axum::serve(listener, app).await.expect("it serves") });
    url
}
