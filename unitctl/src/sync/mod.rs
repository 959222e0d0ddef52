//! `unitctl sync`: keeps Rocket.Chat's MongoDB and the function's DynamoDB the same while both are in use.

pub mod base;
pub mod merge;
pub mod model;
pub mod mongodb;
pub mod queue;
pub mod report;
pub mod sides;
pub mod stamp;
pub mod units;
