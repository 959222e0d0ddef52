//! Callers who are not authenticated: what they can learn, and how much they can make the function read.

use livechat_units::hashed_token;
use serde_json::{Value, json};
use tracing::level_filters::LevelFilter;

use crate::support::faulty_client::FaultyClient;
use crate::support::responses::NOT_LOGGED_IN;
use crate::support::{
    ADMIN, TOKEN, as_strs, assert_refused, assert_success, body, event, event_of, ids, invoke, logs,
    with_app_through,
};

#[tokio::test]
async fn another_users_token_looks_like_an_unknown_token() {
    const OF_ANOTHER_USER: &str = "a-token-of-another-user-of-this-length";
    const UNKNOWN: &str = "a-token-that-does-not-exist-of-this-length";
    let departments = ids("d", 150);
    let bodies = [body(&["m"], &as_strs(&departments)), body(&[], &[]), "{".into(), "x".repeat(2_000_000)];
    let faulty = FaultyClient::new(|_| None);
    with_app_through(faulty.sdk(), async |app| {
        app.put_unit("U", &[], &[]).await;
        app.put_user("other", &["admin"]).await;
        app.put_token(OF_ANOTHER_USER, "other", json!({})).await;
        logs::watch_token(UNKNOWN);
        // One execution environment has accepted the other user's token before, the other one is new.
        let seen_before = app.another_function();
        assert_success(&invoke(&seen_before, &event_of(OF_ANOTHER_USER, "other"), None).await, "U", 0, 0);
        let new = app.another_function();
        for function in [&seen_before, &new] {
            for body in &bodies {
                for user in [ADMIN, "unknown"] {
                    let mut observed = Vec::new();
                    for token in [OF_ANOTHER_USER, UNKNOWN] {
                        let mut event = event_of(token, user);
                        event["body"] = body.as_str().into();
                        let (response, sent, lines) = loop {
                            let before = faulty.sent().len();
                            let mut response = None;
                            let lines = logs::capture(LevelFilter::TRACE, async {
                                response = Some(invoke(function, &event, None).await);
                            })
                            .await;
                            let response = response.expect("the request was sent");
                            let sent = faulty.sent()[before..].to_vec();
                            // If a reply came late, the read was sent twice.
                            if !sent.iter().any(|sent| sent.is_repeated) {
                                break (response, sent, lines);
                            }
                        };
                        assert_refused(&response, 401, NOT_LOGGED_IN);
                        // Both tokens cause the same work, so both take the same time. The requests differ only in the
                        // hash.
                        let keys: Vec<usize> = sent.iter().map(|sent| sent.keys().len()).collect();
                        assert_eq!(keys, [3], "three items are read, whatever the body");
                        let sent = sent[0].body.replace(&hashed_token(token), "the hash");
                        let sent: Value = serde_json::from_str(&sent).expect("the SDK sends JSON");
                        let lines: Vec<Value> = lines.into_iter().map(without_times).collect();
                        observed.push((response, sent, lines));
                    }
                    assert_eq!(observed[0], observed[1]);
                }
            }
        }
        // The next request of the token's owner still needs one read only.
        let reads = faulty.keys_read().len();
        assert_success(&invoke(&seen_before, &event_of(OF_ANOTHER_USER, "other"), None).await, "U", 0, 0);
        assert_eq!(faulty.keys_read()[reads..].len(), 1);
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
async fn an_unauthenticated_request_reads_at_most_three_items() {
    const EXPIRED: &str = "an-expired-token-of-some-length";
    let faulty = FaultyClient::new(|_| None);
    with_app_through(faulty.sdk(), async |app| {
        app.put_unit("U", &[], &[]).await;
        app.put_token(EXPIRED, ADMIN, json!({ "expiresAt": 1 })).await;
        app.put_token("a-token-of-a-user-who-is-gone", "gone", json!({})).await;
        let ids = ids("id", 5_000);
        let bodies = [
            body(&as_strs(&ids), &as_strs(&ids)),
            body(&[], &[]),
            "{".into(),
            String::new(),
            "x".repeat(2_000_000),
        ];
        let mut requests = vec![
            (event_of("unknown", ADMIN), 3),
            (event_of(TOKEN, "unknown"), 3),
            (event_of(EXPIRED, ADMIN), 3),
            (event_of("a-token-of-a-user-who-is-gone", "gone"), 3),
            (event_of("", ADMIN), 0),
            (event_of(TOKEN, ""), 0),
            (event_of(&format!("{TOKEN},{TOKEN}"), ADMIN), 0),
        ];
        requests.push((event("U", ""), 0));
        requests[7].0["headers"] = json!({});
        for (event, max_items) in &mut requests {
            for body in &bodies {
                event["body"] = body.as_str().into();
                let reads = faulty.keys_read().len();
                assert_refused(&app.send_unchecked(event).await, 401, NOT_LOGGED_IN);
                assert_eq!(faulty.keys_read()[reads..].iter().sum::<usize>(), *max_items, "{event}");
            }
        }
        assert_eq!(faulty.writes(), 0);
    })
    .await;
}

#[tokio::test]
async fn a_known_token_is_read_together_with_the_unit() {
    let faulty = FaultyClient::new(|_| None);
    with_app_through(faulty.sdk(), async |app| {
        app.put_unit("U", &["m"], &["d"]).await;
        let departments = ids("d", 200);
        let mut with_unknown_token = event("U", &body(&["m"], &as_strs(&departments)));
        with_unknown_token["headers"]["x-auth-token"] = "unknown".into();
        app.send_unchecked(&with_unknown_token).await;
        assert_eq!(faulty.keys_read(), [3]);

        app.send_unchecked(&event("U", &body(&["m"], &["d"]))).await;
        assert_eq!(faulty.keys_read(), [3, 3, 3]);
        // With a body that is not JSON, only the caller's items are read.
        app.send_unchecked(&event("U", "{")).await;
        assert_eq!(faulty.keys_read(), [3, 3, 3, 3]);
        // After its first refusal a revoked token is like an unknown one.
        app.delete_token(TOKEN).await;
        app.send_unchecked(&event("U", &body(&["m"], &["d"]))).await;
        app.send_unchecked(&event("U", &body(&["m"], &["d"]))).await;
        assert_eq!(faulty.keys_read()[4..], [6, 3]);
    })
    .await;
}
