//! The lease on a real engine, with short times. A machine that stands still for longer than these makes a holder lose its lease, so
//! what depends on them is tried again.

use std::time::Duration;

use aws_sdk_dynamodb::Client;
use livechat_units::item::Item;
use testing::dynamodb::{endpoint, new_tables};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::candidate::{Attempt, Candidate};
use super::held::{Lease, Status};
use super::item::{LEASE, lease_item, text};
use super::timing::Timing;
use crate::database::Database;
use crate::engine;
use crate::origin::state_key;
use crate::requests::transact;

const SHORT: Timing = Timing {
    look: Duration::from_millis(20),
    renewal: Duration::from_millis(50),
    trust: Duration::from_millis(800),
    takeover: Duration::from_millis(1_200),
};

/// Much longer than what is waited for takes.
const LONG: Duration = Duration::from_secs(60);

/// Tries something that is wrong if this machine stands still.
async fn in_time(attempt: impl AsyncFn() -> Result<(), String>) {
    let mut all_wrong = Vec::new();
    while let Err(wrong) = attempt().await {
        all_wrong.push(wrong);
        assert!(all_wrong.len() < 6, "{all_wrong:#?}");
    }
}

async fn database() -> Database {
    let client = Client::new(&engine::sdk_config(endpoint()));
    let tables = new_tables(&client).await;
    Database { client, tables }
}

fn candidate(database: &Database) -> Candidate {
    Candidate::with_timing(database, "unitctl sync", SHORT)
}

async fn stored(database: &Database) -> Option<Item> {
    database.get_all(vec![state_key(LEASE)]).await.expect("it is read").pop()
}

async fn held(candidate: &mut Candidate) -> Lease {
    match candidate.try_once().await.expect("it is answered") {
        Attempt::Held(lease) => lease,
        other => panic!("{other:?}"),
    }
}

/// Checks that a process has the lease. If its last renewal took long, it has it with the next one.
async fn assert_held(lease: &Lease) {
    timeout(LONG, lease.wait_until_held()).await.expect("it is known").expect("it is held");
}

#[tokio::test]
async fn one_process_has_it_and_the_next_gets_it_when_it_is_released() {
    in_time(async || {
        let database = database().await;
        let first = held(&mut candidate(&database)).await;
        let mut second = candidate(&database);
        let mut waited = 0;
        match second.acquire_or_refuse(|_| waited += 1).await {
            Err(refusal) => {
                assert_eq!(waited, 1);
                is_released(&database, first, second, &refusal.to_string()).await;
                Ok(())
            }
            Ok(_) => Err("the first one did not renew it in time".into()),
        }
    })
    .await;
}

/// The second process gets the lease when the first one releases it. The second one was refused with these words.
async fn is_released(database: &Database, first: Lease, mut second: Candidate, refusal: &str) {
    let item = stored(database).await.expect("it is stored");
    let (host, since) = (text(&item, "host"), text(&item, "since"));
    let process = std::process::id();
    assert_eq!(
        refusal,
        format!(
            "the process {process} on the host {host} (unitctl sync, since {since}) is writing to these tables, so \
             nothing was written; end it first, or wait until it has ended"
        )
    );
    first.release().await.expect("it is released");
    assert!(stored(database).await.is_none());
    assert_held(&second.acquire_or_refuse(|_| ()).await.expect("it is free")).await;
}

#[tokio::test]
async fn a_holder_that_renews_keeps_it_for_longer_than_the_others_wait() {
    in_time(async || {
        let database = database().await;
        let lease = held(&mut candidate(&database)).await;
        let mut other = candidate(&database);
        let wait = timeout(SHORT.takeover * 3, other.wait(|error| panic!("{error}"))).await;
        let (has_waited, is_held) = (wait.is_err(), lease.is_held());
        if has_waited && is_held { Ok(()) } else { Err(format!("{has_waited}, {is_held}")) }
    })
    .await;
}

#[tokio::test]
async fn a_holder_that_ended_is_followed_and_one_that_stood_still_knows_that_it_lost() {
    let database = database().await;
    let dead = held(&mut candidate(&database)).await;
    let begin = Instant::now();
    // The task that renews it ends, and the item stays.
    drop(dead);
    let successor = candidate(&database).wait(|error| panic!("{error}")).await;
    assert!(begin.elapsed() >= SHORT.takeover, "{:?}", begin.elapsed());

    // Another process takes over, as if this one had not renewed its lease in time.
    let item = lease_item("another process", "unitctl sync");
    let put = crate::condition::put(&database.tables.livechat, item.clone()).expect("complete");
    assert!(transact(&database, vec![put]).await.expect("it is written"));
    timeout(LONG, successor.lost()).await.expect("it is known soon");
    assert!(!successor.is_held());
    assert_eq!(
        successor.check().expect_err("it is lost").to_string(),
        "another process has taken over, because this process did not renew its lease in time"
    );
    successor.wait_until_held().await.expect_err("it does not come back");
    // If it releases its lease then, the other process keeps the lease.
    successor.release().await.expect("it is answered");
    assert_eq!(stored(&database).await, Some(item));
}

#[tokio::test]
async fn a_holder_that_cant_renew_stops_before_the_others_take_over() {
    in_time(async || {
        let database = database().await;
        let lease = held(&mut candidate(&database)).await;
        lease.renewal.abort();
        let begin = Instant::now();
        while lease.is_held() {
            sleep(Duration::from_millis(5)).await;
        }
        let took = begin.elapsed();
        assert_eq!(
            lease.check().expect_err("it is old").to_string(),
            "DynamoDB could not be reached for 800ms"
        );
        if took < SHORT.takeover { Ok(()) } else { Err(format!("after {took:?}")) }
    })
    .await;
}

#[tokio::test]
async fn a_holder_that_could_not_renew_for_a_while_goes_on_if_no_other_has_taken_over() {
    let database = database().await;
    let lease = held(&mut candidate(&database)).await;
    // Long enough that it does not end during the test.
    let trust = Duration::from_secs(30);
    let (sender, status) = watch::channel(Status::Renewed(Instant::now() - trust));
    let waiting = Lease {
        database: database.clone(),
        holder: lease.holder.clone(),
        trust,
        status,
        renewal: tokio::spawn(std::future::pending()),
    };
    assert!(timeout(SHORT.renewal, waiting.wait_until_held()).await.is_err());
    sender.send_replace(Status::Renewed(Instant::now()));
    timeout(LONG, waiting.wait_until_held()).await.expect("it is known").expect("it is renewed");
}

#[tokio::test]
async fn of_two_that_take_over_at_once_one_gets_it() {
    let database = database().await;
    drop(held(&mut candidate(&database)).await);
    let (mut one, mut two) = (candidate(&database), candidate(&database));
    for candidate in [&mut one, &mut two] {
        assert!(matches!(candidate.try_once().await, Ok(Attempt::Unknown(_))));
    }
    sleep(SHORT.takeover).await;
    let (one, two) = (one.try_once().await.expect("an answer"), two.take(stored_before(&two).as_ref()).await);
    assert!(matches!(one, Attempt::Held(_)), "{one:?}");
    assert!(matches!(two, Ok(Attempt::Unknown(_))), "{two:?}");
}

/// The item that a candidate read before another one took the lease.
fn stored_before(candidate: &Candidate) -> Option<Item> {
    candidate.seen.as_ref().map(|seen| seen.item.clone())
}

#[tokio::test]
async fn a_lease_without_its_attributes_is_taken_over_too() {
    let database = database().await;
    let put = crate::condition::put(&database.tables.livechat, state_key(LEASE)).expect("complete");
    assert!(transact(&database, vec![put]).await.expect("it is written"));
    assert_held(&candidate(&database).acquire_or_refuse(|_| ()).await.expect("nothing renews it")).await;
}
