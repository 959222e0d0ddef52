//! Updates that compete: each is answered, the invariants hold, and versions count the commits.

use std::time::Instant;

use futures_util::future::join_all;
use livechat_units::Response;
use serde_json::Value;

use crate::support::lag::{MIN_TIME_OF_UNAVAILABLE, with_lag};
use crate::support::responses::{BUSY, UNAVAILABLE};
use crate::support::{TestApp, as_strs, body, event, ids, with_app};

/// Sends these updates at the same time, and checks that each gets an answer that an update which competes with others may get.
async fn compete(app: &TestApp, events: &[Value]) -> Vec<Response> {
    let answer = async |event| {
        let started = Instant::now();
        (app.send_unchecked(event).await, started.elapsed())
    };
    let (answers, lag) = with_lag(join_all(events.iter().map(answer))).await;
    let answers = answers.into_iter().map(|(response, took)| {
        // If this machine stands still or is slow, the time may end while the function waits for a reply.
        let may_be_unavailable = lag.is_stall() || took > MIN_TIME_OF_UNAVAILABLE;
        let is_allowed = response.status_code == 200
            || response.body == BUSY
            || (may_be_unavailable && response.body == UNAVAILABLE);
        assert!(is_allowed, "after {took:?}, with {lag:?}: {}", response.body);
        response
    });
    answers.collect()
}

#[tokio::test]
async fn concurrent_updates_of_one_unit_are_all_answered() {
    with_app(async |app| {
        app.put_unit("U", &["m0"], &["d0"]).await;
        let departments: Vec<String> = (1..16).map(|n| format!("d{n}")).collect();
        let monitors: Vec<String> = (1..16).map(|n| format!("m{n}")).collect();
        app.put_departments(&as_strs(&departments)).await;
        app.put_monitors(&as_strs(&monitors)).await;
        let events: Vec<_> = (0..16)
            .map(|n: usize| {
                let (monitor, department) = (format!("m{n}"), format!("d{n}"));
                let next = format!("d{}", (n + 1) % 16);
                event("U", &body(&[&monitor], &[&department, &next]))
            })
            .collect();
        let responses = compete(app, &events).await;
        let committed = responses.iter().filter(|response| response.status_code == 200).count();
        assert!(committed > 0, "no update was committed");
        if responses.iter().any(|response| response.body == UNAVAILABLE) {
            // Such an update may be stored.
            return;
        }
        assert_eq!(app.stored_unit("U").await["version"], 7 + committed);
    })
    .await;
}

#[tokio::test]
async fn concurrent_updates_that_take_the_same_departments_are_all_answered() {
    with_app(async |app| {
        let departments = ids("d", 6);
        let departments = as_strs(&departments);
        app.put_unit("U0", &[], &departments).await;
        for n in 1..16 {
            app.put_unit(&format!("U{n}"), &[], &[]).await;
        }
        let events: Vec<_> = (0..16).map(|n| event(&format!("U{n}"), &body(&[], &departments))).collect();
        let responses = compete(app, &events).await;
        let mut commits = 0;
        for (n, response) in responses.iter().enumerate() {
            let version = app.stored_unit(&format!("U{n}")).await["version"].as_u64().expect("a count") - 7;
            // The version grows by one with its own commit, and by one each time that it loses departments.
            assert!(version >= u64::from(response.status_code == 200));
            commits += version;
        }
        let committed = responses.iter().filter(|response| response.status_code == 200).count() as u64;
        assert!(committed > 0, "no update was committed");
        if responses.iter().any(|response| response.body == UNAVAILABLE) {
            // Such an update may be stored.
            return;
        }
        // A committed update takes all departments from one other unit. Only U0 has all of them at first, so an update of U0 may
        // take none.
        assert!(commits == 2 * committed || commits == 2 * committed - 1, "{commits} of {committed}");
    })
    .await;
}
