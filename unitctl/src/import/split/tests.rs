//! Splits texts of every format, whole and cut off.

use serde_json::Value;

use super::super::document::Broken;
use super::super::json;
use super::*;

type Found = Result<(u64, String), (u64, String)>;

fn read(text: &str) -> Vec<Found> {
    // A buffer of three bytes: the result must not depend on where a buffer ends.
    let mut documents = Documents::new(io::BufReader::with_capacity(3, text.as_bytes()));
    let mut found = Vec::new();
    while let Some(document) = documents.read().expect("memory is readable") {
        assert_eq!(document.number as usize, found.len());
        found.push(match document.parse() {
            Ok(fields) => Ok((document.line, Value::Object(fields).to_string())),
            Err(Broken { line, reason }) => Err((line, reason)),
        });
    }
    found
}

fn ok(line: u64, document: &str) -> Found {
    Ok((line, document.into()))
}

fn broken(line: u64, reason: &str) -> Found {
    Err((line, reason.into()))
}

#[test]
fn a_document_a_line() {
    assert_eq!(read(""), []);
    assert_eq!(read("\u{feff}\r\n \n"), []);
    assert_eq!(read("\u{feff}{\"a\":\"[}\"}\r\n\n{\"b\":2}"), [ok(1, r#"{"a":"[}"}"#), ok(3, r#"{"b":2}"#)]);
    assert_eq!(
        read("{\"a\":1\n5\n{\"b\":\"\n[1]x\n\u{feff}{\"c\":3}\n"),
        [
            broken(1, "not JSON: EOF while parsing an object in column 6"),
            broken(2, "not a document, which would be in braces"),
            broken(3, "not JSON: EOF while parsing a string in column 6"),
            broken(4, "not JSON: trailing characters in column 4"),
            ok(5, r#"{"c":3}"#),
        ]
    );
}

#[test]
fn documents_over_several_lines() {
    assert_eq!(
        read("{\n\t\"a\": {\n\t\t\"}\": 1\n\t}\n}\n{\r\n  \"b\": []\r\n}\r\n{\"c\":3}\n{\n}"),
        [ok(1, r#"{"a":{"}":1}}"#), ok(6, r#"{"b":[]}"#), ok(9, r#"{"c":3}"#), ok(10, "{}")]
    );
    // A broken one does not hide those after it.
    assert_eq!(
        read("{\n\t\"a\": x\n}\n{\n\t\"b\": {\n{\n\t\"c\": 3\n}\n{\"d\":4}\n"),
        [
            broken(2, "not JSON: expected value in column 7"),
            broken(5, "not JSON: EOF while parsing an object in column 7"),
            ok(6, r#"{"c":3}"#),
            ok(9, r#"{"d":4}"#),
        ]
    );
}

#[test]
fn documents_that_follow_each_other_in_a_line() {
    assert_eq!(
        read("{\"a\":\"}{\"}{\"b\":[{}]}{\"c\":3}\n{\"d\":4}"),
        [ok(1, r#"{"a":"}{"}"#), ok(1, r#"{"b":[{}]}"#), ok(1, r#"{"c":3}"#), ok(2, r#"{"d":4}"#)]
    );
    // Pretty ones, with pretty ones and others after them.
    assert_eq!(
        read("{\n\t\"a\": {}\n}{\n\t\"b\": 2\n}{\"c\":3}{\r\n\t\"d\": x\n}\n{\"e\":5}{\n}"),
        [
            ok(1, r#"{"a":{}}"#),
            ok(3, r#"{"b":2}"#),
            ok(5, r#"{"c":3}"#),
            broken(6, "not JSON: expected value in column 7"),
            ok(8, r#"{"e":5}"#),
            ok(8, "{}"),
        ]
    );
    // Not at the end of a document.
    assert_eq!(
        read("{\"a\":[{}{}]}\n{\"b\":2}"),
        [broken(1, "not JSON: expected `,` or `]` in column 9"), ok(2, r#"{"b":2}"#)]
    );
    // Cut off.
    let mut documents = Documents::new(&b"{\"a\":1}{"[..]);
    let found: Vec<bool> = std::iter::from_fn(|| documents.read().expect("memory is readable"))
        .map(|document| document.is_cut_off())
        .collect();
    assert_eq!(found, [false, true]);
}

#[test]
fn arrays() {
    assert_eq!(read("[]"), []);
    assert_eq!(
        read("\u{feff} [{\"a\":\"],\\\"\"},\n{\"b\":[{}]}\n]\n"),
        [ok(1, r#"{"a":"],\""}"#), ok(2, r#"{"b":[{}]}"#)]
    );
    assert_eq!(
        read("[\n{\n\"a\":\nx},\n{\"b\":2}]"),
        [broken(4, "not JSON: expected value in column 1"), ok(5, r#"{"b":2}"#)]
    );
    // Files that were put together.
    assert_eq!(
        read("[{\"a\":1}]\n[{\"b\":2}]\n[]{\"c\":3}\n"),
        [ok(1, r#"{"a":1}"#), ok(2, r#"{"b":2}"#), ok(3, r#"{"c":3}"#)]
    );
}

#[test]
fn a_file_that_ends_too_early_is_recognized_at_every_byte() {
    for text in [
        "{\"_id\":\"a\"}\n{\"_id\":\"bé\",\"n\":[-1.5e3,true,null,{\"x\":\"\\u00e9\"}]}",
        "{\n\t\"_id\": \"a\"\n}\n{\n\t\"_id\": \"b\",\n\t\"n\": {\n\t\t\"x\": [\n\t\t\t1\n\t\t]\n\t}\n}",
        "[{\"_id\":\"a\"},{\"_id\":\"b\"}]",
        // As old versions of mongoexport write some values.
        "{\"_id\":NaN,\"n\":[-Infinity, +Infinity,undefined]}\n{\"n\":Infinity}",
    ] {
        for end in 0..=text.len() {
            let mut documents = Documents::new(&text.as_bytes()[..end]);
            let (mut last_is_cut_off, mut count) = (false, 0);
            while let Some(document) = documents.read().expect("memory is readable") {
                last_is_cut_off = document.is_cut_off();
                count += 1;
            }
            let is_between = text[..].get(..end).is_some_and(|start| {
                !text.starts_with('[')
                    && serde_json::Deserializer::from_slice(&json::in_version_2(start.as_bytes()))
                        .into_iter::<Value>()
                        .all(|value| value.is_ok())
            });
            let is_whole = end == 0 || end == text.len() || is_between;
            assert_eq!(
                last_is_cut_off,
                !is_whole,
                "{count} {:?}",
                String::from_utf8_lossy(&text.as_bytes()[..end])
            );
        }
    }
}
