//! Row 9 of the contract: a unit that does not exist, or that the caller may not see.

use serde_json::{Value, json};

use crate::support::responses::UNIT_NOT_FOUND;
use crate::support::{assert_refused, assert_success, body, event, with_app};

/// An event by the user `lead`.
fn event_of_lead(unit: &str, monitors: &[&str]) -> Value {
    let mut event = event(unit, &body(monitors, &[]));
    event["headers"]["x-auth-token"] = "t".into();
    event["headers"]["x-user-id"] = "lead".into();
    event
}

#[tokio::test]
async fn an_unknown_unit_is_not_found() {
    with_app(async |app| {
        app.put_unit("U", &[], &["d"]).await;
        for id in ["V", "u", "U ", "UNIT#U", "d"] {
            assert_refused(&app.update(id, &[], &[]).await, 400, UNIT_NOT_FOUND);
        }
        // The unit is checked before the departments.
        assert_refused(&app.update("V", &[], &["unknown"]).await, 400, UNIT_NOT_FOUND);
    })
    .await;
}

#[tokio::test]
async fn a_unit_that_a_restricted_caller_does_not_monitor_is_not_found() {
    with_app(async |app| {
        app.put_unit("U", &["lead", "m"], &[]).await;
        app.put_unit("V", &["m"], &[]).await;
        app.put_token("t", "lead", json!({})).await;
        for (roles, sees_all) in [
            (&["livechat-monitor", "unit-editor"][..], false),
            (&["livechat-agent", "unit-editor"], false),
            (&["livechat-agent", "livechat-monitor", "unit-editor"], false),
            (&["livechat-agent", "unit-editor", "livechat-manager"], true),
            (&["livechat-agent", "admin"], true),
            (&["livechat-monitor", "unit-editor", "livechat-manager"], true),
            (&["livechat-monitor", "admin"], true),
            (&["unit-editor"], true),
        ] {
            app.put_unit("U", &["lead", "m"], &[]).await;
            app.put_user("lead", roles).await;
            let monitors = if roles.contains(&"livechat-monitor") { 2 } else { 1 };
            let own = app.send(&event_of_lead("U", &["lead", "m"])).await;
            assert_success(&own, "U", monitors, 0);
            let other = app.send(&event_of_lead("V", &["m"])).await;
            if sees_all {
                assert_success(&other, "V", 1, 0);
            } else {
                assert_refused(&other, 400, UNIT_NOT_FOUND);
            }
        }
        // A monitor who leaves the unit cannot return by an update.
        app.put_unit("U", &["lead", "m"], &[]).await;
        app.put_user("lead", &["livechat-monitor", "unit-editor"]).await;
        assert_success(&app.send(&event_of_lead("U", &[])).await, "U", 0, 0);
        assert_refused(&app.send(&event_of_lead("U", &["lead"])).await, 400, UNIT_NOT_FOUND);
    })
    .await;
}
