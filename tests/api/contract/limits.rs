//! Rows 6 and 11 of the contract: the largest body, the most changes in one update, the largest unit.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::json;

use crate::support::responses::{BODY_TOO_LARGE, NOT_LOGGED_IN, UNIT_TOO_LARGE};
use crate::support::{
    TestApp, as_strs, assert_refused, assert_success, body, department, event, ids, set, with_app,
};

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

async fn assert_too_many(app: &TestApp, monitors: &[&str], departments: &[&str], changes: usize) {
    let expected = json!({
        "success": false,
        "error": format!("The update would change {changes} items, and one transaction holds 100 [error-too-many-changes]"),
        "errorType": "error-too-many-changes",
        "details": { "changes": changes, "limit": 100 },
    });
    assert_refused(&app.update("U", monitors, departments).await, 400, &expected.to_string());
}

#[tokio::test]
async fn a_hundred_changes_fit_and_one_more_is_400() {
    with_app(async |app| {
        let departments = ids("d", 101);
        let departments = as_strs(&departments);
        app.put_departments(&departments).await;
        app.put_unit("U", &[], &[]).await;
        // The unit itself is one change.
        assert_success(&app.update("U", &[], &departments[..98]).await, "U", 0, 98);
        assert_success(&app.update("U", &[], &[]).await, "U", 0, 0);
        assert_success(&app.update("U", &[], &departments[..99]).await, "U", 0, 99);
        assert_success(&app.update("U", &[], &[]).await, "U", 0, 0);
        assert_too_many(app, &[], &departments[..100], 101).await;
        assert_too_many(app, &[], &departments, 102).await;
    })
    .await;
}

#[tokio::test]
async fn monitors_and_losing_units_count_as_changes() {
    with_app(async |app| {
        let (monitors, departments) = (ids("m", 50), ids("d", 50));
        let (monitors, departments) = (as_strs(&monitors), as_strs(&departments));
        app.put_monitors(&monitors).await;
        app.put_unit("U", &[], &[]).await;
        app.put_unit("V", &[], &departments[..25]).await;
        app.put_unit("W", &[], &departments[25..]).await;
        // Changes: the unit, 50 monitors, 48 departments and two losing units.
        assert_too_many(app, &monitors, &departments[1..49], 101).await;
        assert_success(&app.update("U", &monitors[1..], &departments[1..49]).await, "U", 49, 48);
        // A member that leaves is a change as well.
        app.put_monitors(&["n"]).await;
        assert_too_many(app, &["n"], &["d00000", "d00049"], 1 + 49 + 1 + 48 + 2 + 2).await;
    })
    .await;
}

#[tokio::test]
async fn members_that_stay_do_not_count() {
    with_app(async |app| {
        let (monitors, departments) = (ids("m", 300), ids("d", 700));
        let (monitors, departments) = (as_strs(&monitors), as_strs(&departments));
        app.put_unit("U", &monitors, &departments).await;
        assert_success(&app.update("U", &monitors[1..], &departments[1..]).await, "U", 299, 699);
        assert_success(&app.update("U", &monitors, &departments).await, "U", 300, 700);
    })
    .await;
}

#[tokio::test]
async fn deleted_departments_do_not_count() {
    with_app(async |app| {
        let departments = ids("d", 110);
        let departments = as_strs(&departments);
        app.put_unit("U", &[], &departments).await;
        for gone in &departments[..11] {
            app.delete_item(&format!("DEPARTMENT#{gone}"), "DEPARTMENT").await;
        }
        // 99 departments are left. With the unit that is 100 changes.
        assert_success(&app.update("U", &[], &[]).await, "U", 0, 0);
    })
    .await;
}

#[tokio::test]
async fn only_items_to_be_written_count() {
    with_app(async |app| {
        let (own, others) = (ids("d", 120), ids("e", 60));
        let (own, others) = (as_strs(&own), as_strs(&others));
        app.put_unit("U", &[], &own).await;
        // Ten departments do not exist, ten belong to another unit now, and a hundred would leave.
        for gone in &own[..10] {
            app.delete_item(&format!("DEPARTMENT#{gone}"), "DEPARTMENT").await;
        }
        app.put_unit("V", &[], &own[10..20]).await;
        assert_too_many(app, &[], &[], 101).await;
        // Sixty departments belong to a unit that does not exist, so no unit loses them.
        for id in &others {
            app.put_item(department(id, Some("gone"))).await;
        }
        let mut listed = own[60..].to_vec();
        listed.extend(&others);
        assert_too_many(app, &[], &listed, 1 + 40 + 60).await;
        assert_success(&app.update("U", &[], &listed[..119]).await, "U", 0, 119);
        let unit = set(&app.stored_unit("U").await, "departmentIds");
        assert_eq!(unit, listed[..119].iter().map(|id| (*id).to_owned()).collect::<BTreeSet<_>>());
    })
    .await;
}

#[tokio::test]
async fn a_deleted_former_unit_does_not_count() {
    with_app(async |app| {
        let departments = ids("d", 99);
        app.put_unit("U", &[], &[]).await;
        for id in &departments {
            app.put_item(department(id, Some("gone"))).await;
        }
        assert_success(&app.update("U", &[], &as_strs(&departments)).await, "U", 0, 99);
    })
    .await;
}

#[tokio::test]
async fn a_former_unit_that_lists_none_of_the_departments_does_not_count() {
    with_app(async |app| {
        let departments = ids("d", 99);
        app.put_unit("U", &[], &[]).await;
        app.put_unit("V", &[], &["other"]).await;
        for id in &departments {
            app.put_item(department(id, Some("V"))).await;
        }
        assert_success(&app.update("U", &[], &as_strs(&departments)).await, "U", 0, 99);
    })
    .await;
}

#[tokio::test]
async fn a_losing_unit_counts_once() {
    with_app(async |app| {
        let departments = ids("a-department-with-a-rather-long-id-", 98);
        app.put_unit("U", &[], &[]).await;
        app.put_unit("V", &[], &as_strs(&departments)).await;
        assert_success(&app.update("U", &[], &as_strs(&departments)).await, "U", 0, 98);
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
        // The function refuses the largest names itself; of the others only DynamoDB knows that they are too large.
        for bytes in [500_000, 409_600, 409_590, 409_500] {
            assert_refused(&app.send(&event("U", &body_with_name(bytes))).await, 400, UNIT_TOO_LARGE);
        }
        let response = app.send(&event("U", &body_with_name(409_000))).await;
        assert_eq!(response.status_code, 200, "{}", response.body);
        // Attributes that the function does not know count as well.
        app.put_unit("U", &[], &[]).await;
        app.change_item("UNIT#U", "UNIT", json!({ "notes": "x".repeat(300_000) })).await;
        assert_refused(&app.send(&event("U", &body_with_name(120_000))).await, 400, UNIT_TOO_LARGE);
        // The number of changes is checked before the size.
        let departments = ids("d", 100);
        app.put_departments(&as_strs(&departments)).await;
        let both = body(&[], &as_strs(&departments)).replace("new name", &"x".repeat(500_000));
        let response = app.send(&event("U", &both)).await;
        assert!(response.body.contains("error-too-many-changes"), "{}", response.body);
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
