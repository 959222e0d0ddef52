//! Values that several commands read from the command line or store in items.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use livechat_units::id::{DepartmentId, MAX_ID_BYTES, UnitId, UserId};

/// Parses the `_id` of a user.
///
/// # Errors
/// The text is empty or too long.
pub fn user_id(text: &str) -> Result<UserId, String> {
    UserId::parse(text).ok_or_else(invalid_id)
}

/// Parses the `_id` of a unit.
///
/// # Errors
/// The text is empty or too long.
pub fn unit_id(text: &str) -> Result<UnitId, String> {
    UnitId::parse(text).ok_or_else(invalid_id)
}

/// Parses the `_id` of a department.
///
/// # Errors
/// The text is empty or too long.
pub fn department_id(text: &str) -> Result<DepartmentId, String> {
    DepartmentId::parse(text).ok_or_else(invalid_id)
}

/// Parses the `_id` of a role or a permission.
///
/// # Errors
/// The text is empty or too long.
pub fn id(text: &str) -> Result<String, String> {
    if (1..=MAX_ID_BYTES).contains(&text.len()) { Ok(text.to_owned()) } else { Err(invalid_id()) }
}

fn invalid_id() -> String {
    format!("an id must have 1 to {MAX_ID_BYTES} bytes")
}

/// Parses the name of a user, a unit, a department, a role or a token.
///
/// # Errors
/// The text is blank.
pub fn name(text: &str) -> Result<String, &'static str> {
    if text.trim().is_empty() { Err("a name must not be blank") } else { Ok(text.to_owned()) }
}

/// How long a token is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// For this long from now.
    For(Duration),
    /// Until it is revoked.
    Forever,
}

/// Parses a duration such as `90d` or `12h`, or `never`.
///
/// # Errors
/// The text is neither, or the duration is less than a second or more than a hundred years.
pub fn lifetime(text: &str) -> Result<Lifetime, String> {
    const MAX: Duration = Duration::from_secs(100 * 366 * 86_400);
    if text == "never" {
        return Ok(Lifetime::Forever);
    }
    let duration = humantime::parse_duration(text);
    let duration = duration.map_err(|error| format!("{error}; try 90d, 12h or never"))?;
    // The item stores the end in whole seconds.
    if duration < Duration::from_secs(1) || duration > MAX {
        return Err("a token must live for at least a second and at most a hundred years; \
                    `never` means that it does not expire"
            .into());
    }
    Ok(Lifetime::For(duration))
}

/// Whether the text can be the hash of a token: the 32 bytes of a SHA-256, in standard base64 with padding.
pub fn is_hash(text: &str) -> bool {
    BASE64.decode(text).is_ok_and(|bytes| bytes.len() == 32)
}
