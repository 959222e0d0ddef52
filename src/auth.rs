//! Who calls: credentials from the headers, judged on the token, user and permission just read.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use sha2::{Digest, Sha256};

use crate::error::Error;
use crate::id::UserId;
use crate::item::{Corrupt, Item, Key, MONITOR_ROLE, PERMISSION, Permission, Token, User};
use crate::store::Items;

/// A token's hash and the user who shows it. The token itself is gone once this is made, so nothing
/// further in can log or store it.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    user: UserId,
    hashed_token: String,
}

/// A user who may update units.
pub struct Caller {
    /// The user's id.
    pub id: UserId,
    /// Sees only the units that they monitor: Rocket.Chat restricts `livechat-monitor` so, unless the
    /// user is also a manager or an administrator.
    pub is_restricted: bool,
    /// The user's item, which may be wanted as a listed monitor's, too.
    pub(crate) item: Item,
}

/// A token as it is stored: base64 (standard, padded) of SHA-256 of its UTF-8 bytes, which is what
/// Rocket.Chat keeps in `services.resume.loginTokens.hashedToken`.
pub fn hashed_token(token: &str) -> String {
    BASE64.encode(Sha256::digest(token))
}

impl Credentials {
    /// `None` when the user id names nobody.
    pub fn parse(token: &str, user: &str) -> Option<Self> {
        Some(Self { user: UserId::parse(user)?, hashed_token: hashed_token(token) })
    }

    /// The items that tell who this is.
    pub(crate) fn keys(&self) -> [Key; 3] {
        [
            Key::Token(self.hashed_token.clone()),
            Key::User(self.user.clone()),
            Key::Permission(PERMISSION.into()),
        ]
    }

    /// The id that the caller claims.
    pub(crate) fn user(&self) -> &UserId {
        &self.user
    }

    /// Judges the items read by [`Self::keys`], which are taken out of what was read.
    ///
    /// # Errors
    /// Not logged in, deactivated or not permitted, the first that applies.
    pub fn judge(&self, items: &mut Items, now_epoch_seconds: f64) -> Result<Caller, Error> {
        let [token_key, user_key, permission_key] = self.keys();

        let token = items.take(&token_key).ok_or(Error::NotLoggedIn)?;
        let token = Token::parse(&token_key, token)?;
        if token.user_id.as_deref() != Some(self.user.as_str()) {
            return Err(Error::NotLoggedIn);
        }
        // Compared here since DynamoDB's TTL deletes days late.
        if token.expires_at?.is_some_and(|expiry| expiry <= now_epoch_seconds) {
            return Err(Error::NotLoggedIn);
        }

        let item = items.take(&user_key).ok_or(Error::NotLoggedIn)?;
        let user = User::parse(&user_key, item.clone())?;
        if !user.active {
            return Err(Error::Deactivated);
        }

        let permission = items.take(&permission_key).ok_or(Error::NotPermitted)?;
        let permission = Permission::parse(&permission_key, permission)?;
        if user.roles.is_disjoint(&permission.roles) {
            return Err(Error::NotPermitted);
        }

        let is_restricted =
            user.has_role(MONITOR_ROLE) && !user.has_role("livechat-manager") && !user.has_role("admin");
        Ok(Caller { id: self.user.clone(), is_restricted, item })
    }
}

impl From<Corrupt> for Error {
    fn from(corrupt: Corrupt) -> Self {
        Self::Internal(corrupt.into())
    }
}

/// The tokens that have authenticated in this execution environment, each with its user: shown by another
/// one, a token must cost what an unknown one does, or the time would tell that it is somebody's. They decide
/// only when the unit is read, with the caller's items or after them; every request is judged on what it
/// reads.
///
/// This is a `std::sync::Mutex` and not a Tokio mutex because it is never held across an await point.
#[derive(Default)]
pub(crate) struct SeenTokens(Mutex<VecDeque<Credentials>>);

impl SeenTokens {
    /// An execution environment serves one request at a time and lives for hours; few callers are
    /// active at once, and a forgotten one costs a round trip.
    const CAPACITY: usize = 256;

    pub(crate) fn contains(&self, credentials: &Credentials) -> bool {
        self.lock().contains(credentials)
    }

    pub(crate) fn remember(&self, credentials: &Credentials) {
        let mut seen = self.lock();
        if !seen.contains(credentials) {
            seen.truncate(Self::CAPACITY - 1);
            seen.push_front(credentials.clone());
        }
    }

    /// A token that no longer authenticates must not go on making us read what its bearer lists.
    pub(crate) fn forget(&self, credentials: &Credentials) {
        self.lock().retain(|seen| seen != credentials);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<Credentials>> {
        // A panic while it was held can't have left half a change that matters.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials(token: &str) -> Credentials {
        Credentials::parse(token, "user").expect("the user has an id")
    }

    #[test]
    fn a_token_is_hashed_as_rocket_chat_does() {
        let credentials = credentials("9HqLlyZOugoStsXCUfD_0YdwnNnunAJF8V47U3QHXSq");
        assert_eq!(credentials.hashed_token, "ui3/82zPrpjnqZbLqQeMM8D1K9n6EwuUOXOReep/WGc=");
    }

    #[test]
    fn seen_tokens_are_bounded_and_the_oldest_goes_first() {
        let seen = SeenTokens::default();
        for n in 0..=SeenTokens::CAPACITY {
            seen.remember(&credentials(&n.to_string()));
        }
        assert!(!seen.contains(&credentials("0")));
        assert!(seen.contains(&credentials("1")));
        seen.forget(&credentials("1"));
        assert!(!seen.contains(&credentials("1")));
        assert_eq!(seen.lock().len(), SeenTokens::CAPACITY - 1);
    }
}
