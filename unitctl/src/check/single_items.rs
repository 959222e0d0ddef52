//! The rules for items that no other item depends on: users, the lists of their tokens, permissions and tokens.

use super::finding::{Finding, Rule};
use super::items::{Permission, Token, User, UserTokens};

/// Checks the item of a user.
pub fn check_user(key: String, user: &User) -> Option<Finding> {
    let invalid = [
        user.username.name_if_invalid("username"),
        user.roles.name_if_invalid("roles"),
        user.active.name_if_invalid("active"),
    ];
    invalid_attributes(key, invalid.into_iter().flatten())
}

/// Checks the item that lists a user's tokens.
pub fn check_user_tokens(key: String, tokens: &UserTokens) -> Option<Finding> {
    let invalid = [
        tokens.hashes.name_if_invalid("hashes"),
        tokens.rev.name_unless_valid("rev"),
        tokens.deleted_at.name_if_invalid("deletedAt"),
    ];
    invalid_attributes(key, invalid.into_iter().flatten())
}

/// Checks the item of a permission.
pub fn check_permission(key: String, permission: &Permission) -> Option<Finding> {
    let invalid = [permission.roles.name_if_invalid("roles"), permission.rev.name_if_invalid("rev")];
    invalid_attributes(key, invalid.into_iter().flatten())
}

/// Checks the item of a token.
pub fn check_token(key: String, token: &Token) -> Option<Finding> {
    let mut invalid = vec![
        token.hash.name_unless_valid("hashedToken"),
        token.user_id.name_unless_valid("userId"),
        token.expires_at.name_if_invalid("expiresAt"),
    ];
    invalid.extend(token.for_information.iter().map(|(name, value)| value.name_if_invalid(name)));
    invalid_attributes(key, invalid.into_iter().flatten())
}

/// The finding of an item whose key has an invalid id.
pub fn invalid_id(key: String) -> Finding {
    let violation = "its key has an id that is empty or longer than 512 bytes".into();
    Finding { rule: Rule::Shape, items: vec![key], violation, repair: None }
}

/// The finding of an item of which these attributes are invalid, if there are any.
pub fn invalid_attributes(key: String, invalid: impl Iterator<Item = &'static str>) -> Option<Finding> {
    let names: Vec<&str> = invalid.collect();
    let violation = format!("invalid attributes: {}", names.join(", "));
    (!names.is_empty()).then(|| Finding { rule: Rule::Shape, items: vec![key], violation, repair: None })
}
