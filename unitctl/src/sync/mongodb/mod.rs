//! MongoDB's side of the sync: the connection, and the collections of Rocket.Chat that it uses.

mod client;
mod collections;
mod failure;
mod ids;
mod known;
mod places;
mod read;
mod recount;
mod rights;
mod rooms;
mod stamp;
mod transaction;
mod unit;
mod watch;
mod watch_event;
mod write;

pub use self::client::MongoDb;
pub use self::collections::Kind;
pub use self::failure::{Cause, Failure};
pub use self::places::PlaceWrite;
pub use self::read::{Batches, Identity, Ids};
pub use self::rights::Access;
pub use self::transaction::MongoWritten;
pub use self::unit::{Asked, MongoDepartment, MongoUnit, MonitorRow, UnitSnapshot, facts};
pub use self::watch::watch;
pub use self::watch_event::{Watch, WatchEvent, Watched};
pub use self::write::UnitWrite;
