//! Parses the text of one document. It may have two things that the JSON parser refuses: the words that old versions of
//! mongoexport write for some values, and very many levels.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::{Deserializer, Value};

/// The maximum number of arrays and objects that a value is in. MongoDB itself stores at most 200 levels, of which each date
/// may add two. Each level takes some of the stack.
pub const MAX_LEVELS: usize = 500;

/// The number of levels at which the parser refuses a text, unless its limit is off.
const PARSERS_LEVELS: usize = 128;

/// The words that mongoexport wrote before extended JSON v2 (mongo-tools before 4.2), and what version 2 has for them.
const WORDS: [(&[u8], &[u8]); 5] = [
    (b"NaN", br#"{"$numberDouble":"NaN"}"#),
    (b"Infinity", br#"{"$numberDouble":"Infinity"}"#),
    (b"+Infinity", br#"{"$numberDouble":"Infinity"}"#),
    (b"-Infinity", br#"{"$numberDouble":"-Infinity"}"#),
    (b"undefined", br#"{"$undefined":true}"#),
];

/// Reads a document's text.
///
/// # Errors
/// It is not JSON, aside from the words above, or it has more than [`MAX_LEVELS`] levels.
pub fn parse(text: &[u8]) -> serde_json::Result<Value> {
    let error = match serde_json::from_slice(text) {
        Ok(value) => return Ok(value),
        Err(error) => error,
    };
    let new = in_version_2(text);
    let levels = levels(&new);
    if levels > MAX_LEVELS || (levels < PARSERS_LEVELS && matches!(new, Cow::Borrowed(_))) {
        return Err(error);
    }
    let mut deserializer = Deserializer::from_slice(&new);
    deserializer.disable_recursion_limit();
    let result = Value::deserialize(&mut deserializer);
    let result = result.and_then(|value| deserializer.end().map(|()| value));
    // The places in a text with replaced words are not those in the file.
    result.map_err(|new_error| if matches!(new, Cow::Borrowed(_)) { new_error } else { error })
}

/// The deepest level of arrays and objects.
fn levels(text: &[u8]) -> usize {
    let (mut place, mut level, mut deepest) = (0, 0_usize, 0);
    while let Some(&byte) = text.get(place) {
        match byte {
            b'{' | b'[' => level += 1,
            b'}' | b']' => level = level.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(level);
        place += if byte == b'"' { string_length(&text[place..]) } else { 1 };
    }
    deepest
}

/// Replaces the words where a value belongs. If the end of the text cuts off a word, the word is left out. Then the
/// parser finds the end of the text there, and not a wrong value.
pub fn in_version_2(text: &[u8]) -> Cow<'_, [u8]> {
    let (mut new, mut copied, mut place) = (Vec::new(), 0, 0);
    // What came before, white space aside. A value follows a colon, a comma or a bracket.
    let mut before = b' ';
    while let Some(&byte) = text.get(place) {
        let rest = &text[place..];
        let mut length = 1;
        if byte == b'"' {
            length = string_length(rest);
        } else if is_in_word(byte) {
            length = rest.iter().position(|byte| !is_in_word(*byte)).unwrap_or(rest.len());
            let word = &rest[..length];
            let is_at_end = length == rest.len();
            let replaced = WORDS.iter().find_map(|(old, new)| match *old == word {
                true => Some(*new),
                false => (is_at_end && old.starts_with(word)).then_some(&b""[..]),
            });
            if matches!(before, b':' | b',' | b'[')
                && let Some(replaced) = replaced
            {
                new.extend_from_slice(&text[copied..place]);
                new.extend_from_slice(replaced);
                copied = place + length;
            }
        }
        if !byte.is_ascii_whitespace() {
            before = byte;
        }
        place += length;
    }
    if copied == 0 {
        return Cow::Borrowed(text);
    }
    new.extend_from_slice(&text[copied..]);
    Cow::Owned(new)
}

fn is_in_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_$+-.".contains(&byte)
}

/// The length of a JSON string with its quotes.
pub fn string_length(text: &[u8]) -> usize {
    let mut is_escaped = false;
    for (place, byte) in text.iter().enumerate().skip(1) {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => return place + 1,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn words_of_old_versions_are_values_of_version_2() {
        let (nan, infinity) = (json!({ "$numberDouble": "NaN" }), json!({ "$numberDouble": "Infinity" }));
        let minus_infinity = json!({ "$numberDouble": "-Infinity" });
        let undefined = json!({ "$undefined": true });
        for (text, value) in [
            (r#"{"a":NaN}"#, json!({ "a": nan })),
            (r#"{"a": NaN ,"b":"\":NaN,"}"#, json!({ "a": nan, "b": "\":NaN," })),
            (r#"[Infinity,+Infinity,-Infinity]"#, json!([infinity, infinity, minus_infinity])),
            ("{\n\t\"a\" : [\n\t\tundefined\n\t]\n}", json!({ "a": [undefined] })),
        ] {
            assert_eq!(parse(text.as_bytes()).expect("it is read"), value, "{text}");
        }
    }

    #[test]
    fn many_levels_are_read_and_very_many_are_an_error() {
        let nested = |levels: usize| format!("{}{}", r#"{"a":["#.repeat(levels / 2), "]}".repeat(levels / 2));
        for levels in [126, 128, 130, MAX_LEVELS] {
            let text = nested(levels);
            // A thread that reads a file has as large a stack as this test.
            assert_eq!(parse(text.as_bytes()).expect("it is read").to_string(), text, "{levels}");
        }
        for levels in [MAX_LEVELS + 2, 10_000_000] {
            let error = parse(nested(levels).as_bytes()).expect_err("too many levels");
            assert!(error.to_string().starts_with("recursion limit exceeded"), "{error}");
        }
        // Brackets in a string are no levels.
        assert!(parse(format!("[NaN,\"{}\"]", "[".repeat(MAX_LEVELS)).as_bytes()).is_ok());
        let error = parse(nested(200).replace("]}", "]x").as_bytes()).expect_err("it is no JSON");
        assert!(error.to_string().starts_with("expected `,` or `}`"), "{error}");
    }

    #[test]
    fn words_elsewhere_and_other_words_are_errors() {
        for text in ["NaN", r#"{NaN:1}"#, r#"{"a":NaNs}"#, r#"{"a":nan}"#, r#"{"a":1 NaN}"#, r#"{"a":-NaN}"#]
        {
            assert!(parse(text.as_bytes()).is_err(), "{text}");
        }
        // The place is the one in the file.
        let error = parse(br#"{"a":NaN,"b":x}"#).expect_err("it is no JSON");
        assert_eq!((error.line(), error.column()), (1, 6));
    }
}
