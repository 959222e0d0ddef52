//! Lambda's own ways to end an update: its process killed, or frozen and thawed, whenever it waits.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use futures_util::future::join_all;
use livechat_units::{Function, Response};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::case::Case;
use crate::invariants::assert_invariants;
use crate::world::{Items, UNAVAILABLE, World, assert_refused, body, event, invoke, world};

/// Polls so many times at most; `None` if it takes more.
async fn polled<T>(mut future: Pin<&mut impl Future<Output = T>>, times: usize) -> Option<T> {
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

/// A function that has seen the token before, or not.
async fn function(world: &World, is_seen: bool) -> Function {
    let function = world.another_function();
    if is_seen {
        assert_eq!(invoke(&function, &event("U", "{"), None).await.status_code, 400);
    }
    function
}

/// What is stored but for times and the unit's version: an update that was killed may have been committed,
/// and counts.
fn content(case: &Case, items: &Items) -> Items {
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
async fn killed_at_any_await_point() {
    world(async |world| {
        world.monitors(&["m", "n"]).await;
        for is_seen in [false, true] {
            let first = if is_seen { 1000 } else { 0 };
            for polls in 0.. {
                let case = Case::new(world, false, first + polls).await;
                let before = world.items().await;
                let function = function(world, is_seen).await;
                let answered = {
                    let update = pin!(invoke(&function, &case.event, None));
                    polled(update, polls).await
                };
                drop(function);
                let after = world.items().await;
                assert_invariants(&after);
                let was_stored = case.is_stored(&before, &after);
                if let Some(response) = answered {
                    assert_eq!((response.status_code, was_stored), (200, true));
                    // It waits for each of its requests, so it was killed between them and within.
                    assert!(polls > 3, "{polls} await points are none");
                    break;
                }
                // What it had sent may arrive until now.
                let again = invoke(&world.another_function(), &case.event, None).await;
                assert_eq!(again.status_code, 200, "{}", again.body);
                let now = world.items().await;
                assert_invariants(&now);
                assert!(
                    content(&case, &now) == content(&case, &case.asked(&before, "")),
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
async fn frozen_at_any_await_point_while_others_go_on() {
    world(async |world| {
        world.monitors(&["m", "n"]).await;
        let mut cases = Vec::new();
        // Shorter than anyone waits, longer than one try, and longer than Lambda lets it run.
        for (nth, (freeze, remaining)) in
            [(0, 30_000), (1_200, 30_000), (2_100, 2_000)].into_iter().enumerate()
        {
            let [freeze, remaining] = [freeze, remaining].map(Duration::from_millis);
            for polls in 0..20 {
                let case = Case::new(world, false, nth * 1000 + polls).await;
                cases.push((case, polls, freeze, remaining));
            }
        }
        let outcomes = cases.iter().map(async |(case, polls, freeze, remaining)| {
            let function = function(world, polls % 2 == 0).await;
            let mut update = pin!(invoke(&function, &case.event, Some(*remaining)));
            if let Some(response) = polled(update.as_mut(), *polls).await {
                return (response, 0);
            }
            // Another environment takes the unit meanwhile, with its department.
            let other = world.another_function();
            let response = invoke(&other, &competing(case), None).await;
            assert_eq!(response.status_code, 200, "{}", response.body);
            sleep(*freeze).await;
            (update.await, 1)
        });
        let outcomes: Vec<(Response, u64)> = join_all(outcomes).await;
        let items = world.items().await;
        for ((case, polls, freeze, remaining), (response, others)) in cases.iter().zip(outcomes) {
            let unit = &items[&case.key()];
            let commits = unit["version"].as_u64().expect("a count") - 7;
            let what = format!("frozen for {freeze:?} after {polls} polls: {}", response.body);
            // Whoever came last, it is all theirs.
            let (monitors, departments) = (&unit["numMonitors"], &unit["numDepartments"]);
            match unit["name"].as_str() {
                Some("new name") => assert_eq!((monitors, departments), (&json!(1), &json!(1)), "{what}"),
                Some("other name") => assert_eq!((monitors, departments), (&json!(0), &json!(0)), "{what}"),
                // This machine was so busy that the time was over before anything happened.
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

/// An update of the same unit to something else.
fn competing(case: &Case) -> Value {
    let mut update: Value = serde_json::from_str(&body(&[], &[])).expect("a body is JSON");
    update["unitData"]["name"] = "other name".into();
    event(&case.unit, &update.to_string())
}
