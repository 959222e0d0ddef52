//! The function from outside: an event goes in, and the response and the stored items are checked, on a real
//! DynamoDB engine. `DYNAMODB_ENDPOINT` points the tests at another engine than the embedded one.
//!
//! - `contract`: each row of the contract, docs/contract.md, and the documents that describe it.
//! - `faults`: what fails around the function: DynamoDB, the network, Lambda, its own process.
//! - `properties`: many random or concurrent updates, compared with a model of the contract.
//! - `support`: what these tests share.

mod contract;
mod faults;
mod properties;
mod support;
