//! Options, signals, several processes, `--listen`, and what stops a sync with one sentence.

use std::time::{Duration, Instant};

use mongodb::bson::doc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::following::{HASH, SOON, TOKEN, body, following, unit_facts, workspace};
use crate::rocket_chat::RocketChat;
use crate::world::{World, eventually};

/// The answer to a GET request: the status line and the body.
async fn get(address: &str, path: &str) -> (String, String) {
    let begin = Instant::now();
    let mut stream = loop {
        // The process may not have begun to listen.
        match TcpStream::connect(address).await {
            Ok(stream) => break stream,
            Err(error) => assert!(begin.elapsed() < SOON, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("it is sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("it answers");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    (head.lines().next().unwrap_or_default().to_owned(), body.to_owned())
}

fn free_address() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    listener.local_addr().expect("it has an address").to_string()
}

async fn user_is_there(world: &World, id: &str) -> bool {
    world.item(&format!("USER#{id}"), "USER").await.is_some()
}

#[tokio::test(flavor = "multi_thread")]
async fn sigint_and_sigterm_end_it_in_order() {
    let Some((world, _)) = workspace().await else { return };
    for signal in ["INT", "TERM"] {
        let mut sync = following(&world, &[]).await;
        sync.signal(signal);
        assert!(sync.end(Duration::from_secs(30)).await.success());
        // The lease was given back, so the next one need not wait.
        assert!(world.item("SYNC#STATE", "LEASE").await.is_none());
        assert!(world.item("SYNC#STATE", "POSITIONS").await.is_some());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_process_works_and_another_takes_over() {
    let Some((world, _)) = workspace().await else { return };
    let address = free_address();
    let mut first = following(&world, &[]).await;
    let second = world.sync(&["--listen", &address]);
    let once = world.run(&["sync", "--once"]);
    assert_eq!(once.code, 1, "{once:?}");
    assert!(
        once.stderr.contains("(unitctl sync, since") && once.stderr.contains("is writing to these tables"),
        "{once:?}"
    );
    let import = world.run(&["import", "tests/cli"]);
    assert_eq!(import.code, 1, "{import:?}");
    // Who waits is healthy, and does not follow.
    eventually(SOON, async || get(&address, "/health").await.0.contains("200")).await;
    assert!(get(&address, "/metrics").await.1.contains("unitctl_sync_following 0"));
    // A dry run needs no lease.
    assert_eq!(world.run(&["sync", "--once", "--dry-run"]).code, 0);

    first.kill();
    let killed = Instant::now();
    world.rocket_chat().create_user("nina", "nina", &[]).await;
    second.prints(Duration::from_secs(90), "a full pass has ended").await;
    // It takes over after about 20 seconds, and then it makes a full pass.
    assert!(killed.elapsed() < Duration::from_secs(60), "{:?}", killed.elapsed());
    assert!(user_is_there(&world, "nina").await);
    eventually(SOON, async || get(&address, "/metrics").await.1.contains("unitctl_sync_following 1")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_stood_still_beyond_its_lease_does_no_harm() {
    let Some((world, _)) = workspace().await else { return };
    let rocket_chat = world.rocket_chat();
    let first = following(&world, &[]).await;
    first.signal("STOP");
    rocket_chat.log_out("boss", HASH).await;
    rocket_chat.remove_roles("boss", &["livechat-manager"]).await;
    let second = world.sync(&[]);
    second.prints(SOON, "a full pass has ended").await;
    assert!(!world.items().await.contains_key(HASH));
    first.signal("CONT");
    first.prints(SOON, "another process has taken over").await;
    rocket_chat.create_user("nina", "nina", &[]).await;
    eventually(SOON, async || user_is_there(&world, "nina").await).await;
    let items = world.items().await;
    assert!(!items.contains_key(HASH));
    assert!(items["USER#boss USER"].get("roles").is_none(), "{items:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn health_and_metrics() {
    let Some((world, departments)) = workspace().await else { return };
    let rocket_chat = world.rocket_chat();
    let unit =
        rocket_chat.save_unit(None, "North", "private", &[("boss", "the.boss")], &[&departments[0]]).await;
    let address = free_address();
    let _sync = following(&world, &["--listen", &address]).await;
    eventually(SOON, async || get(&address, "/health").await == ("HTTP/1.1 200 OK".into(), "ok\n".into()))
        .await;
    let metrics = get(&address, "/metrics").await.1;
    for line in [
        "unitctl_sync_following 1",
        "unitctl_sync_healthy 1",
        // The boss has not the role of a monitor.
        "unitctl_sync_open_facts 1",
        "unitctl_sync_held_back 0",
        "unitctl_sync_full_passes_total 1",
        "# TYPE unitctl_sync_lag_milliseconds gauge",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line}: {metrics}");
    }
    // The fact is carried as soon as it can be.
    assert!(unit_facts(&world, &unit).await.expect("it is there").2.is_empty());
    rocket_chat.add_roles("boss", &["livechat-monitor"]).await;
    eventually(SOON, async || unit_facts(&world, &unit).await.expect("it is there").2.len() == 1).await;
    eventually(SOON, async || get(&address, "/metrics").await.1.contains("unitctl_sync_open_facts 0")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn once_exits_3_if_a_fact_is_open() {
    let Some((world, departments)) = workspace().await else { return };
    let rocket_chat = world.rocket_chat();
    let monitors = [("boss", "the.boss"), ("mona", "mona")];
    let unit = rocket_chat.save_unit(None, "North", "private", &monitors, &[&departments[0]]).await;
    let run = world.run(&["sync", "--once"]);
    assert_eq!(run.code, 3, "{run:?}");
    let update = body("Arctic", "private", &["mona"], &[&departments[0]]);
    assert_eq!(world.update(&unit, "boss", TOKEN, &update).await.status_code, 200);
    assert_eq!(world.run(&["sync", "--once"]).code, 3);
    assert_eq!(rocket_chat.monitors(&unit).await.len(), 2);
    assert_eq!(rocket_chat.unit(&unit).await.expect("it is there").get_str("name").ok(), Some("Arctic"));
    // It is no difference.
    let check = world.run(&["check", "--mongodb-uri"]);
    assert_eq!(check.code, 0, "{check:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_without_a_stream_is_one_sentence() {
    let Some((world, _)) = workspace().await else { return };
    let table = &world.database.tables.livechat;
    let off = aws_sdk_dynamodb::types::StreamSpecification::builder()
        .stream_enabled(false)
        .build()
        .expect("complete");
    let update = world.database.client.update_table().table_name(table).stream_specification(off);
    update.send().await.expect("the stream is off");
    let mut sync = world.sync(&[]);
    assert_eq!(sync.end(SOON).await.code(), Some(1));
    let printed = sync.printed();
    assert!(printed.last().is_some_and(|line| line.contains("has no stream")), "{printed:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_uri_that_asks_for_less_than_majority_is_read_from_the_primary() {
    let Some((world, _)) = workspace().await else { return };
    let separator = match world.mongo.uri.chars().last() {
        Some('?') => "",
        _ if world.mongo.uri.contains('?') => "&",
        _ => "?",
    };
    let uri = format!("{}{separator}readPreference=secondary&w=1&readConcernLevel=local", world.mongo.uri);
    let run = world.run(&["sync", "--once", "--mongodb-uri", &uri]);
    assert_eq!(run.code, 0, "{run:?}");
    assert!(user_is_there(&world, "boss").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_uri_without_a_database_or_a_server_that_does_not_answer_is_one_sentence() {
    let Some((world, _)) = workspace().await else { return };
    let run = world.run(&["sync", "--once", "--mongodb-uri", "mongodb://127.0.0.1:27017"]);
    assert_eq!((run.code, run.stderr.lines().count()), (1, 1), "{run:?}");
    assert!(run.stderr.contains("names no database"), "{run:?}");
    let mut sync = world.sync(&["--mongodb-uri", "mongodb://127.0.0.1:1/rocketchat"]);
    // It waits. SIGTERM ends it.
    tokio::time::sleep(Duration::from_secs(8)).await;
    assert!(sync.is_running());
    sync.signal("TERM");
    assert!(sync.end(SOON).await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn clocks_that_differ_by_an_hour_converge_and_do_not_flap() {
    for clock in [3_600_000, -3_600_000] {
        let Some((world, departments)) = workspace().await else { return };
        let rocket_chat = RocketChat { clock, ..world.rocket_chat().clone() };
        let departments: Vec<&str> = vec![&departments[0]];
        let monitors = [("mona", "mona")];
        let unit = rocket_chat.save_unit(None, "North", "private", &monitors, &departments).await;
        let sync = following(&world, &[]).await;
        for n in 0..6 {
            let (ours, theirs) = (format!("function {n}"), format!("Rocket.Chat {n}"));
            let update = body(&ours, "private", &["mona"], &departments);
            let (status, _) = tokio::join!(
                world.update(&unit, "boss", TOKEN, &update),
                rocket_chat.save_unit(Some(&unit), &theirs, "private", &monitors, &departments),
            );
            assert_eq!(status.status_code, 200);
            let names = async || {
                let found = rocket_chat.unit(&unit).await.expect("it is there");
                (
                    found.get_str("name").unwrap_or_default().to_owned(),
                    unit_facts(&world, &unit).await.expect("it is there").0,
                )
            };
            eventually(SOON, async || {
                let (in_mongodb, in_dynamodb) = names().await;
                in_mongodb == in_dynamodb && (in_mongodb == ours || in_mongodb == theirs)
            })
            .await;
            // The loser is named, unless one change was carried before the other was made.
            let (winner, _) = names().await;
            tokio::time::sleep(Duration::from_millis(1200)).await;
            assert_eq!(names().await, (winner.clone(), winner.clone()), "it does not flap");
            let loser = if winner == ours { theirs } else { ours };
            let printed = sync.printed().join("\n");
            let was_carried = printed.contains(&format!("the name is now \\\"{loser}\\\""));
            let was_named = printed.lines().any(|line| line.contains("WARN") && line.contains(&loser));
            assert!(was_carried || was_named, "{loser} is lost without a warning: {printed}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collection_that_is_dropped_and_restored_while_it_follows_loses_nothing() {
    let Some((world, _)) = workspace().await else { return };
    let rocket_chat = world.rocket_chat();
    let sync = following(&world, &[]).await;
    let users: Vec<_> = {
        use futures_util::TryStreamExt;
        rocket_chat
            .users()
            .find(doc! {})
            .await
            .expect("they are read")
            .try_collect()
            .await
            .expect("they are read")
    };
    rocket_chat.users().drop().await.expect("it is dropped");
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert!(user_is_there(&world, "boss").await);
    rocket_chat.users().insert_many(users).await.expect("they are restored");
    rocket_chat.log_out("boss", HASH).await;
    eventually(SOON, async || !world.items().await.contains_key(HASH)).await;
    rocket_chat.create_user("nina", "nina", &[]).await;
    eventually(SOON, async || user_is_there(&world, "nina").await).await;
    assert!(user_is_there(&world, "boss").await && user_is_there(&world, "mona").await);
    drop(sync);
}
