//! Changes of users that do not matter here, as presence makes them all the time. MongoDB's server leaves their events out,
//! so they must cost no read of DynamoDB and hardly any CPU time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use testing::dynamodb::address;
use tokio::time::interval;

use crate::follow::log_in;
use crate::measure::heads;
use crate::proxy::{Proxy, reads};
use crate::seen::watch;
use crate::workspace::{Workspace, hash, user_id};

/// Users whose presence changes with one write, and such writes a second.
const USERS: usize = 100;
const WRITES: u32 = 10;

/// How long each state is measured.
const DURATION: Duration = Duration::from_secs(20);

pub async fn run(workspace: &Arc<Workspace>) -> Result<()> {
    let proxy = Proxy::start(address()).await?;
    let mut sync = workspace.following(&proxy.endpoint).await?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let events = USERS * WRITES as usize;
    println!(
        "\n{:<42} {:>8} {:>10} {:>12} {:>14}",
        "changes of presence", "number", "changes/s", "CPU, % of one", "DynamoDB reads"
    );
    for (name, is_loaded) in [("none", false), ("many", true)] {
        proxy.take();
        let before = sync.usage().cpu_seconds;
        let start = Instant::now();
        let mut number = 0;
        let mut interval = interval(Duration::from_secs(1) / WRITES);
        while start.elapsed() < DURATION {
            interval.tick().await;
            if is_loaded {
                let first = number % (workspace.size.users - USERS);
                let ids: Vec<String> = (first..first + USERS).map(user_id).collect();
                let status =
                    if (number / workspace.size.users).is_multiple_of(2) { "online" } else { "away" };
                workspace.mongo.rocket_chat.change_presence(&ids, status).await;
                number += USERS;
            }
        }
        let seconds = start.elapsed().as_secs_f64();
        let cpu = 100.0 * (sync.usage().cpu_seconds - before) / seconds;
        let reads = reads(&proxy.take());
        println!("{name:<42} {number:>8} {:>10.0} {cpu:>12.1} {reads:>14}", number as f64 / seconds);
    }
    let (awaiting, watcher) = watch(workspace);
    log_in(Arc::clone(workspace), workspace.size.users - 1, hash("after presence"), awaiting).await;
    println!("{}", heads(&format!("after {events} a second")));
    for (kind, times) in &mut watcher.await?? {
        println!("{kind:<42} {}", times.row());
    }
    sync.print_complaints()
}
