//! The operators' tool, and what the function's tests share with it: an embedded DynamoDB with the
//! tables of the deployed template.

pub mod engine;
mod front;
pub mod local;
pub mod sample;
pub mod template;
