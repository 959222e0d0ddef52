//! Lambda kills or freezes the function at each point where an update can wait.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::{StreamExt, stream};
use livechat_units::{Function, Response};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::support::invariants::assert_invariants;
use crate::support::responses::{BUSY, UNAVAILABLE};
use crate::support::update_case::{Progress, UpdateCase, put_users};
use crate::support::{Items, TestApp, assert_refused, body, event, invoke, with_app};

/// Polls a future at most `times` times. Returns `None` if it needs more.
async fn poll_times<T>(mut future: Pin<&mut impl Future<Output = T>>, times: usize) -> Option<T> {
    let mut left = times;
    poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        match future.as_mut().poll(context) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// A new execution environment, which knows the token or does not.
async fn environment(app: &TestApp, knows_token: bool) -> Function {
    let function = app.another_function();
    if knows_token {
        assert_eq!(invoke(&function, &event("U", "{"), None).await.status_code, 400);
    }
    function
}

/// The items without their times and without the unit's version. The version can't be compared, because it is not known whether a
/// killed update was committed, and so whether it has raised the version.
fn without_versions(case: &UpdateCase, items: &Items) -> Items {
    let mut items = items.clone();
    for ((pk, _), item) in &mut items {
        item.as_object_mut().expect("an object").remove("_updatedAt");
        if pk.strip_prefix("UNIT#") == Some(&case.unit) {
            item.as_object_mut().expect("an object").remove("version");
        }
    }
    items
}

#[tokio::test]
async fn an_update_killed_at_any_await_point_is_stored_whole_or_not_at_all() {
    with_app(async |app| {
        put_users(app).await;
        for knows_token in [false, true] {
            let first = if knows_token { 1000 } else { 0 };
            for polls in 0.. {
                let case = UpdateCase::new(app, false, first + polls).await;
                let before = app.stored_items().await;
                let function = environment(app, knows_token).await;
                let answered = {
                    let update = pin!(invoke(&function, &case.event, None));
                    poll_times(update, polls).await
                };
                drop(function);
                let after = app.stored_items().await;
                assert_invariants(&after);
                let was_stored = case.is_stored(&before, &after);
                if let Some(response) = answered {
                    assert_eq!((response.status_code, was_stored), (200, true));
                    // An update waits several times for each of its three requests.
                    assert!(polls > 3, "an update has more await points than {polls}");
                    break;
                }
                // A request that the killed update has sent may still reach DynamoDB here.
                let again = invoke(&app.another_function(), &case.event, None).await;
                assert_eq!(again.status_code, 200, "{}", again.body);
                let now = app.stored_items().await;
                assert_invariants(&now);
                assert!(
                    without_versions(&case, &now)
                        == without_versions(&case, &case.expected_items(&before, &now, "")),
                    "after {polls} polls"
                );
                let version = now[&case.key()]["version"].as_u64().expect("a count");
                assert!(version == 8 + u64::from(was_stored) || version == 9, "version {version}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn an_update_frozen_at_any_await_point_does_not_overwrite_others() {
    with_app(async |app| {
        put_users(app).await;
        let mut cases = Vec::new();
        // (how long it is frozen, how long Lambda lets it run) in ms. It is not frozen, frozen for longer than one attempt, or
        // frozen beyond the deadline.
        for (nth, (freeze, remaining)) in
            [(0, 30_000), (1_200, 30_000), (2_100, 2_000)].into_iter().enumerate()
        {
            let [freeze, remaining] = [freeze, remaining].map(Duration::from_millis);
            for polls in 0..20 {
                let case = UpdateCase::new(app, false, nth * 1000 + polls).await;
                cases.push((case, polls, freeze, remaining));
            }
        }
        let outcomes = cases.iter().map(async |(case, polls, freeze, remaining)| {
            let function = environment(app, polls % 2 == 0).await;
            let mut update = pin!(invoke(&function, &case.event, Some(*remaining)));
            if let Some(response) = poll_times(update.as_mut(), *polls).await {
                return (response, 0);
            }
            // Another execution environment updates the unit meanwhile.
            let other = app.another_function();
            let response = invoke(&other, &other_update(case), None).await;
            assert_eq!(response.status_code, 200, "{}", response.body);
            sleep(*freeze).await;
            (update.await, 1)
        });
        let outcomes: Vec<(Response, u64)> = join_all(outcomes).await;
        let items = app.stored_items().await;
        for ((case, polls, freeze, remaining), (response, others)) in cases.iter().zip(outcomes) {
            let unit = &items[&case.key()];
            let commits = unit["version"].as_u64().expect("a count") - 7;
            let what = format!("frozen for {freeze:?} after {polls} polls: {}", response.body);
            // The unit is as one of the two updates asks, whichever was last.
            let (monitors, departments) = (&unit["numMonitors"], &unit["numDepartments"]);
            match unit["name"].as_str() {
                Some("new name") => assert_eq!((monitors, departments), (&json!(1), &json!(1)), "{what}"),
                Some("other name") => assert_eq!((monitors, departments), (&json!(0), &json!(0)), "{what}"),
                // This machine is so busy that the time was over before the update was polled.
                _ => assert_eq!((response.status_code, others, commits), (503, 0, 0), "{what}"),
            }
            if response.status_code == 200 {
                assert_eq!(commits, 1 + others, "{what}");
            } else {
                assert!(remaining < freeze, "{what}");
                assert_refused(&response, 503, UNAVAILABLE);
                assert!(commits == others || commits == 1 + others, "{what}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_large_update_killed_at_any_await_point_leaves_a_consistent_unit() {
    let mut seen = Vec::new();
    for knows_token in [false, true] {
        for polls in 0.. {
            let mut is_answered = false;
            // Each case has new tables, because it reads the whole table several times.
            with_app(async |app| {
                put_users(app).await;
                let case = UpdateCase::new(app, true, polls).await;
                let before = app.stored_items().await;
                let function = environment(app, knows_token).await;
                let answered = {
                    let update = pin!(invoke(&function, &case.event, None));
                    poll_times(update, polls).await
                };
                drop(function);
                let after = app.stored_items().await;
                seen.push(case.progress(&before, &after));
                if let Some(response) = answered {
                    assert_eq!((response.status_code, seen.last()), (200, Some(&Progress::Everything)));
                    is_answered = true;
                    return;
                }
                // A request that the killed update has sent may still reach DynamoDB here.
                let again = invoke(&app.another_function(), &case.event, None).await;
                assert_eq!(again.status_code, 200, "{}", again.body);
                let now = app.stored_items().await;
                assert_invariants(&now);
                assert!(
                    without_versions(&case, &now)
                        == without_versions(&case, &case.expected_items(&before, &now, "")),
                    "after {polls} polls"
                );
            })
            .await;
            if is_answered {
                break;
            }
        }
    }
    // The update was also killed between its transactions.
    assert!(seen.contains(&Progress::Nothing) && seen.contains(&Progress::Part), "{seen:?}");
}

#[tokio::test]
async fn a_large_update_frozen_at_any_await_point_goes_on_or_gives_way() {
    with_app(async |app| {
        put_users(app).await;
        let mut cases = Vec::new();
        // How long it is frozen, in ms: not at all, and for longer than one attempt.
        for (nth, freeze) in [0, 1_200].into_iter().enumerate() {
            for polls in 0..16 {
                let case = UpdateCase::new(app, true, 100 * nth + polls).await;
                cases.push((case, polls, Duration::from_millis(freeze)));
            }
        }
        let outcomes = cases.iter().map(async |(case, polls, freeze)| {
            let function = environment(app, polls % 2 == 0).await;
            let mut update = pin!(invoke(&function, &case.event, Some(Duration::from_secs(30))));
            if let Some(response) = poll_times(update.as_mut(), *polls).await {
                return (response, false);
            }
            // Another execution environment removes all members meanwhile.
            let other = app.another_function();
            let response = invoke(&other, &other_update(case), None).await;
            assert_eq!(response.status_code, 200, "{}", response.body);
            sleep(*freeze).await;
            (update.await, true)
        });
        // Few at the same time, because large updates keep DynamoDB busy.
        let outcomes: Vec<(Response, bool)> = stream::iter(outcomes).buffered(4).collect().await;
        let items = app.stored_items().await;
        for ((case, polls, freeze), (response, is_frozen)) in cases.iter().zip(outcomes) {
            let what = format!("frozen for {freeze:?} after {polls} polls: {}", response.body);
            let unit = &items[&case.key()];
            let is_as_other_asks = unit["name"] == "other name"
                && (&unit["numMonitors"], &unit["numDepartments"]) == (&json!(0), &json!(0));
            if response.status_code == 200 {
                // The last transaction may have been committed before the freeze, and the reply read after it.
                assert!(case.is_fulfilled(&items) || (is_frozen && is_as_other_asks), "{what}");
            } else {
                // The other update has undone what this one had committed.
                assert_refused(&response, 503, BUSY);
                assert!(is_frozen && is_as_other_asks, "{what}");
            }
        }
    })
    .await;
}

/// An update of the same unit to another name, without members.
fn other_update(case: &UpdateCase) -> Value {
    let mut update: Value = serde_json::from_str(&body(&[], &[])).expect("a body is JSON");
    update["unitData"]["name"] = "other name".into();
    event(&case.unit, &update.to_string())
}
