//! Many random or concurrent updates.

mod contention;
mod linearizability;
mod model;
mod torn_reads;
