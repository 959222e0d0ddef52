//! Rows 12 to 14 of the contract: DynamoDB refuses, fails or does not answer, or the stored data is corrupt.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};
use livechat_units::Response;
use serde_json::{Value, json};

use crate::support::fault_proxy::ConnectionFault;
use crate::support::faulty_client::{Fault, FaultyClient, cancelled, exception};
use crate::support::lag::{in_time, timed};
use crate::support::responses::{BUSY, INTERNAL_ERROR, UNAVAILABLE, UNIT_NOT_FOUND};
use crate::support::{
    TestApp, assert_refused, assert_success, body, department, event, invoke, with_app, with_app_through,
};

/// Sends an update of every kind of item to a function that has this much time, and checks that it answers in time.
async fn update_through(
    faulty: &FaultyClient,
    remaining: Duration,
    test: impl AsyncFnOnce(&TestApp, Response),
) {
    with_app_through(faulty.sdk(), async |app| {
        app.put_unit("U", &["m"], &["d"]).await;
        app.put_unit("V", &[], &["e"]).await;
        let event = event("U", &body(&["m"], &["e"]));
        let (response, took) = timed(invoke(&app.function, &event, Some(remaining))).await;
        assert!(took < remaining.max(Duration::from_secs(1)), "too late");
        test(app, response).await;
    })
    .await;
}

/// The two answers that only a fault can cause, for the test of docs/openapi.yaml.
pub async fn busy_and_unavailable() -> [Response; 2] {
    let answer = async |fault: Fault| {
        in_time(async |attempt| {
            let fault = fault.clone();
            let faulty = FaultyClient::new(move |sent| sent.is_write.then(|| fault.clone()));
            let mut answer = None;
            let remaining = Duration::from_millis(1400 + 400 * attempt as u64);
            update_through(&faulty, remaining, async |_, response| answer = Some(response)).await;
            let answer = answer.expect("the update was sent");
            if faulty.writes() > 0 { Ok(answer) } else { Err("no time was left for the transaction".into()) }
        })
        .await
    };
    [
        answer(cancelled(&["TransactionConflict"])).await,
        answer(exception("ProvisionedThroughputExceededException")).await,
    ]
}

#[tokio::test]
async fn a_unit_that_stays_contended_is_503_busy() {
    let [busy, _] = busy_and_unavailable().await;
    assert_refused(&busy, 503, BUSY);
    assert_eq!(busy.headers["retry-after"], "1");
}

#[tokio::test]
async fn a_dynamodb_that_keeps_throttling_is_503() {
    let [_, unavailable] = busy_and_unavailable().await;
    assert_refused(&unavailable, 503, UNAVAILABLE);
    assert_eq!(unavailable.headers["retry-after"], "1");
}

#[tokio::test]
async fn a_missing_table_and_denied_access_are_500() {
    for exception_name in ["ResourceNotFoundException", "AccessDeniedException"] {
        for of_writes in [false, true] {
            let faulty = FaultyClient::new(move |sent| {
                (sent.is_write == of_writes).then(|| exception(exception_name))
            });
            update_through(&faulty, Duration::from_secs(5), async |_, response| {
                assert_refused(&response, 500, INTERNAL_ERROR);
                assert!(!response.headers.contains_key("retry-after"));
            })
            .await;
        }
    }
}

#[tokio::test]
async fn a_failed_condition_decides_before_other_cancellation_reasons() {
    // The failed condition says that the unit does not exist, so the second plan is made without a unit.
    for other in ["TransactionConflict", "ThrottlingError", "ValidationError"] {
        let faulty = FaultyClient::new(move |sent| {
            sent.is_write.then(|| cancelled(&["ConditionalCheckFailed", other, "None"]))
        });
        update_through(&faulty, Duration::from_secs(5), async |_, response| {
            assert_refused(&response, 400, UNIT_NOT_FOUND);
        })
        .await;
    }
}

#[tokio::test]
async fn unprocessed_keys_are_requested_again() {
    // The first reply to the read of the unit has some of the items, and returns the other keys as unprocessed.
    let reply = Arc::new(Mutex::new(Value::Null));
    let reply_to_send = reply.clone();
    let faulty = FaultyClient::new(move |sent| {
        let reply = reply_to_send.lock().expect("no test panics with it").clone();
        (!sent.is_write && sent.number == 1).then_some(Fault::Reply(200, reply))
    });
    with_app_through(faulty.sdk(), async |app| {
        app.put_unit("U", &[], &["d"]).await;
        let table = app.tables.livechat.clone();
        let department = json!({
            "pk": { "S": "DEPARTMENT#d" }, "parentId": { "S": "U" }, "ancestors": { "L": [{ "S": "U" }] },
        });
        let unit =
            json!({ "Keys": [{ "pk": { "S": "UNIT#U" }, "sk": { "S": "UNIT" } }], "ConsistentRead": true });
        *reply.lock().expect("no test panics with it") =
            json!({ "Responses": { table.clone(): [department] }, "UnprocessedKeys": { table: unit } });
        assert_success(&app.update("U", &[], &["d"]).await, "U", 0, 1);
        assert_eq!(faulty.keys_read(), [3, 2, 1]);
    })
    .await;
}

#[tokio::test]
async fn a_read_reply_without_a_body_is_retried() {
    // If an empty reply meant that no item exists, the caller would be unknown, or the unit not found.
    for number in 0..2 {
        let faulty = FaultyClient::new(move |sent| {
            (!sent.is_write && sent.number == number).then_some(Fault::Reply(200, json!({})))
        });
        update_through(&faulty, Duration::from_secs(20), async |_, response| {
            assert_success(&response, "U", 1, 1);
        })
        .await;
    }
}

#[tokio::test]
async fn requests_that_hang_are_repeated_and_end_with_503() {
    in_time(async |_| {
        let faulty = FaultyClient::new(|_| Some(Fault::Connection(ConnectionFault::Hang)));
        let mut sent = 0;
        update_through(&faulty, Duration::from_millis(3_800), async |_, response| {
            assert_refused(&response, 503, UNAVAILABLE);
            sent = faulty.sent().len();
        })
        .await;
        // 2.8 seconds are enough to begin three attempts of one second.
        if sent >= 3 { Ok(()) } else { Err(format!("{sent} attempts")) }
    })
    .await;
}

/// A provider whose credentials never arrive.
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
async fn credentials_that_never_arrive_are_503_in_time() {
    let provider = SharedCredentialsProvider::new(NoCredentials);
    let faulty = FaultyClient::new(|_| None);
    let with_faulty = faulty.sdk();
    let sdk = |sdk| with_faulty(sdk).into_builder().credentials_provider(provider).build();
    with_app_through(sdk, async |app| {
        let remaining = Duration::from_secs(4);
        let (response, took) = timed(invoke(&app.function, &event("U", ""), Some(remaining))).await;
        assert_refused(&response, 503, UNAVAILABLE);
        assert!(took < remaining, "too late");
        assert_eq!(faulty.keys_read(), Vec::<usize>::new());
    })
    .await;
}

#[tokio::test]
async fn a_short_lambda_timeout_is_503_in_time() {
    for remaining in [0, 300, 999] {
        let faulty = FaultyClient::new(|_| None);
        update_through(&faulty, Duration::from_millis(remaining), async |_, response| {
            assert_refused(&response, 503, UNAVAILABLE);
            assert_eq!(faulty.keys_read(), Vec::<usize>::new(), "there is no time to begin");
        })
        .await;
    }
}

async fn assert_internal(app: &TestApp, unit: &str, monitors: &[&str], departments: &[&str]) {
    assert_refused(&app.update(unit, monitors, departments).await, 500, INTERNAL_ERROR);
}

#[tokio::test]
async fn a_corrupt_item_is_500_and_changes_nothing() {
    with_app(async |app| {
        app.put_unit("U", &["m"], &["d"]).await;
        app.put_unit("V", &[], &["e"]).await;
        let sound = app.stored_unit("U").await;
        for change in [
            json!({ "monitors": "m" }),
            json!({ "monitors": { "m": 1 } }),
            json!({ "monitors": ["m"] }),
            json!({ "departmentIds": ["d"] }),
            json!({ "departmentIds": "d" }),
            json!({ "version": "7" }),
            json!({ "version": 7.5 }),
            json!({ "ancestors": "a" }),
            json!({ "ancestors": [1] }),
        ] {
            app.change_item("UNIT#U", "UNIT", change).await;
            assert_internal(app, "U", &["m"], &["d"]).await;
            app.put_item(sound.clone()).await;
        }
        for change in [json!({ "parentId": 5 }), json!({ "ancestors": "U" }), json!({ "ancestors": [null] })]
        {
            app.change_item("DEPARTMENT#d", "DEPARTMENT", change).await;
            assert_internal(app, "U", &["m"], &["d"]).await;
            // The earlier rows of the contract come first.
            let unknown = app.update("U", &["m"], &["d", "unknown"]).await;
            assert_eq!(unknown.status_code, 400);
            assert_refused(&app.update("gone", &[], &["d"]).await, 400, UNIT_NOT_FOUND);
            app.put_item(department("d", Some("U"))).await;
        }
        let losing_unit = app.stored_unit("V").await;
        for change in
            [json!({ "departmentIds": ["e"] }), json!({ "numDepartments": null }), json!({ "version": "1" })]
        {
            app.change_item("UNIT#V", "UNIT", change).await;
            assert_internal(app, "U", &["m"], &["d", "e"]).await;
            app.put_item(losing_unit.clone()).await;
        }
        for change in
            [json!({ "username": null }), json!({ "username": 5 }), json!({ "roles": "livechat-monitor" })]
        {
            app.change_item("USER#m", "USER", change).await;
            assert_internal(app, "U", &["m"], &["d"]).await;
            app.put_monitors(&["m"]).await;
        }
        assert_success(&app.update("U", &["m"], &["d"]).await, "U", 1, 1);
    })
    .await;
}
