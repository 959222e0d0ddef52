//! Rows 3 to 5 of the contract over time: tokens expire, and tokens, users, roles and permissions are taken away.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use futures_util::future::{BoxFuture, FutureExt};
use livechat_units::Function;
use serde_json::json;

use super::authentication::assert_refused_by_both;
use crate::support::faulty_client::{FaultyClient, exception};
use crate::support::responses::{DEACTIVATED, NOT_LOGGED_IN, NOT_PERMITTED};
use crate::support::{
    ADMIN, TestApp, as_strs, assert_refused, assert_success, body, event_of, ids, invoke, with_app,
    with_app_through,
};

/// Now, in epoch seconds.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_secs()
}

#[tokio::test]
async fn an_expired_token_is_401() {
    with_app(async |app| {
        app.put_unit("U", &[], &[]).await;
        let now = now();
        app.put_token("past", ADMIN, json!({ "expiresAt": now - 1 })).await;
        app.put_token("present", ADMIN, json!({ "expiresAt": now })).await;
        app.put_token("future", ADMIN, json!({ "expiresAt": now + 60 })).await;
        for expired in ["past", "present"] {
            assert_refused_by_both(app, &event_of(expired, ADMIN), 401, NOT_LOGGED_IN).await;
        }
        assert_success(&app.send(&event_of("future", ADMIN)).await, "U", 0, 0);
        // The function has accepted this token before. Now the token is expired, and TTL has not deleted it yet.
        app.put_token("future", ADMIN, json!({ "expiresAt": now - 1 })).await;
        assert_refused_by_both(app, &event_of("future", ADMIN), 401, NOT_LOGGED_IN).await;
    })
    .await;
}

#[tokio::test]
async fn revoked_credentials_are_refused_on_the_next_request() {
    const TOKEN: &str = "a-token-of-the-manager-of-some-length";
    const PERMISSION: (&str, &str) = ("PERMISSION#manage-livechat-units", "PERMISSION");
    const USER: (&str, &str) = ("USER#manager", "USER");
    type Change = for<'w> fn(&'w TestApp) -> BoxFuture<'w, ()>;
    let cases: [(&str, Change, u16, &str); 10] = [
        ("the token", |app| app.delete_token(TOKEN).boxed(), 401, NOT_LOGGED_IN),
        (
            "the time until the token expires",
            |app| async { app.put_token(TOKEN, "manager", json!({ "expiresAt": now() })).await }.boxed(),
            401,
            NOT_LOGGED_IN,
        ),
        (
            "the user of the token, for another user",
            |app| app.put_token(TOKEN, ADMIN, json!({})).boxed(),
            401,
            NOT_LOGGED_IN,
        ),
        ("the user", |app| app.delete_item(USER.0, USER.1).boxed(), 401, NOT_LOGGED_IN),
        (
            "the user's activation",
            |app| app.change_item(USER.0, USER.1, json!({ "active": false })).boxed(),
            403,
            DEACTIVATED,
        ),
        ("the role of the user", |app| app.put_user("manager", &["user"]).boxed(), 403, NOT_PERMITTED),
        ("all roles of the user", |app| app.put_user("manager", &[]).boxed(), 403, NOT_PERMITTED),
        (
            "the permission of the role",
            |app| {
                app.change_item(PERMISSION.0, PERMISSION.1, json!({ "roles": { "set": ["admin"] } })).boxed()
            },
            403,
            NOT_PERMITTED,
        ),
        (
            "the permission of all roles",
            |app| app.change_item(PERMISSION.0, PERMISSION.1, json!({ "roles": null })).boxed(),
            403,
            NOT_PERMITTED,
        ),
        ("the permission", |app| app.delete_item(PERMISSION.0, PERMISSION.1).boxed(), 403, NOT_PERMITTED),
    ];
    for (what, change, status, body) in cases {
        let faulty = FaultyClient::new(|_| None);
        with_app_through(faulty.sdk(), async |app| {
            app.put_unit("U", &[], &[]).await;
            app.put_user("manager", &["livechat-manager"]).await;
            app.put_token(TOKEN, "manager", json!({})).await;
            let event = event_of(TOKEN, "manager");
            let other = app.another_function();
            for function in [&app.function, &other] {
                assert_success(&invoke(function, &event, None).await, "U", 0, 0);
            }
            change(app).await;
            let before = app.stored_items().await;
            let assert_refused_by = async |function: &Function| {
                let reads = faulty.keys_read().len();
                assert_refused(&invoke(function, &event, None).await, status, body);
                faulty.keys_read().split_off(reads)
            };
            // An execution environment that knows the token reads the unit in the same request, one last time.
            assert_eq!(assert_refused_by(&app.function).await, [4], "{what}");
            assert_eq!(assert_refused_by(&other).await, [4], "{what}");
            assert_eq!(assert_refused_by(&app.function).await, [3], "{what}");
            assert_eq!(assert_refused_by(&app.another_function()).await, [3], "{what}");
            assert!(before == app.stored_items().await, "{what}: a refused update changed something");
        })
        .await;
    }
}

/// The unit and the members are read together with a known token. If that part of the read fails, the answer for a revoked
/// token is still 401.
#[tokio::test]
async fn a_revoked_token_is_401_even_if_the_rest_of_the_read_fails() {
    let fails = Arc::new(AtomicBool::new(false));
    let is_failing = fails.clone();
    let faulty = FaultyClient::new(move |sent| {
        let is_rest = !sent.is_write && !sent.body.contains("PERMISSION#");
        (is_rest && is_failing.load(Ordering::Relaxed)).then(|| exception("AccessDeniedException"))
    });
    with_app_through(faulty.sdk(), async |app| {
        app.put_unit("U", &[], &[]).await;
        app.put_token("t", ADMIN, json!({})).await;
        assert_success(&app.send(&event_of("t", ADMIN)).await, "U", 0, 0);
        app.delete_token("t").await;
        fails.store(true, Ordering::Relaxed);
        let departments = ids("d", 150);
        let mut event = event_of("t", ADMIN);
        event["body"] = body(&[], &as_strs(&departments)).into();
        let reads = faulty.keys_read().len();
        assert_refused(&app.send_unchecked(&event).await, 401, NOT_LOGGED_IN);
        assert_eq!(faulty.keys_read()[reads..].iter().sum::<usize>(), 154);
    })
    .await;
}

#[tokio::test]
async fn a_reactivated_user_is_accepted_again() {
    with_app(async |app| {
        app.put_unit("U", &[], &[]).await;
        app.put_user("manager", &["livechat-manager"]).await;
        app.put_token("t", "manager", json!({})).await;
        let event = event_of("t", "manager");
        assert_success(&app.send(&event).await, "U", 0, 0);
        app.change_item("USER#manager", "USER", json!({ "active": false })).await;
        assert_refused_by_both(app, &event, 403, DEACTIVATED).await;
        app.change_item("USER#manager", "USER", json!({ "active": true })).await;
        assert_success(&app.send(&event).await, "U", 0, 0);
    })
    .await;
}
