//! DynamoDB: the requests that the function sends, and what the replies mean.

mod expression;
mod failure;
mod store;
mod tables;
pub mod tls;
mod transact_item;

pub(crate) use store::{CommitOutcome, Store};
pub use tables::{MissingVariable, Tables};
pub use transact_item::to_transact_item;
