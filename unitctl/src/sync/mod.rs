//! `unitctl sync`: keeps Rocket.Chat's MongoDB and the function's DynamoDB the same while both are in use.

pub mod model;
