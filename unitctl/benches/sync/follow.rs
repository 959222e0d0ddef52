//! Changes on both sides at the rates of a large workspace, and how soon each is seen on the other side. A change that is
//! one write counts from its beginning, and a save of a unit, which is a dozen writes, from the last one's end. An update
//! counts from the function's response.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use testing::dynamodb::address;
use tokio::task::JoinSet;
use tokio::time::interval;

use crate::measure::{Times, heads};
use crate::proxy::{Proxy, reads};
use crate::seen::{Awaiting, Expected, PATIENCE, watch};
use crate::workspace::{Workspace, hash, unit, user_id, username};

/// Changes on MongoDB's side and updates through the function, a second, one load after the other. The last one is that of
/// a large workspace. A server that is slower than MongoDB may not be able to carry it, and then the lag grows for as long as
/// the load lasts.
const LOADS: [(u32, u32); 4] = [(10, 2), (25, 5), (50, 10), (100, 20)];

/// Of fifty changes, the numbers of saves of units and of changes of roles. Of the others one half are logins and one half
/// logouts.
const SAVES: usize = 1;
const ROLES: usize = 9;

/// How long a login lasts at least.
const LOGIN: Duration = Duration::from_secs(5);

pub async fn run(workspace: &Arc<Workspace>) -> Result<()> {
    let proxy = Proxy::start(address()).await?;
    let mut sync = workspace.following(&proxy.endpoint).await?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let duration = Duration::from_secs(if workspace.size.is_quick { 20 } else { 60 });
    for (number, (changes, updates)) in LOADS.into_iter().enumerate() {
        proxy.take();
        let before = sync.usage();
        let start = Instant::now();
        // Names and logins of one load do not occur in another one.
        let load = Load { changes, updates, first: number * 1_000_000, duration };
        let mut done = make(workspace, load).await?;
        let seconds = start.elapsed().as_secs_f64();
        let (after, requests) = (sync.usage(), proxy.take());

        println!("\n{}", heads(&format!("{changes} changes/s, {updates} updates/s: lag")));
        for (kind, times) in &mut done.lags {
            println!("{kind:<42} {}", times.row());
        }
        println!("{:<42} {}", "(the writes of a save by themselves)", done.saves.row());
        println!("{:<42} {}", "(an update in the function by itself)", done.updates.row());
        let cpu = after.cpu_seconds - before.cpu_seconds;
        println!(
            "{seconds:.0} s: the sync used {:.0} % of a core, at most {:.1} MB, and sent {:.0} requests/s to DynamoDB, \
             {:.0} of them reads",
            100.0 * cpu / seconds,
            after.peak_mb,
            requests.values().sum::<u64>() as f64 / seconds,
            reads(&requests) as f64 / seconds
        );
        if done.lags.values().any(|times| times.max() >= PATIENCE) {
            println!("some changes were not seen within {} s", PATIENCE.as_secs());
            break;
        }
    }
    sync.print_complaints()
}

/// A load.
#[derive(Clone, Copy, Debug)]
struct Load {
    /// Changes on MongoDB's side, a second.
    changes: u32,
    /// Updates through the function, a second.
    updates: u32,
    /// The number of the first change and of the first update.
    first: usize,
    duration: Duration,
}

/// What was measured.
struct Done {
    lags: BTreeMap<&'static str, Times>,
    saves: Times,
    updates: Times,
}

/// Makes all changes, and waits until each is seen.
async fn make(workspace: &Arc<Workspace>, load: Load) -> Result<Done> {
    let (awaiting, watcher) = watch(workspace);
    let updates = tokio::spawn(update_all(Arc::clone(workspace), load, awaiting.clone()));
    let mut interval = interval(Duration::from_secs(1) / load.changes);
    let mut saves = JoinSet::new();
    let mut others = JoinSet::new();
    let mut logins: VecDeque<(Instant, usize, String)> = VecDeque::new();
    let size = workspace.size;
    let start = Instant::now();
    let mut number = load.first;
    while start.elapsed() < load.duration {
        interval.tick().await;
        let (workspace, awaiting) = (Arc::clone(workspace), awaiting.clone());
        // Any user who is no monitor, each after all others.
        let user = size.units * 3 + number % (size.users - size.units * 3);
        match number % 50 {
            place if place < SAVES => {
                saves.spawn(save(workspace, number / 50, awaiting));
            }
            place if place < SAVES + ROLES => {
                others.spawn(async move {
                    let (id, role, since) = (user_id(user), format!("role {number}"), Instant::now());
                    workspace.mongo.rocket_chat.add_roles(&id, &[&role]).await;
                    awaiting.see("a role", since, Expected::Role { user: id, role });
                });
            }
            place => match logins.front() {
                Some((at, ..)) if place % 2 == 0 && at.elapsed() > LOGIN => {
                    let Some((_, user, hash)) = logins.pop_front() else { continue };
                    others.spawn(async move {
                        let since = Instant::now();
                        workspace.mongo.rocket_chat.log_out(&user_id(user), &hash).await;
                        awaiting.see("a logout", since, Expected::Token { hash, is_there: false });
                    });
                }
                _ => {
                    let hash = hash(&format!("login {number}"));
                    logins.push_back((Instant::now(), user, hash.clone()));
                    others.spawn(log_in(workspace, user, hash, awaiting));
                }
            },
        }
        number += 1;
    }
    drop(awaiting);
    let mut done = Done { lags: BTreeMap::new(), saves: Times::default(), updates: updates.await?? };
    while let Some(other) = others.join_next().await {
        other?;
    }
    while let Some(time) = saves.join_next().await {
        done.saves.add(time?);
    }
    done.lags = watcher.await??;
    Ok(done)
}

/// A login of a user, seen when the token is in DynamoDB.
pub async fn log_in(workspace: Arc<Workspace>, user: usize, hash: String, awaiting: Awaiting) {
    let since = Instant::now();
    workspace.mongo.rocket_chat.log_in(&user_id(user), &hash).await;
    awaiting.see("a login", since, Expected::Token { hash, is_there: true });
}

/// A save of a unit of the first half in Rocket.Chat: each second time a monitor and a department leave, and then they come
/// back. Returns how long the writes take.
async fn save(workspace: Arc<Workspace>, number: usize, awaiting: Awaiting) -> Duration {
    let half = workspace.size.units / 2;
    let (place, all) = (number % half, (number / half) % 2 == 1);
    let (id, name) = (unit(place), format!("saved {number}"));
    let (monitors, departments) = (Workspace::monitors(place, all), Workspace::departments(place, all));
    let members = (monitors.len(), departments.len());
    let monitors: Vec<(String, String)> =
        monitors.into_iter().map(|number| (user_id(number), username(number))).collect();
    let monitors: Vec<(&str, &str)> =
        monitors.iter().map(|(id, username)| (id.as_str(), username.as_str())).collect();
    let departments: Vec<&str> = departments.iter().map(String::as_str).collect();
    let start = Instant::now();
    workspace.mongo.rocket_chat.save_unit(Some(&id), &name, "public", &monitors, &departments).await;
    awaiting.see("a save of a unit", Instant::now(), Expected::InDynamoDb { unit: id, name, members });
    start.elapsed()
}

/// Sends updates of the units of the second half through the function.
async fn update_all(workspace: Arc<Workspace>, load: Load, awaiting: Awaiting) -> Result<Times> {
    let mut interval = interval(Duration::from_secs(1) / load.updates);
    let mut updates = JoinSet::new();
    let start = Instant::now();
    let mut number = load.first;
    while start.elapsed() < load.duration {
        interval.tick().await;
        updates.spawn(update(Arc::clone(&workspace), number, awaiting.clone()));
        number += 1;
    }
    drop(awaiting);
    let mut times = Times::default();
    while let Some(time) = updates.join_next().await {
        times.add(time??);
    }
    Ok(times)
}

/// An update like the saves. Returns how long the function takes.
async fn update(workspace: Arc<Workspace>, number: usize, awaiting: Awaiting) -> Result<Duration> {
    let half = workspace.size.units / 2;
    let (place, all) = (half + number % half, (number / half) % 2 == 1);
    let name = format!("updated {number}");
    let monitors: Vec<String> = Workspace::monitors(place, all).into_iter().map(user_id).collect();
    let departments = Workspace::departments(place, all);
    let members = (monitors.len(), departments.len());
    let start = Instant::now();
    workspace.update(place, &name, &monitors, &departments).await?;
    let end = Instant::now();
    awaiting.see(
        "an update through the function",
        end,
        Expected::InMongoDb { unit: unit(place), name, members },
    );
    Ok(end - start)
}
