//! `docs/openapi.yaml` describes the endpoint as it is: its answers, its requests and its examples.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use livechat_units::Response;
use serde_json::{Value, json};
use unitctl::sample;

use super::samples::read;
use super::unavailable::busy_and_unavailable;
use crate::support::openapi::{
    DOCUMENT, STATUS_OF_API_GATEWAY, STATUSES, assert_documented, documented, operation, resolved, validator,
};
use crate::support::{assert_refused, event, with_app, with_sample_app};

#[tokio::test]
async fn every_documented_answer_is_given() {
    let mut given = BTreeSet::new();
    let mut give = |response: &Response| given.insert((response.status_code, assert_documented(response)));

    with_sample_app(async |app| {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("events");
        for file in fs::read_dir(folder).expect("there are events") {
            let path = file.expect("it is readable").path();
            if !path.ends_with("env.json") {
                give(&app.send_unchecked(&read(&path)).await);
            }
        }
        give(&app.send_unchecked(&json!({ "headers": "not an object" })).await);
        let name = "x".repeat(400 * 1024 + 1);
        let body = json!({
            "unitData": { "name": name, "visibility": "private" }, "unitMonitors": [], "unitDepartments": [],
        });
        give(&app.send_unchecked(&event(sample::UNIT, &body.to_string())).await);
        give(&app.send_unchecked(&event(sample::UNIT, &" ".repeat(1024 * 1024 + 1))).await);
        // With the unit's id the department's item would be too large.
        let unit = "U".repeat(400);
        app.put_unit(&unit, &[], &[]).await;
        app.put_departments(&["d"]).await;
        app.change_item("DEPARTMENT#d", "DEPARTMENT", json!({ "notes": "x".repeat(409_100) })).await;
        give(&app.update(&unit, &[], &["d"]).await);
    })
    .await;
    for response in busy_and_unavailable().await {
        give(&response);
    }

    let documented =
        STATUSES.iter().flat_map(|(status, of)| of.bodies.keys().map(|name| (*status, name.as_str())));
    assert_eq!(given, documented.filter(|(status, _)| *status != STATUS_OF_API_GATEWAY).collect());
}

#[tokio::test]
async fn an_undocumented_response_is_detected() {
    with_app(async |app| {
        let good = app.update("none", &[], &[]).await;
        assert_eq!(documented(&good), Ok("UnitNotFound"));
        let assert_detected = |change: &dyn Fn(&mut Response)| {
            let mut response = good.clone();
            change(&mut response);
            documented(&response).expect_err("the change is detected")
        };
        assert_detected(&|response| response.status_code = 404);
        assert_detected(&|response| response.status_code = 418);
        assert_detected(&|response| response.body = response.body.replace("Unit not", "Unit was not"));
        assert_detected(&|response| response.body = response.body.replace('}', r#","more":1}"#));
        assert_detected(&|response| response.body = response.body.replace(r#""success":false,"#, ""));
        assert_detected(&|response| response.body.truncate(5));
        assert_detected(&|response| _ = response.headers.remove("pragma"));
        assert_detected(&|response| _ = response.headers.insert("pragma", "cache"));
        assert_detected(&|response| _ = response.headers.insert("allow", "POST"));
        assert_detected(&|response| _ = response.headers.insert("content-type", "text/plain"));
    })
    .await;
}

#[test]
fn the_examples_match_their_schemas() {
    for (status, at) in operation()["responses"].as_object().expect("there are responses") {
        let status = &STATUSES[&status.parse::<u16>().expect("a status")];
        let examples = resolved(at)["content"]["application/json"]["examples"].as_object().expect("examples");
        let shown: BTreeSet<&str> = examples
            .values()
            .map(|example| status.schema_of(&example["value"]).expect("it is valid"))
            .collect();
        assert_eq!(shown, status.bodies.keys().map(String::as_str).collect(), "each body has an example");
    }
    let content = &operation()["requestBody"]["content"]["application/json"];
    let request = validator(&content["schema"]);
    for example in content["examples"].as_object().expect("examples").values() {
        assert!(request.is_valid(&example["value"]), "{example}");
    }

    // The example of Rocket.Chat's documentation, byte for byte.
    assert_eq!(content["examples"]["documented"]["value"].to_string(), sample::BODY);
    let answer = &resolved(&operation()["responses"]["200"])["content"]["application/json"]["examples"];
    let readme = include_str!("../../../README.md");
    assert!(readme.contains(&answer["documented"]["value"].to_string()));
    assert_eq!(operation()["parameters"][0]["example"], sample::UNIT);
}

/// The endpoint accepts exactly the bodies that the request's schema accepts.
#[tokio::test]
async fn the_schema_of_a_request_accepts_what_the_endpoint_accepts() {
    let schema = validator(&operation()["requestBody"]["content"]["application/json"]["schema"]);
    let good: Value = serde_json::from_str(sample::BODY).expect("it is JSON");
    let changes = [
        (
            "/unitData/name",
            vec![json!(" x"), json!("\u{feff}"), json!("\u{1c}"), json!("\u{85}\u{3000} \n"), json!("")],
        ),
        ("/unitData/visibility", vec![json!("public"), json!("PUBLIC"), json!(null)]),
        (
            "/unitData",
            vec![
                json!({}),
                json!([]),
                json!(null),
                json!({ "name": "x", "visibility": "public", "type": "u" }),
            ],
        ),
        (
            "/unitMonitors",
            vec![json!([]), json!(null), json!({}), json!(["x"]), json!([{ "monitorId": "x" }])],
        ),
        ("/unitMonitors/0/monitorId", vec![json!(""), json!("x".repeat(600)), json!(5)]),
        ("/unitMonitors/0/username", vec![json!(""), json!("another"), json!(true)]),
        ("/unitDepartments", vec![json!([]), json!("x"), json!([[]]), json!([{ "id": "x" }])]),
        ("/unitDepartments/0/departmentId", vec![json!(""), json!("x".repeat(513)), json!({})]),
    ];
    with_sample_app(async |app| {
        for (pointer, values) in changes {
            for value in values {
                let mut body = good.clone();
                *body.pointer_mut(pointer).expect("it is there") = value;
                let response = app.send_unchecked(&event(sample::UNIT, &body.to_string())).await;
                assert_eq!(response.status_code == 200, schema.is_valid(&body), "{body} got {response:?}");
            }
        }
        for (kind, value) in
            [("enabled", json!(true)), ("email", json!("x")), ("description", json!(5)), ("more", json!(1))]
        {
            let mut body = good.clone();
            body["unitData"][kind] = value;
            let response = app.send_unchecked(&event(sample::UNIT, &body.to_string())).await;
            assert_eq!(response.status_code == 200, schema.is_valid(&body), "{body} got {response:?}");
        }
        for whole in ["[]", "null", "5", "{}"] {
            assert!(!schema.is_valid(&serde_json::from_str(whole).expect("it is JSON")));
            assert_refused(
                &app.send_unchecked(&event(sample::UNIT, whole)).await,
                400,
                r#"{"success":false,"error":"Match error: Expected object, got undefined"}"#,
            );
        }
    })
    .await;
}

/// Every status and error type of the code is documented, and the code has every documented one.
#[test]
fn statuses_and_error_types_are_those_of_the_code() {
    let source = include_str!("../../../src/error.rs");
    let rows = source.split("Row::new(").skip(1);
    let statuses = rows.map(|row| row.trim_start()[..3].parse::<u16>().expect("a status"));
    let statuses: BTreeSet<u16> = statuses.chain([200, STATUS_OF_API_GATEWAY]).collect();
    assert_eq!(statuses, STATUSES.keys().copied().collect());

    let codes = source.split('"').skip(1).step_by(2).filter(|literal| literal.starts_with("error-"));
    let schemas = DOCUMENT["components"]["schemas"].as_object().expect("there are schemas");
    let documented =
        schemas.values().filter_map(|schema| schema.pointer("/properties/errorType/const")?.as_str());
    assert_eq!(codes.collect::<BTreeSet<_>>(), documented.collect());
}
