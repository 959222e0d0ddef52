//! Timestamps as text, in RFC 3339 ("Date and Time on the Internet: Timestamps").

pub use livechat_units::timestamp::rfc3339;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Reads a timestamp in RFC 3339, such as `2021-12-06T14:40:59.478Z` or `2021-12-06T15:40:59+01:00`. Returns `None` for any
/// other text.
///
/// It accepts the years 0 to 9999, any offset from UTC, and any number of decimals, of which the first nine count. As the
/// RFC allows, a space or another character may stand in the place of the `T`, and `z` in the place of the `Z`.
pub fn parse(text: &str) -> Option<OffsetDateTime> {
    OffsetDateTime::parse(text, &Rfc3339).ok()
}

/// Whether a timestamp is written as [`rfc3339`] writes it: in UTC and with exactly three decimals.
pub fn is_canonical(text: &str) -> bool {
    parse(text).is_some_and(|time| rfc3339(time) == text)
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn every_form_of_rfc_3339_is_read() {
        let moment = datetime!(2021-12-06 14:40:59.478 UTC);
        for text in [
            "2021-12-06T14:40:59.478Z",
            "2021-12-06t14:40:59.478z",
            "2021-12-06 14:40:59.478000000999Z",
            "2021-12-06T15:40:59.478+01:00",
            "2021-12-06T14:40:59.478-00:00",
        ] {
            assert_eq!(parse(text), Some(moment), "{text}");
        }
        assert_eq!(parse("2021-12-06T14:40:59Z"), Some(datetime!(2021-12-06 14:40:59 UTC)));
        for text in
            ["", "yesterday", "2021-12-06", "2021-12-06T14:40:59", "2021-12-06T14:40:59+0000", "1638801659"]
        {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn one_form_is_canonical() {
        assert!(is_canonical("2021-12-06T14:40:59.478Z"));
        for text in [
            "2021-12-06T14:40:59Z",
            "2021-12-06T14:40:59.47Z",
            "2021-12-06T14:40:59.4780Z",
            "2021-12-06 14:40:59.478Z",
            "2021-12-06T14:40:59.478z",
            "2021-12-06T14:40:59.478+00:00",
            "2021-13-06T14:40:59.478Z",
            "yesterday",
        ] {
            assert!(!is_canonical(text), "{text}");
        }
    }
}
