//! DynamoDB's fixed limits. Some of them matter only to this tool and to the tests.

pub use livechat_units::limits::{MAX_BATCH_GET_KEYS, MAX_ITEM_BYTES, MAX_TRANSACTION_ACTIONS};

/// The maximum number of items of one BatchWriteItem (Amazon DynamoDB API Reference, "BatchWriteItem").
pub const MAX_BATCH_WRITE_ITEMS: usize = 25;

/// The maximum size of the items of one transaction of the sync, in bytes. DynamoDB allows 4 MB ("Quotas in Amazon
/// DynamoDB"). The rest is left for stored items whose sizes the sync does not know.
#[cfg(feature = "sync")]
pub const MAX_TRANSACTION_BYTES: usize = 3_000_000;
