//! What an update means for the unit itself and for its monitors.

use serde_json::json;

use crate::support::{
    ADMIN, assert_refused, assert_success, department, unit_item, updated_at, username, with_app,
};

#[tokio::test]
async fn the_listed_members_replace_the_old_ones() {
    with_app(async |app| {
        app.put_unit("U", &["m1", "m2"], &["d1", "d2"]).await;
        app.put_monitors(&["m3"]).await;
        app.put_departments(&["d3"]).await;
        let response = app.update("U", &["m3", "m2"], &["d2", "d3"]).await;
        assert_success(&response, "U", 2, 2);

        let time = updated_at(&response);
        let mut expected = unit_item("U", &["m2", "m3"], &["d2", "d3"]);
        expected["name"] = "new name".into();
        expected["visibility"] = "private".into();
        expected["version"] = 8.into();
        expected["_updatedAt"] = time.clone().into();
        assert_eq!(app.stored_unit("U").await, expected);

        let monitor = json!({
            "pk": "UNIT#U", "sk": "MONITOR#m3", "unitId": "U", "monitorId": "m3", "username": username("m3"),
            "_updatedAt": time,
        });
        assert_eq!(app.stored_item("UNIT#U", "MONITOR#m3").await, monitor);
        let items = app.stored_items().await;
        assert!(!items.contains_key(&("UNIT#U".into(), "MONITOR#m1".into())));
        // Members that stay are not written.
        assert_eq!(items[&("UNIT#U".into(), "MONITOR#m2".into())]["_updatedAt"], "2020-01-01T00:00:00.000Z");
        assert_eq!(app.stored_department("d2").await, department("d2", Some("U")));

        let mut left = department("d1", None);
        left["_updatedAt"] = time.clone().into();
        assert_eq!(app.stored_department("d1").await, left);
        let mut joined = department("d3", Some("U"));
        joined["_updatedAt"] = time.into();
        assert_eq!(app.stored_department("d3").await, joined);
    })
    .await;
}

#[tokio::test]
async fn empty_arrays_remove_all_members() {
    with_app(async |app| {
        app.put_unit("U", &["m"], &["d"]).await;
        assert_success(&app.update("U", &[], &[]).await, "U", 0, 0);
        let unit = app.stored_unit("U").await;
        assert_eq!((unit.get("departmentIds"), &unit["monitors"]), (None, &json!({})));
        assert_success(&app.update("U", &["m"], &["d"]).await, "U", 1, 1);
    })
    .await;
}

#[tokio::test]
async fn an_update_without_changes_moves_version_and_time_only() {
    with_app(async |app| {
        app.put_unit("U", &["m"], &["d"]).await;
        app.change_item("UNIT#U", "UNIT", json!({ "name": "new name", "visibility": "private" })).await;
        let before = app.stored_items().await;
        let response = app.update("U", &["m"], &["d"]).await;
        assert_success(&response, "U", 1, 1);
        let mut expected = before;
        let unit = expected.get_mut(&("UNIT#U".into(), "UNIT".into())).expect("the unit");
        unit["version"] = 8.into();
        unit["_updatedAt"] = updated_at(&response).into();
        assert_eq!(app.stored_items().await, expected);
    })
    .await;
}

#[tokio::test]
async fn duplicate_ids_count_once() {
    with_app(async |app| {
        app.put_unit("U", &[], &[]).await;
        app.put_monitors(&["m"]).await;
        app.put_departments(&["d"]).await;
        assert_success(&app.update("U", &["m", "m", "m"], &["d", "d"]).await, "U", 1, 1);
        let unknown = app.update("U", &[], &["x", "d", "y", "x"]).await;
        let expected = r#"{"success":false,"error":"Department not found: x, y [error-department-not-found]","errorType":"error-department-not-found","details":{"method":"livechat:saveUnit","departmentIds":["x","y"]}}"#;
        assert_refused(&unknown, 400, expected);
    })
    .await;
}

#[tokio::test]
async fn only_users_with_the_monitor_role_become_monitors() {
    with_app(async |app| {
        app.put_unit("U", &["fired"], &[]).await;
        app.put_monitors(&["m", "inactive", "explicit"]).await;
        app.put_user("agent", &["livechat-agent"]).await;
        app.put_user("roleless", &[]).await;
        app.change_item("USER#inactive", "USER", json!({ "active": false })).await;
        app.change_item("USER#explicit", "USER", json!({ "active": true })).await;
        app.change_item("USER#fired", "USER", json!({ "roles": { "set": ["livechat-agent"] } })).await;
        let long = "x".repeat(513);
        let listed = ["gone", "m", "inactive", "agent", "roleless", "explicit", "fired", "", &long, ADMIN];
        let response = app.update("U", &listed, &[]).await;
        // A deactivated user may be a monitor, as in Rocket.Chat.
        assert_success(&response, "U", 3, 0);
        let [explicit, inactive, m] = ["explicit", "inactive", "m"].map(username);
        let monitors = json!({ "explicit": explicit, "inactive": inactive, "m": m });
        assert_eq!(app.stored_unit("U").await["monitors"], monitors);
    })
    .await;
}

#[tokio::test]
async fn the_stored_username_replaces_the_sent_one() {
    with_app(async |app| {
        app.put_unit("U", &["m", "same"], &[]).await;
        app.change_item("USER#m", "USER", json!({ "username": "renamed" })).await;
        let response = app.update("U", &["m", "same"], &[]).await;
        assert_success(&response, "U", 2, 0);
        assert_eq!(app.stored_unit("U").await["monitors"]["m"], "renamed");
        let monitor = app.stored_item("UNIT#U", "MONITOR#m").await;
        assert_eq!(
            (&monitor["username"], &monitor["_updatedAt"]),
            (&json!("renamed"), &updated_at(&response).into())
        );
    })
    .await;
}

#[tokio::test]
async fn the_caller_can_be_a_monitor() {
    with_app(async |app| {
        app.put_unit("U", &[], &[]).await;
        app.put_user(ADMIN, &["admin", "livechat-monitor"]).await;
        for _ in 0..2 {
            assert_success(&app.update("U", &[ADMIN], &[]).await, "U", 1, 0);
        }
    })
    .await;
}

#[tokio::test]
async fn an_absent_version_counts_as_zero() {
    with_app(async |app| {
        app.put_unit("U", &[], &[]).await;
        app.put_unit("V", &[], &["d"]).await;
        for unit in ["UNIT#U", "UNIT#V"] {
            app.change_item(unit, "UNIT", json!({ "version": null })).await;
        }
        assert_success(&app.update("U", &[], &["d"]).await, "U", 0, 1);
        assert_eq!(app.stored_unit("U").await["version"], 1);
        assert_eq!(app.stored_unit("V").await["version"], 1);
        assert_success(&app.update("U", &[], &["d"]).await, "U", 0, 1);
        assert_eq!(app.stored_unit("U").await["version"], 2);
    })
    .await;
}

#[tokio::test]
async fn unknown_attributes_are_kept() {
    with_app(async |app| {
        app.put_unit("U", &[], &["d"]).await;
        app.put_unit("V", &[], &["e"]).await;
        let unknown =
            json!({ "x": { "set": ["a"] }, "description": "long", "enabled": false, "größe": [1, null] });
        for (pk, sk) in [
            ("UNIT#U", "UNIT"),
            ("UNIT#V", "UNIT"),
            ("DEPARTMENT#d", "DEPARTMENT"),
            ("DEPARTMENT#e", "DEPARTMENT"),
        ] {
            app.change_item(pk, sk, unknown.clone()).await;
        }
        assert_success(&app.update("U", &[], &["e"]).await, "U", 0, 1);
        for item in [
            app.stored_unit("U").await,
            app.stored_unit("V").await,
            app.stored_department("d").await,
            app.stored_department("e").await,
        ] {
            for (name, value) in unknown.as_object().expect("an object") {
                assert_eq!(item.get(name), Some(value), "{name} of {item}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn ids_may_contain_any_unicode() {
    with_app(async |app| {
        let (unit, monitor, new, of_another_unit) = ("Ünit 部門#1", "moni🦀tor", "dép/art#", "ラ%20イ");
        app.put_unit(unit, &[], &[]).await;
        app.put_unit("Ω", &[], &[of_another_unit]).await;
        app.put_monitors(&[monitor]).await;
        app.put_departments(&[new]).await;
        assert_success(&app.update(unit, &[monitor], &[new, of_another_unit]).await, unit, 1, 2);
        let missing = app.update(unit, &[], &["ж\"\\\u{1}", new]).await;
        let expected = "{\"success\":false,\"error\":\"Department not found: ж\\\"\\\\\\u0001 [error-department-not-found]\",\"errorType\":\"error-department-not-found\",\"details\":{\"method\":\"livechat:saveUnit\",\"departmentIds\":[\"ж\\\"\\\\\\u0001\"]}}";
        assert_refused(&missing, 400, expected);
    })
    .await;
}
