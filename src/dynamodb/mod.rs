//! DynamoDB: the requests that the function sends, and what the replies mean.

mod batch_reply;
mod batch_request;
mod commit;
pub mod connections;
mod copies;
mod expression;
mod failure;
mod hedging;
mod read;
mod store;
mod tables;
pub mod tls;
mod transact_item;
mod unparsed;

pub(crate) use commit::{CommitOutcome, Writes};
pub(crate) use copies::TransactionNumber;
pub(crate) use store::Store;
pub use tables::{MissingVariable, Tables};
pub use transact_item::to_transact_item;
