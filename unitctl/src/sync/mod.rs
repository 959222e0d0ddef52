//! `unitctl sync`: keeps Rocket.Chat's MongoDB and the function's DynamoDB the same while both are in use.

pub mod base;
pub mod merge;
pub mod model;
pub mod stamp;
