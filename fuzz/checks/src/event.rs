//! Events: if an event becomes a request, its path and method are the endpoint's, and its credentials are the request's.

use std::collections::BTreeMap;

use livechat_units::error::Error;
use livechat_units::hashed_token;
use livechat_units::item::Key;
use livechat_units::request::{ApiRequest, Update};
use serde_json::Value;
use serde_json::value::RawValue;

/// Parses an event with these bytes, and the body in it. Returns a name for the outcome.
///
/// # Panics
/// A check fails.
pub fn event(data: &[u8]) -> &'static str {
    // Lambda's runtime passes only JSON to the function.
    let Ok(event) = serde_json::from_slice::<&RawValue>(data) else { return "not-json" };
    let request = match ApiRequest::parse(event) {
        Ok(request) => request,
        Err(error) => {
            if let Error::Internal(cause) = &error {
                // The cause has the position of the error, and quotes nothing from the event.
                let cause = cause.to_string();
                let position =
                    cause.strip_prefix("not an API Gateway event: ").expect("there is one kind of cause");
                let position =
                    position.strip_prefix("line ").map(|position| position.replacen(" column ", "", 1));
                let is_numeric = |position: String| position.bytes().all(|byte| byte.is_ascii_digit());
                assert!(
                    cause.ends_with(": not a JSON object") || position.is_some_and(is_numeric),
                    "{cause}"
                );
            } else {
                assert!(matches!(error, Error::UnknownEndpoint | Error::MethodNotAllowed), "{error:?}");
            }
            return error.outcome();
        }
    };
    // The function skips parts of the event. So it may accept an event that serde_json refuses, for example because of a
    // lone surrogate in such a part.
    if let Ok(event) = serde_json::from_slice(data) {
        assert_same(&request, &event);
    }
    let has_credentials = request.credentials.is_some();
    match Update::parse(request.unit, request.body) {
        _ if !has_credentials => Error::NotLoggedIn.outcome(),
        Ok(_) => "update",
        Err(error) => error.outcome(),
    }
}

/// Checks that a request agrees with its event.
fn assert_same(request: &ApiRequest, event: &Value) {
    let path = ["rawPath", "path"].into_iter().find_map(|name| event[name].as_str()).expect("it has a path");
    assert!(path.contains("/api/v1/livechat/units/"), "{path}");
    let context = &event["requestContext"];
    // serde reads a JSON array as the fields of a struct, in their order.
    let is_list = context.is_array() || context["http"].is_array();
    let method = context["http"]["method"].as_str().or(event["httpMethod"].as_str());
    assert!(is_list || method == Some("POST"), "{method:?}");
    if let Some(credentials) = &request.credentials {
        let (token, user) = (single_header(event, "x-auth-token"), single_header(event, "x-user-id"));
        assert_eq!(credentials.keys()[0], Key::Token(hashed_token(&token)));
        assert_eq!(credentials.claimed_user().as_str(), user);
    }
}

/// The value of a header that has exactly one value in the event.
fn single_header(event: &Value, name: &str) -> String {
    let values_in = |field: &str| -> BTreeMap<String, Value> {
        let headers = event[field].as_object().into_iter().flatten();
        let headers = headers.filter(|(key, _)| key.eq_ignore_ascii_case(name));
        headers.map(|(key, value)| (key.clone(), value.clone())).collect()
    };
    let many = values_in("multiValueHeaders").into_values().filter_map(|values| values.as_array().cloned());
    let mut values: Vec<Value> = many.flatten().filter(|value| !value.is_null()).collect();
    if values.is_empty() {
        values = values_in("headers").into_values().filter(|value| !value.is_null()).collect();
    }
    let [Value::String(value)] = &values[..] else { panic!("{name} is {values:?}") };
    assert!(value.bytes().all(|byte| byte.is_ascii() && byte != b',') && !value.is_empty(), "{value:?}");
    value.clone()
}
