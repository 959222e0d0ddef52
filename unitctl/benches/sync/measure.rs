//! What the sync and the servers use, and how long things take.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

/// Clock ticks a second in /proc, on every Linux of today.
const TICKS: f64 = 100.0;

/// What a process has used since its start.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    pub cpu_seconds: f64,
    pub peak_mb: f64,
}

/// A command that has ended.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    pub seconds: f64,
    pub usage: Usage,
    /// What the servers used meanwhile.
    pub servers: Servers,
}

/// CPU time, in seconds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Servers {
    /// This program: the DynamoDB engine, and the clients that it plays.
    pub engine: f64,
    /// MongoDB's server. 0 if it is on another machine.
    pub mongodb: f64,
}

impl Servers {
    /// What they have used so far.
    pub fn now() -> Self {
        let of = |process: &str| {
            fs::read_to_string(format!("/proc/{process}/stat")).ok().as_deref().and_then(cpu_seconds)
        };
        let mongodb = mongodb_process().and_then(|process| of(&process)).unwrap_or_default();
        Self { engine: of("self").unwrap_or_default(), mongodb }
    }

    pub fn since(self, start: Self) -> Self {
        Self { engine: self.engine - start.engine, mongodb: self.mongodb - start.mongodb }
    }
}

/// The id of the process whose command line has the port of TEST_MONGODB_URI as an argument.
fn mongodb_process() -> Option<String> {
    let uri = std::env::var("TEST_MONGODB_URI").ok()?;
    let port = uri.rsplit_once(':')?.1.split(['/', '?']).next()?.to_owned();
    fs::read_dir("/proc").ok()?.filter_map(Result::ok).find_map(|entry| {
        let arguments = fs::read_to_string(entry.path().join("cmdline")).ok()?;
        let has_port = arguments.split('\0').any(|argument| argument == port);
        has_port.then(|| entry.file_name().to_string_lossy().into_owned())
    })
}

/// A running command. What it prints goes to a file. It is killed when this is dropped.
pub struct Process {
    child: Child,
    log: PathBuf,
    start: Instant,
    servers: Servers,
    usage: Usage,
}

impl Process {
    pub fn start(mut command: Command, log: PathBuf) -> Result<Self> {
        let file = File::create(&log)?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let (start, servers) = (Instant::now(), Servers::now());
        let child = command.spawn().context("starting unitctl")?;
        Ok(Self { child, log, start, servers, usage: Usage::default() })
    }

    /// What it has used so far. The last value counts after its end.
    pub fn usage(&mut self) -> Usage {
        let read = |name: &str| fs::read_to_string(format!("/proc/{}/{name}", self.child.id())).ok();
        if let Some(cpu_seconds) = read("stat").as_deref().and_then(cpu_seconds) {
            self.usage.cpu_seconds = cpu_seconds;
        }
        // The largest resident set never falls.
        if let Some(peak_mb) = read("status").as_deref().and_then(peak_mb) {
            self.usage.peak_mb = peak_mb;
        }
        self.usage
    }

    /// Waits until it ends well.
    pub async fn end(mut self) -> Result<Run> {
        loop {
            self.usage();
            if let Some(status) = self.child.try_wait()? {
                ensure!(status.success(), "unitctl ended with {status}: {}", self.last_line());
                let seconds = self.start.elapsed().as_secs_f64();
                let servers = Servers::now().since(self.servers);
                return Ok(Run { seconds, usage: self.usage, servers });
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until it has printed this.
    pub async fn prints(&mut self, text: &str) -> Result<Duration> {
        loop {
            if fs::read_to_string(&self.log)?.contains(text) {
                return Ok(self.start.elapsed());
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("unitctl ended with {status}: {}", self.last_line());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Prints the first of its warnings and errors. There should be none.
    pub fn print_complaints(&self) -> Result<()> {
        let text = fs::read_to_string(&self.log)?;
        for line in text.lines().filter(|line| !line.contains("\"INFO\"")).take(5) {
            println!("the sync says: {line}");
        }
        Ok(())
    }

    fn last_line(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        text.lines().last().unwrap_or_default().to_owned()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn cpu_seconds(stat: &str) -> Option<f64> {
    // The name of the program, in parentheses, may have spaces.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<f64>().ok();
    Some((next()? + next()?) / TICKS)
}

fn peak_mb(status: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.split_whitespace().next()?.parse::<f64>().ok()? / 1000.0)
}

/// How long the same thing took each time.
#[derive(Clone, Debug, Default)]
pub struct Times(Vec<Duration>);

impl Times {
    pub fn add(&mut self, time: Duration) {
        self.0.push(time);
    }

    /// The longest time.
    pub fn max(&self) -> Duration {
        self.0.iter().max().copied().unwrap_or_default()
    }

    /// The number, and the median, the 99th percentile and the maximum in milliseconds.
    pub fn row(&mut self) -> String {
        self.0.sort_unstable();
        let at = |part: f64| {
            let place = ((self.0.len() as f64 * part) as usize).min(self.0.len().saturating_sub(1));
            self.0.get(place).map_or(0.0, |time| time.as_secs_f64() * 1000.0)
        };
        format!("{:>8} {:>8.0} {:>8.0} {:>8.0}", self.0.len(), at(0.5), at(0.99), at(1.0))
    }
}

/// The heads of the columns of [`Times::row`].
pub fn heads(name: &str) -> String {
    format!("{name:<42} {:>8} {:>8} {:>8} {:>8}", "number", "p50 ms", "p99 ms", "max ms")
}
