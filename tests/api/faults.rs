//! Rows 12 to 14 of the contract: what DynamoDB can do to a request, injected between it and the SDK.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};
use serde_json::{Value, json};

use crate::faulty::{Fault, Faulty, canceled, exception};
use crate::wire::Wire;
use crate::world::{UNAVAILABLE, World, assert_refused, assert_success, body, event, invoke, world_through};

/// Invokes the function on an execution environment that has so much time, and sees that this was enough.
async fn update_through(
    faulty: &Faulty,
    remaining: Duration,
    test: impl AsyncFnOnce(&World, livechat_units::Response),
) {
    world_through(faulty.sdk(), async |world| {
        world.unit("U", &["m"], &["d"]).await;
        world.unit("V", &[], &["e"]).await;
        let event = event("U", &body(&["m"], &["e"]));
        let started = Instant::now();
        let response = invoke(&world.function, &event, Some(remaining)).await;
        assert!(started.elapsed() < remaining.max(Duration::from_secs(1)), "too late");
        test(world, response).await;
    })
    .await;
}

#[tokio::test]
async fn a_failed_condition_comes_before_other_reasons() {
    // It says that the unit is gone, so the plan is made again of that, whatever else was wrong.
    for other in ["TransactionConflict", "ThrottlingError", "ValidationError"] {
        let faulty = Faulty::new(move |sent| {
            sent.is_write.then(|| canceled(&["ConditionalCheckFailed", other, "None"]))
        });
        update_through(&faulty, Duration::from_secs(5), async |_, response| {
            assert_refused(&response, 400, crate::world::UNIT_NOT_FOUND);
        })
        .await;
    }
}

#[tokio::test]
async fn a_large_batch_is_read_in_parts() {
    // The first reply to the unit's read has some of the keys, and leaves the others.
    let left = Arc::new(Mutex::new(Value::Null));
    let reply = left.clone();
    let faulty = Faulty::new(move |sent| {
        let reply = reply.lock().expect("nobody panics").clone();
        (!sent.is_write && sent.number == 1).then_some(Fault::Reply(200, reply))
    });
    world_through(faulty.sdk(), async |world| {
        world.unit("U", &[], &["d"]).await;
        let table = world.tables.livechat.clone();
        let department = json!({
            "pk": { "S": "DEPARTMENT#d" }, "parentId": { "S": "U" }, "ancestors": { "L": [{ "S": "U" }] },
        });
        let unit =
            json!({ "Keys": [{ "pk": { "S": "UNIT#U" }, "sk": { "S": "UNIT" } }], "ConsistentRead": true });
        *left.lock().expect("nobody panics") =
            json!({ "Responses": { table.clone(): [department] }, "UnprocessedKeys": { table: unit } });
        assert_success(&world.update("U", &[], &["d"]).await, "U", 0, 1);
        assert_eq!(faulty.keys_read(), [3, 2, 1]);
    })
    .await;
}

#[tokio::test]
async fn a_reply_without_a_body_does_not_say_that_nothing_exists() {
    // The caller would be nobody, the unit gone, and departments would stay in a unit that drops them.
    for number in 0..2 {
        let faulty = Faulty::new(move |sent| {
            (!sent.is_write && sent.number == number).then_some(Fault::Reply(200, json!({})))
        });
        update_through(&faulty, Duration::from_secs(20), async |_, response| {
            assert_success(&response, "U", 1, 1);
        })
        .await;
    }
}

#[tokio::test]
async fn a_hang_costs_a_second_and_not_the_update() {
    let faulty = Faulty::new(|_| Some(Fault::Wire(Wire::Hang)));
    update_through(&faulty, Duration::from_millis(3_800), async |_, response| {
        assert_refused(&response, 503, UNAVAILABLE);
        // 2.8 seconds are enough to begin three tries of a second.
        assert!(faulty.sent().len() >= 3, "{} tries", faulty.sent().len());
    })
    .await;
}

/// Credentials that never come.
#[derive(Debug)]
struct NoCredentials;

impl ProvideCredentials for NoCredentials {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(std::future::pending())
    }
}

#[tokio::test]
async fn credentials_that_never_come_are_answered_in_time() {
    let provider = SharedCredentialsProvider::new(NoCredentials);
    let faulty = Faulty::new(|_| None);
    let with_faulty = faulty.sdk();
    let sdk = |sdk| with_faulty(sdk).into_builder().credentials_provider(provider).build();
    world_through(sdk, async |world| {
        let started = Instant::now();
        let response = invoke(&world.function, &event("U", ""), Some(Duration::from_secs(4))).await;
        assert_refused(&response, 503, UNAVAILABLE);
        assert!(started.elapsed() < Duration::from_secs(4), "too late");
        assert_eq!(faulty.keys_read(), Vec::<usize>::new());
    })
    .await;
}

#[tokio::test]
async fn a_short_lambda_timeout_is_answered_in_time() {
    for remaining in [0, 300, 999] {
        let faulty = Faulty::new(|_| None);
        update_through(&faulty, Duration::from_millis(remaining), async |_, response| {
            assert_refused(&response, 503, UNAVAILABLE);
            assert_eq!(faulty.keys_read(), Vec::<usize>::new(), "there was no time to begin");
        })
        .await;
    }
}

#[tokio::test]
async fn strangers_cost_three_items_and_known_callers_one_read() {
    let faulty = Faulty::new(|_| None);
    world_through(faulty.sdk(), async |world| {
        world.unit("U", &["m"], &["d"]).await;
        let departments: Vec<String> = (0..200).map(|n| format!("d{n}")).collect();
        let departments: Vec<&str> = departments.iter().map(String::as_str).collect();
        let mut strangers = event("U", &body(&["m"], &departments));
        strangers["headers"]["x-auth-token"] = "unknown".into();
        world.invoke(&strangers).await;
        assert_eq!(faulty.keys_read(), [3]);

        world.invoke(&event("U", &body(&["m"], &["d"]))).await;
        assert_eq!(faulty.keys_read(), [3, 3, 3]);
        // A broken body makes a known caller read no more either.
        world.invoke(&event("U", "{")).await;
        assert_eq!(faulty.keys_read(), [3, 3, 3, 3]);
        // A token that was revoked is a stranger's after its first refusal.
        world.delete_token(crate::world::TOKEN).await;
        world.invoke(&event("U", &body(&["m"], &["d"]))).await;
        world.invoke(&event("U", &body(&["m"], &["d"]))).await;
        assert_eq!(faulty.keys_read()[4..], [6, 3]);
    })
    .await;
}

/// The two answers that only a fault brings about, for the test of the document that describes them.
pub async fn busy_and_unavailable() -> [livechat_units::Response; 2] {
    let answer = async |fault: Fault| {
        let faulty = Faulty::new(move |sent| sent.is_write.then(|| fault.clone()));
        let mut answer = None;
        update_through(&faulty, Duration::from_millis(1400), async |_, response| answer = Some(response))
            .await;
        answer.expect("it was invoked")
    };
    [
        answer(canceled(&["TransactionConflict"])).await,
        answer(exception("ProvisionedThroughputExceededException")).await,
    ]
}
