//! `unitctl sync`: keeps Rocket.Chat's MongoDB and the function's DynamoDB the same while both are in use.

pub mod base;
pub mod dynamodb;
pub mod look;
pub mod merge;
pub mod model;
pub mod mongodb;
pub mod queue;
pub mod report;
pub mod sides;
pub mod stamp;
pub mod streams;
pub mod units;
