//! A CloudFormation that knows one stack.

use axum::Router;
use axum::http::StatusCode;
use tokio::net::TcpListener;

/// Starts it. The stack `livechat-units` has these outputs; there is no other.
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
    let answer = async move |body: String| {
        if body.contains("StackName=livechat-units") {
            (StatusCode::OK, found)
        } else {
            (StatusCode::BAD_REQUEST, missing.into())
        }
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    let app = Router::new().fallback(answer);
    tokio::spawn(async move { axum::serve(listener, app).await.expect("it serves") });
    url
}
