//! "Large updates" of the contract: updates of more than a hundred changes, seen from outside.

mod meanwhile;
mod too_large;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::future::FutureExt;
use livechat_units::Response;
use serde_json::{Value, json};
use testing::items::put;

use crate::support::app::is_late;
use crate::support::asked::{Asked, first_difference};
use crate::support::faulty_client::{
    Fault, FaultyClient, Numbers, OtherWrite, SentRequest, cancelled, exception, once,
};
use crate::support::invariants::{assert_invariants, assert_written};
use crate::support::lag::{in_time, timed};
use crate::support::observer::{Committed, Observer};
use crate::support::responses::{BUSY, INTERNAL_ERROR, UNAVAILABLE, UNIT_TOO_LARGE};
use crate::support::{
    Items, TestApp, as_strs, assert_refused, body, ids, invoke, set, text, updated_at, with_app,
};

/// The unit U after a transaction.
fn unit(items: &Items) -> &Value {
    &items[&("UNIT#U".into(), "UNIT".into())]
}

fn monitors(items: &Items) -> BTreeSet<String> {
    unit(items)["monitors"].as_object().expect("a map").keys().cloned().collect()
}

fn departments(items: &Items) -> BTreeSet<String> {
    set(unit(items), "departmentIds")
}

fn version(items: &Items) -> u64 {
    unit(items)["version"].as_u64().expect("a count")
}

/// Stores what an update with every kind of change needs. Monitors and departments leave, stay and join. Two units lose
/// departments, and one of them loses more than one transaction can change.
async fn put_everything(app: &TestApp, scale: usize) -> Asked {
    let (old, new) = (ids("m", 3 * scale), ids("n", 3 * scale));
    let (own, free, taken) = (ids("d", 2 * scale), ids("f", 2 * scale), ids("t", 2 * scale));
    app.put_unit("U", &as_strs(&old), &as_strs(&own)).await;
    let (of_v, of_w) = taken.split_at(2 * scale - scale / 5);
    app.put_unit("V", &["other"], &[&as_strs(of_v)[..], &["stays"]].concat()).await;
    app.put_unit("W", &[], &as_strs(of_w)).await;
    app.put_monitors(&as_strs(&new)).await;
    app.put_departments(&as_strs(&free)).await;
    Asked::new("U", &[&old[2 * scale..], &new].concat(), &[&own[3 * scale / 2..], &free, &taken].concat())
}

#[tokio::test]
async fn a_thousand_changes_end_exactly_as_asked_and_are_consistent_all_the_time() {
    with_app(async |app| {
        let asked = put_everything(app, 100).await;
        let before = app.stored_items().await;
        let observer = Observer::new(app);
        let response = invoke(&observer.function("it"), &asked.event(), None).await;
        assert_eq!(response.status_code, 200, "{}", response.body);
        let after = app.stored_items().await;
        assert_written(&before, &after, &response);
        let expected = asked.expected_items(&before, &after, &updated_at(&response));
        assert_eq!(first_difference(&expected, &after), None);
        observer.assert_always_consistent();

        // 200 monitors and 150 departments leave. 300 monitors and 400 departments join. Of these departments, 180 are taken from V
        // in two transactions, and 20 from W.
        let committed = observer.committed();
        let actions: usize = committed.iter().map(|committed| committed.actions - 1).sum();
        assert_eq!(actions, 200 + 150 + 300 + 400 + 3);
        assert_eq!(version(&after) - version(&before), committed.len() as u64);
        assert!(committed.len() <= 13, "{} transactions", committed.len());
        let (old, wanted) =
            ((monitors(&before), departments(&before)), (monitors(&after), departments(&after)));
        for (number, Committed { items, updated_at: time, .. }) in committed.iter().enumerate() {
            assert_eq!(version(items), version(&before) + 1 + number as u64);
            assert_eq!(*time, updated_at(&response));
            // Access is taken away before it is given.
            let is_joined = monitors(items).difference(&old.0).next().is_some()
                || departments(items).difference(&old.1).next().is_some();
            let is_left = monitors(items).is_subset(&wanted.0) && departments(items).is_subset(&wanted.1);
            assert!(is_left || !is_joined, "transaction {number} lets members join before all have left");
            assert_eq!(unit(items)["visibility"], "private", "transaction {number}");
            let is_last = number + 1 == committed.len();
            assert_eq!(text(unit(items), "name") == "new name", is_last, "transaction {number}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_large_update_reads_no_more_than_a_small_one() {
    with_app(async |app| {
        let asked = put_everything(app, 30).await;
        let faulty = FaultyClient::new(|_| None);
        let function = livechat_units::Function::new(&faulty.sdk()(app.sdk.clone()), app.tables.clone());
        assert_eq!(invoke(&function, &asked.event(), None).await.status_code, 200);
        // The caller's items; then the unit, the listed departments and the listed monitors.
        let listed = 1 + asked.departments.len() + asked.monitors.len();
        let mut batches = vec![100; listed / 100];
        batches.push(listed % 100);
        let keys_read = faulty.keys_read();
        assert_eq!((keys_read[0], &keys_read[1..]), (3, &batches[..]));
        let sent = faulty.sent();
        let first_write = sent.iter().position(|sent| sent.is_write).expect("it writes");
        assert!(sent[first_write..].iter().all(|sent| sent.is_write), "it reads after it has begun to write");
        assert_eq!(faulty.writes(), 4);
    })
    .await;
}

#[tokio::test]
async fn a_shorter_name_comes_first_and_a_public_visibility_last() {
    with_app(async |app| {
        let (old, new) = (ids("m", 120), ids("n", 130));
        app.put_unit("U", &as_strs(&old), &[]).await;
        app.put_monitors(&as_strs(&new)).await;
        app.change_item("UNIT#U", "UNIT", json!({ "visibility": "private" })).await;
        let observer = Observer::new(app);
        let asked = Asked { name: "short".into(), visibility: "public", ..Asked::new("U", &new, &[]) };
        let response = invoke(&observer.function("it"), &asked.event(), None).await;
        assert_eq!(response.status_code, 200, "{}", response.body);
        let seen: Vec<_> = observer
            .committed()
            .iter()
            .map(|committed| {
                (text(unit(&committed.items), "name"), text(unit(&committed.items), "visibility"))
            })
            .collect();
        let state = |visibility: &str| ("short".to_owned(), visibility.to_owned());
        assert_eq!(seen, [state("private"), state("private"), state("public")]);
        observer.assert_always_consistent();
    })
    .await;
}

#[tokio::test]
async fn a_restricted_caller_who_does_not_list_themself_leaves_with_the_last_transaction() {
    with_app(async |app| {
        for role in ["livechat-monitor", "livechat-agent"] {
            let (old, new) = (ids("m", 110), ids("n", 110));
            app.put_unit("U", &[&as_strs(&old)[..], &["lead"]].concat(), &[]).await;
            app.put_user("lead", &[role, "unit-editor"]).await;
            app.put_token("t", "lead", json!({})).await;
            app.put_monitors(&as_strs(&new)).await;
            let observer = Observer::new(app);
            let asked = Asked::new("U", &new, &[]);
            let function = observer.function("it");
            let response = invoke(&function, &asked.event_of("t", "lead"), None).await;
            assert_eq!(response.status_code, 200, "{}", response.body);
            observer.assert_always_consistent();
            let committed = observer.committed();
            let is_there: Vec<bool> =
                committed.iter().map(|committed| monitors(&committed.items).contains("lead")).collect();
            assert_eq!(is_there, [true, true, false]);
            assert!(asked.is_fulfilled(&committed[2].items));
            // This caller may no longer see the unit. An administrator makes it empty for the next round.
            let again = invoke(&function, &asked.event_of("t", "lead"), None).await;
            assert_eq!(again.status_code, 400, "{}", again.body);
            assert_eq!(app.update("U", &[], &[]).await.status_code, 200);
            app.delete_item("UNIT#U", "UNIT").await;
        }
        app.put_unit("U", &[], &[]).await;
    })
    .await;
}

/// The update by an execution environment whose requests meet these faults.
async fn send_through(app: &TestApp, faulty: &FaultyClient, asked: &Asked) -> livechat_units::Response {
    let function = livechat_units::Function::new(&faulty.sdk()(app.sdk.clone()), app.tables.clone());
    let response = invoke(&function, &asked.event(), Some(Duration::from_secs(40))).await;
    assert_invariants(&app.stored_items().await);
    response
}

#[tokio::test]
async fn an_update_whose_time_ends_in_the_middle_goes_on_when_it_is_repeated() {
    in_time(async |attempt| {
        let mut begun = 0;
        with_app(async |app| begun = end_in_the_middle(app, attempt).await).await;
        if begun > 2 { Ok(()) } else { Err(format!("{begun} transactions were sent")) }
    })
    .await;
}

/// Sends an update whose time ends after its second transaction, and repeats it. Returns how many transactions the first one has
/// begun. If they are fewer than three, its time was over before.
async fn end_in_the_middle(app: &TestApp, attempt: usize) -> usize {
    let asked = put_everything(app, 30).await;
    let before = app.stored_items().await;
    // Everything after the second transaction fails.
    let transactions = Arc::new(Mutex::new(BTreeSet::<String>::new()));
    let begun = transactions.clone();
    let faulty = FaultyClient::new(move |sent| {
        let mut begun = begun.lock().expect("no test panics with it");
        if sent.is_write {
            begun.insert(text(&sent.json(), "ClientRequestToken"));
        }
        (begun.len() > 2).then(|| exception("ThrottlingException"))
    });
    let function = livechat_units::Function::new(&faulty.sdk()(app.sdk.clone()), app.tables.clone());
    let remaining = Duration::from_secs(4 + attempt as u64);
    let (response, took) = timed(invoke(&function, &asked.event(), Some(remaining))).await;
    assert_refused(&response, 503, UNAVAILABLE);
    assert!(took < remaining, "answered after {took:?}");
    faulty.all_executed().await;
    let middle = app.stored_items().await;
    assert_invariants(&middle);
    let begun = transactions.lock().expect("no test panics with it").len();
    if begun <= 2 {
        return begun;
    }
    assert_eq!(version(&middle), version(&before) + 2);

    let observer = Observer::new(app);
    let again = invoke(&observer.function("it"), &asked.event(), None).await;
    assert_eq!(again.status_code, 200, "{}", again.body);
    assert!(asked.is_fulfilled(&app.stored_items().await));
    // Four transactions in all, and two were committed before.
    assert_eq!(observer.committed().len(), 2);
    begun
}

#[tokio::test]
async fn a_large_update_has_more_time_than_a_small_one() {
    with_app(async |app| {
        let asked = put_everything(app, 30).await;
        let faulty = FaultyClient::new(|sent| sent.is_write.then(|| exception("ThrottlingException")));
        let function = livechat_units::Function::new(&faulty.sdk()(app.sdk.clone()), app.tables.clone());
        let small = Asked::new("V", &[], &[]);
        for (asked, seconds) in [(&small, 8..11), (&asked, 11..15)] {
            in_time(async |_| {
                let started = Instant::now();
                let response = invoke(&function, &asked.event(), Some(Duration::from_secs(15))).await;
                assert_refused(&response, 503, UNAVAILABLE);
                let took = started.elapsed().as_secs();
                assert!(took >= seconds.start, "answered after {took} s already");
                if took < seconds.end { Ok(()) } else { Err(format!("answered after {took} s")) }
            })
            .await;
        }
    })
    .await;
}

#[tokio::test]
async fn the_batches_of_a_read_may_see_different_moments() {
    // The first request reads the caller. The others read the unit and the members, in batches.
    for read in 0..4 {
        with_app(async |app| {
            let asked = put_everything(app, 30).await;
            app.put_unit("X", &[], &[]).await;
            // Another execution environment updates the same unit, or takes departments that are listed and others that
            // leave, before this read.
            let other = Arc::new(app.another_function());
            let theirs = [&asked.departments[..40], &ids("d", 30)].concat();
            for update in [Asked::new("U", &asked.monitors[..20], &theirs), Asked::new("X", &[], &theirs)] {
                let (other, event) = (other.clone(), update.event());
                let write: OtherWrite = Arc::new(move || {
                    let (other, event) = (other.clone(), event.clone());
                    async move { assert_eq!(invoke(&other, &event, None).await.status_code, 200) }.boxed()
                });
                let (reads, write) = (Numbers::default(), once(write));
                let faulty = FaultyClient::new(move |sent| {
                    (!sent.is_write && reads.number(sent) == read).then(|| Fault::After(write.clone()))
                });
                let response = send_through(app, &faulty, &asked).await;
                assert_eq!(response.status_code, 200, "{}", response.body);
                assert!(faulty.keys_read().len() > read, "there are too few reads");
                assert!(asked.is_fulfilled(&app.stored_items().await));
            }
        })
        .await;
    }
}

#[tokio::test]
async fn a_body_of_one_mebibyte_is_the_largest_update() {
    with_app(async |app| {
        app.put_unit("U", &[], &[]).await;
        // No user and no department has one of these twenty thousand ids.
        let unknown = ids("nobody-has-this-id-", 15_000);
        let large = body(&as_strs(&unknown), &[]);
        assert!(large.len() < 1024 * 1024 && large.len() > 900_000, "{}", large.len());
        let response = app.update("U", &as_strs(&unknown), &[]).await;
        assert_eq!(response.status_code, 200, "{}", response.body);
    })
    .await;
}
