//! Tests of `unitctl sync` on a real MongoDB protocol server and a real DynamoDB engine. They need the variable
//! TEST_MONGODB_URI, which `.ci/mongodb` sets. Without it they say that they are left out. Each test has a database and
//! tables of its own.

mod connect;
mod costs;
mod following;
mod interleavings;
mod large;
mod options;
mod restoring;
mod rocket_chat;
mod servers;
mod starts;
mod units;
mod watches;
mod world;
