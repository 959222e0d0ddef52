//! How fast `unitctl sync` is, how much CPU time and memory it takes, and how soon a change is seen on the other side:
//! `.ci/mongodb cargo bench -p unitctl --features sync --bench sync`, or `-- [--quick] PART...` with some of the parts
//! `pass`, `follow`, `presence` and `rooms`. With `--quick` the workspace has a tenth of everything.
//!
//! MongoDB's protocol is served by the server of TEST_MONGODB_URI, DynamoDB's by the embedded engine, and both share the
//! machine's cores with the sync and with the clients that this program plays. Memory is Linux's VmHWM, the largest
//! resident set. The engine's CPU time is that of this program.

mod bulk;
mod commands;
mod follow;
mod measure;
mod pass;
mod presence;
mod proxy;
#[allow(dead_code)]
#[path = "../../tests/sync/rocket_chat/mod.rs"]
mod rocket_chat;
mod rooms;
mod seen;
mod workspace;
#[path = "../../tests/sync/world.rs"]
mod world;

use std::sync::Arc;

use anyhow::{Result, ensure};

use crate::workspace::{Size, Workspace};

const PARTS: [&str; 4] = ["pass", "follow", "presence", "rooms"];

#[tokio::main]
async fn main() -> Result<()> {
    // Cargo adds `--bench`.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let is_quick = arguments.iter().any(|argument| argument == "--quick");
    let named: Vec<&str> = arguments.iter().map(String::as_str).filter(|name| *name != "--quick").collect();
    ensure!(named.iter().all(|name| PARTS.contains(name)), "the parts are {}", PARTS.join(", "));
    let has = |part: &str| named.is_empty() || named.contains(&part);

    let Some(workspace) = Workspace::create(Size::new(is_quick)).await? else { return Ok(()) };
    let workspace = Arc::new(workspace);
    if has("pass") {
        pass::run(&workspace).await?;
    } else {
        // The usual way: the tables are imported first.
        workspace.import(&workspace.tables).await?;
    }
    if has("follow") {
        follow::run(&workspace).await?;
    }
    if has("presence") {
        presence::run(&workspace).await?;
    }
    if has("rooms") {
        rooms::run(&workspace).await?;
    }
    Ok(())
}
