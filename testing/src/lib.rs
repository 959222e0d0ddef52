//! What the tests and benchmarks of this workspace share: DynamoDB with empty tables, items as JSON, events,
//! TLS with a certificate made on the fly, a proxy's way to DynamoDB, and Lambda's Runtime API.
//!
//! Nothing here is part of the function or of `unitctl`. Functions for tests panic if something around the test does not
//! work, for instance if the engine does not start.

pub mod dynamodb;
pub mod environment;
pub mod events;
pub mod items;
pub mod proxy;
pub mod runtime_api;
pub mod tls;
