//! Updates of any size: 100 changes fit into one transaction, and more changes take several.

use std::collections::BTreeSet;

use serde_json::json;

use crate::support::{TestApp, as_strs, assert_success, body, department, event_of, ids, set, with_app};

/// Sends an update, and checks that it is stored in this many transactions. Each transaction adds one to the unit's version.
async fn assert_stored_in(
    app: &TestApp,
    transactions: u64,
    unit: &str,
    monitors: &[&str],
    departments: &[&str],
) {
    let version = async || app.stored_unit(unit).await["version"].as_u64().expect("a count");
    let before = version().await;
    assert_success(&app.update(unit, monitors, departments).await, unit, monitors.len(), departments.len());
    assert_eq!(version().await, before + transactions);
}

#[tokio::test]
async fn a_hundred_changes_are_one_transaction() {
    with_app(async |app| {
        let departments = ids("d", 101);
        let departments = as_strs(&departments);
        app.put_departments(&departments).await;
        app.put_unit("U", &[], &[]).await;
        // The unit itself is one change.
        for (count, transactions) in [(98, 1), (99, 1), (100, 2), (101, 2)] {
            assert_stored_in(app, transactions, "U", &[], &departments[..count]).await;
            assert_stored_in(app, transactions, "U", &[], &[]).await;
        }
    })
    .await;
}

#[tokio::test]
async fn monitors_and_losing_units_count_as_changes() {
    with_app(async |app| {
        let monitors = ids("m", 50);
        let monitors = as_strs(&monitors);
        app.put_monitors(&monitors).await;
        // Changes: the unit, the monitors, 48 departments and two losing units.
        for (unit, count, transactions) in [("U", 49, 1), ("V", 50, 2)] {
            let departments = ids(&format!("{unit}-"), 50);
            let departments = as_strs(&departments);
            app.put_unit(unit, &[], &[]).await;
            app.put_unit(&format!("{unit}1"), &[], &departments[..25]).await;
            app.put_unit(&format!("{unit}2"), &[], &departments[25..]).await;
            assert_stored_in(app, transactions, unit, &monitors[..count], &departments[1..49]).await;
        }
    })
    .await;
}

#[tokio::test]
async fn members_that_stay_do_not_count() {
    with_app(async |app| {
        let (monitors, departments) = (ids("m", 300), ids("d", 700));
        let (monitors, departments) = (as_strs(&monitors), as_strs(&departments));
        app.put_unit("U", &monitors, &departments).await;
        assert_stored_in(app, 1, "U", &monitors[1..], &departments[1..]).await;
        assert_stored_in(app, 1, "U", &monitors, &departments).await;
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
        assert_stored_in(app, 1, "U", &[], &[]).await;
    })
    .await;
}

#[tokio::test]
async fn wrong_lists_of_many_departments_are_corrected() {
    with_app(async |app| {
        let (own, others) = (ids("d", 120), ids("e", 60));
        let (own, others) = (as_strs(&own), as_strs(&others));
        app.put_unit("U", &[], &own).await;
        // Ten departments do not exist, and ten belong to another unit now.
        for gone in &own[..10] {
            app.delete_item(&format!("DEPARTMENT#{gone}"), "DEPARTMENT").await;
        }
        app.put_unit("V", &[], &own[10..20]).await;
        // Sixty departments belong to a unit that does not exist.
        for id in &others {
            app.put_item(department(id, Some("gone"))).await;
        }
        let mut listed = own[60..].to_vec();
        listed.extend(&others);
        let response = app.update("U", &[], &listed).await;
        assert_success(&response, "U", 0, 120);
        let unit = set(&app.stored_unit("U").await, "departmentIds");
        assert_eq!(unit, listed.iter().map(|id| (*id).to_owned()).collect::<BTreeSet<_>>());
        assert_eq!(set(&app.stored_unit("V").await, "departmentIds").len(), 10);
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
        assert_stored_in(app, 1, "U", &[], &as_strs(&departments)).await;
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
        assert_stored_in(app, 1, "U", &[], &as_strs(&departments)).await;
    })
    .await;
}

#[tokio::test]
async fn a_losing_unit_counts_once() {
    with_app(async |app| {
        let departments = ids("a-department-with-a-rather-long-id-", 98);
        app.put_unit("U", &[], &[]).await;
        app.put_unit("V", &[], &as_strs(&departments)).await;
        assert_stored_in(app, 1, "U", &[], &as_strs(&departments)).await;
    })
    .await;
}

#[tokio::test]
async fn an_update_of_more_than_a_thousand_changes_is_stored() {
    with_app(async |app| {
        let (monitors, departments) = (ids("m", 300), ids("d", 900));
        let (monitors, departments) = (as_strs(&monitors), as_strs(&departments));
        app.put_unit("U", &monitors[..150], &departments[..300]).await;
        app.put_unit("V", &[], &departments[300..700]).await;
        app.put_monitors(&monitors[150..]).await;
        app.put_departments(&departments[700..]).await;
        let response = app.update("U", &monitors[150..], &departments[300..]).await;
        assert_success(&response, "U", 150, 600);
        assert_eq!(app.stored_unit("V").await["numDepartments"], 0);
        // Repeating it changes nothing else.
        assert_stored_in(app, 1, "U", &monitors[150..], &departments[300..]).await;
    })
    .await;
}

#[tokio::test]
async fn a_restricted_caller_can_leave_the_unit_with_a_large_update() {
    with_app(async |app| {
        let departments = ids("d", 250);
        app.put_unit("U", &["lead", "m"], &as_strs(&departments)).await;
        app.put_user("lead", &["livechat-monitor", "unit-editor"]).await;
        app.put_token("t", "lead", json!({})).await;
        let mut event = event_of("t", "lead");
        event["body"] = body(&["m"], &[]).into();
        assert_success(&app.send(&event).await, "U", 1, 0);
        assert!(app.stored_unit("U").await["monitors"].get("lead").is_none());
    })
    .await;
}
