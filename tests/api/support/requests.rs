//! Events, and the way in which Lambda hands them to the function.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lambda_http::{Context, LambdaEvent};
use livechat_units::{Function, Response};
use serde_json::{Value, json};
use testing::events::{http_sample, rest_sample, set_caller, update_body, update_event};

use super::openapi::assert_documented;
use super::{ADMIN, TOKEN, TestApp, logs};

/// An HTTP API's event for an update of this unit with this body. The caller is the administrator.
pub fn event(unit: &str, body: &str) -> Value {
    let mut event = update_event(unit, body);
    set_caller(&mut event, TOKEN, ADMIN);
    event
}

/// An event for an update of the unit U that is sent by this user with this token.
pub fn event_of(token: &str, user: &str) -> Value {
    let mut event = update_event("U", &body(&[], &[]));
    set_caller(&mut event, token, user);
    event
}

/// A REST API's event for an update that removes all members. The path parameter is `unit`.
pub fn rest_event(unit: &str, path: &str) -> Value {
    let mut event = rest_sample();
    event["path"] = path.into();
    event["pathParameters"] = json!({ "id": unit });
    event["body"] = body(&[], &[]).into();
    event
}

/// The sample events of a successful update: an HTTP API's and a REST API's.
pub fn samples() -> [Value; 2] {
    [http_sample(), rest_sample()]
}

/// A body that lists these members. Its name and visibility differ from those of [`super::unit_item`].
pub fn body(monitors: &[&str], departments: &[&str]) -> String {
    let monitors = monitors.iter().map(|id| (*id, "as.sent"));
    update_body("new name", monitors, departments.iter().copied())
}

/// `count` ids that begin with this prefix.
pub fn ids(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{prefix}{n:05}")).collect()
}

/// The same ids, borrowed.
pub fn as_strs(ids: &[String]) -> Vec<&str> {
    ids.iter().map(String::as_str).collect()
}

/// Gives an event to a function as Lambda does, with this much time left.
pub async fn invoke(function: &Function, event: &Value, remaining: Option<Duration>) -> Response {
    let payload = serde_json::value::to_raw_value(event).expect("an event is JSON");
    let mut context = Context::default();
    context.request_id = "request-id".into();
    if let Some(remaining) = remaining {
        let deadline = (SystemTime::now() + remaining).duration_since(UNIX_EPOCH).expect("it is after 1970");
        context.deadline = deadline.as_millis() as u64;
    }
    let response = function.handle(LambdaEvent::new(payload, context)).await;
    assert!(!logs::contains_a_token(&response.body), "{}", response.body);
    assert_documented(&response);
    response
}

/// Sends an event, and returns the name that docs/openapi.yaml has for the answer.
pub async fn outcome(app: &TestApp, event: &Value) -> &'static str {
    assert_documented(&app.send(event).await)
}
