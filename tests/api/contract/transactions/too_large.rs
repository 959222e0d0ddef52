//! What is too large for DynamoDB: a unit that would outgrow its item, and a transaction over 4 MB.

use super::*;

/// Stores users who may be monitors and have usernames of this many bytes.
async fn put_monitors_with_long_names(app: &TestApp, ids: &[String], bytes: usize) {
    let users: Vec<Value> = ids
        .iter()
        .map(|id| {
            json!({
                "pk": format!("USER#{id}"), "sk": "USER", "username": "x".repeat(bytes),
                "roles": { "set": ["livechat-monitor"] },
            })
        })
        .collect();
    put(&app.client, &app.tables.livechat, &users).await.expect("the users are written");
}

#[tokio::test]
async fn a_unit_that_would_outgrow_400_kb_is_refused_before_anything_is_written() {
    with_app(async |app| {
        let members = ids("m", 420);
        put_monitors_with_long_names(app, &members, 1_000).await;
        app.put_unit("U", &[], &[]).await;
        let writes = FaultyClient::new(|_| None);
        let function = livechat_units::Function::new(&writes.sdk()(app.sdk.clone()), app.tables.clone());
        let before = app.stored_items().await;
        let response = invoke(&function, &Asked::new("U", &members, &[]).event(), None).await;
        assert_refused(&response, 400, UNIT_TOO_LARGE);
        assert_eq!((writes.writes(), app.stored_items().await == before), (0, true));

        // The old and the new 250 monitors are 420 different ones, too many for one item. Monitors that leave are removed first,
        // so the item never holds all of them.
        let response = invoke(&function, &Asked::new("U", &members[..250], &[]).event(), None).await;
        assert_eq!(response.status_code, 200, "{}", response.body);
        let others = Asked::new("U", &members[170..], &[]);
        assert_eq!(invoke(&function, &others.event(), None).await.status_code, 200);
        assert!(others.is_fulfilled(&app.stored_items().await));
    })
    .await;
}

/// Makes DynamoDB refuse each transaction with more than `actions` actions, as if it had more than 4 MB.
fn with_largest_transaction(actions: usize, refusal: Fault) -> FaultyClient {
    FaultyClient::new(move |sent| {
        let count = |sent: &SentRequest| sent.json()["TransactItems"].as_array().expect("a list").len();
        (sent.is_write && count(sent) > actions).then(|| refusal.clone())
    })
}

#[tokio::test]
async fn a_transaction_over_4_mb_is_halved() {
    for refusal in [exception("ValidationException"), cancelled(&["None", "ValidationError"])] {
        // 3 actions are the unit, a taken department and the unit that loses it.
        for largest in [60, 3] {
            with_app(async |app| {
                let asked = put_everything(app, 20).await;
                let before = app.stored_items().await;
                let faulty = with_largest_transaction(largest, refusal.clone());
                let response = send_through(app, &faulty, &asked).await;
                assert_eq!(response.status_code, 200, "{}", response.body);
                let after = app.stored_items().await;
                let expected = asked.expected_items(&before, &after, &updated_at(&response));
                assert_eq!(first_difference(&expected, &after), None);
                assert!(version(&after) > version(&before) + 3);
            })
            .await;
        }
    }
}

#[tokio::test]
async fn a_transaction_that_cannot_be_halved_is_500() {
    for refusal in [exception("ValidationException"), cancelled(&["ValidationError"])] {
        // With one action nothing can be stored. With two, no department can be taken from another unit.
        for (largest, is_begun) in [(1, false), (2, true)] {
            with_app(async |app| {
                let asked = put_everything(app, 10).await;
                let before = app.stored_items().await;
                let faulty = with_largest_transaction(largest, refusal.clone());
                assert_refused(&send_through(app, &faulty, &asked).await, 500, INTERNAL_ERROR);
                assert_eq!(app.stored_items().await != before, is_begun);
                let again = app.send(&asked.event()).await;
                assert_eq!(again.status_code, 200, "{}", again.body);
                assert!(asked.is_fulfilled(&app.stored_items().await));
            })
            .await;
        }
    }
}

#[tokio::test]
async fn a_halved_transaction_never_has_more_than_a_hundred_actions_or_two_on_one_item() {
    with_app(async |app| {
        // 60 departments join. 40 departments on the unit's list are in another unit by now, so they are only checked.
        let (own, joining) = (ids("d", 40), ids("e", 60));
        app.put_unit("U", &[], &as_strs(&own)).await;
        app.put_unit("V", &[], &as_strs(&own)).await;
        app.put_departments(&as_strs(&joining)).await;
        let transactions = Numbers::default();
        let faulty = FaultyClient::new(move |sent| {
            // The refusal of the first transaction says in which unit these departments are. The second transaction is refused, too.
            (sent.is_write && transactions.number(sent) == 1).then(|| exception("ValidationException"))
        });
        let asked = Asked::new("U", &[], &joining);
        assert_eq!(send_through_unchecked(app, &faulty, &asked).await.status_code, 200);
        for sent in faulty.sent().iter().filter(|sent| sent.is_write) {
            let json = sent.json();
            let actions = json["TransactItems"].as_array().expect("a list");
            assert!(actions.len() <= 100, "{} actions", actions.len());
            let keys: BTreeSet<String> = actions
                .iter()
                .map(|action| {
                    let action = action.as_object().expect("an object").values().next().expect("an action");
                    action.get("Key").or(action.get("Item")).expect("a key")["pk"].to_string()
                        + &action.get("Key").or(action.get("Item")).expect("a key")["sk"].to_string()
                })
                .collect();
            assert_eq!(keys.len(), actions.len(), "two actions are on the same item");
        }
        assert!(asked.is_fulfilled(&app.stored_items().await));
    })
    .await;
}

/// Like [`send_through`], for stored items that break the invariants.
async fn send_through_unchecked(
    app: &TestApp,
    faulty: &FaultyClient,
    asked: &Asked,
) -> livechat_units::Response {
    let function = livechat_units::Function::new(&faulty.sdk()(app.sdk.clone()), app.tables.clone());
    invoke(&function, &asked.event(), Some(Duration::from_secs(40))).await
}
