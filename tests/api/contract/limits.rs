//! Rows 6 and 11 of the contract: the largest body, the largest unit and the largest department.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::json;

use crate::support::responses::{BODY_TOO_LARGE, NOT_LOGGED_IN, UNIT_TOO_LARGE};
use crate::support::{as_strs, assert_refused, assert_success, body, event, ids, with_app};

/// A good body of exactly this many bytes.
fn padded(bytes: usize) -> String {
    let body = body(&[], &[]);
    format!("{body}{}", " ".repeat(bytes - body.len()))
}

#[tokio::test]
async fn a_body_over_one_mebibyte_is_413() {
    const MEBIBYTE: usize = 1024 * 1024;
    with_app(async |app| {
        app.put_unit("U", &[], &[]).await;
        for size in MEBIBYTE - 2..=MEBIBYTE + 2 {
            for base64 in [false, true] {
                let mut event = event("U", &padded(size));
                if base64 {
                    event["body"] = BASE64.encode(padded(size)).into();
                    event["isBase64Encoded"] = true.into();
                }
                let response = app.send(&event).await;
                if size <= MEBIBYTE {
                    assert_success(&response, "U", 0, 0);
                } else {
                    assert_refused(&response, 413, BODY_TOO_LARGE);
                }
            }
        }
        // The size is checked before the JSON, and after the caller.
        let mut event = event("U", &"[".repeat(MEBIBYTE + 1));
        assert_refused(&app.send(&event).await, 413, BODY_TOO_LARGE);
        event["headers"] = json!({});
        assert_refused(&app.send(&event).await, 401, NOT_LOGGED_IN);
    })
    .await;
}

#[tokio::test]
async fn a_unit_over_400_kb_is_400() {
    with_app(async |app| {
        app.put_unit("U", &[], &[]).await;
        let body_with_name = |bytes: usize| {
            let name = "x".repeat(bytes);
            body(&[], &[]).replace("new name", &name)
        };
        // The function refuses the largest names itself. DynamoDB refuses those that are too large together with attributes that
        // the function does not read.
        for bytes in [500_000, 409_600, 409_590, 409_500] {
            assert_refused(&app.send(&event("U", &body_with_name(bytes))).await, 400, UNIT_TOO_LARGE);
        }
        let response = app.send(&event("U", &body_with_name(409_000))).await;
        assert_eq!(response.status_code, 200, "{}", response.body);
        // Attributes that the function does not know count as well.
        app.put_unit("U", &[], &[]).await;
        app.change_item("UNIT#U", "UNIT", json!({ "notes": "x".repeat(300_000) })).await;
        assert_refused(&app.send(&event("U", &body_with_name(120_000))).await, 400, UNIT_TOO_LARGE);
        // A large update is refused as a whole, before its first transaction.
        let departments = ids("d", 150);
        app.put_departments(&as_strs(&departments)).await;
        let large = body(&[], &as_strs(&departments)).replace("new name", &"x".repeat(500_000));
        assert_refused(&app.send(&event("U", &large)).await, 400, UNIT_TOO_LARGE);
    })
    .await;
}

#[tokio::test]
async fn a_department_over_400_kb_is_400() {
    const TOO_LARGE: &str = r#"{"success":false,"error":"The department d would be larger than one item can be, 409600 bytes [error-department-too-large]","errorType":"error-department-too-large"}"#;
    with_app(async |app| {
        // The unit's id becomes a part of the department's item, and then the item is too large.
        let unit = "U".repeat(400);
        app.put_unit(&unit, &[], &[]).await;
        app.put_departments(&["d", "e"]).await;
        app.change_item("DEPARTMENT#d", "DEPARTMENT", json!({ "notes": "x".repeat(409_100) })).await;
        assert_refused(&app.update(&unit, &[], &["d", "e"]).await, 400, TOO_LARGE);
        assert_success(&app.update(&unit, &[], &["e"]).await, &unit, 0, 1);
    })
    .await;
}

#[tokio::test]
async fn thousands_of_listed_ids_are_read_in_batches() {
    with_app(async |app| {
        app.put_unit("U", &[], &[]).await;
        let unknown = ids("x", 5_000);
        let response = app.update("U", &as_strs(&unknown), &[]).await;
        assert_success(&response, "U", 0, 0);
        let response = app.update("U", &[], &as_strs(&unknown)).await;
        assert_eq!(response.status_code, 400);
        assert!(response.body.contains("x00000, x00001") && response.body.contains("x04999"));
    })
    .await;
}
