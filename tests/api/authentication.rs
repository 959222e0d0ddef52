//! Rows 3 to 5 of the contract: who may call, judged anew on every request.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::world::{
    ADMIN, INTERNAL, NOT_LOGGED_IN, TOKEN, World, assert_refused, assert_success, body, event, invoke, world,
};

const DEACTIVATED: &str = r#"{"success":false,"error":"unauthorized"}"#;
const NOT_PERMITTED: &str = r#"{"success":false,"error":"User does not have the permissions required for this action [error-unauthorized]"}"#;

fn event_of(token: &str, user: &str) -> Value {
    let mut event = event("U", &body(&[], &[]));
    event["headers"]["x-auth-token"] = token.into();
    event["headers"]["x-user-id"] = user.into();
    event
}

async fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_secs()
}

/// What a request that an environment has authenticated before is answered, and one that is new to it.
async fn assert_both_refused(world: &World, event: &Value, status: u16, body: &str) {
    assert_refused(&world.send(event).await, status, body);
    assert_refused(&invoke(&world.another_function(), event, None).await, status, body);
}

#[tokio::test]
async fn headers_that_are_nobodys() {
    world(async |world| {
        world.unit("U", &[], &[]).await;
        let long = "x".repeat(513);
        for (name, value) in [
            ("x-auth-token", json!("")),
            ("x-auth-token", Value::Null),
            ("x-auth-token", json!(" ")),
            ("x-auth-token", json!(format!("{TOKEN},other"))),
            ("x-auth-token", json!(format!("other,{TOKEN}"))),
            ("x-auth-token", json!(format!("{TOKEN}ü"))),
            ("x-auth-token", json!("x".repeat(10_000))),
            ("x-auth-token", json!("line\nbreak")),
            ("x-user-id", json!("")),
            ("x-user-id", Value::Null),
            ("x-user-id", json!(format!("{ADMIN},{ADMIN}"))),
            ("x-user-id", json!("rbAXPnMktTFbNpwté")),
            ("x-user-id", json!(long)),
            ("x-user-id", json!("nobody")),
        ] {
            let mut event = event_of(TOKEN, ADMIN);
            event["headers"][name] = value;
            assert_refused(&world.send(&event).await, 401, NOT_LOGGED_IN);
        }
        // The names are not case-sensitive, so two spellings are a repetition.
        let mut event = event_of(TOKEN, ADMIN);
        event["headers"]["X-Auth-Token"] = TOKEN.into();
        assert_refused(&world.send(&event).await, 401, NOT_LOGGED_IN);
        event["headers"].as_object_mut().expect("an object").remove("x-auth-token");
        assert_success(&world.send(&event).await, "U", 0, 0);
    })
    .await;
}

#[tokio::test]
async fn rest_events_show_all_values_of_a_repeated_header() {
    world(async |world| {
        world.unit("U", &[], &[]).await;
        let mut event: Value =
            serde_json::from_str(include_str!("../../events/success-rest.json")).expect("the sample is JSON");
        event["path"] = "/api/v1/livechat/units/U".into();
        event["pathParameters"]["id"] = "U".into();
        event["body"] = body(&[], &[]).into();
        assert_success(&world.send(&event).await, "U", 0, 0);
        event["multiValueHeaders"]["X-Auth-Token"] = json!(["other", TOKEN]);
        assert_refused(&world.send(&event).await, 401, NOT_LOGGED_IN);
        event["multiValueHeaders"] = Value::Null;
        assert_success(&world.send(&event).await, "U", 0, 0);
    })
    .await;
}

#[tokio::test]
async fn a_token_expires_when_its_time_is_not_after_now() {
    world(async |world| {
        world.unit("U", &[], &[]).await;
        let now = now().await;
        world.token("past", ADMIN, json!({ "expiresAt": now - 1 })).await;
        world.token("present", ADMIN, json!({ "expiresAt": now })).await;
        world.token("future", ADMIN, json!({ "expiresAt": now + 60 })).await;
        for expired in ["past", "present"] {
            assert_both_refused(world, &event_of(expired, ADMIN), 401, NOT_LOGGED_IN).await;
        }
        assert_success(&world.send(&event_of("future", ADMIN)).await, "U", 0, 0);
        // Seen before, expired since, not deleted yet.
        world.token("future", ADMIN, json!({ "expiresAt": now - 1 })).await;
        assert_both_refused(world, &event_of("future", ADMIN), 401, NOT_LOGGED_IN).await;
    })
    .await;
}

#[tokio::test]
async fn what_changes_counts_from_the_next_request_on() {
    world(async |world| {
        world.unit("U", &[], &[]).await;
        world.user("manager", &["livechat-manager"]).await;
        world.token("t", "manager", json!({})).await;
        let event = event_of("t", "manager");
        assert_success(&world.send(&event).await, "U", 0, 0);

        world.change("USER#manager", "USER", json!({ "active": false })).await;
        assert_both_refused(world, &event, 403, DEACTIVATED).await;
        world.change("USER#manager", "USER", json!({ "active": true })).await;
        assert_success(&world.send(&event).await, "U", 0, 0);

        world.change("USER#manager", "USER", json!({ "roles": { "set": ["user"] } })).await;
        assert_both_refused(world, &event, 403, NOT_PERMITTED).await;
        world.change("USER#manager", "USER", json!({ "roles": null })).await;
        assert_both_refused(world, &event, 403, NOT_PERMITTED).await;
        world.user("manager", &["livechat-manager"]).await;
        assert_success(&world.send(&event).await, "U", 0, 0);

        let permission = world.item("PERMISSION#manage-livechat-units", "PERMISSION").await;
        world.change("PERMISSION#manage-livechat-units", "PERMISSION", json!({ "roles": null })).await;
        assert_both_refused(world, &event, 403, NOT_PERMITTED).await;
        world.delete("PERMISSION#manage-livechat-units", "PERMISSION").await;
        assert_both_refused(world, &event, 403, NOT_PERMITTED).await;
        world.put(permission).await;
        assert_success(&world.send(&event).await, "U", 0, 0);

        world.delete("USER#manager", "USER").await;
        assert_both_refused(world, &event, 401, NOT_LOGGED_IN).await;
        world.user("manager", &["livechat-manager"]).await;
        world.delete_token("t").await;
        assert_both_refused(world, &event, 401, NOT_LOGGED_IN).await;
    })
    .await;
}

#[tokio::test]
async fn a_token_is_its_users_only() {
    world(async |world| {
        world.unit("U", &[], &[]).await;
        world.user("other", &["admin"]).await;
        assert_success(&world.send(&event_of(TOKEN, ADMIN)).await, "U", 0, 0);
        assert_both_refused(world, &event_of(TOKEN, "other"), 401, NOT_LOGGED_IN).await;
        // And the attempt does not harm the rightful user.
        assert_success(&world.send(&event_of(TOKEN, ADMIN)).await, "U", 0, 0);
        // A token without a user is nobody's.
        world.token("t", ADMIN, json!({ "userId": null })).await;
        assert_both_refused(world, &event_of("t", ADMIN), 401, NOT_LOGGED_IN).await;
    })
    .await;
}

#[tokio::test]
async fn who_the_caller_is_comes_before_what_they_send() {
    world(async |world| {
        world.user("inactive", &["admin"]).await;
        world.change("USER#inactive", "USER", json!({ "active": false })).await;
        world.token("t", "inactive", json!({})).await;
        for body in ["", "{", "{}", &"x".repeat(2_000_000)] {
            for (token, user, status, expected) in
                [("unknown", ADMIN, 401, NOT_LOGGED_IN), ("t", "inactive", 403, DEACTIVATED)]
            {
                let mut event = event_of(token, user);
                event["body"] = body.into();
                assert_both_refused(world, &event, status, expected).await;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_corrupt_item_is_our_fault_when_its_turn_comes() {
    world(async |world| {
        world.unit("U", &[], &[]).await;
        // Of a token only this can be wrong: userId is the key of an index, and DynamoDB holds it to its type.
        world.token("corrupt-expiry", ADMIN, json!({ "expiresAt": "tomorrow" })).await;
        assert_both_refused(world, &event_of("corrupt-expiry", ADMIN), 500, INTERNAL).await;
        world.token("t", "u", json!({})).await;
        for change in [json!({ "active": "yes" }), json!({ "roles": ["admin"] }), json!({ "roles": "admin" })]
        {
            world.user("u", &["admin"]).await;
            world.change("USER#u", "USER", change).await;
            assert_both_refused(world, &event_of("t", "u"), 500, INTERNAL).await;
        }
        // A deactivated user is told so before the permission is looked at.
        world.user("u", &["admin"]).await;
        world.change("PERMISSION#manage-livechat-units", "PERMISSION", json!({ "roles": 1 })).await;
        assert_both_refused(world, &event_of("t", "u"), 500, INTERNAL).await;
        world.change("USER#u", "USER", json!({ "active": false })).await;
        assert_both_refused(world, &event_of("t", "u"), 403, DEACTIVATED).await;
    })
    .await;
}
