//! `unitctl local`: the endpoint and a DynamoDB on one machine.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use aws_sdk_dynamodb::Client;
use clap::Args;
use livechat_units::{Function, Tables};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::database::Database;
use crate::engine::{self, Creation};
use crate::{local_gateway, sample};

/// The maximum time that stopping takes: a second more than a request may take.
const MAX_STOP: Duration = Duration::from_secs(30);

/// Run the endpoint and an embedded DynamoDB on this machine, with sample data.
#[derive(Args, Debug)]
#[command(after_help = "\
Prints two commands to try, and runs until Ctrl-C. The data is in memory and ends with the process, unless --data names
a file. A file that already has the tables keeps its data. The options for tables and output have no effect.

Examples:
  unitctl local
  unitctl local --port 3001 --dynamodb-port 8001 --data units.db")]
pub struct Local {
    /// Address to listen on; 0.0.0.0 accepts connections from containers, and from the whole network
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    host: IpAddr,
    /// Port of the endpoint
    #[arg(long, default_value_t = 3000)]
    port: u16,
    /// Port of DynamoDB
    #[arg(long, default_value_t = 8000)]
    dynamodb_port: u16,
    /// Keep the data in this file instead of in memory
    #[arg(long, value_name = "FILE")]
    data: Option<PathBuf>,
}

impl Local {
    /// Serves until Ctrl-C.
    ///
    /// # Errors
    /// A port is in use, or the data file is not a database.
    pub async fn run(self) -> Result<()> {
        livechat_units::telemetry::init();
        let api = listen(self.host, self.port, "--port").await?;
        let dynamodb = listen(self.host, self.dynamodb_port, "--dynamodb-port").await?;
        let api_url = url(api.local_addr()?);
        let dynamodb_url = url(dynamodb.local_addr()?);
        if !self.host.is_loopback() {
            eprintln!(
                "Warning: listening on {}. Everyone who can reach this machine can read and write the data.",
                self.host
            );
        }
        let database = engine::open(self.data.as_deref())?;

        let (stop_gateway, gateway_stopped) = watch::channel(());
        let (stop_engine, engine_stopped) = watch::channel(());
        let engine = tokio::spawn(engine::serve(dynamodb, database, stopped(engine_stopped)));

        let sdk = engine::sdk_config(&dynamodb_url);
        let client = Client::new(&sdk);
        let tables = Tables { tokens: "local-tokens".into(), livechat: "local-livechat".into() };
        if engine::create_tables(&client, &tables).await? == Creation::Created {
            sample::put(&Database { client: client.clone(), tables: tables.clone() }).await?;
        }
        let function = Function::new(&sdk, tables.clone());
        let gateway = tokio::spawn(local_gateway::serve(api, function, stopped(gateway_stopped)));

        print_ready(&api_url, &dynamodb_url, &tables);
        interrupted().await?;
        println!("Stopping.");
        // The gateway stops first, so that the requests that it has accepted can still use DynamoDB. DynamoDB stops
        // when its clients have closed their connections. A client that never ends its request only delays the stop.
        drop(stop_gateway);
        let stopping = async {
            gateway.await??;
            drop(client);
            drop(stop_engine);
            engine.await?
        };
        tokio::time::timeout(MAX_STOP, stopping).await.unwrap_or(Ok(()))
    }
}

async fn listen(host: IpAddr, port: u16, option: &str) -> Result<TcpListener> {
    let address = SocketAddr::from((host, port));
    match TcpListener::bind(address).await {
        Ok(listener) => Ok(listener),
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            bail!("port {port} is taken by another program; choose another port with {option}")
        }
        Err(error) => Err(error).with_context(|| format!("listening on {address}")),
    }
}

/// The URL for this machine itself. A server can listen on 0.0.0.0, but a client can't connect to it.
fn url(address: SocketAddr) -> String {
    if address.ip().is_unspecified() {
        format!("http://127.0.0.1:{}", address.port())
    } else {
        format!("http://{address}")
    }
}

/// Returns when the sender is dropped.
async fn stopped(mut receiver: watch::Receiver<()>) {
    while receiver.changed().await.is_ok() {}
}

/// Returns at Ctrl-C or SIGTERM.
async fn interrupted() -> Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        interrupt = tokio::signal::ctrl_c() => interrupt?,
        _ = terminate.recv() => {}
    }
    Ok(())
}

fn print_ready(api_url: &str, dynamodb_url: &str, tables: &Tables) {
    let (unit, user, token, body) = (sample::UNIT, sample::USER, sample::TOKEN, sample::BODY);
    println!(
        "\
The endpoint is at {api_url}. Update the sample unit:

  curl -s {api_url}/api/v1/livechat/units/{unit} \\
    -H 'X-Auth-Token: {token}' \\
    -H 'X-User-Id: {user}' \\
    -H 'Content-Type: application/json' \\
    -d '{body}'

{api_url}/openapi.yaml describes the endpoint.

DynamoDB is at {dynamodb_url}, with the tables {tokens} and {livechat}. Read the unit's item:

  curl -s {dynamodb_url} \\
    -H 'X-Amz-Target: DynamoDB_20120810.GetItem' \\
    -H 'Content-Type: application/x-amz-json-1.0' \\
    -H 'X-Amz-Date: 20211206T144059Z' \\
    -H 'Authorization: AWS4-HMAC-SHA256 Credential=local/20211206/us-east-1/dynamodb/aws4_request, SignedHeaders=host, Signature=0' \\
    -d '{{\"TableName\":\"{livechat}\",\"Key\":{{\"pk\":{{\"S\":\"UNIT#{unit}\"}},\"sk\":{{\"S\":\"UNIT\"}}}}}}'

Every AWS SDK and tool can use it with this endpoint and any credentials. Ctrl-C stops both.",
        tokens = tables.tokens,
        livechat = tables.livechat,
    );
}
