//! API Gateway's matched route says which path was called. These tests try both kinds of API, both payload formats, every kind of
//! route, and everything that may stand before the path.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use testing::events::set_path;

use crate::support::responses::{METHOD_NOT_ALLOWED, UNKNOWN_ENDPOINT};
use crate::support::{assert_refused, assert_success, body, samples, with_app};

const PREFIX: &str = "/api/v1/livechat/units/";

#[derive(Clone, Copy, PartialEq, Debug)]
enum Format {
    /// An HTTP API with payload format 2.0.
    Http2,
    /// An HTTP API with payload format 1.0.
    Http1,
    /// A REST API.
    Rest,
}

/// A way in which an operator can put the function behind API Gateway.
#[derive(Clone, Copy, Debug)]
struct Gateway {
    format: Format,
    stage: &'static str,
    /// The path of the route.
    route: &'static str,
    /// What the path in the event begins with: a stage, a base path or a mapping key.
    before: &'static str,
}

impl Gateway {
    /// All ways that docs/contract.md promises.
    fn all() -> Vec<Self> {
        const ROUTES: [&str; 8] = [
            "/api/v1/livechat/units/{id}",
            "/api/v1/livechat/units/{unit}",
            "/rocketchat/api/v1/livechat/units/{id}",
            "/{proxy+}",
            "/api/{proxy+}",
            "/api/v1/livechat/{rest+}",
            "/api/v1/livechat/units/{id+}",
            "$default",
        ];
        let mut all = Vec::new();
        for format in [Format::Http2, Format::Http1, Format::Rest] {
            for route in ROUTES {
                for (stage, before) in [
                    ("$default", ""),
                    ("$default", "/chat"),
                    ("prod", ""),
                    ("prod", "/prod"),
                    ("prod", "/a/b"),
                    ("api", "/api"),
                ] {
                    // REST APIs have neither a default route nor a stage of that name, and their paths have no stage.
                    // Behind a default route only the stage may stand before the path.
                    let is_possible = match (format, route) {
                        (Format::Rest, "$default") => false,
                        (Format::Rest, _) => stage != "$default",
                        (_, "$default") => before.is_empty() || before.strip_prefix('/') == Some(stage),
                        _ => true,
                    };
                    if is_possible {
                        all.push(Self { format, stage, route, before });
                    }
                }
            }
        }
        all
    }

    /// The event for a request of this path, which is percent-encoded, behind this route.
    fn event(self, method: &str, called: &str) -> Value {
        let [http, rest] = samples();
        let mut event = if self.format == Format::Http2 { http } else { rest };
        let called = match self.route.strip_suffix("/api/v1/livechat/units/{id}") {
            Some(literal) => format!("{literal}{called}"),
            None => called.to_owned(),
        };
        let path = format!("{}{called}", self.before);
        event["pathParameters"] = self.parameters(&called);
        event["requestContext"]["stage"] = self.stage.into();
        event["body"] = body(&[], &[]).into();
        match self.format {
            Format::Http2 => {
                set_path(&mut event, &path);
                let key =
                    if self.route == "$default" { self.route.into() } else { format!("ANY {}", self.route) };
                event["routeKey"] = key.into();
                event["requestContext"]["http"]["method"] = method.into();
            }
            Format::Http1 | Format::Rest => {
                event["path"] = path.into();
                event["resource"] = self.route.into();
                event["httpMethod"] = method.into();
                if self.format == Format::Http1 {
                    event["version"] = "1.0".into();
                }
            }
        }
        event
    }

    /// The path parameters that API Gateway gives for this path.
    fn parameters(self, called: &str) -> Value {
        let Some((literal, name)) = self.route.strip_suffix('}').and_then(|route| route.split_once('{'))
        else {
            return Value::Null;
        };
        let rest = called.strip_prefix(literal).expect("the route matches the path");
        // A parameter that is not greedy holds one segment.
        let value = if name.ends_with('+') { rest } else { rest.trim_end_matches('/') };
        let decoded = percent_encoding::percent_decode_str(value).decode_utf8().expect("UTF-8");
        let value = if self.format == Format::Rest { value } else { &*decoded };
        json!({ name.trim_end_matches('+'): value })
    }

    /// Whether the route also matches paths that are not the endpoint's.
    fn matches_other_paths(self) -> bool {
        matches!(self.route, "/{proxy+}" | "/api/{proxy+}" | "/api/v1/livechat/{rest+}" | "$default")
    }
}

#[tokio::test]
async fn the_unit_is_found_behind_every_route() {
    with_app(async |app| {
        for id in ["U", "a b", "a/b", "a/", "%2F", "Ünit 部門", "prod", "api"] {
            app.put_unit(id, &[], &[]).await;
        }
        for gateway in Gateway::all() {
            for id in ["U", "a b", "a/b", "a/", "%2F", "Ünit 部門", "prod", "api"] {
                let called = format!("{PREFIX}{}", utf8_percent_encode(id, NON_ALPHANUMERIC));
                let response = app.send_unchecked(&gateway.event("POST", &called)).await;
                assert_eq!(response.status_code, 200, "{id:?} behind {gateway:?}: {}", response.body);
                assert_success(&response, id, 0, 0);
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_trailing_slash_is_404_behind_every_route() {
    with_app(async |app| {
        app.put_unit("U", &[], &[]).await;
        for gateway in Gateway::all() {
            println!("{gateway:?}");
            let mut event = gateway.event("POST", &format!("{PREFIX}U/"));
            assert_refused(&app.send(&event).await, 404, UNKNOWN_ENDPOINT);
            // A greedy parameter may lack the slash that the path has.
            if let Some(Value::Object(parameters)) = event.get_mut("pathParameters") {
                for value in parameters.values_mut() {
                    *value = value.as_str().expect("text").trim_end_matches('/').into();
                }
            }
            assert_refused(&app.send(&event).await, 404, UNKNOWN_ENDPOINT);
        }
    })
    .await;
}

#[tokio::test]
async fn another_path_is_404_behind_every_route() {
    with_app(async |app| {
        app.put_unit("U", &[], &[]).await;
        for gateway in Gateway::all() {
            println!("{gateway:?}");
            if gateway.matches_other_paths() {
                for other in ["departments/U", "units/U/V", "units/", "Units/U", "units/U/departments"] {
                    let event = gateway.event("POST", &format!("/api/v1/livechat/{other}"));
                    assert_refused(&app.send(&event).await, 404, UNKNOWN_ENDPOINT);
                }
            }
            if gateway.route == "/{proxy+}" {
                // The parameter counts, and it says that another path was called.
                let event = gateway.event("POST", &format!("/other{PREFIX}U"));
                assert_refused(&app.send(&event).await, 404, UNKNOWN_ENDPOINT);
            }
        }
        // The operator has sent another route to this function.
        for route in ["/api/v1/livechat/departments/{id}", "/api/v1/livechat/units/{id}/departments", "/{id}"]
        {
            for format in [Format::Http2, Format::Http1, Format::Rest] {
                let gateway =
                    Gateway { format, stage: "prod", route: "/api/v1/livechat/units/{id}", before: "" };
                let mut event = gateway.event("POST", &format!("{PREFIX}U"));
                let called = route.replace("{id}", "U");
                if format == Format::Http2 {
                    set_path(&mut event, &called);
                    event["routeKey"] = format!("POST {route}").into();
                } else {
                    event["path"] = called.into();
                    event["resource"] = route.into();
                }
                assert_refused(&app.send(&event).await, 404, UNKNOWN_ENDPOINT);
            }
        }
    })
    .await;
}

#[tokio::test]
async fn another_method_is_405_behind_every_route() {
    with_app(async |app| {
        for gateway in Gateway::all() {
            let response = app.send(&gateway.event("GET", &format!("{PREFIX}U"))).await;
            assert_refused(&response, 405, METHOD_NOT_ALLOWED);
            assert_eq!(response.headers["allow"], "POST", "{gateway:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_prefix_that_is_not_the_stage_is_404_behind_a_default_route() {
    with_app(async |app| {
        app.put_unit("U", &[], &[]).await;
        for format in [Format::Http2, Format::Http1] {
            for (stage, before) in
                [("$default", "/chat"), ("prod", "/chat"), ("prod", "/prod/prod"), ("prod", "/prod2")]
            {
                let gateway = Gateway { format, stage, route: "$default", before };
                let event = gateway.event("POST", &format!("{PREFIX}U"));
                assert_refused(&app.send(&event).await, 404, UNKNOWN_ENDPOINT);
            }
        }
    })
    .await;
}
