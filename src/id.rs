//! Ids of units, departments and users. A text is parsed into an id once. After that, the id can be part of any key.

use std::fmt;

use smol_str::SmolStr;

/// The maximum length of an id, in bytes of UTF-8. DynamoDB allows 2,048 bytes for a partition key and 1,024 for a sort
/// key. Rocket.Chat's own ids have 17 bytes.
pub const MAX_ID_BYTES: usize = 512;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(SmolStr);

        impl $name {
            /// `None` when the text is empty or longer than [`MAX_ID_BYTES`], because nothing stored has such an id.
            pub fn parse(text: impl Into<SmolStr>) -> Option<Self> {
                let text = text.into();
                (!text.is_empty() && text.len() <= MAX_ID_BYTES).then_some(Self(text))
            }

            /// The id's text, as in Rocket.Chat.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The id's text, for lists and maps of ids. A short text is cloned without an allocation.
            pub fn text(&self) -> &SmolStr {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

id! {
    /// A unit's `_id`.
    UnitId
}
id! {
    /// A department's `_id`.
    DepartmentId
}
id! {
    /// A user's `_id`. A monitor's `monitorId` is the user's `_id`.
    UserId
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_1_to_512_bytes() {
        assert_eq!(UnitId::parse(""), None);
        assert!(UnitId::parse("x").is_some());
        assert!(UnitId::parse("é".repeat(256)).is_some());
        assert_eq!(UnitId::parse("é".repeat(256) + "x"), None);
    }
}
