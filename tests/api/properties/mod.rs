//! Many random or concurrent updates.

mod competing;
mod contention;
mod linearizability;
mod model;
mod torn_reads;
