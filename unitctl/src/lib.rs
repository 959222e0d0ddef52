//! The operators' tool of livechat-units, one module for each command.
//!
//! The tests and benchmarks of the function use some of it, too: the embedded DynamoDB with the tables of the deployed
//! template ([`engine`], [`template`]) and the sample data ([`sample`]).

mod arguments;
pub mod check;
mod condition;
pub mod database;
pub mod department;
pub mod engine;
pub mod import;
pub mod lease;
pub mod limits;
pub mod local;
pub mod local_gateway;
mod origin;
pub mod output;
mod random;
mod requests;
pub mod role;
pub mod sample;
mod stack;
#[cfg(feature = "sync")]
pub mod sync;
pub mod target;
pub mod template;
mod timestamp;
pub mod token;
pub mod unit;
pub mod user;
