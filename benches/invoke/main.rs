//! What an update costs, compared with a floor that is measured in the same run.
//!
//! The benchmark starts the release binary as Lambda does, on an embedded DynamoDB behind a proxy with TLS. In turn with it,
//! it starts two floors: a handler that does nothing, and a handler that sends the same requests without an SDK. It does not
//! assert times. It prints a table, and writes the table and a chart to `target/bench`.
//!
//!     cargo bench --bench invoke                     all parts but `large`, in some minutes
//!     cargo bench --bench invoke -- large            updates of 100 to 5,000 changes, in some minutes
//!     cargo bench --bench invoke -- --quick          a short run that shows that it works
//!     cargo bench --bench invoke -- init warm        only these parts
//!     cargo bench --bench invoke -- --function PATH  another build of the function
//!     cargo bench --bench invoke -- --floors FOLDER  another build of the floors

mod chart;
mod data;
mod harness;
mod large;
mod parts;
mod process;
mod proxy;
mod report;
mod statistics;

use std::collections::HashSet;
use std::env;
use std::fs;

use anyhow::{Context, Result, bail, ensure};
use time::OffsetDateTime;
use time::macros::format_description;

use harness::{Bench, Builds, Times, target};

const FULL: Times =
    Times { starts: 40, updates: 400, delayed: 10, rounds: 5, cycles: 25, memory: [1000, 2000, 10_000] };
const QUICK: Times = Times { starts: 2, updates: 5, delayed: 1, rounds: 1, cycles: 1, memory: [10, 20, 100] };

#[tokio::main]
async fn main() -> Result<()> {
    ensure!(
        cfg!(target_os = "linux"),
        "this benchmark reads CPU time and memory from /proc, which only Linux has"
    );
    let mut arguments = env::args().skip(1);
    let mut parts = HashSet::new();
    let mut times = FULL;
    let mut builds = Builds::default();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--quick" => times = QUICK,
            "--function" => builds.function = Some(arguments.next().context("--function PATH")?.into()),
            "--floors" => builds.floors = Some(arguments.next().context("--floors FOLDER")?.into()),
            // Cargo adds this option.
            "--bench" => {}
            option if option.starts_with('-') => bail!("unknown option: {option}"),
            part => drop(parts.insert(part.to_owned())),
        }
    }
    let bench = Bench::start(times, builds).await?;
    let wanted = |part: &str| parts.is_empty() || parts.contains(part);
    let mut rows = Vec::new();
    let mut delay_lines = Vec::new();
    let mut member_lines = Vec::new();
    if wanted("init") {
        bench.init(&mut rows).await?;
    }
    if wanted("cold") {
        bench.cold(&mut rows).await?;
    }
    if wanted("trips") {
        delay_lines = bench.round_trips(&mut rows).await?;
    }
    if wanted("warm") {
        bench.warm(&mut rows).await?;
    }
    if wanted("capacity") {
        bench.capacity(&mut rows).await?;
    }
    if wanted("growth") {
        member_lines = bench.growth(&mut rows).await?;
    }
    if wanted("memory") {
        bench.memory(&mut rows).await?;
    }
    // It takes minutes, so it runs only when it is named.
    if parts.contains("large") {
        println!("{}", bench.large().await?);
    }
    if wanted("artifact") {
        bench.artifact(&mut rows)?;
    }

    let machine = machine();
    let date = OffsetDateTime::now_utc().format(format_description!("[year]-[month]-[day]"))?;
    println!("{date}, {machine}\n\n{}", report::table(&rows));
    let folder = target().join("bench");
    let file = folder.join("invoke.json");
    fs::write(&file, format!("{:#}\n", report::json(&machine, &date, &rows)))?;
    println!("written: {}", file.display());
    if !delay_lines.is_empty() && !member_lines.is_empty() {
        let file = folder.join("invoke.svg");
        chart::draw(&file, &member_lines, &delay_lines)?;
        println!("written: {}", file.display());
    }
    Ok(())
}

fn machine() -> String {
    let processors = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = processors.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1));
    let count = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{count} x {}", model.unwrap_or("unknown processor"))
}
