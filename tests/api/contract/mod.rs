//! The rows of the contract, docs/contract.md.

mod authentication;
mod body;
mod departments;
mod events;
mod large_updates;
mod limits;
mod logs;
mod match_errors;
mod members;
mod openapi;
mod revocation;
mod routes;
mod routing;
mod samples;
mod strangers;
mod transactions;
mod unavailable;
mod visibility;
