//! What an update means: monitors, departments, moves between units, and the healing of lists.

use serde_json::{Value, json};

use crate::world::{
    ADMIN, INTERNAL, UNIT_NOT_FOUND, World, assert_refused, assert_success, body, department, event, set,
    unit_item, updated_at, username, world,
};

#[tokio::test]
async fn the_members_become_those_that_are_listed() {
    world(async |world| {
        world.unit("U", &["m1", "m2"], &["d1", "d2"]).await;
        world.monitors(&["m3"]).await;
        world.departments(&["d3"]).await;
        let response = world.update("U", &["m3", "m2"], &["d2", "d3"]).await;
        assert_success(&response, "U", 2, 2);

        let time = updated_at(&response);
        let mut expected = unit_item("U", &["m2", "m3"], &["d2", "d3"]);
        expected["name"] = "new name".into();
        expected["visibility"] = "private".into();
        expected["version"] = 8.into();
        expected["_updatedAt"] = time.clone().into();
        assert_eq!(world.unit_of("U").await, expected);

        let monitor = json!({
            "pk": "UNIT#U", "sk": "MONITOR#m3", "unitId": "U", "monitorId": "m3", "username": username("m3"),
            "_updatedAt": time,
        });
        assert_eq!(world.item("UNIT#U", "MONITOR#m3").await, monitor);
        let items = world.items().await;
        assert!(!items.contains_key(&("UNIT#U".into(), "MONITOR#m1".into())));
        // What stays is not written.
        assert_eq!(items[&("UNIT#U".into(), "MONITOR#m2".into())]["_updatedAt"], "2020-01-01T00:00:00.000Z");
        assert_eq!(world.department_of("d2").await, department("d2", Some("U")));

        let mut left = department("d1", None);
        left["_updatedAt"] = time.clone().into();
        assert_eq!(world.department_of("d1").await, left);
        let mut joined = department("d3", Some("U"));
        joined["_updatedAt"] = time.into();
        assert_eq!(world.department_of("d3").await, joined);
    })
    .await;
}

#[tokio::test]
async fn empty_arrays_empty_the_unit() {
    world(async |world| {
        world.unit("U", &["m"], &["d"]).await;
        assert_success(&world.update("U", &[], &[]).await, "U", 0, 0);
        let unit = world.unit_of("U").await;
        assert_eq!((unit.get("departmentIds"), &unit["monitors"]), (None, &json!({})));
        assert_success(&world.update("U", &["m"], &["d"]).await, "U", 1, 1);
    })
    .await;
}

#[tokio::test]
async fn an_update_that_changes_nothing_is_committed_too() {
    world(async |world| {
        world.unit("U", &["m"], &["d"]).await;
        world.change("UNIT#U", "UNIT", json!({ "name": "new name", "visibility": "private" })).await;
        let before = world.items().await;
        let response = world.update("U", &["m"], &["d"]).await;
        assert_success(&response, "U", 1, 1);
        let mut expected = before;
        let unit = expected.get_mut(&("UNIT#U".into(), "UNIT".into())).expect("the unit");
        unit["version"] = 8.into();
        unit["_updatedAt"] = updated_at(&response).into();
        assert_eq!(world.items().await, expected);
    })
    .await;
}

#[tokio::test]
async fn duplicates_count_once() {
    world(async |world| {
        world.unit("U", &[], &[]).await;
        world.monitors(&["m"]).await;
        world.departments(&["d"]).await;
        assert_success(&world.update("U", &["m", "m", "m"], &["d", "d"]).await, "U", 1, 1);
        let unknown = world.update("U", &[], &["x", "d", "y", "x"]).await;
        let expected = r#"{"success":false,"error":"Department not found: x, y [error-department-not-found]","errorType":"error-department-not-found","details":{"method":"livechat:saveUnit","departmentIds":["x","y"]}}"#;
        assert_refused(&unknown, 400, expected);
    })
    .await;
}

#[tokio::test]
async fn only_active_users_with_the_role_become_monitors() {
    world(async |world| {
        world.unit("U", &["fired"], &[]).await;
        world.monitors(&["m", "inactive", "explicit"]).await;
        world.user("agent", &["livechat-agent"]).await;
        world.user("nobody", &[]).await;
        world.change("USER#inactive", "USER", json!({ "active": false })).await;
        world.change("USER#explicit", "USER", json!({ "active": true })).await;
        world.change("USER#fired", "USER", json!({ "roles": { "set": ["livechat-agent"] } })).await;
        let long = "x".repeat(513);
        let listed = ["gone", "m", "inactive", "agent", "nobody", "explicit", "fired", "", &long, ADMIN];
        let response = world.update("U", &listed, &[]).await;
        assert_success(&response, "U", 2, 0);
        let monitors = json!({ "explicit": username("explicit"), "m": username("m") });
        assert_eq!(world.unit_of("U").await["monitors"], monitors);
    })
    .await;
}

#[tokio::test]
async fn the_stored_username_counts() {
    world(async |world| {
        world.unit("U", &["m", "same"], &[]).await;
        world.change("USER#m", "USER", json!({ "username": "renamed" })).await;
        let response = world.update("U", &["m", "same"], &[]).await;
        assert_success(&response, "U", 2, 0);
        assert_eq!(world.unit_of("U").await["monitors"]["m"], "renamed");
        let monitor = world.item("UNIT#U", "MONITOR#m").await;
        assert_eq!(
            (&monitor["username"], &monitor["_updatedAt"]),
            (&json!("renamed"), &updated_at(&response).into())
        );
    })
    .await;
}

#[tokio::test]
async fn a_caller_can_be_a_monitor() {
    world(async |world| {
        world.unit("U", &[], &[]).await;
        world.user(ADMIN, &["admin", "livechat-monitor"]).await;
        for _ in 0..2 {
            assert_success(&world.update("U", &[ADMIN], &[]).await, "U", 1, 0);
        }
    })
    .await;
}

#[tokio::test]
async fn a_department_moves_from_one_unit() {
    world(async |world| {
        world.unit("U", &["m"], &["d1"]).await;
        world.unit("V", &["m"], &["d2", "d3"]).await;
        let response = world.update("U", &["m"], &["d1", "d2"]).await;
        assert_success(&response, "U", 1, 2);
        let mut expected = unit_item("V", &["m"], &["d3"]);
        expected["version"] = 8.into();
        expected["_updatedAt"] = updated_at(&response).into();
        assert_eq!(world.unit_of("V").await, expected);
        // The last one leaves no empty set behind.
        assert_success(&world.update("U", &["m"], &["d1", "d2", "d3"]).await, "U", 1, 3);
        let emptied = world.unit_of("V").await;
        assert_eq!((emptied.get("departmentIds"), &emptied["numDepartments"]), (None, &json!(0)));
    })
    .await;
}

#[tokio::test]
async fn departments_move_from_two_units_at_once() {
    world(async |world| {
        world.unit("U", &[], &["a"]).await;
        world.unit("V", &[], &["b", "c"]).await;
        world.unit("W", &[], &["d", "e", "f"]).await;
        assert_success(&world.update("U", &[], &["b", "d", "e"]).await, "U", 0, 3);
        assert_eq!(set(&world.unit_of("V").await, "departmentIds").len(), 1);
        assert_eq!(world.unit_of("W").await["numDepartments"], 1);
    })
    .await;
}

#[tokio::test]
async fn ancestors_are_the_units() {
    world(async |world| {
        world.unit("U", &[], &["d1", "d2"]).await;
        world.change("UNIT#U", "UNIT", json!({ "ancestors": ["parent", "grandparent"] })).await;
        let right = json!({ "ancestors": ["U", "parent", "grandparent"] });
        world.change("DEPARTMENT#d1", "DEPARTMENT", right).await;
        world.departments(&["d3"]).await;
        let before = world.department_of("d1").await;
        assert_success(&world.update("U", &[], &["d1", "d2", "d3"]).await, "U", 0, 3);
        // d1 was right, d2 was wrong, d3 is new.
        assert_eq!(world.department_of("d1").await, before);
        for id in ["d2", "d3"] {
            assert_eq!(world.department_of(id).await["ancestors"], json!(["U", "parent", "grandparent"]));
        }
    })
    .await;
}

#[tokio::test]
async fn a_listed_department_with_wrong_parents_is_a_change() {
    world(async |world| {
        for change in [
            json!({ "ancestors": null }),
            json!({ "ancestors": [] }),
            json!({ "ancestors": ["V", "U"] }),
            json!({ "parentId": null }),
            json!({ "parentId": "" }),
            json!({ "parentId": "noSuchUnit" }),
            json!({ "parentId": "x".repeat(600) }),
        ] {
            world.unit("U", &[], &["d"]).await;
            world.change("DEPARTMENT#d", "DEPARTMENT", change).await;
            let response = world.update("U", &[], &["d"]).await;
            assert_success(&response, "U", 0, 1);
            let mut expected = department("d", Some("U"));
            expected["_updatedAt"] = updated_at(&response).into();
            assert_eq!(world.department_of("d").await, expected);
        }
    })
    .await;
}

#[tokio::test]
async fn a_department_deleted_behind_the_units_back_is_dropped() {
    world(async |world| {
        world.unit("U", &[], &["d1", "gone", "d2"]).await;
        world.delete("DEPARTMENT#gone", "DEPARTMENT").await;
        // Still listed in the body, it does not exist.
        let listed = world.update("U", &[], &["d1", "gone"]).await;
        assert_eq!(listed.status_code, 400);
        assert_success(&world.update("U", &[], &["d1"]).await, "U", 0, 1);
        let items = world.items().await;
        assert!(!items.contains_key(&("DEPARTMENT#gone".into(), "DEPARTMENT".into())), "it is back");
    })
    .await;
}

#[tokio::test]
async fn a_department_moved_behind_the_units_back_is_dropped() {
    world(async |world| {
        world.unit("U", &[], &["d1", "moved"]).await;
        // Moved by somebody who wrote the other unit and the department, and not this unit.
        world.unit("V", &[], &["moved"]).await;
        let before = (world.unit_of("V").await, world.department_of("moved").await);
        assert_success(&world.update("U", &[], &["d1"]).await, "U", 0, 1);
        assert_eq!((world.unit_of("V").await, world.department_of("moved").await), before);
        // And comes back when listed.
        assert_success(&world.update("U", &[], &["d1", "moved"]).await, "U", 0, 2);
        assert_eq!(world.unit_of("V").await["numDepartments"], 0);
    })
    .await;
}

#[tokio::test]
async fn a_department_that_the_unit_forgot_is_listed_again_without_being_written() {
    world(async |world| {
        world.unit("U", &[], &[]).await;
        world.put(department("d", Some("U"))).await;
        assert_success(&world.update("U", &[], &["d"]).await, "U", 0, 1);
        assert_eq!(world.department_of("d").await, department("d", Some("U")));
    })
    .await;
}

#[tokio::test]
async fn a_former_unit_that_lacks_the_department_blocks_nothing() {
    world(async |world| {
        world.unit("U", &[], &[]).await;
        world.unit("V", &[], &["listed"]).await;
        world.put(department("unlisted", Some("V"))).await;
        world.put(department("orphan", Some("gone"))).await;
        let before = world.unit_of("V").await;
        assert_success(&world.update("U", &[], &["unlisted"]).await, "U", 0, 1);
        assert_eq!(world.unit_of("V").await, before);
        world.put(department("unlisted", Some("V"))).await;
        assert_success(&world.update("U", &[], &["listed", "unlisted", "orphan"]).await, "U", 0, 3);
        let emptied = world.unit_of("V").await;
        assert_eq!((&emptied["numDepartments"], &emptied["version"]), (&json!(0), &json!(8)));
    })
    .await;
}

#[tokio::test]
async fn versions_start_from_none() {
    world(async |world| {
        world.unit("U", &[], &[]).await;
        world.unit("V", &[], &["d"]).await;
        for unit in ["UNIT#U", "UNIT#V"] {
            world.change(unit, "UNIT", json!({ "version": null })).await;
        }
        assert_success(&world.update("U", &[], &["d"]).await, "U", 0, 1);
        assert_eq!(world.unit_of("U").await["version"], 1);
        assert_eq!(world.unit_of("V").await["version"], 1);
        assert_success(&world.update("U", &[], &["d"]).await, "U", 0, 1);
        assert_eq!(world.unit_of("U").await["version"], 2);
    })
    .await;
}

#[tokio::test]
async fn attributes_that_it_does_not_know_stay() {
    world(async |world| {
        world.unit("U", &[], &["d"]).await;
        world.unit("V", &[], &["e"]).await;
        let unknown =
            json!({ "x": { "set": ["a"] }, "description": "long", "enabled": false, "größe": [1, null] });
        for (pk, sk) in [
            ("UNIT#U", "UNIT"),
            ("UNIT#V", "UNIT"),
            ("DEPARTMENT#d", "DEPARTMENT"),
            ("DEPARTMENT#e", "DEPARTMENT"),
        ] {
            world.change(pk, sk, unknown.clone()).await;
        }
        assert_success(&world.update("U", &[], &["e"]).await, "U", 0, 1);
        for item in [
            world.unit_of("U").await,
            world.unit_of("V").await,
            world.department_of("d").await,
            world.department_of("e").await,
        ] {
            for (name, value) in unknown.as_object().expect("an object") {
                assert_eq!(item.get(name), Some(value), "{name} of {item}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn unicode_everywhere() {
    world(async |world| {
        let (unit, monitor, ours, theirs) = ("Ünit 部門#1", "moni🦀tor", "dép/art#", "ラ%20イ");
        world.unit(unit, &[], &[]).await;
        world.unit("Ω", &[], &[theirs]).await;
        world.monitors(&[monitor]).await;
        world.departments(&[ours]).await;
        assert_success(&world.update(unit, &[monitor], &[ours, theirs]).await, unit, 1, 2);
        let missing = world.update(unit, &[], &["ж\"\\\u{1}", ours]).await;
        let expected = "{\"success\":false,\"error\":\"Department not found: ж\\\"\\\\\\u0001 [error-department-not-found]\",\"errorType\":\"error-department-not-found\",\"details\":{\"method\":\"livechat:saveUnit\",\"departmentIds\":[\"ж\\\"\\\\\\u0001\"]}}";
        assert_refused(&missing, 400, expected);
    })
    .await;
}

#[tokio::test]
async fn ids_that_name_no_department_are_told_in_their_place() {
    world(async |world| {
        world.unit("U", &[], &[]).await;
        world.departments(&["d"]).await;
        let long = "x".repeat(513);
        let response = world.update("U", &[], &["a", &long, "d", "", "b"]).await;
        let expected = json!({
            "success": false,
            "error": format!("Department not found: a, {long}, , b [error-department-not-found]"),
            "errorType": "error-department-not-found",
            "details": { "method": "livechat:saveUnit", "departmentIds": ["a", long, "", "b"] },
        });
        assert_refused(&response, 400, &expected.to_string());
        // The unit comes first.
        assert_refused(&world.update("gone", &[], &["a"]).await, 400, UNIT_NOT_FOUND);
    })
    .await;
}

fn event_of_restricted(unit: &str, monitors: &[&str]) -> Value {
    let mut event = event(unit, &body(monitors, &[]));
    event["headers"]["x-auth-token"] = "t".into();
    event["headers"]["x-user-id"] = "lead".into();
    event
}

#[tokio::test]
async fn a_monitor_sees_only_the_units_that_they_monitor() {
    world(async |world| {
        world.unit("U", &["lead", "m"], &[]).await;
        world.unit("V", &["m"], &[]).await;
        world.token("t", "lead", json!({})).await;
        for (roles, sees_all) in [
            (&["livechat-monitor", "unit-editor"][..], false),
            (&["livechat-monitor", "unit-editor", "livechat-manager"], true),
            (&["livechat-monitor", "admin"], true),
            (&["unit-editor"], true),
        ] {
            world.user("lead", roles).await;
            let monitors = if roles.contains(&"livechat-monitor") { 2 } else { 1 };
            let own = world.send(&event_of_restricted("U", &["lead", "m"])).await;
            assert_success(&own, "U", monitors, 0);
            let other = world.send(&event_of_restricted("V", &["m"])).await;
            if sees_all {
                assert_success(&other, "V", 1, 0);
            } else {
                assert_refused(&other, 400, UNIT_NOT_FOUND);
            }
        }
        // One who leaves does not come back.
        world.unit("U", &["lead", "m"], &[]).await;
        world.user("lead", &["livechat-monitor", "unit-editor"]).await;
        assert_success(&world.send(&event_of_restricted("U", &[])).await, "U", 0, 0);
        assert_refused(&world.send(&event_of_restricted("U", &["lead"])).await, 400, UNIT_NOT_FOUND);
    })
    .await;
}

async fn assert_internal(world: &World, unit: &str, monitors: &[&str], departments: &[&str]) {
    assert_refused(&world.update(unit, monitors, departments).await, 500, INTERNAL);
}

#[tokio::test]
async fn a_corrupt_item_is_our_fault_and_changes_nothing() {
    world(async |world| {
        world.unit("U", &["m"], &["d"]).await;
        world.unit("V", &[], &["e"]).await;
        let sound = world.unit_of("U").await;
        for change in [
            json!({ "monitors": "m" }),
            json!({ "monitors": { "m": 1 } }),
            json!({ "monitors": ["m"] }),
            json!({ "departmentIds": ["d"] }),
            json!({ "departmentIds": "d" }),
            json!({ "version": "7" }),
            json!({ "version": 7.5 }),
            json!({ "ancestors": "a" }),
            json!({ "ancestors": [1] }),
        ] {
            world.change("UNIT#U", "UNIT", change).await;
            assert_internal(world, "U", &["m"], &["d"]).await;
            world.put(sound.clone()).await;
        }
        for change in [json!({ "parentId": 5 }), json!({ "ancestors": "U" }), json!({ "ancestors": [null] })]
        {
            world.change("DEPARTMENT#d", "DEPARTMENT", change).await;
            assert_internal(world, "U", &["m"], &["d"]).await;
            // An earlier row of the contract answers first.
            let unknown = world.update("U", &["m"], &["d", "unknown"]).await;
            assert_eq!(unknown.status_code, 400);
            assert_refused(&world.update("gone", &[], &["d"]).await, 400, UNIT_NOT_FOUND);
            world.put(department("d", Some("U"))).await;
        }
        let theirs = world.unit_of("V").await;
        for change in
            [json!({ "departmentIds": ["e"] }), json!({ "numDepartments": null }), json!({ "version": "1" })]
        {
            world.change("UNIT#V", "UNIT", change).await;
            assert_internal(world, "U", &["m"], &["d", "e"]).await;
            world.put(theirs.clone()).await;
        }
        for change in
            [json!({ "username": null }), json!({ "username": 5 }), json!({ "roles": "livechat-monitor" })]
        {
            world.change("USER#m", "USER", change).await;
            assert_internal(world, "U", &["m"], &["d"]).await;
            world.monitors(&["m"]).await;
        }
        assert_success(&world.update("U", &["m"], &["d"]).await, "U", 1, 1);
    })
    .await;
}
