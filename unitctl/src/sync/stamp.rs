//! The values of `_updatedAt` that the sync sets.

use time::{Duration, OffsetDateTime, UtcOffset};

use crate::timestamp::{self, rfc3339};

/// The `_updatedAt` of a fence: one millisecond after the time that was read. The sync sets this time for nothing else.
pub fn fence(seen: &str) -> String {
    after(seen, 1)
}

/// The `_updatedAt` that a write to MongoDB sets: the winner's, but at least two milliseconds after the time that was
/// read (`seen`). So it differs from that time and from its fence, and shows that this write was committed. It has the
/// form in which MongoDB's times are read.
pub fn for_mongodb(winner: &str, seen: &str) -> String {
    let winner = rfc3339(parse(winner));
    let earliest = after(seen, 2);
    if winner > earliest { winner } else { earliest }
}

/// The `_updatedAt` that a write to DynamoDB sets: the winner's, but never an earlier time than the one that was read
/// (`seen`).
pub fn for_dynamodb(winner: &str, seen: &str) -> String {
    if is_later(seen, winner) { seen.to_owned() } else { winner.to_owned() }
}

/// True if `time` is later than `other`.
pub fn is_later(time: &str, other: &str) -> bool {
    parse(time) > parse(other)
}

fn after(time: &str, milliseconds: i64) -> String {
    rfc3339(parse(time) + Duration::milliseconds(milliseconds))
}

/// An operator may have stored a text that is no time. It counts as the earliest time.
fn parse(time: &str) -> OffsetDateTime {
    let time = timestamp::parse(time).map(|time| time.to_offset(UtcOffset::UTC));
    time.filter(|time| (0..=9998).contains(&time.year())).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEEN: &str = "2026-01-02T03:04:05.999Z";

    #[test]
    fn a_fence_is_the_next_millisecond() {
        assert_eq!(fence(SEEN), "2026-01-02T03:04:06.000Z");
        assert_eq!(fence("yesterday"), "1970-01-01T00:00:00.001Z");
    }

    #[test]
    fn mongodb_gets_the_winners_time_and_never_an_earlier_one() {
        let later = "2026-01-02T03:04:07.000Z";
        assert_eq!(for_mongodb(later, SEEN), later);
        for earlier in ["2026-01-02T03:04:05.000Z", SEEN, "2026-01-02T03:04:06.000Z", "yesterday"] {
            assert_eq!(for_mongodb(earlier, SEEN), "2026-01-02T03:04:06.001Z", "{earlier}");
        }
    }

    #[test]
    fn dynamodb_gets_the_winners_time_and_never_an_earlier_one() {
        let later = "2026-01-02T03:04:07.000Z";
        assert_eq!(for_dynamodb(later, SEEN), later);
        assert_eq!(for_dynamodb(SEEN, later), later);
        assert_eq!(for_dynamodb(SEEN, "yesterday"), SEEN);
    }

    #[test]
    fn mongodb_gets_a_time_in_the_form_in_which_it_is_read() {
        assert_eq!(for_mongodb("2026-01-03T01:00:00+01:00", SEEN), "2026-01-03T00:00:00.000Z");
    }
}
