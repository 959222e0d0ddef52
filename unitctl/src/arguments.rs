//! What several commands take from outside and put into items.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use livechat_units::id::{DepartmentId, UnitId, UserId};
use time::OffsetDateTime;
use time::macros::format_description;

const BAD_ID: &str = "an id has 1 to 512 bytes";

/// Parses a user's `_id`.
///
/// # Errors
/// It can name nobody.
pub fn user_id(text: &str) -> Result<UserId, &'static str> {
    UserId::parse(text).ok_or(BAD_ID)
}

/// Parses a unit's `_id`.
///
/// # Errors
/// It can name nothing.
pub fn unit_id(text: &str) -> Result<UnitId, &'static str> {
    UnitId::parse(text).ok_or(BAD_ID)
}

/// Parses a department's `_id`.
///
/// # Errors
/// It can name nothing.
pub fn department_id(text: &str) -> Result<DepartmentId, &'static str> {
    DepartmentId::parse(text).ok_or(BAD_ID)
}

/// Parses a name of anything.
///
/// # Errors
/// It is nothing but white space.
pub fn name(text: &str) -> Result<String, &'static str> {
    if text.trim().is_empty() { Err("a name is not blank") } else { Ok(text.to_owned()) }
}

/// How long something lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// So long.
    For(Duration),
    /// Until it is revoked.
    Forever,
}

/// Parses `90d`, `12h` and the like, or `never`.
///
/// # Errors
/// It is neither, or over a hundred years.
pub fn lifetime(text: &str) -> Result<Lifetime, String> {
    const LONGEST: Duration = Duration::from_secs(100 * 366 * 86_400);
    if text == "never" {
        return Ok(Lifetime::Forever);
    }
    let duration = humantime::parse_duration(text);
    let duration = duration.map_err(|error| format!("{error}; try 90d, 12h or never"))?;
    // A token's end is stored in whole seconds.
    if duration < Duration::from_secs(1) || duration > LONGEST {
        return Err(
            "a token lives for at least a second and at most a hundred years, or forever: never".into()
        );
    }
    Ok(Lifetime::For(duration))
}

/// Whether it can be a token's hash: base64, standard and padded, of the 32 bytes of SHA-256.
pub fn is_hash(text: &str) -> bool {
    BASE64.decode(text).is_ok_and(|bytes| bytes.len() == 32)
}

/// RFC 3339 in UTC with exactly three decimals, as Rocket.Chat's JSON has it.
///
/// # Panics
/// The year is not between 0 and 9999.
pub fn rfc3339(moment: OffsetDateTime) -> String {
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    moment.format(format).expect("a year between 0 and 9999")
}
