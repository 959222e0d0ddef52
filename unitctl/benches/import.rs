//! How fast `unitctl import` is, how much memory it takes, and that being killed halfway costs little:
//! `cargo bench -p unitctl --bench import`, or with other sizes `-- USERS DEPARTMENTS`.
//!
//! The floor of every ratio is the same number of items, written by the SDK in full batches, as many at
//! once, with nothing read, parsed or compared. Engine, floor and import share the machine's cores.
//! Memory is Linux's VmHWM, the largest resident set.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use futures_util::{StreamExt, TryStreamExt, stream};
use livechat_units::Tables;
use livechat_units::item::Item;
use serde_json::{Value, json};
use tempfile::TempDir;
use testing::dynamodb::{create_tables, start_engine};
use testing::items::{put, scan};
use unitctl::engine;
use unitctl::limits::MAX_BATCH_WRITE_ITEMS;

const USERS: usize = 100_000;
const DEPARTMENTS: usize = 10_000;
/// Departments in a unit.
const IN_UNIT: usize = 50;
/// Requests in flight. The importer has as many.
const AT_ONCE: usize = 8;

struct Run {
    seconds: f64,
    /// `None` for the floor, which runs in this process, and on a machine without /proc.
    peak_mb: Option<f64>,
}

fn main() -> Result<()> {
    // Cargo adds `--bench`.
    let mut sizes = std::env::args().skip(1).filter_map(|argument| argument.parse::<usize>().ok());
    let users = sizes.next().unwrap_or(USERS);
    let departments = sizes.next().unwrap_or(DEPARTMENTS);
    let endpoint = start_engine()?;
    let runtime = tokio::runtime::Runtime::new()?;
    let client = Client::new(&engine::sdk_config(&endpoint));
    let folder = TempDir::new()?;
    let documents = write_export(folder.path(), users, departments)?;
    let small = TempDir::new()?;
    let few = write_export(small.path(), users / 10, departments)?;
    println!("{users} users with a token each, {departments} departments: {documents} documents");

    let make = |name: &str| {
        let tables = Tables { tokens: format!("{name}-tokens"), livechat: format!("{name}-livechat") };
        runtime.block_on(create_tables(&client, &tables)).map(|_| tables)
    };
    let floor = runtime.block_on(write_directly(&client, &make("floor")?, users, departments))?;
    let floor_rate = documents as f64 / floor;
    let print = |name: &str, documents: usize, run: &Run| {
        let rate = documents as f64 / run.seconds;
        let ratio = floor_rate / rate;
        let peak = run.peak_mb.map_or_else(|| "-".into(), |mb| format!("{mb:.1}"));
        println!("{name:<34} {:>8.1} {rate:>12.0} {peak:>9} {ratio:>7.2}x", run.seconds);
    };
    println!("{:<34} {:>8} {:>12} {:>9} {:>8}", "", "s", "documents/s", "peak MB", "floor");
    print("floor: the items alone", documents, &Run { seconds: floor, peak_mb: None });

    let whole = make("whole")?;
    print("--dry-run", documents, &import(&endpoint, folder.path(), &whole, &["--dry-run"])?);
    let first = import(&endpoint, folder.path(), &whole, &[])?;
    print("import", documents, &first);
    print("again, nothing to write", documents, &import(&endpoint, folder.path(), &whole, &[])?);
    print("a tenth of the users", few, &import(&endpoint, small.path(), &make("tenth")?, &[])?);

    let halved = make("halved")?;
    let mut child = start(&endpoint, folder.path(), &halved, &[])?;
    std::thread::sleep(Duration::from_secs_f64(first.seconds / 2.0));
    child.kill()?;
    child.wait()?;
    let stored = runtime.block_on(items(&client, &halved))?.len();
    print("resumed after a kill halfway", documents, &import(&endpoint, folder.path(), &halved, &[])?);
    let expected = runtime.block_on(items(&client, &whole))?;
    println!("stored when killed: {stored} of {} items", expected.len());
    ensure!(runtime.block_on(items(&client, &halved))? == expected, "the resumed import left other items");
    println!("stored when resumed: the same items as by one import");
    Ok(())
}

/// Writes a sound workspace as mongoexport would. Returns how many documents.
fn write_export(folder: &Path, users: usize, departments: usize) -> Result<usize> {
    let lines = |name: &str, documents: &mut dyn Iterator<Item = Value>| -> Result<usize> {
        let mut file = BufWriter::new(File::create(folder.join(name))?);
        let mut count = 0;
        for document in documents {
            writeln!(file, "{document}")?;
            count += 1;
        }
        file.flush()?;
        Ok(count)
    };
    let when = json!({ "$date": "2026-11-01T08:00:00.000Z" });
    let units = departments.div_ceil(IN_UNIT);
    let mut count = lines(
        "users.json",
        &mut (0..users).map(|number| {
            // Each unit has one monitor, and they are the first users.
            let role = if number < units { "livechat-monitor" } else { "livechat-agent" };
            let token =
                json!({ "when": when, "hashedToken": livechat_units::hashed_token(&number.to_string()) });
            json!({
                "_id": format!("user{number:013}"), "username": format!("some.body.{number}"), "active": true,
                "roles": ["user", role], "services": { "resume": { "loginTokens": [token] } },
            })
        }),
    )?;
    count += lines(
        "rocketchat_permissions.json",
        &mut [json!({ "_id": "manage-livechat-units", "roles": ["admin"] })].into_iter(),
    )?;
    count += lines(
        "rocketchat_livechat_department.json",
        &mut (0..units)
            .map(|number| {
                let inside = IN_UNIT.min(departments - number * IN_UNIT);
                json!({
                    "_id": format!("unit{number:013}"), "name": format!("Unit {number}"), "visibility": "public",
                    "type": "u", "numMonitors": 1, "numDepartments": inside, "_updatedAt": when,
                })
            })
            .chain((0..departments).map(|number| {
                let unit = format!("unit{:013}", number / IN_UNIT);
                json!({
                    "_id": format!("dept{number:013}"), "name": format!("Department {number}"), "enabled": true,
                    "description": "what a department has", "showOnOfflineForm": false, "email": "a@example.com",
                    "parentId": unit, "ancestors": [unit], "_updatedAt": when,
                })
            })),
    )?;
    count += lines(
        "rocketchat_livechat_unit_monitors.json",
        &mut (0..units.min(users)).map(|number| {
            json!({
                "_id": format!("row{number}"), "unitId": format!("unit{number:013}"),
                "monitorId": format!("user{number:013}"), "username": format!("some.body.{number}"),
            })
        }),
    )?;
    Ok(count)
}

/// The floor: as many items in full batches, as many batches at once. Returns the seconds.
async fn write_directly(client: &Client, tables: &Tables, users: usize, departments: usize) -> Result<f64> {
    let token = |number: usize| {
        json!({
            "hashedToken": livechat_units::hashed_token(&number.to_string()), "userId": format!("user{number:013}"),
            "expiresAt": 1_800_000_000, "createdAt": "2026-11-01T08:00:00.000Z",
        })
    };
    // Each user has an item, and one that lists the hashes of their tokens.
    let livechat = |number: usize| {
        let (kind, number) = if number < users { ("USER", number) } else { ("DEPARTMENT", number - users) };
        json!({
            "pk": format!("{kind}#{number:013}"), "sk": kind, "username": format!("some.body.{number}"),
            "active": true, "roles": { "set": ["user", "livechat-agent"] },
        })
    };
    let list = |number: usize| {
        json!({
            "pk": format!("USER#{number:013}"), "sk": "TOKENS", "rev": 1,
            "hashes": { "set": [livechat_units::hashed_token(&number.to_string())] },
        })
    };
    let batches = |count: usize| {
        let starts = (0..count).step_by(MAX_BATCH_WRITE_ITEMS);
        starts.map(move |start| start..count.min(start + MAX_BATCH_WRITE_ITEMS))
    };
    let tokens = batches(users).map(|batch| (&tables.tokens, batch.map(token).collect::<Vec<_>>()));
    let others = batches(users + departments);
    let others = others.map(|batch| (&tables.livechat, batch.map(livechat).collect::<Vec<_>>()));
    let lists = batches(users).map(|batch| (&tables.livechat, batch.map(list).collect::<Vec<_>>()));
    let start = Instant::now();
    stream::iter(tokens.chain(others).chain(lists))
        .map(|(table, items)| async move { put(client, table, &items).await })
        .buffer_unordered(AT_ONCE)
        .try_collect::<()>()
        .await?;
    Ok(start.elapsed().as_secs_f64())
}

fn start(endpoint: &str, folder: &Path, tables: &Tables, options: &[&str]) -> Result<Child> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_unitctl"));
    command.args([
        "--endpoint",
        endpoint,
        "--tokens-table",
        &tables.tokens,
        "--livechat-table",
        &tables.livechat,
    ]);
    command.arg("import").arg(folder).args(options);
    command.env_remove("AWS_PROFILE").env_remove("AWS_ACCESS_KEY_ID").stdout(Stdio::null());
    command.spawn().context("starting unitctl")
}

/// Runs an import to its end.
fn import(endpoint: &str, folder: &Path, tables: &Tables, options: &[&str]) -> Result<Run> {
    let start_of_run = Instant::now();
    let mut child = start(endpoint, folder, tables, options)?;
    let status_file = format!("/proc/{}/status", child.id());
    let mut peak_mb = None;
    loop {
        // The last value before the end is the peak: it never falls.
        if let Some(kb) = fs::read_to_string(&status_file).ok().as_deref().and_then(peak_kb) {
            peak_mb = Some(kb / 1000.0);
        }
        if let Some(status) = child.try_wait()? {
            ensure!(status.success(), "the import ended with {status}");
            return Ok(Run { seconds: start_of_run.elapsed().as_secs_f64(), peak_mb });
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn peak_kb(status: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Every item, by its key.
async fn items(client: &Client, tables: &Tables) -> Result<BTreeMap<String, Item>> {
    let mut all = BTreeMap::new();
    for table in [&tables.tokens, &tables.livechat] {
        let items = scan(client, table).await?;
        all.extend(items.into_iter().map(|mut item| {
            // `rev` counts the writes of an item, and some items are written again after the kill.
            item.remove("rev");
            // A set has no order.
            for value in item.values_mut() {
                if let AttributeValue::Ss(members) = value {
                    members.sort_unstable();
                }
            }
            let text = |name| item.get(name).and_then(|value| value.as_s().ok()).map_or("", String::as_str);
            (format!("{} {} {}", text("hashedToken"), text("pk"), text("sk")), item)
        }));
    }
    Ok(all)
}
