//! Rows 1, 2 and 6 to 8 of the contract: paths, methods, ids and bodies.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use crate::world::{
    NOT_LOGGED_IN, UNIT_NOT_FOUND, World, assert_refused, assert_success, body, event, set_path, world,
};

const NO_ENDPOINT: &str = r#"{"status":"error","message":"API endpoint does not exist"}"#;
const NO_METHOD: &str = r#"{"success":false,"error":"Method not allowed"}"#;
const TOO_LARGE: &str = r#"{"success":false,"error":"The request body exceeds 1048576 bytes [error-payload-too-large]","errorType":"error-payload-too-large"}"#;

fn rest_event(unit: &str, path: &str) -> Value {
    let mut event: Value =
        serde_json::from_str(include_str!("../../events/success-rest.json")).expect("the sample is JSON");
    event["path"] = path.into();
    event["pathParameters"] = json!({ "id": unit });
    event["body"] = body(&[], &[]).into();
    event
}

#[tokio::test]
async fn any_other_path_is_unknown_even_to_strangers() {
    world(async |world| {
        for path in [
            "",
            "/",
            "/api/v1/livechat/units",
            "/api/v1/livechat/units/",
            "/api/v1/livechat/units/U/",
            "/api/v1/livechat/units/U/V",
            "//api/v1/livechat/units/U",
            "/api/v1/livechat/Units/U",
            "/prod/api/v1/livechat/units/U",
            "/v2/api/v1/livechat/units/U",
        ] {
            let mut event = event("U", "");
            event["headers"] = json!({});
            event.as_object_mut().expect("an object").remove("pathParameters");
            set_path(&mut event, path);
            assert_refused(&world.send(&event).await, 404, NO_ENDPOINT);
        }
        // A parameter does not make another path this one.
        for path in ["/api/v1/livechat/units/U/departments", "/api/v1/livechat/units/U/", "/other/U"] {
            let mut event = event("U", "");
            set_path(&mut event, path);
            assert_refused(&world.send(&event).await, 404, NO_ENDPOINT);
        }
    })
    .await;
}

#[tokio::test]
async fn an_event_that_is_not_api_gateways_gets_an_answer() {
    world(async |world| {
        for event in [json!({}), json!({ "rawPath": null, "headers": null }), json!({ "version": "2.0" })] {
            assert_refused(&world.send(&event).await, 404, NO_ENDPOINT);
        }
        let mut bare = json!({ "rawPath": "/api/v1/livechat/units/U" });
        assert_refused(&world.send(&bare).await, 405, NO_METHOD);
        bare["requestContext"] = json!({ "http": { "method": "POST" } });
        assert_refused(&world.send(&bare).await, 401, NOT_LOGGED_IN);
        for event in [json!("text"), json!([1]), json!({ "rawPath": 5 }), json!({ "headers": "x" })] {
            assert_refused(&world.send(&event).await, 500, crate::world::INTERNAL);
        }
    })
    .await;
}

#[tokio::test]
async fn only_post_is_allowed() {
    world(async |world| {
        for method in ["GET", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "post"] {
            let mut event = event("U", "");
            event["requestContext"]["http"]["method"] = method.into();
            event["headers"] = json!({});
            let response = world.send(&event).await;
            assert_refused(&response, 405, NO_METHOD);
            assert_eq!(response.headers["allow"], "POST");
        }
        let mut rest = rest_event("U", "/api/v1/livechat/units/U");
        rest["httpMethod"] = "GET".into();
        assert_refused(&world.send(&rest).await, 405, NO_METHOD);
    })
    .await;
}

#[tokio::test]
async fn a_named_stage_leads_the_path_of_an_http_api() {
    world(async |world| {
        world.unit("U", &[], &[]).await;
        for (stage, path) in [
            ("prod", "/prod/api/v1/livechat/units/U"),
            ("api", "/api/api/v1/livechat/units/U"),
            // A custom domain leaves the stage out.
            ("prod", "/api/v1/livechat/units/U"),
        ] {
            let mut event = event("U", &body(&[], &[]));
            event["requestContext"]["stage"] = stage.into();
            set_path(&mut event, path);
            assert_success(&world.send(&event).await, "U", 0, 0);
        }
        // A REST API's path has no stage, whatever the stage is called.
        let rest = rest_event("U", "/prod/api/v1/livechat/units/U");
        assert_refused(&world.send(&rest).await, 404, NO_ENDPOINT);
        let mut rest = rest_event("U", "/api/v1/livechat/units/U");
        rest["requestContext"]["stage"] = "api".into();
        assert_success(&world.send(&rest).await, "U", 0, 0);
    })
    .await;
}

#[tokio::test]
async fn ids_are_decoded_once_in_all() {
    // (the id, the raw path's last part, the parameter of an HTTP API, the parameter of a REST API)
    let ids = [
        ("a b", "a%20b", "a b", "a%20b"),
        ("a%20b", "a%2520b", "a%20b", "a%2520b"),
        ("a/b", "a%2Fb", "a/b", "a%2Fb"),
        ("a/", "a%2F", "a/", "a%2F"),
        ("a+b", "a+b", "a+b", "a+b"),
        ("a?b#c", "a%3Fb%23c", "a?b#c", "a%3Fb%23c"),
        (
            "Ünit 部門 🦀",
            "%C3%9Cnit%20%E9%83%A8%E9%96%80%20%F0%9F%A6%80",
            "Ünit 部門 🦀",
            "%C3%9Cnit%20%E9%83%A8%E9%96%80%20%F0%9F%A6%80",
        ),
        ("%FF", "%FF", "%FF", "%FF"),
        ("%zz", "%zz", "%zz", "%zz"),
        ("a#b", "a#b", "a#b", "a#b"),
        ("nul\0", "nul%00", "nul\0", "nul%00"),
    ];
    world(async |world| {
        for (id, sent, decoded, undecoded) in ids {
            world.unit(id, &[], &[]).await;
            let path = format!("/api/v1/livechat/units/{sent}");
            let mut http = event("", &body(&[], &[]));
            http["pathParameters"]["id"] = decoded.into();
            set_path(&mut http, &path);
            assert_success(&world.send(&http).await, id, 0, 0);
            // HTTP APIs may show the path decoded, with spaces or question marks in it.
            set_path(&mut http, &format!("/api/v1/livechat/units/{decoded}"));
            assert_success(&world.send(&http).await, id, 0, 0);
            // Without a parameter the path counts.
            http.as_object_mut().expect("an object").remove("pathParameters");
            set_path(&mut http, &path);
            assert_success(&world.send(&http).await, id, 0, 0);

            let mut rest = rest_event(undecoded, &path);
            assert_success(&world.send(&rest).await, id, 0, 0);
            rest["pathParameters"] = Value::Null;
            assert_success(&world.send(&rest).await, id, 0, 0);
        }
    })
    .await;
}

#[tokio::test]
async fn an_id_over_512_bytes_names_no_unit() {
    world(async |world| {
        let longest = "é".repeat(256);
        world.unit(&longest, &[], &[]).await;
        assert_success(&world.update(&longest, &[], &[]).await, &longest, 0, 0);
        for id in [longest + "x", "x".repeat(513), "x".repeat(2000)] {
            assert_refused(&world.update(&id, &[], &[]).await, 400, UNIT_NOT_FOUND);
            // The body is judged before the unit is looked for.
            let broken = event(&id, "{}");
            let expected = r#"{"success":false,"error":"Match error: Expected object, got undefined"}"#;
            assert_refused(&world.send(&broken).await, 400, expected);
        }
    })
    .await;
}

/// A body of just this many bytes.
fn padded(bytes: usize) -> String {
    let body = body(&[], &[]);
    format!("{body}{}", " ".repeat(bytes - body.len()))
}

#[tokio::test]
async fn a_body_may_have_a_mebibyte_after_base64() {
    const MEBIBYTE: usize = 1024 * 1024;
    world(async |world| {
        world.unit("U", &[], &[]).await;
        for size in MEBIBYTE - 2..=MEBIBYTE + 2 {
            for base64 in [false, true] {
                let mut event = event("U", &padded(size));
                if base64 {
                    event["body"] = BASE64.encode(padded(size)).into();
                    event["isBase64Encoded"] = true.into();
                }
                let response = world.send(&event).await;
                if size <= MEBIBYTE {
                    assert_success(&response, "U", 0, 0);
                } else {
                    assert_refused(&response, 413, TOO_LARGE);
                }
            }
        }
        // Told before its JSON is, and after who the caller is.
        let mut event = event("U", &"[".repeat(MEBIBYTE + 1));
        assert_refused(&world.send(&event).await, 413, TOO_LARGE);
        event["headers"] = json!({});
        assert_refused(&world.send(&event).await, 401, NOT_LOGGED_IN);
    })
    .await;
}

async fn assert_invalid_json(world: &World, event: &Value, what: &str) {
    let expected = json!({
        "success": false,
        "error": format!("Invalid JSON: {what} [error-invalid-json]"),
        "errorType": "error-invalid-json",
    });
    assert_refused(&world.send(event).await, 400, &expected.to_string());
}

#[tokio::test]
async fn what_is_not_json_is_told_with_its_place() {
    world(async |world| {
        world.unit("U", &[], &[]).await;
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
            assert_invalid_json(world, &event("U", body), what).await;
        }
        let nested = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
        // The parser tells the place that it has looked at last.
        for (levels, column, column_within) in [(129, 130, 139), (10_000, 129, 139)] {
            let what = format!("recursion limit exceeded at line 1 column {column}");
            assert_invalid_json(world, &event("U", &nested(levels)), &what).await;
            let what = format!("recursion limit exceeded at line 1 column {column_within}");
            let in_unknown = format!(r#"{{"ignored":{}}}"#, nested(levels));
            assert_invalid_json(world, &event("U", &in_unknown), &what).await;
        }
        assert_match_error(world, &nested(128), "Expected object, got undefined").await;

        for (bytes, what) in [
            (&b"{\"a\":\"\xff\"}"[..], "invalid unicode code point at line 1 column 7"),
            (b"\xff", "expected value at line 1 column 1"),
        ] {
            let mut event = event("U", &BASE64.encode(bytes));
            event["isBase64Encoded"] = true.into();
            assert_invalid_json(world, &event, what).await;
        }
        for (text, what) in [
            ("e30=!", "Invalid symbol 33, offset 4."),
            ("e30", "Invalid padding"),
            ("e3 0", "Invalid symbol 32, offset 2."),
        ] {
            let mut event = event("U", text);
            event["isBase64Encoded"] = true.into();
            assert_invalid_json(world, &event, what).await;
        }
        let mut no_body = event("U", "");
        no_body["body"] = Value::Null;
        assert_invalid_json(world, &no_body, "EOF while parsing a value at line 1 column 0").await;
    })
    .await;
}

#[tokio::test]
async fn the_body_is_json_whatever_its_content_type_says() {
    world(async |world| {
        world.unit("U", &[], &[]).await;
        for content_type in [json!("text/plain"), json!("application/x-www-form-urlencoded"), Value::Null] {
            let mut event = event("U", &body(&[], &[]));
            event["headers"]["content-type"] = content_type;
            assert_success(&world.send(&event).await, "U", 0, 0);
        }
    })
    .await;
}

async fn assert_match_error(world: &World, body: &str, what: &str) {
    let expected = json!({ "success": false, "error": format!("Match error: {what}") });
    let response = world.send(&event("U", body)).await;
    assert_eq!((response.status_code, response.body), (400, expected.to_string()), "{body}");
}

#[tokio::test]
async fn match_errors_of_unit_data() {
    world(async |world| {
        for (unit_data, what) in [
            ("null", "Expected object, got null"),
            (r#""x""#, "Expected object, got string"),
            ("5", "Expected object, got number"),
            ("true", "Expected object, got boolean"),
            ("[]", "Expected plain object"),
            ("{}", "Missing key 'name'"),
            (r#"{"name":"a"}"#, "Missing key 'visibility'"),
            (r#"{"visibility":"public"}"#, "Missing key 'name'"),
            (r#"{"type":"u"}"#, "Unknown key in field type"),
            (r#"{"":1}"#, "Unknown key"),
            (r#"{"a b":1}"#, "Unknown key in field a b"),
            (r#"{"__proto__":1}"#, "Unknown key in field __proto__"),
            (r#"{"name":1}"#, "Expected string, got number in field name"),
            (r#"{"name":null}"#, "Expected string, got null in field name"),
            (r#"{"name":{}}"#, "Expected string, got object in field name"),
            (r#"{"name":[]}"#, "Expected string, got object in field name"),
            (r#"{"name":true}"#, "Expected string, got boolean in field name"),
            (r#"{"visibility":1}"#, "Expected string, got number in field visibility"),
            (r#"{"enabled":"true"}"#, "Expected boolean, got string in field enabled"),
            (r#"{"enabled":null}"#, "Expected boolean, got null in field enabled"),
            (r#"{"showOnOfflineForm":0}"#, "Expected boolean, got number in field showOnOfflineForm"),
            (r#"{"description":1}"#, "Expected string, got number in field description"),
            (r#"{"email":[]}"#, "Expected string, got object in field email"),
            (r#"{"name":""}"#, "Expected a non-empty string in field name"),
            (r#"{"name":" \t\n\u00a0\u3000"}"#, "Expected a non-empty string in field name"),
            (r#"{"visibility":""}"#, "Expected 'public' or 'private', got '' in field visibility"),
            (
                r#"{"visibility":"Ö\"x\" y"}"#,
                "Expected 'public' or 'private', got 'Ö\"x\" y' in field visibility",
            ),
            // The order of the body, then the order of the pattern.
            (r#"{"visibility":1,"name":2}"#, "Expected string, got number in field visibility"),
            (r#"{"name":2,"x":1}"#, "Expected string, got number in field name"),
            (r#"{"x":1,"name":2}"#, "Unknown key in field x"),
            // The last of duplicates counts, in the place of the first.
            (r#"{"name":1,"visibility":2,"name":"a"}"#, "Expected string, got number in field visibility"),
            (r#"{"name":"a","visibility":2,"name":1}"#, "Expected string, got number in field name"),
        ] {
            let body = format!(r#"{{"unitMonitors":1,"unitData":{unit_data},"unitDepartments":1}}"#);
            assert_match_error(world, &body, what).await;
        }
        for whole in ["[]", "[1,2]", "null", "5", "true", r#""unitData""#, "{}"] {
            assert_match_error(world, whole, "Expected object, got undefined").await;
        }
    })
    .await;
}

#[tokio::test]
async fn match_errors_of_the_two_arrays() {
    let unit_data = r#"{"name":"a","visibility":"public"}"#;
    world(async |world| {
        let missing = format!(r#"{{"unitData":{unit_data}}}"#);
        assert_match_error(world, &missing, "Expected array, got undefined").await;
        for (value, what) in [
            ("null", "Expected array, got null"),
            ("{}", "Expected array, got {}"),
            (r#""x""#, "Expected array, got \"x\""),
            (r#""ü\n""#, "Expected array, got \"ü\\n\""),
            ("5", "Expected array, got 5"),
            ("true", "Expected array, got true"),
            (r#"{ "b": [1, {"a": null}], "a": 2, "b": 3 }"#, r#"Expected array, got {"b":3,"a":2}"#),
            ("[{}]", "Missing key 'FIRST' in field [0]"),
            (r#"["x"]"#, "Expected object, got string in field [0]"),
            ("[null]", "Expected object, got null in field [0]"),
            ("[[]]", "Expected plain object in field [0]"),
            (r#"[{"FIRST":1}]"#, "Expected string, got number in field [0].FIRST"),
            (r#"[{"FIRST":null}]"#, "Expected string, got null in field [0].FIRST"),
            (r#"[{"more":1,"FIRST":{}}]"#, "Expected string, got object in field [0].FIRST"),
            (r#"[{"FIRST":"a","username":"b"},7]"#, "Expected object, got number in field [1]"),
        ] {
            let of_monitors = format!(
                r#"{{"unitDepartments":1,"unitData":{unit_data},"unitMonitors":{}}}"#,
                value.replace("FIRST", "monitorId")
            );
            assert_match_error(world, &of_monitors, &what.replace("FIRST", "monitorId")).await;
            let of_departments = format!(
                r#"{{"unitDepartments":{},"unitData":{unit_data},"unitMonitors":[]}}"#,
                value.replace("FIRST", "departmentId")
            );
            assert_match_error(world, &of_departments, &what.replace("FIRST", "departmentId")).await;
        }
        for (monitors, what) in [
            (r#"[{"monitorId":"a"}]"#, "Missing key 'username' in field [0]"),
            (r#"[{"username":"a"}]"#, "Missing key 'monitorId' in field [0]"),
            (r#"[{"username":1,"monitorId":2}]"#, "Expected string, got number in field [0].username"),
            (r#"[{"monitorId":"a","username":null}]"#, "Expected string, got null in field [0].username"),
        ] {
            let body = format!(r#"{{"unitData":{unit_data},"unitMonitors":{monitors}}}"#);
            assert_match_error(world, &body, what).await;
        }
    })
    .await;
}

#[tokio::test]
async fn what_rocket_chat_checks_and_drops_is_not_stored() {
    world(async |world| {
        world.unit("U", &[], &[]).await;
        let body = json!({
            "unitData": {
                "name": " kept as sent ", "visibility": "public", "enabled": false, "showOnOfflineForm": true,
                "description": "d", "email": "e",
            },
            "unitMonitors": [], "unitDepartments": [], "more": [1],
        });
        let response = world.send(&event("U", &body.to_string())).await;
        assert_eq!(response.status_code, 200);
        let unit = world.unit_of("U").await;
        assert_eq!(unit["name"], " kept as sent ");
        for dropped in ["enabled", "showOnOfflineForm", "description", "email", "more"] {
            assert_eq!(unit.get(dropped), None);
        }
    })
    .await;
}

#[tokio::test]
async fn a_long_echo_and_unicode_come_back_unescaped() {
    world(async |world| {
        world.unit("U", &["m"], &["d"]).await;
        let name = "Ünïcödé / 部門 🦀 \u{7f}\u{2028} \\ \" \u{1}";
        let body = json!({
            "unitData": { "name": name, "visibility": "private" }, "unitMonitors": [], "unitDepartments": [],
        });
        let response = world.send(&event("U", &body.to_string())).await;
        assert!(
            response.body.starts_with("{\"name\":\"Ünïcödé / 部門 🦀 \u{7f}\u{2028} \\\\ \\\" \\u0001\","),
            "{}",
            response.body
        );
        assert_eq!(world.unit_of("U").await["name"], name);
    })
    .await;
}
