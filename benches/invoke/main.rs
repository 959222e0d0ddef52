//! What an update costs, against the floor of the same run.
//!
//! It starts the release binary as Lambda does, on an embedded DynamoDB behind a proxy with TLS, and in turn with
//! it the floors: a handler that does nothing, and one that sends the same requests without an SDK. It asserts no
//! times: it prints a table, and writes it with a chart to `target/bench`.
//!
//!     cargo bench --bench invoke                     all of it, some minutes
//!     cargo bench --bench invoke -- --quick          does it run?
//!     cargo bench --bench invoke -- init warm        these parts
//!     cargo bench --bench invoke -- --function PATH  another build of the function

mod chart;
mod data;
mod process;
mod proxy;
mod report;
mod statistics;

use std::collections::HashSet;
use std::env;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use aws_sdk_dynamodb::Client;
use flate2::Compression;
use flate2::write::DeflateEncoder;
use livechat_units::Tables;
use serde_json::Value;
use time::OffsetDateTime;
use time::macros::format_description;
use tokio::net::TcpListener;
use unitctl::engine;
use unitctl::runtime_api::Environment;
use unitctl::target::Data;

use chart::Line;
use data::Profile;
use proxy::Proxy;
use report::Row;
use statistics::{Samples, slope};

/// The function's timeout in the template.
const TIMEOUT: Duration = Duration::from_secs(15);

/// The roots that the function trusts at first.
const AMAZON_ROOTS: &str = include_str!("../../src/amazon-roots.pem");

/// Where distributions keep the roots that they trust; the second is Lambda's.
const SYSTEM_ROOTS: [&str; 2] = ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"];

/// How often things are measured.
struct Times {
    starts: usize,
    updates: usize,
    delayed: usize,
    rounds: usize,
    cycles: usize,
    memory: [usize; 3],
}

const FULL: Times =
    Times { starts: 40, updates: 400, delayed: 10, rounds: 5, cycles: 25, memory: [1000, 2000, 10_000] };
const QUICK: Times = Times { starts: 2, updates: 5, delayed: 1, rounds: 1, cycles: 1, memory: [10, 20, 100] };

#[derive(Clone, Copy)]
enum Kind {
    /// The function.
    Function,
    /// The function, with no DynamoDB that it could connect to.
    Alone,
    /// The function, trusting the system's roots, as it does when Amazon's don't do.
    Distrustful,
    /// The handler that does nothing.
    Noop,
    /// The function's requests without an SDK.
    Raw,
    /// The same, with its connection made during the init.
    RawConnected,
}

struct Bench {
    times: Times,
    function: PathBuf,
    noop: PathBuf,
    raw: PathBuf,
    data: Data,
    proxy: Proxy,
    /// Amazon's roots and the proxy's in their company: what the function parses on AWS, and one more.
    amazon_roots: PathBuf,
    /// The system's roots and the proxy's.
    system_roots: PathBuf,
    /// The proxy's alone: a floor loads no more than it needs.
    one_root: PathBuf,
}

/// What one update took.
#[derive(Default)]
struct Measured {
    latency_ms: Samples,
    cpu_ms: Samples,
}

/// What updates took at one delay, the floor's and the function's.
#[derive(Default)]
struct Delayed {
    delay_ms: Samples,
    latency_ms: [Samples; 2],
}

#[tokio::main]
async fn main() -> Result<()> {
    ensure!(
        cfg!(target_os = "linux"),
        "this benchmark reads CPU time and memory from /proc, which only Linux has"
    );
    let mut arguments = env::args().skip(1);
    let mut parts = HashSet::new();
    let mut times = FULL;
    let mut function = None;
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--quick" => times = QUICK,
            "--function" => function = Some(PathBuf::from(arguments.next().context("--function PATH")?)),
            // Cargo's own.
            "--bench" => {}
            option if option.starts_with('-') => bail!("no such option: {option}"),
            part => drop(parts.insert(part.to_owned())),
        }
    }
    let bench = Bench::start(times, function).await?;
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

impl Bench {
    async fn start(times: Times, function: Option<PathBuf>) -> Result<Self> {
        let function = match function {
            Some(function) => function,
            None => build(&["--bin", "livechat-units"], "livechat-units")?,
        };
        let noop = build(&["--package", "floor"], "noop")?;
        let raw = noop.with_file_name("raw");

        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let endpoint = format!("http://{}", listener.local_addr()?);
        tokio::spawn(engine::serve(listener, engine::open(None)?, std::future::pending()));
        let client = Client::new(&engine::sdk_config(&endpoint));
        let tables = Tables { tokens: "bench-tokens".into(), livechat: "bench-livechat".into() };
        data::put(&client, &tables).await?;
        let proxy = Proxy::start(&endpoint).await?;

        let folder = target().join("bench");
        fs::create_dir_all(&folder)?;
        let [amazon_roots, system_roots, one_root] =
            ["amazon-roots.pem", "system-roots.pem", "one-root.pem"].map(|file| folder.join(file));
        let system = SYSTEM_ROOTS.iter().find_map(|file| fs::read_to_string(file).ok());
        if system.is_none() {
            println!("No system roots found: loading them is not in the figures.");
        }
        fs::write(&amazon_roots, format!("{AMAZON_ROOTS}{}", proxy.certificate))?;
        fs::write(&system_roots, system.unwrap_or_default() + &proxy.certificate)?;
        fs::write(&one_root, &proxy.certificate)?;
        let data = Data { client, tables };
        Ok(Self { times, function, noop, raw, data, proxy, amazon_roots, system_roots, one_root })
    }

    async fn environment(&self, kind: Kind) -> Result<Environment> {
        self.environment_with(kind, Stdio::null()).await
    }

    async fn environment_with(&self, kind: Kind, stdout: Stdio) -> Result<Environment> {
        let (binary, roots) = match kind {
            Kind::Function | Kind::Alone => (&self.function, &self.amazon_roots),
            Kind::Distrustful => (&self.function, &self.system_roots),
            Kind::Noop => (&self.noop, &self.one_root),
            Kind::Raw | Kind::RawConnected => (&self.raw, &self.one_root),
        };
        let roots = roots.to_str().context("the target folder's path is not UTF-8")?;
        let mut variables = vec![("SSL_CERT_FILE", roots)];
        if matches!(kind, Kind::RawConnected) {
            variables.push(("CONNECT", "true"));
        }
        let tables = &self.data.tables;
        // Nobody listens on port 1 of this machine.
        let endpoint = if matches!(kind, Kind::Alone) { "https://localhost:1" } else { &self.proxy.endpoint };
        Environment::start_function(binary, endpoint, tables, &variables, stdout, Stdio::inherit()).await
    }

    /// Process start to the first poll for an event.
    async fn init(&self, rows: &mut Vec<Row>) -> Result<()> {
        let kinds = [Kind::Noop, Kind::Function, Kind::Alone, Kind::RawConnected, Kind::Distrustful];
        let mut measured = kinds.map(|_| Measured::default());
        for _ in 0..self.times.starts {
            for (kind, measured) in kinds.into_iter().zip(&mut measured) {
                let start = Instant::now();
                let mut environment = self.environment(kind).await?;
                measured.latency_ms.push(ms(environment.idle().await? - start));
                measured.cpu_ms.push(process::cpu_ms(pid(&mut environment)?).await?);
            }
        }
        let [noop, ours, alone, raw, distrustful] = &measured;
        let cpu = |what, floor: &Measured, of: &Measured, goal, most| {
            Row::ratio(what, "ms", &floor.cpu_ms, &of.cpu_ms, goal, most)
        };
        rows.push(cpu("init: CPU", noop, ours, "at most 2.2x", Some(2.2)));
        rows.push(Row::ratio("init: time", "ms", &noop.latency_ms, &ours.latency_ms, "", None));
        rows.push(cpu("init without a connection: CPU", noop, alone, "at most 2.2x", Some(2.2)));
        rows.push(cpu("init, the floor connecting as well: CPU", raw, ours, "", None));
        rows.push(cpu("init with the system's roots: CPU", noop, distrustful, "", None));
        Ok(())
    }

    /// Init and the first update over TLS.
    async fn cold(&self, rows: &mut Vec<Row>) -> Result<()> {
        let profile = self.recorded(data::reference(), false).await?;
        let mut whole = [Samples::default(), Samples::default()];
        let mut first = [Measured::default(), Measured::default()];
        for _ in 0..self.times.starts {
            for (place, kind) in [Kind::Raw, Kind::Function].into_iter().enumerate() {
                let mut environment = self.environment(kind).await?;
                let event = self.event(kind, &profile, 0, false).await?;
                self.measure(&mut environment, event, &mut first[place]).await?;
                whole[place].push(process::cpu_ms(pid(&mut environment)?).await?);
            }
        }
        let [raw, ours] = &first;
        rows.push(Row::ratio("cold update: CPU", "ms", &whole[0], &whole[1], "at most 2x", Some(2.0)));
        rows.push(Row::ratio("its update alone: CPU", "ms", &raw.cpu_ms, &ours.cpu_ms, "", None));
        rows.push(Row::ratio("its update alone: time", "ms", &raw.latency_ms, &ours.latency_ms, "", None));
        Ok(())
    }

    /// The slope of latency against the delay of each DynamoDB call is the calls that wait for each other.
    async fn round_trips(&self, rows: &mut Vec<Row>) -> Result<Vec<Line>> {
        let cases = [(true, "token seen before", "2", 2.0), (false, "first use of a token", "3", 3.0)];
        let mut lines = Vec::new();
        for (is_token_known, name, goal, calls_of_floor) in cases {
            let mut delays = [0, 5, 10].map(|delay| (Duration::from_millis(delay), Delayed::default()));
            // In rounds, so that what else the machine does falls on all delays alike.
            for round in 0..self.times.rounds {
                for (delay, measured) in &mut delays {
                    self.proxy.delay(*delay);
                    let profile = self.recorded(data::reference(), is_token_known).await?;
                    let series = format!("d{}r{round}", delay.as_millis());
                    let turn = self.in_turn(&profile, self.times.delayed, is_token_known, &series).await?;
                    measured.delay_ms.push(self.proxy.mean_delay_ms());
                    for (whole, part) in measured.latency_ms.iter_mut().zip(&turn) {
                        whole.extend(&part.latency_ms);
                    }
                }
            }
            self.proxy.delay(Duration::ZERO);
            let points = [0, 1].map(|place| {
                let point = |(_, of): &(_, Delayed)| (of.delay_ms.median(), of.latency_ms[place].median());
                delays.iter().map(point).collect::<Vec<_>>()
            });
            let [raw, ours] = [slope(&points[0]), slope(&points[1])];
            // The floor sends so many calls in a row; on a busy machine each costs more than its delay.
            let calls = calls_of_floor * ours / raw;
            rows.push(Row {
                what: format!("sequential round trips, {name}"),
                unit: "slope",
                floor: Some(raw.into()),
                ours: ours.into(),
                result: format!("{calls:.2}"),
                goal,
                met: Some(calls < calls_of_floor + 0.25),
            });
            let [raw, ours] = points;
            lines.push(Line { name, points: ours });
            if is_token_known {
                lines.push(Line { name: "the same requests without SDK", points: raw });
            }
        }
        Ok(lines)
    }

    async fn warm(&self, rows: &mut Vec<Row>) -> Result<()> {
        let profile = self.recorded(data::reference(), true).await?;
        let [raw, ours] = self.in_turn(&profile, self.times.updates, true, "warm").await?;
        let more = ours.cpu_ms.median() - raw.cpu_ms.median();
        rows.push(Row {
            what: "warm update: CPU".into(),
            unit: "ms",
            floor: Some((&raw.cpu_ms).into()),
            ours: (&ours.cpu_ms).into(),
            result: format!("{more:+.2} ms"),
            goal: "at most +0.45 ms",
            met: Some(more <= 0.45),
        });
        rows.push(Row::ratio("warm update: time", "ms", &raw.latency_ms, &ours.latency_ms, "", None));
        Ok(())
    }

    async fn capacity(&self, rows: &mut Vec<Row>) -> Result<()> {
        let profiles = [
            ("nothing changes", data::reference()),
            ("a department leaves", data::growth(1)),
            ("a department moves", data::moving()),
        ];
        for (name, profile) in profiles {
            let spent = self.spent(&self.recorded(profile, true).await?)?;
            let row = |what: &str, floor: f64, ours: f64, goal| Row {
                what: format!("{name}: {what}"),
                unit: "units",
                floor: Some(floor.into()),
                ours: ours.into(),
                result: format!("{:.2}x", ours / floor),
                goal,
                met: Some(ours == floor),
            };
            rows.push(row("read", spent.items_read, spent.read_units, "1 an item, none twice"));
            rows.push(row("written", 2.0 * spent.items_written, spent.write_units, "2 a changed item"));
        }
        rows.push(Row {
            what: "logged for an update".into(),
            unit: "bytes",
            floor: None,
            ours: self.logged_bytes().await?.into(),
            result: String::new(),
            goal: "",
            met: None,
        });
        Ok(())
    }

    async fn logged_bytes(&self) -> Result<f64> {
        const UPDATES: usize = 10;
        let file = target().join("bench/log");
        let mut environment = self.environment_with(Kind::Function, fs::File::create(&file)?.into()).await?;
        for _ in 0..UPDATES {
            invoke(&mut environment, data::reference().events.remove(0).to_string()).await?;
        }
        environment.idle().await?;
        Ok(fs::metadata(file)?.len() as f64 / UPDATES as f64)
    }

    /// One department leaves and comes back, in units of different sizes.
    async fn growth(&self, rows: &mut Vec<Row>) -> Result<Vec<Line>> {
        let mut lines = [Vec::new(), Vec::new()];
        for members in data::MEMBERS {
            let profile = self.recorded(data::growth(members), true).await?;
            let spent = self.spent(&profile)?;
            let [raw, ours] = self.in_turn(&profile, self.times.cycles, true, "growth").await?;
            // The unit by its size, as it is after or before, and the department.
            let floor = 2.0 * profile.unit_bytes(&self.data).await?.div_ceil(1024) as f64 + 2.0;
            rows.push(Row {
                what: format!("{members} members: written"),
                unit: "units",
                floor: Some(floor.into()),
                ours: spent.write_units.into(),
                result: format!("{} units, {:.1} KB read", spent.read_units, spent.bytes_read / 1e3),
                goal: "2 a KB of changed items",
                met: Some(spent.write_units == floor),
            });
            let (cpu, time) = (format!("{members} members: CPU"), format!("{members} members: time"));
            rows.push(Row::ratio(&cpu, "ms", &raw.cpu_ms, &ours.cpu_ms, "", None));
            rows.push(Row::ratio(&time, "ms", &raw.latency_ms, &ours.latency_ms, "", None));
            for (line, measured) in lines.iter_mut().zip([raw, ours]) {
                line.push((members as f64, measured.latency_ms.median()));
            }
        }
        let [raw, ours] = lines;
        Ok(vec![
            Line { name: "the function", points: ours },
            Line { name: "the same requests without SDK", points: raw },
        ])
    }

    async fn memory(&self, rows: &mut Vec<Row>) -> Result<()> {
        let event = data::reference().events.remove(0).to_string();
        let mut noop = self.environment(Kind::Noop).await?;
        let mut function = self.environment(Kind::Function).await?;
        let mut peaks = Vec::new();
        let mut done = 0;
        for until in self.times.memory {
            for _ in done..until {
                invoke(&mut function, event.clone()).await?;
            }
            done = until;
            peaks.push(process::peak_mb(pid(&mut function)?)?);
        }
        let [few, some, many] = self.times.memory;
        for _ in 0..some {
            invoke(&mut noop, event.clone()).await?;
        }
        let floor = process::peak_mb(pid(&mut noop)?)?;
        let row = |what: String, floor: f64, ours: f64, goal, met| Row {
            what,
            unit: "MB",
            floor: Some(floor.into()),
            ours: ours.into(),
            result: format!("{:+.1} MB", ours - floor),
            goal,
            met: Some(met),
        };
        let what = format!("peak memory after {some} updates");
        rows.push(row(what, floor, peaks[1], "under 12 MB", peaks[1] < 12.0));
        let what = format!("peak memory, update {few} to {many}");
        rows.push(row(what, peaks[0], peaks[2], "no growth", peaks[2] - peaks[0] < 0.1));
        Ok(())
    }

    fn artifact(&self, rows: &mut Vec<Row>) -> Result<()> {
        let (noop, ours) = (zipped_mb(&self.noop)?, zipped_mb(&self.function)?);
        rows.push(Row::ratio("artifact, zipped", "MB", noop, ours, "", None));
        Ok(())
    }

    /// The profile, with the calls that the function makes for it.
    async fn recorded(&self, mut profile: Profile, is_token_known: bool) -> Result<Profile> {
        let mut environment = self.environment(Kind::Function).await?;
        for event in &profile.events {
            invoke(&mut environment, event.to_string()).await?;
        }
        if !is_token_known {
            environment = self.environment(Kind::Function).await?;
        }
        // Not the call that connects.
        environment.idle().await?;
        for event in &profile.events {
            let (_, calls) = self.proxy.keep(invoke(&mut environment, event.to_string())).await?;
            profile.calls.push(calls);
        }
        Ok(profile)
    }

    async fn event(
        &self,
        kind: Kind,
        profile: &Profile,
        number: usize,
        is_token_known: bool,
    ) -> Result<String> {
        match kind {
            Kind::Raw => Ok(profile.raw_event(number, is_token_known, &self.data).await?.to_string()),
            _ => Ok(profile.events[number].to_string()),
        }
    }

    /// Measures the profile's updates, the floor's and the function's in turn.
    async fn in_turn(
        &self,
        profile: &Profile,
        cycles: usize,
        is_token_known: bool,
        series: &str,
    ) -> Result<[Measured; 2]> {
        /// Updates before the first that is measured.
        const UNMEASURED: usize = 3;
        let tokens =
            data::new_tokens(&self.data.client, &self.data.tables, series, cycles + UNMEASURED).await?;
        let mut measured = [Measured::default(), Measured::default()];
        let mut environments = [self.environment(Kind::Raw).await?, self.environment(Kind::Function).await?];
        for (cycle, token) in tokens.iter().enumerate() {
            if cycle == UNMEASURED {
                measured = Default::default();
            }
            for (place, kind) in [Kind::Raw, Kind::Function].into_iter().enumerate() {
                for number in 0..profile.events.len() {
                    let event = match kind {
                        Kind::Function if !is_token_known => {
                            data::with_token(&profile.events[number], token).to_string()
                        }
                        _ => self.event(kind, profile, number, is_token_known).await?,
                    };
                    self.measure(&mut environments[place], event, &mut measured[place]).await?;
                }
            }
        }
        Ok(measured)
    }

    async fn measure(&self, environment: &mut Environment, event: String, into: &mut Measured) -> Result<()> {
        environment.idle().await?;
        let pid = pid(environment)?;
        let before = process::cpu_ms(pid).await?;
        let start = Instant::now();
        invoke(environment, event).await?;
        into.latency_ms.push(ms(start.elapsed()));
        environment.idle().await?;
        into.cpu_ms.push(process::cpu_ms(pid).await? - before);
        Ok(())
    }

    /// What the profile's first update took of DynamoDB.
    fn spent(&self, profile: &Profile) -> Result<Spent> {
        let mut spent = Spent::default();
        let mut keys = HashSet::new();
        for call in profile.calls.first().context("nothing is recorded")? {
            let request: Value = serde_json::from_slice(&call.request)?;
            if let Some(actions) = request["TransactItems"].as_array() {
                spent.items_written += actions.len() as f64;
                spent.write_units += call.units()?;
                continue;
            }
            spent.read_units += call.units()?;
            spent.bytes_read += call.response.len() as f64;
            for (table, read) in request["RequestItems"].as_object().context("an unknown request")? {
                let read = read["Keys"].as_array().context("no keys")?;
                keys.extend(read.iter().map(|key| format!("{table} {key}")));
            }
        }
        spent.items_read = keys.len() as f64;
        Ok(spent)
    }
}

#[derive(Default)]
struct Spent {
    /// Each item once.
    items_read: f64,
    read_units: f64,
    items_written: f64,
    write_units: f64,
    bytes_read: f64,
}

async fn invoke(environment: &mut Environment, event: String) -> Result<()> {
    let answer = environment.invoke(event, TIMEOUT).await?.response()?;
    let answer: Value = serde_json::from_slice(&answer)?;
    ensure!(answer["statusCode"] == 200, "the answer is {answer}");
    Ok(())
}

fn pid(environment: &mut Environment) -> Result<u32> {
    environment.process().id().context("the process has ended")
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Builds as for a deployment: by itself, so that nothing that tests or benchmarks need is in it.
fn build(what: &[&str], binary: &str) -> Result<PathBuf> {
    let cargo = env::var_os("CARGO").context("run it by cargo bench")?;
    let mut command = Command::new(cargo);
    command.args(["build", "--release", "--locked"]).args(what).current_dir(env!("CARGO_MANIFEST_DIR"));
    ensure!(command.status()?.success(), "building {binary} failed");
    Ok(target().join("release").join(binary))
}

fn target() -> PathBuf {
    // The benchmark is itself there, in release/deps.
    let own = env::current_exe().unwrap_or_default();
    own.ancestors().nth(3).map_or_else(|| "target".into(), Path::to_path_buf)
}

/// What a zip of one file weighs, but for its name and some hundred bytes.
fn zipped_mb(file: &Path) -> Result<f64> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(&fs::read(file)?)?;
    Ok(encoder.finish()?.len() as f64 / 1e6)
}

fn machine() -> String {
    let processors = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = processors.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1));
    let count = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{count} x {}", model.unwrap_or("unknown processor"))
}
