//! The connection to MongoDB.
//!
//! Every read is from the primary with majority concern, and every write waits for the majority, whatever the URI says:
//! a stale secondary could still have a token that is already revoked.

use std::sync::Arc;
use std::time::Duration;

use mongodb::bson::{self, doc};
use mongodb::options::{ClientOptions, ReadConcern, ReadPreference, SelectionCriteria, WriteConcern};
use mongodb::{Client, Collection, Database};

use super::failure::{Cause, Failure, within_connect};
use super::known::Known;

/// How long the driver looks for a primary, and how long a connection may take to open.
const MAX_SELECTION: Duration = Duration::from_secs(5);

/// The minimum number of connections. Each of the five change streams holds one while it waits.
const MIN_POOL_SIZE: u32 = 20;

/// Rocket.Chat's database. A clone uses the same connections.
#[derive(Clone, Debug)]
pub struct MongoDb {
    pub(super) client: Client,
    pub(super) database: Database,
    pub(super) known: Arc<Known>,
}

impl MongoDb {
    /// Connects to the replica set of a URI. It tries once, for about five seconds.
    ///
    /// # Errors
    /// The URI is not valid or has no database, the server can't be reached, refuses the user, or is a standalone
    /// server, which has no change streams.
    pub async fn connect(uri: &str) -> Result<Self, Failure> {
        let mut options = within_connect(ClientOptions::parse(uri)).await?;
        let Some(name) = options.default_database.clone() else {
            return Err(Failure::new(
                Cause::Other,
                "The MongoDB URI names no database; write the database after the hosts, as in \
                 mongodb://localhost:27017/rocketchat",
            ));
        };
        options.app_name.get_or_insert_with(|| "unitctl".into());
        options.read_concern = Some(ReadConcern::majority());
        options.write_concern = Some(WriteConcern::majority());
        options.selection_criteria = Some(SelectionCriteria::ReadPreference(ReadPreference::Primary));
        options.server_selection_timeout = Some(MAX_SELECTION);
        options.connect_timeout =
            Some(options.connect_timeout.map_or(MAX_SELECTION, |given| given.min(MAX_SELECTION)));
        options.max_pool_size =
            options.max_pool_size.map(|size| if size == 0 { size } else { size.max(MIN_POOL_SIZE) });
        options.max_pool_size.get_or_insert(MIN_POOL_SIZE);
        let client = Client::with_options(options).map_err(|error| Failure::of_connect(&error))?;
        let database = client.database(&name);
        let mongo = Self { client, database, known: Arc::new(Known::default()) };
        mongo.replica_set().await?;
        Ok(mongo)
    }

    /// The name of the replica set.
    pub(super) async fn replica_set(&self) -> Result<String, Failure> {
        let hello = within_connect(self.database.run_command(doc! { "hello": 1 })).await?;
        match (hello.get_str("setName"), hello.get_str("msg")) {
            (Ok(name), _) => Ok(name.to_owned()),
            (_, Ok("isdbgrid")) => Ok("sharded cluster".into()),
            _ => Err(Failure::new(
                Cause::Other,
                "MongoDB is a standalone server, which has no change streams; it has to be a replica set, as for \
                 Rocket.Chat itself",
            )),
        }
    }

    /// One of the collections.
    pub(super) fn collection(&self, name: &str) -> Collection<bson::Document> {
        self.database.collection(name)
    }
}
