//! Recognizes the output of the mongo shell, which looks like JSON but is not.

use super::json::string_length;

/// The shell's functions that stand for values.
const FUNCTIONS: [&str; 21] = [
    "BinData",
    "Code",
    "DBPointer",
    "DBRef",
    "Date",
    "Decimal128",
    "Double",
    "HexData",
    "ISODate",
    "Int32",
    "Long",
    "MD5",
    "MaxKey",
    "MinKey",
    "NumberDecimal",
    "NumberInt",
    "NumberLong",
    "ObjectId",
    "Symbol",
    "Timestamp",
    "UUID",
];

/// The first thing in a text that the shell writes and JSON does not have: a function where a value belongs, a field
/// name without quotes, or a string in single quotes. Strings of JSON are skipped.
pub fn syntax(text: &[u8]) -> Option<String> {
    let mut place = 0;
    // What came before, white space aside. A value follows a colon, a comma or a bracket; a name follows a comma or
    // a brace.
    let mut before = b' ';
    while let Some(&byte) = text.get(place) {
        let rest = &text[place..];
        let length = match byte {
            b'"' => string_length(rest),
            b'\'' if matches!(before, b':' | b',' | b'[' | b'{') => {
                return Some("a string in single quotes".into());
            }
            _ if byte.is_ascii_alphabetic() || matches!(byte, b'_' | b'$') => {
                let is_inside = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$');
                let length = rest.iter().position(|byte| !is_inside(byte)).unwrap_or(rest.len());
                let word = String::from_utf8_lossy(&rest[..length]);
                let after = rest[length..].trim_ascii_start().first();
                if matches!(before, b'{' | b',') && after == Some(&b':') {
                    return Some(format!("the name {word} without quotes"));
                }
                let is_function = FUNCTIONS.contains(&&*word) && after == Some(&b'(');
                if matches!(before, b':' | b',' | b'[') && (is_function || word == "new") {
                    return Some(if is_function { format!("{word}(...)") } else { "new ...".into() });
                }
                length
            }
            _ => 1,
        };
        if !byte.is_ascii_whitespace() {
            before = byte;
        }
        place += length;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_syntax_of_the_shell_is_recognized() {
        for (text, expected) in [
            (r#"{"_id":"a","at":ISODate("2022-10-11T12:13:14.151Z")}"#, "ISODate(...)"),
            (r#"{ "_id" : ObjectId("5fd7a0b6c2d3e4f5a6b7c8d9") }"#, "ObjectId(...)"),
            (r#"{"n":[1, NumberInt(1)]}"#, "NumberInt(...)"),
            (r#"{"n":NumberLong ("1")}"#, "NumberLong(...)"),
            (r#"{"n":new Date(5)}"#, "new ..."),
            (r#"{"n":UUID("00000000-0000-0000-0000-000000000000")}"#, "UUID(...)"),
            (r#"{"n":HexData(0, "00")}"#, "HexData(...)"),
            (r#"{"n":MD5("00")}"#, "MD5(...)"),
            (r#"{"n":Symbol("a")}"#, "Symbol(...)"),
            (r#"{"n":DBPointer("a", ObjectId("5fd7a0b6c2d3e4f5a6b7c8d9"))}"#, "DBPointer(...)"),
            (r#"{"n":Code("a")}"#, "Code(...)"),
            (r#"{"n":Double(1.5)}"#, "Double(...)"),
            (r#"{"n":Decimal128("1")}"#, "Decimal128(...)"),
            (r#"{ _id: "a" }"#, "the name _id without quotes"),
            ("{\n  \"_id\": \"a\",\n  roles: [] }", "the name roles without quotes"),
            (r#"{"_id": 'a'}"#, "a string in single quotes"),
        ] {
            assert_eq!(syntax(text.as_bytes()).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn broken_json_is_not_taken_for_the_shells() {
        for text in [
            r#"{"_id":"a","#,
            r#"{"_id":"ISODate(1)","note":"say \"ObjectId(1)\", _id: 'x'""#,
            // A quote that is not escaped.
            r#"{"note":"he said "hello: you"","n":1}"#,
            r#"{"n":NaN}"#,
            r#"{"n":tru}"#,
            "2022-10-11T12:13:14.151+0000\tconnected to: mongodb://localhost/",
            "_id,roles",
        ] {
            assert_eq!(syntax(text.as_bytes()), None, "{text}");
        }
    }
}
