//! Row 7 of the contract: the body is JSON, plain or in base64.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Value, json};
use unitctl::sample;

use super::match_errors::assert_match_error;
use crate::support::openapi::assert_documented;
use crate::support::{
    TestApp, assert_refused, assert_success, body, event, outcome, samples, with_app, with_sample_app,
};

/// Checks that the body is refused as JSON, with this error of the parser.
async fn assert_invalid_json(app: &TestApp, event: &Value, what: &str) {
    let expected = json!({
        "success": false,
        "error": format!("Invalid JSON: {what} [error-invalid-json]"),
        "errorType": "error-invalid-json",
    });
    assert_refused(&app.send(event).await, 400, &expected.to_string());
}

#[tokio::test]
async fn invalid_json_is_400_with_its_position() {
    with_app(async |app| {
        app.put_unit("U", &[], &[]).await;
        for (body, what) in [
            ("", "EOF while parsing a value at line 1 column 0"),
            (" \n ", "EOF while parsing a value at line 2 column 1"),
            ("{\"unitData\":\n  oops}", "expected value at line 2 column 3"),
            ("{'a':1}", "key must be a string at line 1 column 2"),
            ("\u{feff}{}", "expected value at line 1 column 1"),
            ("{}{}", "trailing characters at line 1 column 3"),
            (r#"{"a":"\ud800"}"#, "unexpected end of hex escape at line 1 column 13"),
            (r#"{"a":1e999}"#, "number out of range at line 1 column 10"),
            ("[1,]", "trailing comma at line 1 column 4"),
        ] {
            assert_invalid_json(app, &event("U", body), what).await;
        }
        let nested = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
        // The message gives the last position that the parser has read.
        for (levels, column, column_within) in [(129, 130, 139), (10_000, 129, 139)] {
            let what = format!("recursion limit exceeded at line 1 column {column}");
            assert_invalid_json(app, &event("U", &nested(levels)), &what).await;
            let what = format!("recursion limit exceeded at line 1 column {column_within}");
            let in_unknown = format!(r#"{{"ignored":{}}}"#, nested(levels));
            assert_invalid_json(app, &event("U", &in_unknown), &what).await;
        }
        assert_match_error(app, &nested(128), "Expected object, got undefined").await;

        for (bytes, what) in [
            (&b"{\"a\":\"\xff\"}"[..], "invalid unicode code point at line 1 column 7"),
            (b"\xff", "expected value at line 1 column 1"),
        ] {
            let mut event = event("U", &BASE64.encode(bytes));
            event["isBase64Encoded"] = true.into();
            assert_invalid_json(app, &event, what).await;
        }
        for (text, what) in [
            ("e30=!", "Invalid symbol 33, offset 4."),
            ("e30", "Invalid padding"),
            ("e3 0", "Invalid symbol 32, offset 2."),
        ] {
            let mut event = event("U", text);
            event["isBase64Encoded"] = true.into();
            assert_invalid_json(app, &event, what).await;
        }
        let mut no_body = event("U", "");
        no_body["body"] = Value::Null;
        assert_invalid_json(app, &no_body, "EOF while parsing a value at line 1 column 0").await;
    })
    .await;
}

#[tokio::test]
async fn the_content_type_of_a_request_is_ignored() {
    with_app(async |app| {
        app.put_unit("U", &[], &[]).await;
        for content_type in [json!("text/plain"), json!("application/x-www-form-urlencoded"), Value::Null] {
            let mut event = event("U", &body(&[], &[]));
            event["headers"]["content-type"] = content_type;
            assert_success(&app.send(&event).await, "U", 0, 0);
        }
    })
    .await;
}

#[tokio::test]
async fn optional_fields_are_checked_and_not_stored() {
    with_app(async |app| {
        app.put_unit("U", &[], &[]).await;
        let body = json!({
            "unitData": {
                "name": " kept as sent ", "visibility": "public", "enabled": false, "showOnOfflineForm": true,
                "description": "d", "email": "e",
            },
            "unitMonitors": [], "unitDepartments": [], "more": [1],
        });
        let response = app.send(&event("U", &body.to_string())).await;
        assert_eq!(response.status_code, 200);
        let unit = app.stored_unit("U").await;
        assert_eq!(unit["name"], " kept as sent ");
        for dropped in ["enabled", "showOnOfflineForm", "description", "email", "more"] {
            assert_eq!(unit.get(dropped), None);
        }
    })
    .await;
}

#[tokio::test]
async fn a_name_is_returned_without_unnecessary_escapes() {
    with_app(async |app| {
        app.put_unit("U", &["m"], &["d"]).await;
        let name = "Ünïcödé / 部門 🦀 \u{7f}\u{2028} \\ \" \u{1}";
        let body = json!({
            "unitData": { "name": name, "visibility": "private" }, "unitMonitors": [], "unitDepartments": [],
        });
        let response = app.send(&event("U", &body.to_string())).await;
        assert!(
            response.body.starts_with("{\"name\":\"Ünïcödé / 部門 🦀 \u{7f}\u{2028} \\\\ \\\" \\u0001\","),
            "{}",
            response.body
        );
        assert_eq!(app.stored_unit("U").await["name"], name);
    })
    .await;
}

#[tokio::test]
async fn broken_base64_is_invalid_json() {
    let good = BASE64.encode(sample::BODY);
    let url_safe = BASE64.encode("\u{3f}\u{3e}~~?>").replace('+', "-").replace('/', "_");
    with_sample_app(async |app| {
        for mut event in samples() {
            event["isBase64Encoded"] = true.into();
            event["body"] = good.clone().into();
            assert_eq!(outcome(app, &event).await, "Unit");
            for broken in [
                sample::BODY,
                "=",
                "====",
                "A",
                "AA",
                "AAA",
                "AAAA=",
                "AB==",
                "e30\n",
                "e30=e30=",
                "e3\u{0}0",
                "ëëëë",
                "\u{feff}e30=",
                &url_safe,
                &good[1..],
                &"=".repeat(100_000),
                &"é".repeat(500_000),
            ] {
                event["body"] = broken.into();
                assert_eq!(outcome(app, &event).await, "InvalidJson", "{}", &broken[..broken.len().min(20)]);
            }
            // The size is checked before the base64 is decoded.
            for huge in ["!".repeat(6_000_000), "=".repeat(6_000_000), "A".repeat(6_000_000)] {
                event["body"] = huge.into();
                assert_eq!(outcome(app, &event).await, "PayloadTooLarge");
            }
            event["body"] = "".into();
            assert_eq!(outcome(app, &event).await, "InvalidJson");
            event["body"] = BASE64.encode(b"\x00\xff\xfe").into();
            assert_eq!(outcome(app, &event).await, "InvalidJson");
        }
    })
    .await;
}

#[tokio::test]
async fn bodies_that_grow_in_memory_are_answered() {
    with_app(async |app| {
        app.put_unit("U", &[], &[]).await;
        let size = 1024 * 1024 - 200;
        let body_with = |key: &str, value: &str| {
            let mut all = Map::new();
            all.insert("unitData".into(), json!({ "name": "new name", "visibility": "private" }));
            all.insert("unitMonitors".into(), json!([]));
            all.insert("unitDepartments".into(), json!([]));
            let mut text = Value::Object(all).to_string();
            text.replace_range(text.len() - 1.., &format!(",{}:{value}}}", json!(key)));
            text
        };
        let nulls = format!("[{}0]", "0,".repeat(size / 2));
        let objects = format!("[{}{{}}]", "{},".repeat(size / 3));
        let keys: Vec<String> = (0..size / 12).map(|n| format!("\"{n:07}\":0")).collect();
        let keys = format!("{{{}}}", keys.join(","));
        let long_key = "k".repeat(size);
        for body in [
            body_with("more", &nulls),
            body_with("more", &objects),
            body_with("more", &keys),
            body_with(&long_key, "1"),
        ] {
            assert!(body.len() <= 1024 * 1024);
            assert_success(&app.send(&event("U", &body)).await, "U", 0, 0);
        }
        // The answer repeats the refused value, however long it is.
        let echoed = body_with("unitMonitors", &objects);
        assert_eq!(outcome(app, &event("U", &echoed)).await, "MatchError");
        let echoed = body_with("unitMonitors", &format!("{{\"{long_key}\":1}}"));
        let response = app.send(&event("U", &echoed)).await;
        assert_eq!(assert_documented(&response), "MatchError");
        assert!(response.body.len() > size);
    })
    .await;
}
