//! Users with their login tokens.
//!
//! The item `TOKENS` of a user guards everything that the sync stores of the user: each transaction increases its
//! `rev`, and is committed only if no other write has increased it since it was read. It also lists the hashes of the
//! user's tokens, so that a revoked one is found: a hash is in it before its token is stored, or at the same moment,
//! and until the token is deleted.

mod change;
mod decide;
mod digest;
mod read;
mod state;
mod write;

pub use self::change::UserWrite;
pub use self::decide::decide;
pub use self::digest::{Digest, fingerprint};
pub use self::read::{read, read_lists, read_named};
pub use self::state::{Found, Options, StoredUser, hashes};
pub use self::write::{forget, write, write_together};

#[cfg(test)]
mod tests;
