//! The function from outside: an event goes in, the response and the stored items are checked, on a real
//! DynamoDB engine. `DYNAMODB_ENDPOINT` points the tests at another engine than the embedded one.

mod authentication;
mod case;
mod certificate;
mod contention;
mod death;
mod drill;
mod events;
mod faults;
mod faulty;
mod hostile;
mod input;
mod intercept;
mod invariants;
mod killed;
mod limits;
mod linearizability;
mod logs;
mod matrix;
mod meaning;
mod model;
mod openapi;
mod process;
mod torn_reads;
mod wire;
mod world;
