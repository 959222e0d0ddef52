//! Rows 3 to 5 of the contract: who may update units.

use serde_json::{Map, Value, json};
use unitctl::sample;

use crate::support::responses::{DEACTIVATED, INTERNAL_ERROR, NOT_LOGGED_IN, NOT_PERMITTED};
use crate::support::{
    ADMIN, TOKEN, TestApp, assert_refused, assert_success, event_of, invoke, outcome, rest_event, samples,
    with_app, with_sample_app,
};

/// Checks the answer of an execution environment that may have seen the token before, and the answer of a new one.
pub async fn assert_refused_by_both(app: &TestApp, event: &Value, status: u16, body: &str) {
    assert_refused(&app.send(event).await, status, body);
    assert_refused(&invoke(&app.another_function(), event, None).await, status, body);
}

#[tokio::test]
async fn missing_or_ambiguous_headers_are_401() {
    with_app(async |app| {
        app.put_unit("U", &[], &[]).await;
        let long = "x".repeat(513);
        for (name, value) in [
            ("x-auth-token", json!("")),
            ("x-auth-token", Value::Null),
            ("x-auth-token", json!(" ")),
            ("x-auth-token", json!(format!("{TOKEN},other"))),
            ("x-auth-token", json!(format!("other,{TOKEN}"))),
            ("x-auth-token", json!(format!("{TOKEN}ü"))),
            ("x-auth-token", json!("x".repeat(10_000))),
            ("x-auth-token", json!("line\nbreak")),
            ("x-user-id", json!("")),
            ("x-user-id", Value::Null),
            ("x-user-id", json!(format!("{ADMIN},{ADMIN}"))),
            ("x-user-id", json!("rbAXPnMktTFbNpwté")),
            ("x-user-id", json!(long)),
            ("x-user-id", json!("unknown")),
        ] {
            let mut event = event_of(TOKEN, ADMIN);
            event["headers"][name] = value;
            assert_refused(&app.send(&event).await, 401, NOT_LOGGED_IN);
        }
        // Header names are not case-sensitive, so the same name in two spellings is a repeated header.
        let mut event = event_of(TOKEN, ADMIN);
        event["headers"]["X-Auth-Token"] = TOKEN.into();
        assert_refused(&app.send(&event).await, 401, NOT_LOGGED_IN);
        event["headers"].as_object_mut().expect("an object").remove("x-auth-token");
        assert_success(&app.send(&event).await, "U", 0, 0);
    })
    .await;
}

#[tokio::test]
async fn a_repeated_header_in_a_rest_event_is_401() {
    with_app(async |app| {
        app.put_unit("U", &[], &[]).await;
        let mut event = rest_event("U", "/api/v1/livechat/units/U");
        assert_success(&app.send(&event).await, "U", 0, 0);
        event["multiValueHeaders"]["X-Auth-Token"] = json!(["other", TOKEN]);
        assert_refused(&app.send(&event).await, 401, NOT_LOGGED_IN);
        event["multiValueHeaders"] = Value::Null;
        assert_success(&app.send(&event).await, "U", 0, 0);
    })
    .await;
}

/// The sample events with other values of a header: an HTTP API's event joins several values with commas, a REST API's
/// event lists them.
fn with_header(name: &str, values: &[&str]) -> [Value; 2] {
    let [mut http, mut rest] = samples();
    http["headers"][name] = values.join(",").into();
    let rest_name =
        name.split('-').map(|part| part[..1].to_uppercase() + &part[1..]).collect::<Vec<_>>().join("-");
    rest["headers"][&rest_name] = values.last().copied().into();
    rest["multiValueHeaders"][&rest_name] = json!(values);
    [http, rest]
}

#[tokio::test]
async fn hostile_header_values_are_401() {
    let kilobytes = |n: usize| "x".repeat(n * 1024);
    let (of_8, of_1024) = (kilobytes(8), kilobytes(1024));
    let of_many: Vec<&str> = vec!["x"; 10_000];
    with_sample_app(async |app| {
        for (name, good) in [("x-auth-token", sample::TOKEN), ("x-user-id", sample::USER)] {
            for values in [
                &[good, good][..],
                &[good, ""],
                &["", good],
                &[&of_8],
                &[&of_1024],
                &of_many,
                &["pässwörd"],
                &["部門"],
                &["\u{fffd}\u{fffd}"],
                &["\0"],
                &["a\r\nx-user-id: b"],
                &[" "],
                &[","],
                &["%00%2f"],
                &["\u{7f}\u{1b}[2J"],
                &["' OR 1=1 --"],
                &["USER#", "TOKEN#"],
            ] {
                for event in with_header(name, values) {
                    assert_refused(&app.send(&event).await, 401, NOT_LOGGED_IN);
                }
            }
        }
        // Other headers are not read, so their values do not matter.
        for values in [&[&*of_8][..], &[&of_1024], &of_many, &["pässwörd \u{0}"]] {
            for event in with_header("user-agent", values) {
                assert_eq!(outcome(app, &event).await, "Unit");
            }
        }
        let [mut http, mut rest] = samples();
        let many = (0..10_000).map(|n| (format!("x-{n}"), json!("x"))).collect::<Map<_, _>>();
        for event in [&mut http, &mut rest] {
            event["headers"].as_object_mut().expect("a map").extend(many.clone());
            assert_eq!(outcome(app, event).await, "Unit");
            // The same name in two spellings is a repeated header.
            let key = if event["multiValueHeaders"].is_null() { "headers" } else { "multiValueHeaders" };
            let value = if key == "headers" { json!(sample::TOKEN) } else { json!([sample::TOKEN]) };
            event[key]["X-AUTH-TOKEN"] = value;
            assert_refused(&app.send(event).await, 401, NOT_LOGGED_IN);
        }
        for absent in [Value::Null, json!({}), json!({ "x-auth-token": null, "x-user-id": null })] {
            for mut event in samples() {
                event["headers"] = absent.clone();
                if event.get("multiValueHeaders").is_some() {
                    event["multiValueHeaders"] = absent.clone();
                }
                assert_refused(&app.send(&event).await, 401, NOT_LOGGED_IN);
                event.as_object_mut().expect("an object").remove("headers");
                assert_refused(&app.send(&event).await, 401, NOT_LOGGED_IN);
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_token_of_another_user_is_401() {
    with_app(async |app| {
        app.put_unit("U", &[], &[]).await;
        app.put_user("other", &["admin"]).await;
        assert_success(&app.send(&event_of(TOKEN, ADMIN)).await, "U", 0, 0);
        assert_refused_by_both(app, &event_of(TOKEN, "other"), 401, NOT_LOGGED_IN).await;
        // The attempt does not affect the owner of the token.
        assert_success(&app.send(&event_of(TOKEN, ADMIN)).await, "U", 0, 0);
        // A token without a user id belongs to no user.
        app.put_token("t", ADMIN, json!({ "userId": null })).await;
        assert_refused_by_both(app, &event_of("t", ADMIN), 401, NOT_LOGGED_IN).await;
    })
    .await;
}

#[tokio::test]
async fn a_deactivated_user_is_403() {
    with_app(async |app| {
        app.put_unit("U", &[], &[]).await;
        app.put_user("u", &["admin"]).await;
        app.put_token("t", "u", json!({})).await;
        // Without the attribute a user is active.
        assert_success(&app.send(&event_of("t", "u")).await, "U", 0, 0);
        app.change_item("USER#u", "USER", json!({ "active": false })).await;
        assert_refused_by_both(app, &event_of("t", "u"), 403, DEACTIVATED).await;
        app.change_item("USER#u", "USER", json!({ "active": true })).await;
        assert_success(&app.send(&event_of("t", "u")).await, "U", 0, 0);
    })
    .await;
}

#[tokio::test]
async fn a_user_without_a_permitted_role_is_403() {
    with_app(async |app| {
        app.put_unit("U", &[], &[]).await;
        app.put_token("t", "u", json!({})).await;
        for roles in [&[][..], &["user"], &["Admin"], &["livechat-agent", "livechat-monitor"]] {
            app.put_user("u", roles).await;
            assert_refused_by_both(app, &event_of("t", "u"), 403, NOT_PERMITTED).await;
        }
        app.put_user("u", &["user", "unit-editor"]).await;
        assert_success(&app.send(&event_of("t", "u")).await, "U", 0, 0);
        for permission in [json!({ "roles": null }), json!({ "roles": { "set": ["admin"] } })] {
            app.change_item("PERMISSION#manage-livechat-units", "PERMISSION", permission).await;
            assert_refused_by_both(app, &event_of("t", "u"), 403, NOT_PERMITTED).await;
        }
        app.delete_item("PERMISSION#manage-livechat-units", "PERMISSION").await;
        assert_refused_by_both(app, &event_of("t", "u"), 403, NOT_PERMITTED).await;
    })
    .await;
}

#[tokio::test]
async fn the_caller_is_checked_before_the_body() {
    with_app(async |app| {
        app.put_user("inactive", &["admin"]).await;
        app.change_item("USER#inactive", "USER", json!({ "active": false })).await;
        app.put_token("t", "inactive", json!({})).await;
        for body in ["", "{", "{}", &"x".repeat(2_000_000)] {
            for (token, user, status, expected) in
                [("unknown", ADMIN, 401, NOT_LOGGED_IN), ("t", "inactive", 403, DEACTIVATED)]
            {
                let mut event = event_of(token, user);
                event["body"] = body.into();
                assert_refused_by_both(app, &event, status, expected).await;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_corrupt_token_user_or_permission_is_500() {
    with_app(async |app| {
        app.put_unit("U", &[], &[]).await;
        // Only `expiresAt` of a token can have a wrong type: `userId` is the key of an index, so DynamoDB checks its type.
        app.put_token("corrupt-expiry", ADMIN, json!({ "expiresAt": "tomorrow" })).await;
        assert_refused_by_both(app, &event_of("corrupt-expiry", ADMIN), 500, INTERNAL_ERROR).await;
        // For another user the token is a token of another user, and `expiresAt` does not matter.
        assert_refused_by_both(app, &event_of("corrupt-expiry", "u"), 401, NOT_LOGGED_IN).await;
        app.put_token("t", "u", json!({})).await;
        for change in [json!({ "active": "yes" }), json!({ "roles": ["admin"] }), json!({ "roles": "admin" })]
        {
            app.put_user("u", &["admin"]).await;
            app.change_item("USER#u", "USER", change).await;
            assert_refused_by_both(app, &event_of("t", "u"), 500, INTERNAL_ERROR).await;
        }
        // The user is checked before the permission.
        app.put_user("u", &["admin"]).await;
        app.change_item("PERMISSION#manage-livechat-units", "PERMISSION", json!({ "roles": 1 })).await;
        assert_refused_by_both(app, &event_of("t", "u"), 500, INTERNAL_ERROR).await;
        app.change_item("USER#u", "USER", json!({ "active": false })).await;
        assert_refused_by_both(app, &event_of("t", "u"), 403, DEACTIVATED).await;
    })
    .await;
}
