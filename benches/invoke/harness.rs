//! Starts what is measured, as Lambda does, in turn with its floors, and measures one update.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use aws_sdk_dynamodb::Client;
use livechat_units::Tables;
use serde_json::Value;
use testing::environment::Environment;
use tokio::net::TcpListener;
use unitctl::engine;
use unitctl::target::Data;

use crate::data::{self, Profile};
use crate::process;
use crate::proxy::Proxy;
use crate::statistics::Samples;

/// The function's timeout in the template.
const TIMEOUT: Duration = Duration::from_secs(15);

/// The roots that the function trusts at first.
const AMAZON_ROOTS: &str = include_str!("../../src/dynamodb/amazon-roots.pem");

/// Where distributions keep the roots that they trust; the second is Lambda's.
const SYSTEM_ROOTS: [&str; 2] = ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"];

/// How often things are measured.
pub struct Times {
    pub starts: usize,
    pub updates: usize,
    pub delayed: usize,
    pub rounds: usize,
    pub cycles: usize,
    pub memory: [usize; 3],
}

#[derive(Clone, Copy)]
pub enum Kind {
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

pub struct Bench {
    pub times: Times,
    pub function: PathBuf,
    pub noop: PathBuf,
    raw: PathBuf,
    pub data: Data,
    pub proxy: Proxy,
    /// Amazon's roots and the proxy's in their company: what the function parses on AWS, and one more.
    amazon_roots: PathBuf,
    /// The system's roots and the proxy's.
    system_roots: PathBuf,
    /// The proxy's alone: a floor loads no more than it needs.
    one_root: PathBuf,
}

/// What one update took.
#[derive(Default)]
pub struct Measured {
    pub latency_ms: Samples,
    pub cpu_ms: Samples,
}

impl Bench {
    pub async fn start(times: Times, function: Option<PathBuf>) -> Result<Self> {
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
        // Copies, so that all files are of one age: of one just written the kernel maps more at a time, and a start has
        // up to a twentieth fewer page faults.
        let copy = |from: PathBuf, name: &str| {
            let to = folder.join(name);
            fs::copy(from, &to).map(|_| to)
        };
        let (function, noop, raw) = (copy(function, "function")?, copy(noop, "noop")?, copy(raw, "raw")?);
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

    pub async fn environment(&self, kind: Kind) -> Result<Environment> {
        self.environment_with(kind, Stdio::null()).await
    }

    pub async fn environment_with(&self, kind: Kind, stdout: Stdio) -> Result<Environment> {
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

    /// The profile, with the calls that the function makes for it.
    pub async fn recorded(&self, mut profile: Profile, is_token_known: bool) -> Result<Profile> {
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

    pub async fn event(
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
    pub async fn in_turn(
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

    pub async fn measure(
        &self,
        environment: &mut Environment,
        event: String,
        into: &mut Measured,
    ) -> Result<()> {
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
}

pub async fn invoke(environment: &mut Environment, event: String) -> Result<()> {
    let answer = environment.invoke(event, TIMEOUT).await?.response()?;
    let answer: Value = serde_json::from_slice(&answer)?;
    ensure!(answer["statusCode"] == 200, "the answer is {answer}");
    Ok(())
}

pub fn pid(environment: &mut Environment) -> Result<u32> {
    environment.process().id().context("the process has ended")
}

pub fn ms(time: Duration) -> f64 {
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

pub fn target() -> PathBuf {
    // The benchmark is itself there, in release/deps.
    let own = env::current_exe().unwrap_or_default();
    own.ancestors().nth(3).map_or_else(|| "target".into(), Path::to_path_buf)
}
