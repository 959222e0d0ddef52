//! Times as Rocket.Chat's JSON writes them.

use time::OffsetDateTime;
use time::macros::format_description;

/// RFC 3339 in UTC with exactly three decimals, such as `2021-12-06T14:40:59.478Z`.
///
/// # Panics
/// `time` is outside of the years 0 to 9999.
pub fn rfc3339(time: OffsetDateTime) -> String {
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    time.format(format).expect("a time between the years 0 and 9999")
}
