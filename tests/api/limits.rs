//! Row 11 of the contract: as many changes as one transaction holds, as large a unit as one item.

use std::collections::BTreeSet;

use serde_json::json;

use crate::world::{World, assert_refused, assert_success, body, event, set, world};

const TOO_LARGE: &str = r#"{"success":false,"error":"The unit would be larger than one item can be, 409600 bytes [error-unit-too-large]","errorType":"error-unit-too-large"}"#;

fn ids(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{prefix}{n:05}")).collect()
}

fn refs(ids: &[String]) -> Vec<&str> {
    ids.iter().map(String::as_str).collect()
}

async fn assert_too_many(world: &World, monitors: &[&str], departments: &[&str], changes: usize) {
    let expected = json!({
        "success": false,
        "error": format!("The update would change {changes} items, and one transaction holds 100 [error-too-many-changes]"),
        "errorType": "error-too-many-changes",
        "details": { "changes": changes, "limit": 100 },
    });
    assert_refused(&world.update("U", monitors, departments).await, 400, &expected.to_string());
}

#[tokio::test]
async fn a_hundred_changes_and_no_more() {
    world(async |world| {
        let departments = ids("d", 101);
        let departments = refs(&departments);
        world.departments(&departments).await;
        world.unit("U", &[], &[]).await;
        // The unit is one of the changes.
        assert_success(&world.update("U", &[], &departments[..98]).await, "U", 0, 98);
        assert_success(&world.update("U", &[], &[]).await, "U", 0, 0);
        assert_success(&world.update("U", &[], &departments[..99]).await, "U", 0, 99);
        assert_success(&world.update("U", &[], &[]).await, "U", 0, 0);
        assert_too_many(world, &[], &departments[..100], 101).await;
        assert_too_many(world, &[], &departments, 102).await;
    })
    .await;
}

#[tokio::test]
async fn monitors_and_losing_units_count_too() {
    world(async |world| {
        let (monitors, departments) = (ids("m", 50), ids("d", 50));
        let (monitors, departments) = (refs(&monitors), refs(&departments));
        world.monitors(&monitors).await;
        world.unit("U", &[], &[]).await;
        world.unit("V", &[], &departments[..25]).await;
        world.unit("W", &[], &departments[25..]).await;
        // The unit, 49 monitors, 48 departments, two other units.
        assert_too_many(world, &monitors, &departments[1..49], 101).await;
        assert_success(&world.update("U", &monitors[1..], &departments[1..49]).await, "U", 49, 48);
        // Leaving is as much a change as joining: 1 + 49 + 48, and 1 + 1 + 1 more.
        world.monitors(&["n"]).await;
        assert_too_many(world, &["n"], &["d00000", "d00049"], 1 + 49 + 1 + 48 + 2 + 2).await;
    })
    .await;
}

#[tokio::test]
async fn a_large_unit_with_few_changes_is_no_problem() {
    world(async |world| {
        let (monitors, departments) = (ids("m", 300), ids("d", 700));
        let (monitors, departments) = (refs(&monitors), refs(&departments));
        world.unit("U", &monitors, &departments).await;
        assert_success(&world.update("U", &monitors[1..], &departments[1..]).await, "U", 299, 699);
        assert_success(&world.update("U", &monitors, &departments).await, "U", 300, 700);
    })
    .await;
}

#[tokio::test]
async fn departments_that_prove_gone_are_no_changes() {
    world(async |world| {
        let departments = ids("d", 110);
        let departments = refs(&departments);
        world.unit("U", &[], &departments).await;
        for gone in &departments[..11] {
            world.delete(&format!("DEPARTMENT#{gone}"), "DEPARTMENT").await;
        }
        // 99 are left: with the unit, just enough.
        assert_success(&world.update("U", &[], &[]).await, "U", 0, 0);
    })
    .await;
}

#[tokio::test]
async fn only_what_would_be_written_counts() {
    world(async |world| {
        let (mine, theirs) = (ids("d", 120), ids("e", 60));
        let (mine, theirs) = (refs(&mine), refs(&theirs));
        world.unit("U", &[], &mine).await;
        // Ten are gone, ten are another unit's by now; a hundred would still leave.
        for gone in &mine[..10] {
            world.delete(&format!("DEPARTMENT#{gone}"), "DEPARTMENT").await;
        }
        world.unit("V", &[], &mine[10..20]).await;
        assert_too_many(world, &[], &[], 101).await;
        // Of sixty that say they are in a unit that is gone, none is taken from it.
        for id in &theirs {
            world.put(crate::world::department(id, Some("gone"))).await;
        }
        let mut listed = mine[60..].to_vec();
        listed.extend(&theirs);
        assert_too_many(world, &[], &listed, 1 + 40 + 60).await;
        assert_success(&world.update("U", &[], &listed[..119]).await, "U", 0, 119);
        let unit = set(&world.unit_of("U").await, "departmentIds");
        assert_eq!(unit, listed[..119].iter().map(|id| (*id).to_owned()).collect::<BTreeSet<_>>());
    })
    .await;
}

#[tokio::test]
async fn ninety_nine_departments_of_a_unit_that_is_gone() {
    world(async |world| {
        let departments = ids("d", 99);
        world.unit("U", &[], &[]).await;
        for id in &departments {
            world.put(crate::world::department(id, Some("gone"))).await;
        }
        assert_success(&world.update("U", &[], &refs(&departments)).await, "U", 0, 99);
    })
    .await;
}

#[tokio::test]
async fn ninety_nine_departments_of_a_unit_that_lists_none_of_them() {
    world(async |world| {
        let departments = ids("d", 99);
        world.unit("U", &[], &[]).await;
        world.unit("V", &[], &["other"]).await;
        for id in &departments {
            world.put(crate::world::department(id, Some("V"))).await;
        }
        assert_success(&world.update("U", &[], &refs(&departments)).await, "U", 0, 99);
    })
    .await;
}

#[tokio::test]
async fn ninety_eight_departments_of_one_other_unit() {
    world(async |world| {
        let departments = ids("a-department-with-a-rather-long-id-", 98);
        world.unit("U", &[], &[]).await;
        world.unit("V", &[], &refs(&departments)).await;
        assert_success(&world.update("U", &[], &refs(&departments)).await, "U", 0, 98);
    })
    .await;
}

#[tokio::test]
async fn a_unit_larger_than_an_item_is_refused() {
    world(async |world| {
        world.unit("U", &[], &[]).await;
        let named = |bytes: usize| {
            let name = "x".repeat(bytes);
            body(&[], &[]).replace("new name", &name)
        };
        // Beyond doubt from what is sent, and only known to DynamoDB.
        for bytes in [500_000, 409_600, 409_590, 409_500] {
            assert_refused(&world.send(&event("U", &named(bytes))).await, 400, TOO_LARGE);
        }
        let response = world.send(&event("U", &named(409_000))).await;
        assert_eq!(response.status_code, 200, "{}", response.body);
        // What this function does not know counts as well.
        world.unit("U", &[], &[]).await;
        world.change("UNIT#U", "UNIT", json!({ "notes": "x".repeat(300_000) })).await;
        assert_refused(&world.send(&event("U", &named(120_000))).await, 400, TOO_LARGE);
        // Too many changes is told first.
        let departments = ids("d", 100);
        world.departments(&refs(&departments)).await;
        let both = body(&[], &refs(&departments)).replace("new name", &"x".repeat(500_000));
        let response = world.send(&event("U", &both)).await;
        assert!(response.body.contains("error-too-many-changes"), "{}", response.body);
    })
    .await;
}

#[tokio::test]
async fn thousands_of_listed_ids_are_read_in_batches() {
    world(async |world| {
        world.unit("U", &[], &[]).await;
        let unknown = ids("x", 5_000);
        let response = world.update("U", &refs(&unknown), &[]).await;
        assert_success(&response, "U", 0, 0);
        let response = world.update("U", &[], &refs(&unknown)).await;
        assert_eq!(response.status_code, 400);
        assert!(response.body.contains("x00000, x00001") && response.body.contains("x04999"));
    })
    .await;
}
