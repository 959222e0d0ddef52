//! An HTTP server that stands in for an API Gateway HTTP API: it sends each request to the function as an event of the
//! payload format 2.0 ("Create AWS Lambda proxy integrations for HTTP APIs in API Gateway", API Gateway Developer Guide).

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use lambda_http::{Context, LambdaEvent};
use livechat_units::Function;
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::macros::format_description;
use tokio::net::TcpListener;
use uuid::Uuid;

/// The maximum size of a request body in API Gateway, in bytes.
const MAX_BODY_BYTES: usize = 10 * 1024 * 1024;

/// The timeout of the function in the template.
const TIMEOUT: Duration = Duration::from_secs(29);

/// The OpenAPI document of the endpoint. This server serves it, because the function has only one route.
const OPENAPI: &str = include_str!("../../docs/openapi.yaml");

/// The path of the function's route, without the parameter at its end.
const ROUTE: &str = "/api/v1/livechat/units/";

/// Serves the function on `listener` until `shutdown` is ready and all requests that have begun are answered.
///
/// # Errors
/// The listener fails.
pub async fn serve(
    listener: TcpListener,
    function: Function,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<()> {
    let openapi = ([(header::CONTENT_TYPE, "application/yaml")], OPENAPI);
    let app = Router::new().route("/openapi.yaml", get(openapi)).fallback(invoke);
    let app = app.with_state(Arc::new(function));
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, app).with_graceful_shutdown(shutdown).await?;
    Ok(())
}

/// Sends a request to the function as an event, and returns the function's answer.
async fn invoke(
    State(function): State<Arc<Function>>,
    ConnectInfo(client): ConnectInfo<SocketAddr>,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, MAX_BODY_BYTES).await else {
        return (StatusCode::PAYLOAD_TOO_LARGE, r#"{"message":"Request Entity Too Large"}"#).into_response();
    };
    let request_id = Uuid::new_v4().to_string();
    let Ok(payload) = serde_json::value::to_raw_value(&event(&parts, &body, client, &request_id)) else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let mut context = Context::default();
    context.request_id = request_id;
    let deadline = (SystemTime::now() + TIMEOUT).duration_since(UNIX_EPOCH).unwrap_or_default();
    context.deadline = u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX);
    let answer = function.handle(LambdaEvent::new(payload, context)).await;

    let mut response = Response::builder().status(answer.status_code);
    for (name, value) in answer.headers {
        response = response.header(name, value);
    }
    response.body(Body::from(answer.body)).unwrap_or_else(|_| StatusCode::BAD_GATEWAY.into_response())
}

/// The event of a request. As in API Gateway's, a field without a value is absent.
fn event(parts: &Parts, body: &[u8], client: SocketAddr, request_id: &str) -> Value {
    let path = parts.uri.path();
    let id = path.strip_prefix(ROUTE).filter(|id| !id.is_empty() && !id.contains('/'));
    let id = id.filter(|_| parts.method == "POST").map(|id| percent_decode_str(id).decode_utf8_lossy());
    let route = if id.is_some() { "POST /api/v1/livechat/units/{id}" } else { "$default" };
    let body = event_body(&parts.headers, body);
    let time = format_description!("[day]/[month repr:short]/[year]:[hour]:[minute]:[second] +0000");
    let now = OffsetDateTime::now_utc();
    let mut event = json!({
        "version": "2.0",
        "routeKey": route,
        "rawPath": path,
        "rawQueryString": parts.uri.query().unwrap_or_default(),
        "headers": event_headers(&parts.headers),
        "requestContext": {
            "accountId": "000000000000",
            "apiId": "local",
            "domainName": "localhost",
            "domainPrefix": "localhost",
            "http": {
                "method": parts.method.as_str(),
                "path": path,
                "protocol": format!("{:?}", parts.version),
                "sourceIp": client.ip().to_string(),
                "userAgent": text(&parts.headers, header::USER_AGENT).unwrap_or_default(),
            },
            "requestId": request_id,
            "routeKey": route,
            "stage": "$default",
            "time": now.format(time).unwrap_or_default(),
            "timeEpoch": u64::try_from(now.unix_timestamp_nanos() / 1_000_000).unwrap_or_default(),
        },
        "isBase64Encoded": matches!(body, EventBody::Base64(_)),
    });
    if let Some(id) = id {
        event["pathParameters"] = json!({ "id": id });
    }
    if let EventBody::Text(body) | EventBody::Base64(body) = body {
        event["body"] = body.into();
    }
    event
}

/// The headers of an event: names in lower case, repeated values joined by a comma. Cookies are left out, because API
/// Gateway sends them in another field, which the function does not read.
fn event_headers(headers: &HeaderMap) -> Map<String, Value> {
    let names = headers.keys().filter(|name| *name != header::COOKIE);
    let entries = names.map(|name| {
        let values = headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()));
        (name.as_str().to_owned(), values.collect::<Vec<_>>().join(",").into())
    });
    entries.collect()
}

/// The body of an event.
enum EventBody {
    Empty,
    Text(String),
    Base64(String),
}

/// The body as text if the content type is a text type, otherwise in base64.
fn event_body(headers: &HeaderMap, body: &[u8]) -> EventBody {
    let content_type = text(headers, header::CONTENT_TYPE).unwrap_or_default().to_ascii_lowercase();
    let text_types = ["text/", "application/json", "application/javascript", "application/xml"];
    let is_text = text_types.iter().any(|start| content_type.starts_with(start));
    match std::str::from_utf8(body) {
        Ok("") => EventBody::Empty,
        Ok(text) if is_text => EventBody::Text(text.to_owned()),
        _ => EventBody::Base64(BASE64.encode(body)),
    }
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}
