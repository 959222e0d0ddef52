//! What fails around the function: DynamoDB, the network, Lambda, its own process.

mod await_points;
mod binary;
mod drill;
mod matrix;
mod second_requests;
mod signals;
mod tls;
