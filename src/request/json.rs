//! The JSON parser of request bodies. It accepts at most 128 levels of nesting.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Number;

/// The maximum depth of nested arrays and objects. The limit of `serde_json` is 127 levels. It can't be changed, but it
/// can be switched off. So this module switches it off and counts the levels itself.
const MAX_LEVELS: u8 = 128;

/// A JSON value. Its strings are parts of the document if they have no escapes. `serde_json::Value` would copy all strings,
/// and a body can list thousands of ids.
#[derive(Debug)]
pub enum Value<'a> {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number.
    Number(Number),
    /// A string, without its escapes.
    String(Cow<'a, str>),
    /// An array.
    Array(Vec<Self>),
    /// An object.
    Object(Object<'a>),
}

/// An object, with its keys in the order of the document. A duplicate key keeps its first place and takes its last value,
/// as in JavaScript.
#[derive(Debug, Default)]
pub struct Object<'a> {
    entries: Vec<(Cow<'a, str>, Value<'a>)>,
    /// The keys' places in `entries`, if the object has more than [`MAX_SEARCHED`] keys. A list of few keys is searched,
    /// which takes less time than a map.
    places: HashMap<Cow<'a, str>, usize>,
}

/// The maximum number of keys that are searched one after the other.
const MAX_SEARCHED: usize = 16;

impl<'a> Object<'a> {
    /// The keys and values.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &Value<'a>)> {
        self.entries.iter().map(|(key, value)| (&**key, value))
    }

    /// The value under a key.
    pub fn get(&self, key: &str) -> Option<&Value<'a>> {
        self.entries.get(self.place(key)?).map(|(_, value)| value)
    }

    fn place(&self, key: &str) -> Option<usize> {
        if self.entries.len() <= MAX_SEARCHED {
            return self.entries.iter().position(|(known, _)| known == key);
        }
        self.places.get(key).copied()
    }

    fn insert(&mut self, key: Cow<'a, str>, value: Value<'a>) {
        if let Some(place) = self.place(&key) {
            self.entries[place].1 = value;
            return;
        }
        self.entries.push((key, value));
        if self.entries.len() > MAX_SEARCHED {
            let unplaced = self.entries.iter().enumerate().skip(self.places.len());
            self.places.extend(unplaced.map(|(place, (key, _))| (key.clone(), place)));
        }
    }
}

impl<'a> Value<'a> {
    /// The value under a key. `None` if there is none, or if this is no object.
    pub fn get(&self, key: &str) -> Option<&Self> {
        match self {
            Self::Object(object) => object.get(key),
            _ => None,
        }
    }
}

/// Writes the value as JSON without white space.
impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self).map_err(|_| fmt::Error)?)
    }
}

impl Serialize for Value<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Number(value) => value.serialize(serializer),
            Self::String(value) => serializer.serialize_str(value),
            Self::Array(items) => serializer.collect_seq(items),
            Self::Object(object) => serializer.collect_map(object.entries()),
        }
    }
}

/// Parses a whole document.
///
/// # Errors
/// The parser's description of what is wrong, with line and column.
pub fn parse(bytes: &[u8]) -> Result<Value<'_>, serde_json::Error> {
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
    type Value = Value<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value<'de>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Level {
    type Value = Value<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value<'de>, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value<'de>, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value<'de>, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value<'de>, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value<'de>, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Value<'de>, E> {
        Ok(Value::String(value.into()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value<'de>, E> {
        Ok(Value::String(value.to_owned().into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value<'de>, A::Error> {
        let level = self.deeper()?;
        let mut array = Vec::new();
        while let Some(item) = items.next_element_seed(level)? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value<'de>, A::Error> {
        let level = self.deeper()?;
        let mut object = Object::default();
        while let Some(Text(key)) = entries.next_key()? {
            object.insert(key, entries.next_value_seed(level)?);
        }
        Ok(Value::Object(object))
    }
}

/// A key of an object.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

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
    fn an_object_of_many_keys_is_like_one_of_few() {
        for keys in [MAX_SEARCHED - 1, MAX_SEARCHED, MAX_SEARCHED + 1, 1000] {
            let entries = |value: usize| (0..keys).map(move |key| format!("\"k{key}\":{}", key + value));
            let once = format!("{{{}}}", entries(1).collect::<Vec<_>>().join(","));
            let twice = format!("{{{}}}", entries(0).chain(entries(1)).collect::<Vec<_>>().join(","));
            let value = parse(twice.as_bytes()).expect("it is JSON");
            assert_eq!(value.to_string(), once);
            assert!(matches!(value.get("k0"), Some(Value::Number(number)) if number.as_u64() == Some(1)));
            assert!(value.get("k1000").is_none());
        }
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
