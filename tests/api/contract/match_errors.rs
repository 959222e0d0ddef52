//! Row 8 of the contract: a body that does not match, in the words of Meteor's `check`.

use serde_json::json;

use crate::support::{TestApp, event, with_app};

/// Checks that a body is refused with this text after `Match error: `.
pub async fn assert_match_error(app: &TestApp, body: &str, what: &str) {
    let expected = json!({ "success": false, "error": format!("Match error: {what}") });
    let response = app.send(&event("U", body)).await;
    assert_eq!((response.status_code, response.body), (400, expected.to_string()), "{body}");
}

#[tokio::test]
async fn unit_data_that_does_not_match_is_400() {
    with_app(async |app| {
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
            // Keys are checked in the order of the body, then missing keys in the order of the pattern.
            (r#"{"visibility":1,"name":2}"#, "Expected string, got number in field visibility"),
            (r#"{"name":2,"x":1}"#, "Expected string, got number in field name"),
            (r#"{"x":1,"name":2}"#, "Unknown key in field x"),
            // The last value of a duplicate key counts, at the position of the first.
            (r#"{"name":1,"visibility":2,"name":"a"}"#, "Expected string, got number in field visibility"),
            (r#"{"name":"a","visibility":2,"name":1}"#, "Expected string, got number in field name"),
        ] {
            let body = format!(r#"{{"unitMonitors":1,"unitData":{unit_data},"unitDepartments":1}}"#);
            assert_match_error(app, &body, what).await;
        }
        for whole in ["[]", "[1,2]", "null", "5", "true", r#""unitData""#, "{}"] {
            assert_match_error(app, whole, "Expected object, got undefined").await;
        }
    })
    .await;
}

#[tokio::test]
async fn arrays_that_do_not_match_are_400() {
    let unit_data = r#"{"name":"a","visibility":"public"}"#;
    with_app(async |app| {
        let missing = format!(r#"{{"unitData":{unit_data}}}"#);
        assert_match_error(app, &missing, "Expected array, got undefined").await;
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
            assert_match_error(app, &of_monitors, &what.replace("FIRST", "monitorId")).await;
            let of_departments = format!(
                r#"{{"unitDepartments":{},"unitData":{unit_data},"unitMonitors":[]}}"#,
                value.replace("FIRST", "departmentId")
            );
            assert_match_error(app, &of_departments, &what.replace("FIRST", "departmentId")).await;
        }
        for (monitors, what) in [
            (r#"[{"monitorId":"a"}]"#, "Missing key 'username' in field [0]"),
            (r#"[{"username":"a"}]"#, "Missing key 'monitorId' in field [0]"),
            (r#"[{"username":1,"monitorId":2}]"#, "Expected string, got number in field [0].username"),
            (r#"[{"monitorId":"a","username":null}]"#, "Expected string, got null in field [0].username"),
        ] {
            let body = format!(r#"{{"unitData":{unit_data},"unitMonitors":{monitors}}}"#);
            assert_match_error(app, &body, what).await;
        }
    })
    .await;
}
