//! The fixed limits of DynamoDB and of the contract, each stated once.

/// The maximum size of an item, in bytes of attribute names and values (Amazon DynamoDB Developer Guide, "Service,
/// account, and table quotas in Amazon DynamoDB").
pub const MAX_ITEM_BYTES: usize = 400 * 1024;

/// The maximum number of actions of one TransactWriteItems (Amazon DynamoDB API Reference, "TransactWriteItems").
pub const MAX_TRANSACTION_ACTIONS: usize = 100;

/// The maximum number of keys of one BatchGetItem (Amazon DynamoDB API Reference, "BatchGetItem").
pub const MAX_BATCH_GET_KEYS: usize = 100;

/// The maximum size of a request body, in bytes after base64 is decoded. The contract sets this limit.
pub const MAX_BODY_BYTES: usize = 1024 * 1024;
