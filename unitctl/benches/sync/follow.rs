//! Changes on both sides at the rates of a large workspace, and how soon each is seen on the other side. A change that is
//! one write counts from its beginning, and a save of a unit, which is a dozen writes, from the last one's end. An update
//! counts from the function's response. The changes of a tenth of a second share commands.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use mongodb::bson::Document;
use testing::dynamodb::address;
use tokio::task::JoinSet;
use tokio::time::interval;

use crate::bulk::{self, Save};
use crate::commands::{Commands, Counted};
use crate::measure::{Servers, Times, heads};
use crate::proxy::{Proxy, reads};
use crate::seen::{Awaiting, Expected, PATIENCE, watch};
use crate::workspace::{Workspace, hash, unit, user_id, username};

/// Changes on MongoDB's side and updates through the function, a second, one load after the other. The last one is that of
/// a large workspace. A server that is slower than MongoDB may not be able to carry it, and then the lag grows for as long as
/// the load lasts.
const LOADS: [(u32, u32); 3] = [(10, 2), (50, 10), (100, 20)];

/// How often a second changes are written to MongoDB.
const TICKS: u32 = 10;

/// Of fifty changes, the numbers of saves of units and of changes of roles. Of the others one half are logins and one half
/// logouts.
const SAVES: usize = 1;
const ROLES: usize = 9;

/// How long a login lasts at least.
const LOGIN: Duration = Duration::from_secs(5);

pub async fn run(workspace: &Arc<Workspace>) -> Result<()> {
    let proxy = Proxy::start(address()).await?;
    let commands = Commands::start(&workspace.mongo.uri).await?;
    let mut sync = workspace.following_at(&commands.uri, &proxy.endpoint).await?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let duration = Duration::from_secs(if workspace.size.is_quick { 20 } else { 60 });
    for (number, (changes, updates)) in LOADS.into_iter().enumerate() {
        proxy.take();
        commands.take();
        let (before, servers) = (sync.usage(), Servers::now());
        let start = Instant::now();
        // Names and logins of one load do not occur in another one.
        let load = Load { changes, updates, first: number * 1_000_000, duration };
        let mut done = make(workspace, load).await?;
        let seconds = start.elapsed().as_secs_f64();
        let (after, requests) = (sync.usage(), proxy.take());
        let servers = Servers::now().since(servers);
        let sent = commands.take();

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
        let percent = |cpu: f64| 100.0 * cpu / seconds;
        println!(
            "MongoDB's server used {:.0} % of a core, DynamoDB's engine and the clients {:.0} %; the sync sent {:.0} \
             commands/s to MongoDB:",
            percent(servers.mongodb),
            percent(servers.engine),
            sent.values().map(|counted| counted.number).sum::<u64>() as f64 / seconds
        );
        for (name, Counted { number, replies }) in sent {
            if (number as f64) < seconds {
                continue;
            }
            let mean = 1000.0 * replies.as_secs_f64() / number as f64;
            println!("  {name:<52} {:>6.1}/s {mean:>9.1} ms", number as f64 / seconds);
        }
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
    let mut interval = interval(Duration::from_secs(1) / TICKS);
    let mut saves = JoinSet::new();
    let mut others = JoinSet::new();
    let mut logins: VecDeque<(Instant, usize, String)> = VecDeque::new();
    let size = workspace.size;
    let start = Instant::now();
    let mut number = load.first;
    while start.elapsed() < load.duration {
        interval.tick().await;
        let mut saved = Vec::new();
        let mut users = Users::default();
        for number in number..number + (load.changes / TICKS) as usize {
            // Any user who is no monitor, each after all others.
            let user = size.units * 3 + number % (size.users - size.units * 3);
            match number % 50 {
                place if place < SAVES => saved.push(number / 50),
                place if place < SAVES + ROLES => {
                    let (user, role) = (user_id(user), format!("role {number}"));
                    users.add([bulk::add_role(&user, &role)], "a role", Expected::Role { user, role });
                }
                place => match logins.front() {
                    Some((at, ..)) if place % 2 == 0 && at.elapsed() > LOGIN => {
                        let Some((_, user, hash)) = logins.pop_front() else { continue };
                        let write = bulk::log_out(&user_id(user), &hash);
                        users.add([write], "a logout", Expected::Token { hash, is_there: false });
                    }
                    _ => {
                        let hash = hash(&format!("login {number}"));
                        logins.push_back((Instant::now(), user, hash.clone()));
                        let writes = bulk::log_in(&user_id(user), &hash);
                        users.add(writes, "a login", Expected::Token { hash, is_there: true });
                    }
                },
            }
        }
        number += (load.changes / TICKS) as usize;
        others.spawn(users.write(Arc::clone(workspace), awaiting.clone()));
        if !saved.is_empty() {
            saves.spawn(save(Arc::clone(workspace), saved, awaiting.clone()));
        }
    }
    drop(awaiting);
    let mut done = Done { lags: BTreeMap::new(), saves: Times::default(), updates: updates.await?? };
    while let Some(other) = others.join_next().await {
        other??;
    }
    while let Some(time) = saves.join_next().await {
        done.saves.add(time??);
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

/// Changes of users that are written with one command.
#[derive(Default)]
struct Users {
    writes: Vec<Document>,
    expected: Vec<(&'static str, Expected)>,
}

impl Users {
    fn add(&mut self, writes: impl IntoIterator<Item = Document>, kind: &'static str, expected: Expected) {
        self.writes.extend(writes);
        self.expected.push((kind, expected));
    }

    async fn write(self, workspace: Arc<Workspace>, awaiting: Awaiting) -> Result<()> {
        if self.writes.is_empty() {
            return Ok(());
        }
        let since = Instant::now();
        bulk::update(&workspace.mongo.db, "users", self.writes).await?;
        for (kind, expected) in self.expected {
            awaiting.see(kind, since, expected);
        }
        Ok(())
    }
}

/// Saves of units of the first half in Rocket.Chat: each second time a monitor and a department leave, and then they come
/// back. Returns how long the writes take.
async fn save(workspace: Arc<Workspace>, numbers: Vec<usize>, awaiting: Awaiting) -> Result<Duration> {
    let half = workspace.size.units / 2;
    let saves: Vec<Save> = numbers
        .into_iter()
        .map(|number| {
            let (place, all) = (number % half, (number / half) % 2 == 1);
            let monitors = Workspace::monitors(place, all);
            let departments = Workspace::departments(place, all);
            Save {
                unit: unit(place),
                name: format!("saved {number}"),
                monitors: monitors.into_iter().map(|number| (user_id(number), username(number))).collect(),
                former_monitor: Workspace::monitors(place, true).pop().filter(|_| !all).map(user_id),
                departments,
                former_department: Workspace::departments(place, true).pop().filter(|_| !all),
            }
        })
        .collect();
    let start = Instant::now();
    bulk::save_units(&workspace.mongo.db, &saves).await?;
    let end = Instant::now();
    for Save { unit, name, monitors, departments, .. } in saves {
        let members = (monitors.len(), departments.len());
        awaiting.see("a save of a unit", end, Expected::InDynamoDb { unit, name, members });
    }
    Ok(end - start)
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
