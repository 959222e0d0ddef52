//! What the benchmarks' proxies in front of DynamoDB share: a request goes on to DynamoDB, and comes back as a whole reply.

use anyhow::Result;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

/// Forwards requests to the DynamoDB at one address.
pub struct Forwarder {
    endpoint: String,
    client: Client<HttpConnector, Full<Bytes>>,
}

/// DynamoDB's reply to a request.
pub type Reply = axum::http::Response<Bytes>;

impl Forwarder {
    /// Forwards to the DynamoDB at this URL, which is plain HTTP.
    pub fn new(endpoint: &str) -> Self {
        let client = Client::builder(TokioExecutor::new()).build_http();
        Self { endpoint: endpoint.to_owned(), client }
    }

    /// Sends a request to DynamoDB, and reads the whole reply.
    ///
    /// # Errors
    /// DynamoDB can't be reached, or the connection ends before the reply does.
    pub async fn forward(&self, mut headers: HeaderMap, body: Bytes) -> Result<Reply> {
        headers.remove(header::HOST);
        let mut request = Request::post(&self.endpoint).body(Full::new(body))?;
        *request.headers_mut() = headers;
        let (mut parts, body) = self.client.request(request).await?.into_parts();
        let body = body.collect().await?.to_bytes();
        // The body has a length now.
        parts.headers.remove(header::TRANSFER_ENCODING);
        Ok(Reply::from_parts(parts, body))
    }
}

/// The name of the operation that a request asks for. It is empty if the request does not name one.
pub fn operation(headers: &HeaderMap) -> &str {
    let target = headers.get("x-amz-target").and_then(|target| target.to_str().ok()).unwrap_or_default();
    target.rsplit('.').next().unwrap_or_default()
}

/// The answer to the client: the reply, or the error with the status 502.
pub fn answer(reply: Result<Reply>) -> Response {
    match reply {
        Ok(reply) => reply.map(Body::from),
        Err(error) => (StatusCode::BAD_GATEWAY, format!("{error:#}")).into_response(),
    }
}
