//! Starts the function and its floors in turn, as Lambda starts a function, and measures single updates.

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
use unitctl::database::Database;
use unitctl::engine;

use crate::data::{self, Profile, Token};
use crate::process;
use crate::proxy::Proxy;
use crate::statistics::Samples;

/// The function's timeout in the template.
const TIMEOUT: Duration = Duration::from_secs(29);

/// The root certificates that the function trusts first.
const AMAZON_ROOTS: &str = include_str!("../../src/dynamodb/amazon-roots.pem");

/// Where Linux distributions keep the root certificates that they trust. Lambda uses the second path.
const SYSTEM_ROOTS: [&str; 2] = ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"];

/// How often each part measures.
pub struct Times {
    /// Process starts.
    pub starts: usize,
    /// Warm updates.
    pub updates: usize,
    /// Updates with each delay, in each round.
    pub delayed: usize,
    /// Rounds through all delays.
    pub rounds: usize,
    /// Repetitions of the updates of each unit size.
    pub cycles: usize,
    /// Numbers of updates after which the memory is measured.
    pub memory: [usize; 3],
}

/// A process that is measured.
#[derive(Clone, Copy)]
pub enum Kind {
    /// The function.
    Function,
    /// The function without a DynamoDB to connect to.
    FunctionWithoutDynamoDb,
    /// The function with the system's root certificates, which it uses if Amazon's did not sign DynamoDB's certificate.
    FunctionWithSystemRoots,
    /// A floor: a handler that does nothing.
    Noop,
    /// A floor: a handler that sends the function's requests without an SDK.
    Raw,
    /// The floor that sends the function's requests, and that connects during the init.
    RawConnected,
}

pub struct Bench {
    pub times: Times,
    pub function: PathBuf,
    pub noop: PathBuf,
    raw: PathBuf,
    pub data: Database,
    pub proxy: Proxy,
    /// A file with Amazon's root certificates, which the function parses on AWS, and the proxy's certificate.
    amazon_roots: PathBuf,
    /// A file with the system's root certificates and the proxy's certificate.
    system_roots: PathBuf,
    /// A file with the proxy's certificate only, which is all that a floor needs.
    one_root: PathBuf,
}

/// The time and CPU time of updates.
#[derive(Default)]
pub struct Measured {
    pub latency_ms: Samples,
    pub cpu_ms: Samples,
}

/// What is measured in place of a new release build.
#[derive(Default)]
pub struct Builds {
    pub function: Option<PathBuf>,
    /// The folder of both floors.
    pub floors: Option<PathBuf>,
}

impl Bench {
    pub async fn start(times: Times, builds: Builds) -> Result<Self> {
        let function = match builds.function {
            Some(function) => function,
            None => build(&["--bin", "livechat-units"], "livechat-units")?,
        };
        let noop = match builds.floors {
            Some(floors) => floors.join("noop"),
            None => build(&["--package", "floor"], "noop")?,
        };
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
        // The binaries are copied, so that all files have the same age. The kernel maps more of a new file at once, and
        // then a start has up to 5 % fewer page faults.
        let copy = |from: PathBuf, name: &str| {
            let to = folder.join(name);
            fs::copy(from, &to).map(|_| to)
        };
        let (function, noop, raw) = (copy(function, "function")?, copy(noop, "noop")?, copy(raw, "raw")?);
        let [amazon_roots, system_roots, one_root] =
            ["amazon-roots.pem", "system-roots.pem", "one-root.pem"].map(|file| folder.join(file));
        let system = SYSTEM_ROOTS.iter().find_map(|file| fs::read_to_string(file).ok());
        if system.is_none() {
            println!("No system root certificates found: the figures do not include loading them.");
        }
        fs::write(&amazon_roots, format!("{AMAZON_ROOTS}{}", proxy.certificate))?;
        fs::write(&system_roots, system.unwrap_or_default() + &proxy.certificate)?;
        fs::write(&one_root, &proxy.certificate)?;
        let data = Database { client, tables };
        Ok(Self { times, function, noop, raw, data, proxy, amazon_roots, system_roots, one_root })
    }

    pub async fn environment(&self, kind: Kind) -> Result<Environment> {
        self.environment_with(kind, Stdio::null()).await
    }

    pub async fn environment_with(&self, kind: Kind, stdout: Stdio) -> Result<Environment> {
        let (binary, roots) = match kind {
            Kind::Function | Kind::FunctionWithoutDynamoDb => (&self.function, &self.amazon_roots),
            Kind::FunctionWithSystemRoots => (&self.function, &self.system_roots),
            Kind::Noop => (&self.noop, &self.one_root),
            Kind::Raw | Kind::RawConnected => (&self.raw, &self.one_root),
        };
        let roots = roots.to_str().context("the target folder's path is not UTF-8")?;
        let mut variables = vec![("SSL_CERT_FILE", roots)];
        if matches!(kind, Kind::RawConnected) {
            variables.push(("CONNECT", "true"));
        }
        let tables = &self.data.tables;
        // No server listens on port 1 of this machine.
        let endpoint = if matches!(kind, Kind::FunctionWithoutDynamoDb) {
            "https://localhost:1"
        } else {
            &self.proxy.endpoint
        };
        Environment::start_function(binary, endpoint, tables, &variables, stdout, Stdio::inherit()).await
    }

    /// Records the requests that the function sends for a profile.
    pub async fn recorded(&self, mut profile: Profile, token: Token) -> Result<Profile> {
        let mut environment = self.environment(Kind::Function).await?;
        for event in &profile.events {
            invoke(&mut environment, event.to_string()).await?;
        }
        if token == Token::New {
            environment = self.environment(Kind::Function).await?;
        }
        // The request that connects during the init is not recorded.
        environment.idle().await?;
        for event in &profile.events {
            let calls = self.proxy.record(invoke(&mut environment, event.to_string())).await?;
            profile.calls.push(calls);
        }
        Ok(profile)
    }

    pub async fn event(&self, kind: Kind, profile: &Profile, number: usize, token: Token) -> Result<String> {
        match kind {
            Kind::Raw => Ok(profile.raw_event(number, token, &self.data).await?.to_string()),
            _ => Ok(profile.events[number].to_string()),
        }
    }

    /// Measures the updates of a profile, in turn on the floor and on the function. Returns both in this order.
    pub async fn in_turn(
        &self,
        profile: &Profile,
        cycles: usize,
        token: Token,
        series: &str,
    ) -> Result<[Measured; 2]> {
        /// Repetitions before the first that is measured.
        const UNMEASURED: usize = 3;
        let tokens =
            data::new_tokens(&self.data.client, &self.data.tables, series, cycles + UNMEASURED).await?;
        let mut measured = [Measured::default(), Measured::default()];
        let mut environments = [self.environment(Kind::Raw).await?, self.environment(Kind::Function).await?];
        for (cycle, new_token) in tokens.iter().enumerate() {
            if cycle == UNMEASURED {
                measured = Default::default();
            }
            for (place, kind) in [Kind::Raw, Kind::Function].into_iter().enumerate() {
                for number in 0..profile.events.len() {
                    let event = match kind {
                        Kind::Function if token == Token::New => {
                            data::with_token(&profile.events[number], new_token).to_string()
                        }
                        _ => self.event(kind, profile, number, token).await?,
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

/// Builds a binary as for a deployment. It is a separate build, because a shared one would have features that only tests or
/// benchmarks need.
fn build(what: &[&str], binary: &str) -> Result<PathBuf> {
    let cargo = env::var_os("CARGO").context("run it by cargo bench")?;
    let mut command = Command::new(cargo);
    command.args(["build", "--release", "--locked"]).args(what).current_dir(env!("CARGO_MANIFEST_DIR"));
    ensure!(command.status()?.success(), "building {binary} failed");
    Ok(target().join("release").join(binary))
}

/// The target folder.
pub fn target() -> PathBuf {
    // The benchmark's own binary is in target/release/deps.
    let own = env::current_exe().unwrap_or_default();
    own.ancestors().nth(3).map_or_else(|| "target".into(), Path::to_path_buf)
}
