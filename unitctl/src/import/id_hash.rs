//! Remembers which ids have been seen, in 16 bytes each.

use std::hash::{BuildHasher, RandomState};

/// Two hashes of 64 bits with random keys. A file would need more than 10^15 documents before two of its ids are
/// likely to have the same. The ids themselves would need several times the memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IdHash(u64, u64);

/// Makes the hashes of one import.
#[derive(Default)]
pub struct IdHasher(RandomState, RandomState);

impl IdHasher {
    /// The hash of an id.
    pub fn hash(&self, id: &str) -> IdHash {
        IdHash(self.0.hash_one(id), self.1.hash_one(id))
    }
}
