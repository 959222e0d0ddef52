//! Rows 1 and 2 of the contract, and the unit's id: which path and method reach the endpoint, and which unit the path
//! names.

use livechat_units::Response;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use testing::events::set_path;

use crate::support::responses::{METHOD_NOT_ALLOWED, UNIT_NOT_FOUND, UNKNOWN_ENDPOINT};
use crate::support::{TestApp, assert_refused, assert_success, body, event, rest_event, samples, with_app};

#[tokio::test]
async fn any_other_path_is_404() {
    with_app(async |app| {
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
            event["routeKey"] = "$default".into();
            event.as_object_mut().expect("an object").remove("pathParameters");
            set_path(&mut event, path);
            assert_refused(&app.send(&event).await, 404, UNKNOWN_ENDPOINT);
        }
        // A path parameter does not turn another path into the endpoint.
        for path in ["/api/v1/livechat/units/U/departments", "/api/v1/livechat/units/U/", "/other/U"] {
            let mut event = event("U", "");
            set_path(&mut event, path);
            assert_refused(&app.send(&event).await, 404, UNKNOWN_ENDPOINT);
        }
    })
    .await;
}

#[tokio::test]
async fn any_method_but_post_is_405() {
    with_app(async |app| {
        for method in ["GET", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "post"] {
            let mut event = event("U", "");
            event["requestContext"]["http"]["method"] = method.into();
            event["headers"] = json!({});
            let response = app.send(&event).await;
            assert_refused(&response, 405, METHOD_NOT_ALLOWED);
            assert_eq!(response.headers["allow"], "POST");
        }
        let mut rest = rest_event("U", "/api/v1/livechat/units/U");
        rest["httpMethod"] = "GET".into();
        assert_refused(&app.send(&rest).await, 405, METHOD_NOT_ALLOWED);
    })
    .await;
}

#[tokio::test]
async fn the_stage_at_the_start_of_an_http_api_path_is_ignored() {
    with_app(async |app| {
        app.put_unit("U", &[], &[]).await;
        for (stage, path) in [
            ("prod", "/prod/api/v1/livechat/units/U"),
            ("api", "/api/api/v1/livechat/units/U"),
            // The path of a custom domain does not have the stage.
            ("prod", "/api/v1/livechat/units/U"),
        ] {
            let mut event = event("U", &body(&[], &[]));
            event["requestContext"]["stage"] = stage.into();
            set_path(&mut event, path);
            for route in ["$default", "POST /api/v1/livechat/units/{id}"] {
                event["routeKey"] = route.into();
                assert_success(&app.send(&event).await, "U", 0, 0);
            }
        }
        // The stage of a REST API is not in the path, whatever it is called.
        let mut rest = rest_event("U", "/api/v1/livechat/units/U");
        rest["requestContext"]["stage"] = "api".into();
        assert_success(&app.send(&rest).await, "U", 0, 0);
    })
    .await;
}

#[tokio::test]
async fn the_matched_route_decides_which_path_was_called() {
    const PATH: &str = "/api/v1/livechat/units/U";
    with_app(async |app| {
        app.put_unit("U", &[], &[]).await;
        // (the route, the path, its parameter and the parameter's value, whether it is the endpoint)
        let cases = [
            ("/api/v1/livechat/units/{id}", PATH, "id", "U", true),
            ("/api/v1/livechat/units/{unitId}", PATH, "unitId", "U", true),
            // The base path or mapping key of a custom domain leads the path.
            ("/api/v1/livechat/units/{id}", "/omnichannel/api/v1/livechat/units/U", "id", "U", true),
            ("/v2/api/v1/livechat/units/{id}", "/v2/api/v1/livechat/units/U", "id", "U", true),
            ("/api/v1/livechat/units/{id}", "/api/v1/livechat/units/U/", "id", "U", false),
            ("/{proxy+}", PATH, "proxy", "api/v1/livechat/units/U", true),
            ("/{proxy+}", "/omnichannel/api/v1/livechat/units/U", "proxy", "api/v1/livechat/units/U", true),
            ("/api/{proxy+}", PATH, "proxy", "v1/livechat/units/U", true),
            ("/{proxy+}", "/api/v1/livechat/units/U/", "proxy", "api/v1/livechat/units/U/", false),
            ("/{proxy+}", "/v2/api/v1/livechat/units/U", "proxy", "v2/api/v1/livechat/units/U", false),
            ("/other/{id}", "/other/U", "id", "U", false),
        ];
        for (route, path, name, value, is_endpoint) in cases {
            let mut http = event("U", &body(&[], &[]));
            http["routeKey"] = format!("ANY {route}").into();
            set_path(&mut http, path);
            let mut rest = rest_event("U", path);
            rest["resource"] = route.into();
            for event in [&mut http, &mut rest] {
                event["pathParameters"] = json!({ name: value });
                let response = app.send(event).await;
                if is_endpoint {
                    assert_success(&response, "U", 0, 0);
                } else {
                    assert_refused(&response, 404, UNKNOWN_ENDPOINT);
                }
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_unit_id_is_percent_decoded_exactly_once() {
    // (the id, the last part of the raw path, the parameter of an HTTP API, the parameter of a REST API)
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
    with_app(async |app| {
        for (id, sent, decoded, undecoded) in ids {
            app.put_unit(id, &[], &[]).await;
            let path = format!("/api/v1/livechat/units/{sent}");
            let mut http = event("", &body(&[], &[]));
            http["pathParameters"]["id"] = decoded.into();
            set_path(&mut http, &path);
            assert_success(&app.send(&http).await, id, 0, 0);
            // The path of an HTTP API may be decoded, with spaces or question marks in it.
            set_path(&mut http, &format!("/api/v1/livechat/units/{decoded}"));
            assert_success(&app.send(&http).await, id, 0, 0);
            // Without a path parameter the id comes from the path.
            http.as_object_mut().expect("an object").remove("pathParameters");
            set_path(&mut http, &path);
            assert_success(&app.send(&http).await, id, 0, 0);

            let mut rest = rest_event(undecoded, &path);
            assert_success(&app.send(&rest).await, id, 0, 0);
            rest["pathParameters"] = Value::Null;
            assert_success(&app.send(&rest).await, id, 0, 0);
        }
    })
    .await;
}

#[tokio::test]
async fn a_unit_id_over_512_bytes_is_not_found() {
    with_app(async |app| {
        let longest = "é".repeat(256);
        app.put_unit(&longest, &[], &[]).await;
        assert_success(&app.update(&longest, &[], &[]).await, &longest, 0, 0);
        for id in [longest + "x", "x".repeat(513), "x".repeat(2000)] {
            assert_refused(&app.update(&id, &[], &[]).await, 400, UNIT_NOT_FOUND);
            // The body is checked before the unit.
            let broken = event(&id, "{}");
            let expected = r#"{"success":false,"error":"Match error: Expected object, got undefined"}"#;
            assert_refused(&app.send(&broken).await, 400, expected);
        }
    })
    .await;
}

/// Sends an id in both kinds of event: an HTTP API decodes the path parameter, a REST API does not.
async fn send_id(app: &TestApp, sent: &str, decoded: &str) -> [Response; 2] {
    let [mut http, mut rest] = samples();
    let path = format!("/api/v1/livechat/units/{sent}");
    let body = body(&[], &[]);
    set_path(&mut http, &path);
    http["pathParameters"] = json!({ "id": decoded });
    rest["path"] = path.into();
    rest["pathParameters"] = json!({ "id": sent });
    (http["body"], rest["body"]) = (body.clone().into(), body.into());
    [app.send(&http).await, app.send(&rest).await]
}

#[tokio::test]
async fn a_hostile_unit_id_is_only_an_id() {
    // (the id as sent, the same id decoded once)
    let ids = [
        ("a%2Fb", "a/b"),
        ("%2F", "/"),
        ("%2F%2F", "//"),
        ("..%2F..%2Fetc%2Fpasswd", "../../etc/passwd"),
        ("%2E%2E", ".."),
        (".", "."),
        ("UNIT%23x", "UNIT#x"),
        ("a%23b", "a#b"),
        ("%00", "\0"),
        ("a%00b", "a\0b"),
        ("%0D%0Ax-a:%20b", "\r\nx-a: b"),
        ("%252F", "%2F"),
        ("%FF%FE", "%FF%FE"),
        ("%C3%28", "%C3%28"),
        ("%ED%A0%80", "%ED%A0%80"),
        ("%", "%"),
        ("%2", "%2"),
        ("%GG", "%GG"),
        ("%F0%9F%A6%80", "🦀"),
        ("a%20%20b+c", "a  b+c"),
        ("%E2%80%AE", "\u{202e}"),
        ("__proto__", "__proto__"),
        ("%7B%22S%22%3A%22x%22%7D", "{\"S\":\"x\"}"),
    ];
    with_app(async |app| {
        for (sent, decoded) in ids {
            for response in send_id(app, sent, decoded).await {
                assert_refused(&response, 400, UNIT_NOT_FOUND);
            }
            app.put_unit(decoded, &[], &[]).await;
            for response in send_id(app, sent, decoded).await {
                assert_success(&response, decoded, 0, 0);
            }
        }
        for (text, length) in
            [("x", 2000), ("x", 513), ("é", 257), ("\0", 513), ("/", 1000), ("🦀", 2000), ("x", 100_000)]
        {
            let decoded = text.repeat(length);
            let sent = utf8_percent_encode(&decoded, NON_ALPHANUMERIC).to_string();
            for response in send_id(app, &sent, &decoded).await {
                assert_refused(&response, 400, UNIT_NOT_FOUND);
            }
        }
        let fits = "%00".repeat(512);
        for response in send_id(app, &fits, &"\0".repeat(512)).await {
            assert_refused(&response, 400, UNIT_NOT_FOUND);
        }
    })
    .await;
}
