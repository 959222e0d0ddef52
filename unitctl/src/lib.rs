//! The operators' tool, and what the function's tests share with it: an embedded DynamoDB with the
//! tables of the deployed template, and the sample data.

mod arguments;
pub mod check;
pub mod database;
pub mod department;
pub mod engine;
pub mod import;
pub mod local;
pub mod local_gateway;
pub mod output;
mod random;
mod requests;
pub mod role;
pub mod sample;
pub mod target;
pub mod template;
pub mod token;
pub mod unit;
pub mod user;
