//! Rows 3 to 5 of the contract: who may call, judged anew on every request.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use futures_util::future::{BoxFuture, FutureExt};
use livechat_units::{Function, hashed_token};
use serde_json::{Value, json};
use tracing::level_filters::LevelFilter;

use crate::faulty::{Faulty, exception};
use crate::logs;
use crate::world::{
    ADMIN, INTERNAL, NOT_LOGGED_IN, TOKEN, World, assert_refused, assert_success, body, event, invoke, world,
    world_through,
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
async fn what_is_gone_is_gone_from_the_next_request_on() {
    const TOKEN: &str = "a-token-of-the-manager-of-some-length";
    const PERMISSION: (&str, &str) = ("PERMISSION#manage-livechat-units", "PERMISSION");
    const USER: (&str, &str) = ("USER#manager", "USER");
    type Change = for<'w> fn(&'w World) -> BoxFuture<'w, ()>;
    let cases: [(&str, Change, u16, &str); 10] = [
        ("the token", |world| world.delete_token(TOKEN).boxed(), 401, NOT_LOGGED_IN),
        (
            "its time",
            |world| {
                async { world.token(TOKEN, "manager", json!({ "expiresAt": now().await })).await }.boxed()
            },
            401,
            NOT_LOGGED_IN,
        ),
        ("its user, for another", |world| world.token(TOKEN, ADMIN, json!({})).boxed(), 401, NOT_LOGGED_IN),
        ("the user", |world| world.delete(USER.0, USER.1).boxed(), 401, NOT_LOGGED_IN),
        (
            "being active",
            |world| world.change(USER.0, USER.1, json!({ "active": false })).boxed(),
            403,
            DEACTIVATED,
        ),
        ("the role", |world| world.user("manager", &["user"]).boxed(), 403, NOT_PERMITTED),
        ("all roles", |world| world.user("manager", &[]).boxed(), 403, NOT_PERMITTED),
        (
            "the role's permission",
            |world| {
                world.change(PERMISSION.0, PERMISSION.1, json!({ "roles": { "set": ["admin"] } })).boxed()
            },
            403,
            NOT_PERMITTED,
        ),
        (
            "all roles' permission",
            |world| world.change(PERMISSION.0, PERMISSION.1, json!({ "roles": null })).boxed(),
            403,
            NOT_PERMITTED,
        ),
        ("the permission", |world| world.delete(PERMISSION.0, PERMISSION.1).boxed(), 403, NOT_PERMITTED),
    ];
    for (what, change, status, body) in cases {
        let faulty = Faulty::new(|_| None);
        world_through(faulty.sdk(), async |world| {
            world.unit("U", &[], &[]).await;
            world.user("manager", &["livechat-manager"]).await;
            world.token(TOKEN, "manager", json!({})).await;
            let event = event_of(TOKEN, "manager");
            let other = world.another_function();
            for function in [&world.function, &other] {
                assert_success(&invoke(function, &event, None).await, "U", 0, 0);
            }
            change(world).await;
            let before = world.items().await;
            let refused = async |function: &Function| {
                let reads = faulty.keys_read().len();
                assert_refused(&invoke(function, &event, None).await, status, body);
                faulty.keys_read().split_off(reads)
            };
            // Environments that have seen the token read the unit with it, once, and judge all the same.
            assert_eq!(refused(&world.function).await, [4], "{what}");
            assert_eq!(refused(&other).await, [4], "{what}");
            assert_eq!(refused(&world.function).await, [3], "{what}");
            assert_eq!(refused(&world.another_function()).await, [3], "{what}");
            assert!(before == world.items().await, "{what}: it changed something");
        })
        .await;
    }
}

/// A token that was seen before has more read with it, and what becomes of that is not for its bearer to learn.
#[tokio::test]
async fn a_refusal_comes_before_what_fails_with_the_rest() {
    let fails = Arc::new(AtomicBool::new(false));
    let is_failing = fails.clone();
    let faulty = Faulty::new(move |sent| {
        let is_rest = !sent.is_write && !sent.body.contains("PERMISSION#");
        (is_rest && is_failing.load(Ordering::Relaxed)).then(|| exception("AccessDeniedException"))
    });
    world_through(faulty.sdk(), async |world| {
        world.unit("U", &[], &[]).await;
        world.token("t", ADMIN, json!({})).await;
        assert_success(&world.send(&event_of("t", ADMIN)).await, "U", 0, 0);
        world.delete_token("t").await;
        fails.store(true, Ordering::Relaxed);
        let departments: Vec<String> = (0..150).map(|n| format!("d{n}")).collect();
        let departments: Vec<&str> = departments.iter().map(String::as_str).collect();
        let mut event = event_of("t", ADMIN);
        event["body"] = body(&[], &departments).into();
        let reads = faulty.keys_read().len();
        assert_refused(&world.invoke(&event).await, 401, NOT_LOGGED_IN);
        assert_eq!(faulty.keys_read()[reads..].iter().sum::<usize>(), 154);
    })
    .await;
}

#[tokio::test]
async fn what_is_back_counts_again() {
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
    })
    .await;
}

#[tokio::test]
async fn nothing_tells_anothers_token_from_an_unknown_one() {
    const OTHERS: &str = "a-token-of-another-user-of-this-length";
    const UNKNOWN: &str = "no-token-of-anybody-at-all-of-that-length";
    let departments: Vec<String> = (0..150).map(|n| format!("d{n}")).collect();
    let departments: Vec<&str> = departments.iter().map(String::as_str).collect();
    let bodies = [body(&["m"], &departments), body(&[], &[]), "{".into(), "x".repeat(2_000_000)];
    let faulty = Faulty::new(|_| None);
    world_through(faulty.sdk(), async |world| {
        world.unit("U", &[], &[]).await;
        world.user("other", &["admin"]).await;
        world.token(OTHERS, "other", json!({})).await;
        logs::secret(UNKNOWN);
        // To an environment that knows the token well, and to one that does not.
        let knows = world.another_function();
        assert_success(&invoke(&knows, &event_of(OTHERS, "other"), None).await, "U", 0, 0);
        let is_new = world.another_function();
        for function in [&knows, &is_new] {
            for body in &bodies {
                for user in [ADMIN, "nobody"] {
                    let mut seen = Vec::new();
                    for token in [OTHERS, UNKNOWN] {
                        let mut event = event_of(token, user);
                        event["body"] = body.as_str().into();
                        let sent = faulty.sent().len();
                        let mut response = None;
                        let lines = logs::logged(LevelFilter::TRACE, async {
                            response = Some(invoke(function, &event, None).await);
                        })
                        .await;
                        let response = response.expect("it was invoked");
                        assert_refused(&response, 401, NOT_LOGGED_IN);
                        // The work that it takes, and so the time: the same items but for the hash.
                        let sent = &faulty.sent()[sent..];
                        let keys: Vec<usize> = sent.iter().map(|sent| sent.keys().len()).collect();
                        assert_eq!(keys, [3], "three items, whatever the body");
                        let sent = sent[0].body.replace(&hashed_token(token), "the hash");
                        let sent: Value = serde_json::from_str(&sent).expect("DynamoDB speaks JSON");
                        let lines: Vec<Value> = lines.into_iter().map(without_times).collect();
                        seen.push((response, sent, lines));
                    }
                    assert_eq!(seen[0], seen[1]);
                }
            }
        }
        // And the rightful user's next request is as fast as before.
        let reads = faulty.keys_read().len();
        assert_success(&invoke(&knows, &event_of(OTHERS, "other"), None).await, "U", 0, 0);
        let sent = faulty.sent();
        let reads = &sent.iter().filter(|sent| !sent.is_write).collect::<Vec<_>>()[reads..];
        assert_eq!(reads.len(), 1);
    })
    .await;
}

fn without_times(mut line: Value) -> Value {
    for name in ["timestamp", "ms"] {
        line.as_object_mut().expect("an object").remove(name);
    }
    line
}

#[tokio::test]
async fn a_stranger_costs_three_items_at_most() {
    const EXPIRED: &str = "an-expired-token-of-some-length";
    let faulty = Faulty::new(|_| None);
    world_through(faulty.sdk(), async |world| {
        world.unit("U", &[], &[]).await;
        world.token(EXPIRED, ADMIN, json!({ "expiresAt": 1 })).await;
        world.token("a-token-of-a-user-who-is-gone", "gone", json!({})).await;
        let ids: Vec<String> = (0..5_000).map(|n| format!("id{n}")).collect();
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        let bodies = [body(&ids, &ids), body(&[], &[]), "{".into(), String::new(), "x".repeat(2_000_000)];
        let mut requests = vec![
            (event_of("unknown", ADMIN), 3),
            (event_of(TOKEN, "nobody"), 3),
            (event_of(EXPIRED, ADMIN), 3),
            (event_of("a-token-of-a-user-who-is-gone", "gone"), 3),
            (event_of("", ADMIN), 0),
            (event_of(TOKEN, ""), 0),
            (event_of(&format!("{TOKEN},{TOKEN}"), ADMIN), 0),
        ];
        requests.push((event("U", ""), 0));
        requests[7].0["headers"] = json!({});
        for (event, items) in &mut requests {
            for body in &bodies {
                event["body"] = body.as_str().into();
                let reads = faulty.keys_read().len();
                assert_refused(&world.invoke(event).await, 401, NOT_LOGGED_IN);
                assert_eq!(faulty.keys_read()[reads..].iter().sum::<usize>(), *items, "{event}");
            }
        }
        assert_eq!(faulty.writes(), 0);
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
        // It is no turn of another user's.
        assert_both_refused(world, &event_of("corrupt-expiry", "u"), 401, NOT_LOGGED_IN).await;
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
