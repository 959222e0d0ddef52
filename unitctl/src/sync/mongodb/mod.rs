//! MongoDB's side of the sync: the connection, and the collections of Rocket.Chat that it uses.
//!
//! Every read is from the primary with majority concern, and every write waits for the majority, whatever the URI says:
//! a stale secondary could still have a token that is already revoked.

mod failure;
mod ids;
mod known;
mod places;
mod read;
mod rights;
mod rooms;
mod stamp;
mod transaction;
mod unit;
mod watch;
mod watch_event;
mod write;

use std::sync::Arc;
use std::time::Duration;

use mongodb::bson::{self, doc};
use mongodb::options::{ClientOptions, ReadConcern, ReadPreference, SelectionCriteria, WriteConcern};
use mongodb::{Client, Collection, Database};

use self::failure::within_connect;
pub use self::failure::{Cause, Failure};
use self::known::Known;
pub use self::places::PlaceWrite;
pub use self::read::{Batches, Identity, Ids};
pub use self::rights::Access;
pub use self::unit::{MongoDepartment, MongoUnit, MonitorRow, UnitSnapshot, facts};
pub use self::watch::watch;
pub use self::watch_event::{Watch, WatchEvent, Watched};
pub use self::write::{MongoWritten, UnitWrite};

const USERS: &str = "users";
const PERMISSIONS: &str = "rocketchat_permissions";
const SETTINGS: &str = "rocketchat_settings";
/// The departments and the units. Units have the `type` "u".
const DEPARTMENTS: &str = "rocketchat_livechat_department";
const UNIT_MONITORS: &str = "rocketchat_livechat_unit_monitors";
const ROOMS: &str = "rocketchat_room";

/// How long the driver looks for a primary, and how long a connection may take to open.
const SELECTION: Duration = Duration::from_secs(5);

/// The minimum number of connections. Each of the five change streams holds one while it waits.
const MIN_POOL_SIZE: u32 = 20;

/// Rocket.Chat's database. A clone uses the same connections.
#[derive(Clone, Debug)]
pub struct MongoDb {
    client: Client,
    database: Database,
    known: Arc<Known>,
}

/// The kinds of documents that the sync reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Users with their login tokens.
    Users,
    /// Permissions.
    Permissions,
    /// Departments, without the units of the same collection.
    Departments,
    /// Units.
    Units,
    /// The rows that say which user monitors which unit.
    UnitMonitors,
}

impl Kind {
    /// The name of the collection.
    pub fn collection(self) -> &'static str {
        match self {
            Self::Users => USERS,
            Self::Permissions => PERMISSIONS,
            Self::Departments | Self::Units => DEPARTMENTS,
            Self::UnitMonitors => UNIT_MONITORS,
        }
    }

    /// The condition that the documents of this kind fulfil in their collection.
    fn condition(self) -> bson::Document {
        match self {
            Self::Departments => doc! { "type": { "$ne": "u" } },
            Self::Units => doc! { "type": "u" },
            Self::Users | Self::Permissions | Self::UnitMonitors => doc! {},
        }
    }

    /// The fields that are read. `None` means all of them.
    fn projection(self) -> Option<bson::Document> {
        match self {
            Self::Users => {
                Some(doc! { "username": 1, "roles": 1, "active": 1, "services.resume.loginTokens": 1 })
            }
            Self::Permissions => Some(doc! { "roles": 1 }),
            Self::UnitMonitors => Some(doc! { "unitId": 1, "monitorId": 1, "username": 1, "_updatedAt": 1 }),
            Self::Departments | Self::Units => None,
        }
    }
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
        options.server_selection_timeout = Some(SELECTION);
        options.connect_timeout =
            Some(options.connect_timeout.map_or(SELECTION, |given| given.min(SELECTION)));
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
    async fn replica_set(&self) -> Result<String, Failure> {
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

    fn collection(&self, name: &str) -> Collection<bson::Document> {
        self.database.collection(name)
    }
}
