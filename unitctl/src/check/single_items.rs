//! The rules for items that no other item depends on: users, the lists of their tokens, permissions and tokens.

use super::finding::{Finding, Rule};
use super::items::{Attribute, Permission, Token, User, UserTokens};

/// Checks the item of a user.
pub fn check_user(key: String, user: &User) -> Option<Finding> {
    let is_invalid = [
        ("username", user.username == Attribute::Invalid),
        ("roles", user.roles == Attribute::Invalid),
        ("active", user.active == Attribute::Invalid),
    ];
    invalid_attributes(key, &is_invalid)
}

/// Checks the item that lists a user's tokens.
pub fn check_user_tokens(key: String, tokens: &UserTokens) -> Option<Finding> {
    let is_invalid = [
        ("hashes", tokens.hashes == Attribute::Invalid),
        ("rev", tokens.rev.valid().is_none()),
        ("deletedAt", tokens.deleted_at == Attribute::Invalid),
    ];
    invalid_attributes(key, &is_invalid)
}

/// Checks the item of a permission.
pub fn check_permission(key: String, permission: &Permission) -> Option<Finding> {
    let is_invalid =
        [("roles", permission.roles == Attribute::Invalid), ("rev", permission.rev == Attribute::Invalid)];
    invalid_attributes(key, &is_invalid)
}

/// Checks the item of a token.
pub fn check_token(key: String, token: &Token) -> Option<Finding> {
    let mut is_invalid = vec![
        ("hashedToken", token.hash.valid().is_none()),
        ("userId", token.user_id.valid().is_none()),
        ("expiresAt", token.expires_at == Attribute::Invalid),
    ];
    is_invalid
        .extend(token.for_information.iter().map(|(name, value)| (*name, *value == Attribute::Invalid)));
    invalid_attributes(key, &is_invalid)
}

/// The finding of an item whose key has an invalid id.
pub fn invalid_id(key: String) -> Finding {
    let violation = "its key has an id that is empty or longer than 512 bytes".into();
    Finding { rule: Rule::Shape, items: vec![key], violation, repair: None }
}

/// The finding of an item that has attributes which are not valid, if it has any.
pub fn invalid_attributes(key: String, is_invalid: &[(&'static str, bool)]) -> Option<Finding> {
    let names: Vec<&str> =
        is_invalid.iter().filter(|(_, is_invalid)| *is_invalid).map(|(name, _)| *name).collect();
    let violation = format!("invalid attributes: {}", names.join(", "));
    (!names.is_empty()).then(|| Finding { rule: Rule::Shape, items: vec![key], violation, repair: None })
}
