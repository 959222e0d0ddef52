//! The slowest updates: of a unit that many change at once, and when replies of DynamoDB are late or lost.
//!
//! This starts the release binary as Lambda does, in one process for each client, with an embedded DynamoDB behind a proxy. It
//! prints tables and asserts nothing.
//!
//!     cargo bench --bench tails                            everything, in some minutes
//!     cargo bench --bench tails -- --quick                 checks that it runs
//!     cargo bench --bench tails -- contention replies      only these parts
//!     cargo bench --bench tails -- --function PATH         another build of the function
//!     cargo bench --bench tails -- --base PATH             an older build too, in turn with the function

mod proxy;

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use futures_util::future::try_join_all;
use livechat_units::Tables;
use serde_json::Value;
use testing::environment::Environment;
use testing::events::update_event;
use tokio::net::TcpListener;
use unitctl::database::Database;
use unitctl::{engine, sample};

use proxy::{Delay, Fault, Proxy, Replies};

/// The function's timeout in the template.
const TIMEOUT: Duration = Duration::from_secs(29);

/// Replies without a fault. Each takes 3 ms and an exponentially distributed time with a mean of 1 ms.
const USUAL: Replies = Replies { delay: Delay { constant_ms: 3.0, mean_ms: 1.0 }, fault: None };

struct Bench {
    /// Builds of the function, by name.
    builds: Vec<(&'static str, PathBuf)>,
    client: Client,
    tables: Tables,
    proxy: Proxy,
    is_quick: bool,
}

/// What updates took in ms, and how many were not answered with 200.
#[derive(Default)]
struct Answers {
    times: Vec<f64>,
    unavailable: usize,
}

/// What clients did that changed one unit.
#[derive(Default)]
struct Contention {
    answers: Answers,
    seconds: f64,
    commits: f64,
    transactions: f64,
}

impl Contention {
    fn columns(&self) -> String {
        let [median, p99, max] = [0.5, 0.99, 1.0].map(|share| self.answers.quantile(share));
        format!(
            "{:.1} | {:.2} | {median:.1} | {p99:.0} | {max:.0} | {}",
            self.commits / self.seconds,
            self.transactions / self.commits,
            self.answers.unavailable
        )
    }
}

impl Answers {
    fn add(&mut self, other: Self) {
        self.times.extend(other.times);
        self.unavailable += other.unavailable;
    }

    /// The time that this share of the updates did not exceed.
    fn quantile(&self, share: f64) -> f64 {
        let mut sorted = self.times.clone();
        sorted.sort_by(f64::total_cmp);
        let place = (share * sorted.len() as f64).ceil() as usize;
        sorted.get(place.saturating_sub(1)).copied().unwrap_or(f64::NAN)
    }

    fn columns(&self) -> String {
        let [median, p99, p999, max] = [0.5, 0.99, 0.999, 1.0].map(|share| self.quantile(share));
        format!("{median:.0} | {p99:.0} | {p999:.0} | {max:.0} | {}", self.unavailable)
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = env::args().skip(1);
    let mut parts = Vec::new();
    let (mut is_quick, mut function, mut base) = (false, None, None);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--quick" => is_quick = true,
            "--function" => function = Some(PathBuf::from(arguments.next().context("--function PATH")?)),
            "--base" => base = Some(PathBuf::from(arguments.next().context("--base PATH")?)),
            // Cargo passes this option.
            "--bench" => {}
            option if option.starts_with('-') => bail!("no such option: {option}"),
            _ => parts.push(argument),
        }
    }
    let function = function.map_or_else(build, Ok)?;
    let base = base.map(|base| ("base", base));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let endpoint = format!("http://{}", listener.local_addr()?);
    tokio::spawn(engine::serve(listener, engine::open(None)?, std::future::pending()));
    let client = Client::new(&engine::sdk_config(&endpoint));
    let tables = Tables { tokens: "bench-tokens".into(), livechat: "bench-livechat".into() };
    testing::dynamodb::create_tables(&client, &tables).await?;
    sample::put(&Database { client: client.clone(), tables: tables.clone() }).await?;
    let proxy = Proxy::start(&endpoint).await?;
    let builds = base.into_iter().chain([("function", function)]).collect();
    let bench = Bench { builds, client, tables, proxy, is_quick };
    let wanted = |part: &str| parts.is_empty() || parts.iter().any(|wanted| wanted == part);
    if wanted("contention") {
        bench.contention().await?;
    }
    if wanted("replies") {
        bench.replies().await?;
    }
    if wanted("freeze") {
        bench.freeze().await?;
    }
    Ok(())
}

impl Bench {
    /// Clients that change one unit without a pause.
    async fn contention(&self) -> Result<()> {
        let updates = if self.is_quick { 2 } else { 25 };
        println!("Clients that each update the same unit {updates} times without a pause; times in ms\n");
        println!(
            "| clients | replies | build | commits/s | transactions per commit | p50 | p99 | max | 503 |\n|---|---|---|---|---|---|---|---|---|"
        );
        for (name, delay) in
            [("as they are", Delay::default()), ("5 ms + exp 3 ms", Delay { constant_ms: 5.0, mean_ms: 3.0 })]
        {
            // Few clients make few updates, so they compete more often.
            for (clients, rounds) in [(2, 8), (8, 4), (32, 2)] {
                let mut totals: Vec<Contention> = self.builds.iter().map(|_| Contention::default()).collect();
                for _ in 0..if self.is_quick { 1 } else { rounds } {
                    for ((_, binary), total) in self.builds.iter().zip(&mut totals) {
                        self.compete(binary, clients, updates, delay, total).await?;
                    }
                }
                for ((build, _), total) in self.builds.iter().zip(&totals) {
                    println!("| {clients} | {name} | {build} | {} |", total.columns());
                }
            }
        }
        println!();
        Ok(())
    }

    /// Lets clients change one unit, and adds what that took.
    async fn compete(
        &self,
        binary: &Path,
        clients: usize,
        updates: usize,
        delay: Delay,
        total: &mut Contention,
    ) -> Result<()> {
        let mut environments = Vec::new();
        for _ in 0..clients {
            let mut environment = self.environment(binary, Stdio::null()).await?;
            environment.idle().await?;
            environments.push(environment);
        }
        self.proxy.set_replies(Replies { delay, fault: None });
        // The environments know the token and have a connection.
        for environment in &mut environments {
            update(environment, 1).await?;
        }
        self.proxy.take_counts();
        let before = self.version().await?;
        let started = Instant::now();
        let all = environments.iter_mut().map(|environment| update(environment, updates));
        try_join_all(all).await?.into_iter().for_each(|part| total.answers.add(part));
        total.seconds += started.elapsed().as_secs_f64();
        total.commits += (self.version().await? - before) as f64;
        total.transactions += self.proxy.take_counts().transactions as f64;
        Ok(())
    }

    /// One client, and replies that are late or lost.
    async fn replies(&self) -> Result<()> {
        let updates = if self.is_quick { 20 } else { 2000 };
        let hit = |fault| Replies { fault: Some(fault), ..USUAL };
        let late = Replies { delay: Delay { constant_ms: 303.0, mean_ms: 1.0 }, fault: None };
        println!("One client, {updates} updates, replies of 3 ms + exp 1 ms; times in ms\n");
        println!(
            "| one reply in a hundred | build | p50 | p99 | p99.9 | max | 503 | requests | second requests | versions less updates |\n|---|---|---|---|---|---|---|---|---|---|"
        );
        for (name, replies, updates) in [
            ("no fault", USUAL, updates),
            ("500 ms late", hit(Fault::Late(Duration::from_millis(500))), updates),
            ("never comes", hit(Fault::Silent), updates),
            ("all 300 ms late", late, updates / 20),
        ] {
            for (build, binary) in &self.builds {
                let log = folder()?.join("tails.log");
                let mut environment = self.environment(binary, File::create(&log)?.into()).await?;
                self.proxy.set_replies(USUAL);
                update(&mut environment, 10).await?;
                self.proxy.set_replies(replies);
                self.proxy.take_counts();
                let before = self.version().await?;
                let skipped = fs::read_to_string(&log)?.len();
                let answers = update(&mut environment, updates).await?;
                environment.idle().await?;
                let requests = self.proxy.take_counts().requests;
                let versions = self.version().await? - before;
                let second: u64 = fs::read_to_string(&log)?[skipped..]
                    .lines()
                    .filter_map(|line| serde_json::from_str::<Value>(line).ok()?["hedged"].as_u64())
                    .sum();
                println!(
                    "| {name} | {build} | {} | {requests} | {:.1} % | {} |",
                    answers.columns(),
                    100.0 * second as f64 / requests as f64,
                    versions - updates as i64,
                );
            }
        }
        println!();
        Ok(())
    }

    /// The first update after a freeze in which all connections died.
    async fn freeze(&self) -> Result<()> {
        /// Updates between two freezes.
        const BETWEEN: usize = 20;
        let freezes = if self.is_quick { 2 } else { 40 };
        println!("The update after each of {freezes} freezes in which all connections died; times in ms\n");
        println!("| build | p50 | p99 | p99.9 | max | 503 |\n|---|---|---|---|---|---|");
        for (build, binary) in &self.builds {
            let mut environment = self.environment(binary, Stdio::null()).await?;
            self.proxy.set_replies(USUAL);
            let mut answers = Answers::default();
            for _ in 0..freezes {
                update(&mut environment, BETWEEN).await?;
                self.proxy.silence_all();
                answers.add(update(&mut environment, 1).await?);
            }
            println!("| {build} | {} |", answers.columns());
        }
        Ok(())
    }

    async fn environment(&self, binary: &Path, stdout: Stdio) -> Result<Environment> {
        Environment::start_function(binary, &self.proxy.endpoint, &self.tables, &[], stdout, Stdio::inherit())
            .await
    }

    async fn version(&self) -> Result<i64> {
        let request = self.client.get_item().table_name(&self.tables.livechat).consistent_read(true);
        let request = request.key("pk", AttributeValue::S(format!("UNIT#{}", sample::UNIT)));
        let output = request.key("sk", AttributeValue::S("UNIT".into())).send().await?;
        let version = output.item.and_then(|item| item.get("version")?.as_n().ok()?.parse().ok());
        version.context("the unit has no version")
    }
}

/// Sends the sample update several times, one after the other.
async fn update(environment: &mut Environment, times: usize) -> Result<Answers> {
    let event = update_event(sample::UNIT, sample::BODY).to_string();
    let mut answers = Answers::default();
    for _ in 0..times {
        environment.idle().await?;
        let started = Instant::now();
        let answer = environment.invoke(event.clone(), TIMEOUT).await?.response()?;
        answers.times.push(started.elapsed().as_secs_f64() * 1e3);
        let answer: Value = serde_json::from_slice(&answer)?;
        match answer["statusCode"].as_u64() {
            Some(200) => {}
            Some(503) => answers.unavailable += 1,
            _ => bail!("the answer is {answer}"),
        }
    }
    Ok(answers)
}

/// Builds the function as for a deployment.
fn build() -> Result<PathBuf> {
    let cargo = env::var_os("CARGO").context("run this with cargo bench")?;
    let mut command = Command::new(cargo);
    command.args(["build", "--release", "--locked", "--bin", "livechat-units"]);
    ensure!(
        command.current_dir(env!("CARGO_MANIFEST_DIR")).status()?.success(),
        "building the function failed"
    );
    Ok(target().join("release/livechat-units"))
}

fn target() -> PathBuf {
    // The benchmark's own binary is in release/deps of the target folder.
    let own = env::current_exe().unwrap_or_default();
    own.ancestors().nth(3).map_or_else(|| "target".into(), Path::to_path_buf)
}

fn folder() -> Result<PathBuf> {
    let folder = target().join("bench");
    fs::create_dir_all(&folder)?;
    Ok(folder)
}
