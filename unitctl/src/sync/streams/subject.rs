//! What a record of the stream is about.

use livechat_units::id::{DepartmentId, UnitId, UserId};

use crate::origin::SYNC_PREFIX;
use crate::sync::model::Subject;

/// What a record is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum About {
    /// Something that the sync compares.
    Subject(Subject),
    /// An item of the sync itself.
    Own,
    /// Another program's item.
    Other,
}

impl About {
    /// Reads the partition key of the item. The sort key does not matter: a unit is compared with its monitors, and a
    /// user with their tokens.
    pub fn partition(key: &str) -> Self {
        let subject = match key.split_once('#') {
            _ if key.starts_with(SYNC_PREFIX) => return Self::Own,
            Some(("UNIT", id)) => UnitId::parse(id).map(Subject::Unit),
            Some(("DEPARTMENT", id)) => DepartmentId::parse(id).map(Subject::Department),
            Some(("USER", id)) => UserId::parse(id).map(Subject::User),
            Some(("PERMISSION", id)) => Some(Subject::Permission(id.to_owned())),
            _ => None,
        };
        subject.map_or(Self::Other, Self::Subject)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_key_says_what_was_written() {
        let unit = |id| About::Subject(Subject::Unit(UnitId::parse(id).expect("an id")));
        let user = UserId::parse("u").expect("an id");
        let department = DepartmentId::parse("d").expect("an id");
        assert_eq!(About::partition("UNIT#o5zN"), unit("o5zN"));
        // An id may have any letter.
        assert_eq!(About::partition("UNIT#a#b"), unit("a#b"));
        assert_eq!(About::partition("USER#u"), About::Subject(Subject::User(user)));
        assert_eq!(About::partition("DEPARTMENT#d"), About::Subject(Subject::Department(department)));
        assert_eq!(About::partition("PERMISSION#p"), About::Subject(Subject::Permission("p".into())));
        for own in ["SYNC#STATE", "SYNC#UNIT#o5zN", "SYNC#DEPARTMENT#d"] {
            assert_eq!(About::partition(own), About::Own);
        }
        for other in ["", "UNIT", "UNIT#", "ROOM#r", "unit#u"] {
            assert_eq!(About::partition(other), About::Other, "{other}");
        }
    }
}
