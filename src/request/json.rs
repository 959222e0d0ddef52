//! The JSON parser of request bodies. It accepts at most 128 levels of nesting.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// The maximum depth of nested arrays and objects. The limit of `serde_json` is 127 levels. It can't be changed, but it
/// can be switched off. So this module switches it off and counts the levels itself.
const MAX_LEVELS: u8 = 128;

/// Parses a whole document. Objects keep the order of their keys. A duplicate key keeps its first place and takes its
/// last value, as in JavaScript.
///
/// # Errors
/// The parser's description of what is wrong, with line and column.
pub fn parse(bytes: &[u8]) -> Result<Value, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    deserializer.disable_recursion_limit();
    let value = Level(MAX_LEVELS).deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(value)
}

/// Builds a value that has at most this many levels of nesting.
#[derive(Clone, Copy)]
struct Level(u8);

impl Level {
    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        self.0.checked_sub(1).map(Self).ok_or_else(|| E::custom("recursion limit exceeded"))
    }
}

impl<'de> DeserializeSeed<'de> for Level {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Level {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let level = self.deeper()?;
        let mut array = Vec::new();
        while let Some(item) = items.next_element_seed(level)? {
            array.push(item);
        }
        Ok(array.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let level = self.deeper()?;
        let mut object = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            object.insert(key, entries.next_value_seed(level)?);
        }
        Ok(object.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nested(levels: usize) -> String {
        "[".repeat(levels) + &"]".repeat(levels)
    }

    #[test]
    fn accepts_128_levels_and_refuses_129() {
        assert!(parse(nested(128).as_bytes()).is_ok());
        let error = parse(nested(129).as_bytes()).expect_err("129 levels are too many");
        assert_eq!(error.to_string(), "recursion limit exceeded at line 1 column 130");
    }

    #[test]
    fn a_duplicate_key_keeps_its_first_place_and_takes_its_last_value() {
        let value = parse(br#"{"a":1,"b":2,"a":3}"#).expect("it is JSON");
        assert_eq!(value.to_string(), r#"{"a":3,"b":2}"#);
    }

    #[test]
    fn error_messages_name_the_fault_and_its_position() {
        for (bytes, message) in [
            (&b""[..], "EOF while parsing a value at line 1 column 0"),
            (b"{", "EOF while parsing an object at line 1 column 1"),
            (b"{} x", "trailing characters at line 1 column 4"),
            (b"\xef\xbb\xbf{}", "expected value at line 1 column 1"),
            (b"[1e400]", "number out of range at line 1 column 6"),
            (br#""\ud800""#, "unexpected end of hex escape at line 1 column 8"),
            (b"\"\xff\"", "invalid unicode code point at line 1 column 2"),
        ] {
            let error = parse(bytes).expect_err("it is not JSON");
            assert_eq!(error.to_string(), message, "{bytes:?}");
        }
    }
}
