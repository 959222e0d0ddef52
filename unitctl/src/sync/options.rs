//! The options of `unitctl sync`.

use std::net::SocketAddr;

use clap::{Args, ValueEnum};

use super::model::Side;

const HELP: &str = "\
Keeps users, login tokens, permissions, departments and units the same in Rocket.Chat's MongoDB and in DynamoDB. Users,
tokens, permissions, and which departments and units exist, follow MongoDB. A unit's name, visibility, monitors and
departments may change on both sides, and each change is carried to the other one within about a second.

It runs until it gets SIGINT or SIGTERM. Several processes may run: one works, and the others take over if it ends. If a
connection is lost, it waits. On a terminal it prints what it does, otherwise it prints JSON lines. A warning says which
change was overwritten because the other side changed the same thing later.

MongoDB must be a replica set, as for Rocket.Chat itself. The livechat table must have a stream, as the template makes it.

Examples:
  export MONGODB_URI='mongodb://sync:PASSWORD@127.0.0.1:27017/rocketchat?replicaSet=rs0&authSource=admin'
  unitctl sync --stack livechat-units --once --dry-run
  unitctl sync --stack livechat-units --listen 127.0.0.1:9090
  unitctl sync --stack livechat-units --from-mongodb

With --once, the exit code is 1 if another process is working or a database can't be reached for half a minute, and 3 if
something could not be carried over or was not removed.";

/// Keep MongoDB and DynamoDB the same while Rocket.Chat and the function are both in use.
#[derive(Args, Clone, Debug)]
#[command(after_help = HELP)]
pub struct Sync {
    /// Rocket.Chat's database; the environment variable keeps a password off the command line
    #[arg(long, value_name = "URI", env = "MONGODB_URI", hide_env_values = true)]
    pub mongodb_uri: String,
    /// Make one full pass, and end
    #[arg(long)]
    pub once: bool,
    /// Write nothing; print what would be written
    #[arg(long)]
    pub dry_run: bool,
    /// Only read MongoDB; report what the function changed instead of writing it there
    #[arg(long)]
    pub from_mongodb: bool,
    /// Which side counts if a unit differs and it is unknown which side has changed [default: the later change]
    #[arg(long, value_enum, value_name = "SIDE")]
    pub prefer: Option<Prefer>,
    /// The workspace's database was moved to another replica set or renamed
    #[arg(long)]
    pub moved: bool,
    /// Remove from DynamoDB what MongoDB does not have, however much it is
    #[arg(long)]
    pub allow_removals: bool,
    /// Time between two full passes
    #[arg(long, value_name = "HOURS", default_value_t = 24, value_parser = clap::value_parser!(u64).range(1..=720))]
    pub full_pass_every: u64,
    /// Serve /health and /metrics here, for instance on 127.0.0.1:9090
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<SocketAddr>,
}

/// A side, as an option names it.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Prefer {
    /// MongoDB's state counts
    Mongodb,
    /// DynamoDB's state counts
    Dynamodb,
}

impl From<Prefer> for Side {
    fn from(prefer: Prefer) -> Self {
        match prefer {
            Prefer::Mongodb => Self::MongoDb,
            Prefer::Dynamodb => Self::DynamoDb,
        }
    }
}
