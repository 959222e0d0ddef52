//! API Gateway's events for updates, made from the sample events in `events/`.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

/// The sample of a REST API's event (payload format 1.0): a successful update.
pub fn rest_sample() -> Value {
    serde_json::from_str(include_str!("../../events/success-rest.json")).expect("the sample is JSON")
}

/// The sample of an HTTP API's event (payload format 2.0): a successful update.
pub fn http_sample() -> Value {
    serde_json::from_str(include_str!("../../events/success.json")).expect("the sample is JSON")
}

/// An HTTP API's event for an update of this unit with this body. The caller is the sample user.
pub fn update_event(unit: &str, body: &str) -> Value {
    let mut event = http_sample();
    set_path(&mut event, &format!("/api/v1/livechat/units/{}", utf8_percent_encode(unit, NON_ALPHANUMERIC)));
    event["pathParameters"]["id"] = unit.into();
    event["body"] = body.into();
    event
}

/// Sets both places of an HTTP API's event that show the path.
pub fn set_path(event: &mut Value, path: &str) {
    event["rawPath"] = path.into();
    event["requestContext"]["http"]["path"] = path.into();
}

/// Sets the headers that say who the caller is.
pub fn set_caller(event: &mut Value, token: &str, user: &str) {
    event["headers"]["x-auth-token"] = token.into();
    event["headers"]["x-user-id"] = user.into();
}

/// A body that makes a unit private, gives it this name, and lists monitors (each an id and a username) and
/// departments (each an id).
pub fn update_body<'a>(
    name: &str,
    monitors: impl IntoIterator<Item = (&'a str, &'a str)>,
    departments: impl IntoIterator<Item = &'a str>,
) -> String {
    let monitors =
        monitors.into_iter().map(|(id, username)| json!({ "monitorId": id, "username": username }));
    let departments = departments.into_iter().map(|id| json!({ "departmentId": id }));
    json!({
        "unitData": { "name": name, "visibility": "private" },
        "unitMonitors": monitors.collect::<Value>(),
        "unitDepartments": departments.collect::<Value>(),
    })
    .to_string()
}
