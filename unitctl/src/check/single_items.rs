//! The rules for items that no other item depends on: users, permissions and tokens.

use super::finding::{Finding, Rule};
use super::items::{Attribute, Permission, Token, User};

/// Checks the item of a user.
pub fn check_user(key: String, user: &User) -> Option<Finding> {
    let is_invalid = [
        ("username", user.username == Attribute::Invalid),
        ("roles", user.roles == Attribute::Invalid),
        ("active", user.active == Attribute::Invalid),
    ];
    invalid_attributes(key, &is_invalid)
}

/// Checks the item of a permission.
pub fn check_permission(key: String, permission: &Permission) -> Option<Finding> {
    invalid_attributes(key, &[("roles", permission.roles == Attribute::Invalid)])
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

fn invalid_attributes(key: String, is_invalid: &[(&'static str, bool)]) -> Option<Finding> {
    let names: Vec<&str> =
        is_invalid.iter().filter(|(_, is_invalid)| *is_invalid).map(|(name, _)| *name).collect();
    let violation = format!("invalid attributes: {}", names.join(", "));
    (!names.is_empty()).then(|| Finding { rule: Rule::Shape, items: vec![key], violation, repair: None })
}
