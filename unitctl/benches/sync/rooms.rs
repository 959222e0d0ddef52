//! A department with very many rooms moves to another unit through the function, while messages change its open rooms and
//! users log in.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use livechat_units::item::Item;
use mongodb::bson::{DateTime, Document, doc};
use testing::dynamodb::endpoint;
use tokio::sync::watch::{Receiver, channel};
use tokio::task::JoinSet;
use tokio::time::interval;
use unitctl::database::Database;

use crate::follow::log_in;
use crate::measure::{Servers, Times, heads};
use crate::rocket_chat::RocketChat;
use crate::seen::watch;
use crate::workspace::{Workspace, department, hash, mongo_client, unit, user_id};

/// Messages and logins a second.
const MESSAGES: u32 = 50;
const LOGINS: u32 = 5;

/// Rooms that are open: the last ones, since a conversation does not last long.
const OPEN: usize = 500;

/// How long messages are measured alone.
const ALONE: Duration = Duration::from_secs(10);

/// How long the rooms may take. A server that is slower than MongoDB needs many minutes.
const PATIENCE: Duration = Duration::from_secs(3_600);

const IN_INSERT: usize = 1_000;

pub async fn run(workspace: &Arc<Workspace>) -> Result<()> {
    // The first department goes from the first unit to the second one.
    let (id, from, to) = (department(0), unit(0), unit(1));
    let count = workspace.size.rooms;
    let rooms = workspace.mongo.rocket_chat.rooms();
    let start = Instant::now();
    let numbers: Vec<usize> = (0..count).collect();
    for batch in numbers.chunks(IN_INSERT) {
        let documents = batch.iter().map(|number| room(*number, count, &id, &from));
        rooms.insert_many(documents).await?;
    }
    println!(
        "\n{count} rooms of one department, written to MongoDB in {:.0} s",
        start.elapsed().as_secs_f64()
    );
    let mut sync = workspace.following(endpoint()).await?;
    tokio::time::sleep(Duration::from_secs(3)).await;

    // With connections of their own, messages do not hold up logins in this program.
    let client = mongo_client(&workspace.mongo.uri).await?;
    let chat = RocketChat::new(client.database(workspace.mongo.db.name()));
    let mut alone = {
        let (stop, stopped) = channel(false);
        let messages = tokio::spawn(send_messages(chat.clone(), count, stopped));
        tokio::time::sleep(ALONE).await;
        stop.send(true)?;
        messages.await??
    };
    let (stop, stopped) = channel(false);
    let messages = tokio::spawn(send_messages(chat, count, stopped.clone()));
    let (awaiting, watcher) = watch(workspace);
    let logins = {
        let workspace = Arc::clone(workspace);
        tokio::spawn(async move {
            let mut interval = interval(Duration::from_secs(1) / LOGINS);
            let mut number = 0;
            while !*stopped.borrow() {
                interval.tick().await;
                let user = workspace.size.users / 2 + number % (workspace.size.users / 2);
                let hash = hash(&format!("while rooms are written {number}"));
                tokio::spawn(log_in(Arc::clone(&workspace), user, hash, awaiting.clone()));
                number += 1;
            }
        })
    };
    let (before, servers) = (sync.usage(), Servers::now());
    let monitors: Vec<String> = Workspace::monitors(1, true).into_iter().map(user_id).collect();
    let mut departments = Workspace::departments(1, true);
    departments.push(id.clone());
    workspace.update(1, "with one more", &monitors, &departments).await?;
    let start = Instant::now();
    let mut open_seconds = None;
    let wrong = doc! { "open": true, "departmentId": &id, "departmentAncestors": { "$ne": &to } };
    while !is_done(&workspace.database(), &id, &to).await? {
        ensure!(start.elapsed() < PATIENCE, "the rooms are not done");
        if open_seconds.is_none() && rooms.count_documents(wrong.clone()).await? == 0 {
            open_seconds = Some(start.elapsed().as_secs_f64());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let seconds = start.elapsed().as_secs_f64();
    let (after, servers) = (sync.usage(), Servers::now().since(servers));
    stop.send(true)?;
    logins.await?;
    let mut during = messages.await??;
    let mut lags: BTreeMap<&str, Times> = watcher.await??;
    let right = doc! { "departmentId": &id, "departmentAncestors": [&to] };
    let right = rooms.count_documents(right).await?;
    ensure!(right == count as u64, "{right} of {count} rooms are right");
    println!(
        "the {OPEN} open ones are right {:.1} s after the update, and all {seconds:.1} s after it: {:.0} rooms/s; the sync \
         used {:.0} % of a core, at most {:.1} MB, and MongoDB's server {:.0} % of a core",
        open_seconds.unwrap_or(seconds),
        count as f64 / seconds,
        100.0 * (after.cpu_seconds - before.cpu_seconds) / seconds,
        after.peak_mb,
        100.0 * servers.mongodb / seconds
    );
    println!("{}", heads(&format!("{MESSAGES} messages/s")));
    println!("{:<42} {}", "a message's write, alone", alone.row());
    println!("{:<42} {}", "a message's write, while rooms are written", during.row());
    for (kind, times) in &mut lags {
        println!("{:<42} {}", format!("lag of {kind} meanwhile"), times.row());
    }
    sync.print_complaints()
}

fn room_id(number: usize) -> String {
    format!("room{number:013}")
}

fn room(number: usize, count: usize, department: &str, unit: &str) -> Document {
    let now = DateTime::now();
    let mut room = doc! {
        "_id": room_id(number), "t": "l", "departmentId": department, "departmentAncestors": [unit], "msgs": 12,
        "ts": now, "lm": now, "_updatedAt": now, "fname": "A visitor", "usersCount": 2,
        "v": { "_id": format!("visitor{number}"), "username": "guest", "token": "x".repeat(40) },
        "servedBy": { "_id": user_id(number % 100), "username": "some.body", "ts": now },
        "lastMessage": { "msg": "Thank you, that was all.", "ts": now },
    };
    if number + OPEN >= count {
        room.insert("open", true);
    }
    room
}

/// Sends messages to the open ones of these rooms, and returns how long each write takes.
async fn send_messages(chat: RocketChat, rooms: usize, stopped: Receiver<bool>) -> Result<Times> {
    let mut interval = interval(Duration::from_secs(1) / MESSAGES);
    let mut messages = JoinSet::new();
    let mut number = 0;
    while !*stopped.borrow() {
        interval.tick().await;
        let chat = chat.clone();
        let id = room_id(rooms - 1 - number * 7 % OPEN);
        messages.spawn(async move {
            let start = Instant::now();
            chat.send_message(&id).await;
            start.elapsed()
        });
        number += 1;
    }
    let mut times = Times::default();
    while let Some(time) = messages.join_next().await {
        times.add(time?);
    }
    Ok(times)
}

/// Whether the sync has noted that a department is in a unit and its rooms are done.
async fn is_done(database: &Database, department: &str, unit: &str) -> Result<bool> {
    let text = |text: String| aws_sdk_dynamodb::types::AttributeValue::S(text);
    let key: Item = [
        ("pk".to_owned(), text(format!("SYNC#DEPARTMENT#{department}"))),
        ("sk".to_owned(), text("BASE".into())),
    ]
    .into();
    let get = database.client.get_item().table_name(&database.tables.livechat).consistent_read(true);
    let Some(base) = get.set_key(Some(key)).send().await?.item else { return Ok(false) };
    let is_there = base.get("parentId") == Some(&text(unit.to_owned()));
    Ok(is_there && !base.contains_key("intent") && !base.contains_key("rooms"))
}
