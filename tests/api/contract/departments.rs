//! Row 10 of the contract, and what an update means for departments: they join, leave and move between units, and wrong
//! lists are corrected.

use serde_json::json;

use crate::support::responses::UNIT_NOT_FOUND;
use crate::support::{assert_refused, assert_success, department, set, unit_item, updated_at, with_app};

#[tokio::test]
async fn unknown_departments_are_400_and_listed_in_body_order() {
    with_app(async |app| {
        app.put_unit("U", &[], &[]).await;
        app.put_departments(&["d"]).await;
        let long = "x".repeat(513);
        let response = app.update("U", &[], &["a", &long, "d", "", "b"]).await;
        let expected = json!({
            "success": false,
            "error": format!("Department not found: a, {long}, , b [error-department-not-found]"),
            "errorType": "error-department-not-found",
            "details": { "method": "livechat:saveUnit", "departmentIds": ["a", long, "", "b"] },
        });
        assert_refused(&response, 400, &expected.to_string());
        // The unit is checked before the departments.
        assert_refused(&app.update("gone", &[], &["a"]).await, 400, UNIT_NOT_FOUND);
    })
    .await;
}

#[tokio::test]
async fn hostile_ids_in_the_body_are_only_ids() {
    let long = "x".repeat(2000);
    let ids = [
        "",
        "\0",
        "a/b",
        "../..",
        "DEPARTMENT#d",
        "#",
        &long,
        "🦀",
        "\u{202e}",
        "' OR 1=1",
        "{\"S\":\"d\"}",
        "%00",
    ];
    with_app(async |app| {
        app.put_unit("U", &[], &["d"]).await;
        // Ids that no user can have are left out. The answer lists ids that no department can have, each once and as sent.
        assert_success(&app.update("U", &ids, &["d"]).await, "U", 0, 1);
        let twice: Vec<&str> = ids.iter().chain(&["d"]).chain(&ids).copied().collect();
        let expected = json!({
            "success": false,
            "error": format!("Department not found: {} [error-department-not-found]", ids.join(", ")),
            "errorType": "error-department-not-found",
            "details": { "method": "livechat:saveUnit", "departmentIds": ids },
        });
        assert_refused(&app.update("U", &[], &twice).await, 400, &expected.to_string());
    })
    .await;
}

#[tokio::test]
async fn a_department_moves_and_its_former_unit_shrinks() {
    with_app(async |app| {
        app.put_unit("U", &["m"], &["d1"]).await;
        app.put_unit("V", &["m"], &["d2", "d3"]).await;
        let response = app.update("U", &["m"], &["d1", "d2"]).await;
        assert_success(&response, "U", 1, 2);
        let mut expected = unit_item("V", &["m"], &["d3"]);
        expected["version"] = 8.into();
        expected["_updatedAt"] = updated_at(&response).into();
        assert_eq!(app.stored_unit("V").await, expected);
        // A unit that loses its last department has no `departmentIds`, because DynamoDB has no empty sets.
        assert_success(&app.update("U", &["m"], &["d1", "d2", "d3"]).await, "U", 1, 3);
        let emptied = app.stored_unit("V").await;
        assert_eq!((emptied.get("departmentIds"), &emptied["numDepartments"]), (None, &json!(0)));
    })
    .await;
}

#[tokio::test]
async fn departments_move_from_two_units_in_one_update() {
    with_app(async |app| {
        app.put_unit("U", &[], &["a"]).await;
        app.put_unit("V", &[], &["b", "c"]).await;
        app.put_unit("W", &[], &["d", "e", "f"]).await;
        assert_success(&app.update("U", &[], &["b", "d", "e"]).await, "U", 0, 3);
        assert_eq!(set(&app.stored_unit("V").await, "departmentIds").len(), 1);
        assert_eq!(app.stored_unit("W").await["numDepartments"], 1);
    })
    .await;
}

#[tokio::test]
async fn the_ancestors_of_a_department_follow_its_unit() {
    with_app(async |app| {
        app.put_unit("U", &[], &["d1", "d2"]).await;
        app.change_item("UNIT#U", "UNIT", json!({ "ancestors": ["parent", "grandparent"] })).await;
        let right = json!({ "ancestors": ["U", "parent", "grandparent"] });
        app.change_item("DEPARTMENT#d1", "DEPARTMENT", right).await;
        app.put_departments(&["d3"]).await;
        let before = app.stored_department("d1").await;
        assert_success(&app.update("U", &[], &["d1", "d2", "d3"]).await, "U", 0, 3);
        // The ancestors of d1 were right, those of d2 were wrong, d3 is new in the unit.
        assert_eq!(app.stored_department("d1").await, before);
        for id in ["d2", "d3"] {
            assert_eq!(app.stored_department(id).await["ancestors"], json!(["U", "parent", "grandparent"]));
        }
    })
    .await;
}

#[tokio::test]
async fn wrong_parents_of_a_listed_department_are_corrected() {
    with_app(async |app| {
        for change in [
            json!({ "ancestors": null }),
            json!({ "ancestors": [] }),
            json!({ "ancestors": ["V", "U"] }),
            json!({ "parentId": null }),
            json!({ "parentId": "" }),
            json!({ "parentId": "noSuchUnit" }),
            json!({ "parentId": "x".repeat(600) }),
        ] {
            app.put_unit("U", &[], &["d"]).await;
            app.change_item("DEPARTMENT#d", "DEPARTMENT", change).await;
            let response = app.update("U", &[], &["d"]).await;
            assert_success(&response, "U", 0, 1);
            let mut expected = department("d", Some("U"));
            expected["_updatedAt"] = updated_at(&response).into();
            assert_eq!(app.stored_department("d").await, expected);
        }
    })
    .await;
}

#[tokio::test]
async fn a_deleted_department_is_dropped_from_the_units_list() {
    with_app(async |app| {
        app.put_unit("U", &[], &["d1", "gone", "d2"]).await;
        app.delete_item("DEPARTMENT#gone", "DEPARTMENT").await;
        // A body that lists the deleted department is refused.
        let listed = app.update("U", &[], &["d1", "gone"]).await;
        assert_eq!(listed.status_code, 400);
        assert_success(&app.update("U", &[], &["d1"]).await, "U", 0, 1);
        let items = app.stored_items().await;
        assert!(
            !items.contains_key(&("DEPARTMENT#gone".into(), "DEPARTMENT".into())),
            "the deleted department exists again"
        );
    })
    .await;
}

#[tokio::test]
async fn a_department_that_moved_elsewhere_is_dropped_from_the_units_list() {
    with_app(async |app| {
        app.put_unit("U", &[], &["d1", "moved"]).await;
        // Another program has moved the department, and has written the other unit but not this one.
        app.put_unit("V", &[], &["moved"]).await;
        let before = (app.stored_unit("V").await, app.stored_department("moved").await);
        assert_success(&app.update("U", &[], &["d1"]).await, "U", 0, 1);
        assert_eq!((app.stored_unit("V").await, app.stored_department("moved").await), before);
        // The department moves back when the body lists it.
        assert_success(&app.update("U", &[], &["d1", "moved"]).await, "U", 0, 2);
        assert_eq!(app.stored_unit("V").await["numDepartments"], 0);
    })
    .await;
}

#[tokio::test]
async fn a_department_missing_from_the_units_list_is_added_without_being_written() {
    with_app(async |app| {
        app.put_unit("U", &[], &[]).await;
        app.put_item(department("d", Some("U"))).await;
        assert_success(&app.update("U", &[], &["d"]).await, "U", 0, 1);
        assert_eq!(app.stored_department("d").await, department("d", Some("U")));
    })
    .await;
}

#[tokio::test]
async fn a_former_unit_that_does_not_list_the_department_does_not_block() {
    with_app(async |app| {
        app.put_unit("U", &[], &[]).await;
        app.put_unit("V", &[], &["listed"]).await;
        app.put_item(department("unlisted", Some("V"))).await;
        app.put_item(department("orphan", Some("gone"))).await;
        let before = app.stored_unit("V").await;
        assert_success(&app.update("U", &[], &["unlisted"]).await, "U", 0, 1);
        assert_eq!(app.stored_unit("V").await, before);
        app.put_item(department("unlisted", Some("V"))).await;
        assert_success(&app.update("U", &[], &["listed", "unlisted", "orphan"]).await, "U", 0, 3);
        let emptied = app.stored_unit("V").await;
        assert_eq!((&emptied["numDepartments"], &emptied["version"]), (&json!(0), &json!(8)));
    })
    .await;
}
