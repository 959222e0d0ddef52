//! Follows the stream of the livechat table: it says which items to look at, as soon as they are written.

mod client;
mod event;
mod follow;
mod shards;
mod subject;

pub use self::client::NoStream;
pub use self::event::StreamEvent;
pub use self::follow::Follower;
pub use self::shards::Position;
