//! The ids that key items: parsed once, then known to name something that can exist.

use std::fmt;

/// Longest id that can name anything, in bytes of UTF-8. DynamoDB's keys end at 2,048 (partition)
/// and 1,024 bytes (sort); Rocket.Chat's own ids have 17.
pub const MAX_ID_BYTES: usize = 512;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// `None` when the text is empty or longer than [`MAX_ID_BYTES`]: such an id names nothing.
            pub fn parse(text: impl Into<String>) -> Option<Self> {
                let text = text.into();
                (!text.is_empty() && text.len() <= MAX_ID_BYTES).then_some(Self(text))
            }

            /// The id as Rocket.Chat writes it.
            pub fn as_str(&self) -> &str {
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
    /// A user's `_id`; a monitor's `monitorId` is one.
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
