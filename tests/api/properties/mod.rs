//! Many random or concurrent updates.

mod competing;
mod contention;
mod large_histories;
mod linearizability;
mod model;
mod torn_reads;
