//! Events whose fields are absent, empty or of another type, and events that are not from API Gateway.

use serde_json::{Value, json};
use unitctl::sample;

use crate::support::responses::{INTERNAL_ERROR, METHOD_NOT_ALLOWED, NOT_LOGGED_IN, UNKNOWN_ENDPOINT};
use crate::support::{assert_refused, outcome, samples, with_app, with_sample_app};

#[tokio::test]
async fn an_event_that_api_gateway_does_not_send_is_answered() {
    with_app(async |app| {
        for event in [json!({}), json!({ "rawPath": null, "headers": null }), json!({ "version": "2.0" })] {
            assert_refused(&app.send(&event).await, 404, UNKNOWN_ENDPOINT);
        }
        let mut bare = json!({ "rawPath": "/api/v1/livechat/units/U" });
        assert_refused(&app.send(&bare).await, 405, METHOD_NOT_ALLOWED);
        bare["requestContext"] = json!({ "http": { "method": "POST" } });
        assert_refused(&app.send(&bare).await, 401, NOT_LOGGED_IN);
        for event in [json!("text"), json!([1]), json!({ "rawPath": 5 }), json!({ "headers": "x" })] {
            assert_refused(&app.send(&event).await, 500, INTERNAL_ERROR);
        }
    })
    .await;
}

/// Collects the JSON pointers to all values inside a value.
fn collect_pointers(value: &Value, at: &str, found: &mut Vec<String>) {
    let mut visit = |key: &str, inner: &Value| {
        let pointer = format!("{at}/{}", key.replace('~', "~0").replace('/', "~1"));
        found.push(pointer.clone());
        collect_pointers(inner, &pointer, found);
    };
    match value {
        Value::Object(object) => object.iter().for_each(|(key, inner)| visit(key, inner)),
        Value::Array(items) => items.iter().enumerate().for_each(|(n, inner)| visit(&n.to_string(), inner)),
        _ => {}
    }
}

fn remove(event: &mut Value, pointer: &str) {
    let (parent, key) = pointer.rsplit_once('/').expect("it is a pointer");
    match event.pointer_mut(parent).expect("the field is there") {
        Value::Object(object) => drop(object.remove(key)),
        Value::Array(items) => drop(items.remove(key.parse().expect("an index"))),
        other => panic!("{other} has no fields"),
    }
}

/// The outcome of a sample event whose field at this pointer is absent or empty (`is_empty`), or of another type.
fn expected_outcome(pointer: &str, is_rest: bool, is_empty: bool) -> &'static str {
    let header = pointer.strip_prefix(if is_rest { "/multiValueHeaders/" } else { "/headers/" });
    let when_empty = match (pointer, is_rest) {
        ("/rawPath" | "/path", _) => "UnknownEndpoint",
        ("/httpMethod", _) => "MethodNotAllowed",
        ("/requestContext" | "/requestContext/http" | "/requestContext/http/method", false) => {
            "MethodNotAllowed"
        }
        ("/headers" | "/headers/x-auth-token" | "/headers/x-user-id", false) => "NotLoggedIn",
        ("/body", _) => "InvalidJson",
        // Every event has the id in two places, and a REST API's event has the headers in two places.
        _ => "Unit",
    };
    let is_read = match pointer {
        "/requestContext/http" | "/requestContext/http/method" => !is_rest,
        "/version" | "/routeKey" | "/resource" | "/pathParameters" | "/pathParameters/id" => true,
        "/requestContext/stage" | "/isBase64Encoded" => true,
        "/headers" | "/multiValueHeaders" | "/requestContext" => true,
        _ => when_empty != "Unit" || header.is_some() || pointer.starts_with("/headers/"),
    };
    if is_empty || !is_read { when_empty } else { "InternalServerError" }
}

#[tokio::test]
async fn every_event_field_may_be_absent_or_of_another_type() {
    with_app(async |app| {
        app.put_unit(sample::UNIT, &["GT67Tv6x5p5y5xZWN"], &["CgM4vfNNtj8t4QEMd"]).await;
        for (sample, is_rest) in samples().into_iter().zip([false, true]) {
            let mut fields = Vec::new();
            collect_pointers(&sample, "", &mut fields);
            assert!(fields.len() > 30, "the sample has too few fields");
            for pointer in fields {
                let mut event = sample.clone();
                remove(&mut event, &pointer);
                let name =
                    format!("{pointer} of {} is", if is_rest { "a REST event" } else { "an HTTP event" });
                assert_eq!(
                    outcome(app, &event).await,
                    expected_outcome(&pointer, is_rest, true),
                    "{name} absent"
                );
                for strange in [Value::Null, json!(5), json!({})] {
                    let mut event = sample.clone();
                    let value = event.pointer_mut(&pointer).expect("the field is there");
                    // An empty object instead of an object is like an object with absent fields.
                    let is_empty = strange.is_null() && !pointer.ends_with("/0")
                        || value.is_object() && strange.is_object();
                    value.clone_from(&strange);
                    assert_eq!(
                        outcome(app, &event).await,
                        expected_outcome(&pointer, is_rest, is_empty),
                        "{name} {strange}"
                    );
                }
            }
        }
    })
    .await;
}

#[tokio::test]
async fn an_event_that_is_not_an_object_is_500() {
    with_sample_app(async |app| {
        let sample = &samples()[0];
        // The fields of an event, without their names.
        let list: Vec<Value> =
            ["rawPath", "path", "httpMethod", "headers", "multiValueHeaders", "pathParameters"]
                .into_iter()
                .chain(["requestContext", "body", "isBase64Encoded"])
                .map(|name| sample[name].clone())
                .collect();
        for event in [json!(list), json!([]), json!("{}"), json!(null), json!(true), json!(1e300)] {
            assert_refused(&app.send(&event).await, 500, INTERNAL_ERROR);
        }
        // A field that is not read may be large.
        let mut event = sample.clone();
        event["more"] = (0..10_000).map(|n| json!({ "n": n })).collect();
        assert_eq!(outcome(app, &event).await, "Unit");
    })
    .await;
}
