//! Authentication and authorization: credentials from the headers, checked against the stored token, user and
//! permission.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use sha2::{Digest, Sha256};

use crate::error::Error;
use crate::id::UserId;
use crate::item::{Items, Key, MONITOR_ROLE, PERMISSION, User};

/// The roles of users who see only the units that they monitor. Rocket.Chat restricts agents since version 7.10.
const RESTRICTED_ROLES: [&str; 2] = [MONITOR_ROLE, "livechat-agent"];

/// The roles of users who see every unit, whatever other roles they have.
const UNRESTRICTED_ROLES: [&str; 2] = ["admin", "livechat-manager"];

/// The user id from the headers, and the hash of the token from the headers. The token itself is dropped when this is
/// made, so that no later code can log or store it.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    user: UserId,
    hashed_token: String,
}

/// A user who may update units.
pub struct Caller {
    /// The user's id.
    pub id: UserId,
    /// True if the user sees only the units that they monitor. Rocket.Chat restricts monitors and agents in this way,
    /// unless they are managers or administrators, too.
    pub is_restricted: bool,
    /// The user. They are needed again if the body lists the caller as a monitor.
    pub user: User,
}

/// The stored form of a token: base64 (standard, padded) of the SHA-256 of its UTF-8 bytes. Rocket.Chat stores the same
/// text in `services.resume.loginTokens.hashedToken`.
pub fn hashed_token(token: &str) -> String {
    BASE64.encode(Sha256::digest(token))
}

impl Credentials {
    /// `None` when no user can have this id.
    pub fn parse(token: &str, user: &str) -> Option<Self> {
        Some(Self { user: UserId::parse(user)?, hashed_token: hashed_token(token) })
    }

    /// The keys of the items that [`Self::authorize`] needs.
    pub fn keys(&self) -> [Key; 3] {
        [
            Key::Token(self.hashed_token.clone()),
            Key::User(self.user.clone()),
            Key::Permission(PERMISSION.into()),
        ]
    }

    /// The user id from the headers, which is not proven yet.
    pub fn claimed_user(&self) -> &UserId {
        &self.user
    }

    /// Checks the items with the keys of [`Self::keys`].
    ///
    /// # Errors
    /// An item is corrupt, or one of these applies, checked in this order: the user is not logged in, is deactivated,
    /// or lacks the permission.
    pub fn authorize(&self, items: &Items, now_epoch_seconds: f64) -> Result<Caller, Error> {
        let token = items.token.get()?.ok_or(Error::NotLoggedIn)?;
        if token.user_id.as_deref() != Some(self.user.as_str()) {
            return Err(Error::NotLoggedIn);
        }
        // The function compares the expiry itself, because DynamoDB's TTL deletes items days late.
        if token.expires_at.clone()?.is_some_and(|expiry| expiry <= now_epoch_seconds) {
            return Err(Error::NotLoggedIn);
        }

        let user = items.users.iter().find(|(id, _)| *id == self.user);
        let user = user.map(|(_, user)| user.get()).transpose()?.flatten().ok_or(Error::NotLoggedIn)?;
        if !user.active {
            return Err(Error::Deactivated);
        }

        let permission = items.permission.get()?.ok_or(Error::NotPermitted)?;
        if !permission.roles.iter().any(|role| user.has_role(role)) {
            return Err(Error::NotPermitted);
        }

        let has_any = |roles: [&str; 2]| roles.iter().any(|role| user.has_role(role));
        let is_restricted = has_any(RESTRICTED_ROLES) && !has_any(UNRESTRICTED_ROLES);
        Ok(Caller { id: self.user.clone(), is_restricted, user: user.clone() })
    }
}

/// The credentials that authenticated most recently in this execution environment. If a request has such credentials,
/// the unit is read together with the caller's items. If not, the unit is read after them. Nothing else depends on this
/// memory: every request is authorized by the items that it reads.
///
/// Token and user are remembered as a pair. If only tokens were remembered, a remembered token with a wrong user id
/// would make the function read the unit, too. With an unknown token it reads three items. The difference in time would
/// reveal that the token exists.
///
/// This is a `std::sync::Mutex` and not a Tokio mutex because it is never held across an await point.
#[derive(Default)]
pub(crate) struct SeenCredentials(Mutex<VecDeque<Credentials>>);

impl SeenCredentials {
    /// The maximum number of remembered credentials. An execution environment serves one request at a time, and few
    /// callers are active at once. If credentials are forgotten, their next request only takes one round trip more.
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

    /// Forgets credentials that no longer authenticate, so that their next request reads only the caller's items first.
    pub(crate) fn forget(&self, credentials: &Credentials) {
        self.lock().retain(|seen| seen != credentials);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<Credentials>> {
        // After a panic while the lock was held, the list can at worst have one pair too many or too few.
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
    fn the_oldest_credentials_are_forgotten_beyond_the_capacity() {
        let seen = SeenCredentials::default();
        for n in 0..=SeenCredentials::CAPACITY {
            seen.remember(&credentials(&n.to_string()));
        }
        assert!(!seen.contains(&credentials("0")));
        assert!(seen.contains(&credentials("1")));
        seen.forget(&credentials("1"));
        assert!(!seen.contains(&credentials("1")));
        assert_eq!(seen.lock().len(), SeenCredentials::CAPACITY - 1);
    }
}
