//! Splits the text of a mongoexport into its documents: one a line, each over several lines (`--pretty`), or the
//! elements of an array (`--jsonArray`).

use std::collections::VecDeque;
use std::io::{self, BufRead};

use serde_json::{Map, Value};

use super::json::{self, MAX_LEVELS, string_length};

/// The maximum size of one document, in bytes. MongoDB's own limit is 16 MiB of BSON. The same document as extended
/// JSON can be a few times as large.
const MAX_DOCUMENT_BYTES: usize = 64 * 1024 * 1024;

/// The byte order mark in UTF-8. Windows tools write it.
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// A document's fields.
pub type Document = Map<String, Value>;

/// A line, or a document, that can't be used.
#[derive(Debug, PartialEq, Eq)]
pub struct Broken {
    /// The line's number. The first line is 1.
    pub line: u64,
    /// What is wrong.
    pub reason: String,
}

/// Reads a file's documents. It holds one of them at a time, however large the file.
pub struct Documents<R> {
    reader: R,
    /// The line of the next byte. The first line is 1.
    line: u64,
    format: FileFormat,
    /// How many documents have been read so far, broken ones included.
    count: u32,
    /// The documents that began in the last line that was read, after the first one, with the lines that they start in.
    joined: VecDeque<(u64, Vec<u8>)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FileFormat {
    /// The file, or what follows an array, has not been looked at yet.
    Unknown,
    /// One document a line, which is `mongoexport`'s default, or over several lines, by `--pretty`.
    Lines,
    /// `mongoexport --jsonArray`.
    Array,
    /// The file is at its end.
    Ended,
}

/// The text of one document.
#[derive(Debug)]
pub struct RawDocument {
    /// Which document of the file it is. The first one is 0.
    pub number: u32,
    /// The line that it starts in.
    pub line: u64,
    /// The text, or what is wrong with it.
    text: Result<Vec<u8>, Fault>,
}

/// Why a part of the file is not a document.
#[derive(Debug, PartialEq, Eq)]
enum Fault {
    TooLong,
    /// The file ends within a document or between the elements of an array. It has the text until there.
    CutOff(Vec<u8>),
}

impl<R: BufRead> Documents<R> {
    /// The documents in the text that `reader` gives.
    pub fn new(reader: R) -> Self {
        Self { reader, line: 1, format: FileFormat::Unknown, count: 0, joined: VecDeque::new() }
    }

    /// The next document. `None` at the end of the file.
    ///
    /// # Errors
    /// The file can't be read.
    pub fn read(&mut self) -> io::Result<Option<RawDocument>> {
        if self.format == FileFormat::Unknown {
            self.format = self.recognize()?;
        }
        match self.format {
            FileFormat::Lines => self.next_in_lines(),
            FileFormat::Array => self.next_in_array(),
            FileFormat::Unknown | FileFormat::Ended => Ok(None),
        }
    }

    fn recognize(&mut self) -> io::Result<FileFormat> {
        if self.reader.fill_buf()?.starts_with(BYTE_ORDER_MARK) {
            self.reader.consume(BYTE_ORDER_MARK.len());
        }
        Ok(match self.skip_space()? {
            Some(b'[') => {
                self.next_byte()?;
                FileFormat::Array
            }
            Some(_) => FileFormat::Lines,
            None => FileFormat::Ended,
        })
    }

    /// The next line that is not empty. If it is an opening brace alone, the document goes on until a line that
    /// starts with the closing brace: the lines between are indented. If a file without a last line break was joined with
    /// another one, a document begins where the one before it ends.
    fn next_in_lines(&mut self) -> io::Result<Option<RawDocument>> {
        let mut text = Collected::default();
        let line = if let Some((line, bytes)) = self.joined.pop_front() {
            text.bytes = bytes;
            line
        } else {
            if self.skip_space()?.is_none() {
                self.format = FileFormat::Ended;
                return Ok(None);
            }
            let line = self.line;
            self.take_line(&mut text)?;
            line
        };
        if text.bytes.trim_ascii() == b"{" {
            // An opening brace that is not indented belongs to another document. So a broken document does not
            // hide the one after it.
            while let Some(first) = self.peek()?.filter(|byte| *byte != b'{') {
                text.extend(b"\n");
                self.take_line(&mut text)?;
                if first == b'}' {
                    break;
                }
            }
        }
        let mut text = text.finish();
        if let Ok(bytes) = &mut text {
            let mut starts = starts_of_joined(bytes);
            while let Some(start) = starts.pop() {
                let rest = bytes.split_off(start);
                let lines_before = bytes.iter().filter(|byte| **byte == b'\n').count() as u64;
                self.joined.push_front((line + lines_before, rest));
            }
        }
        Ok(Some(self.document(line, text)))
    }

    /// Adds the rest of the line without the line break.
    fn take_line(&mut self, text: &mut Collected) -> io::Result<()> {
        loop {
            let buffer = self.reader.fill_buf()?;
            let end = buffer.iter().position(|byte| *byte == b'\n');
            text.extend(&buffer[..end.unwrap_or(buffer.len())]);
            let count = end.map_or(buffer.len(), |end| end + 1);
            self.reader.consume(count);
            self.line += u64::from(end.is_some());
            if end.is_some() || count == 0 {
                return Ok(());
            }
        }
    }

    /// The next element of the array. Only commas and brackets outside of strings are looked at, so a broken
    /// element does not hide those after it.
    fn next_in_array(&mut self) -> io::Result<Option<RawDocument>> {
        let mut next = self.skip_space()?;
        while next == Some(b',') {
            self.next_byte()?;
            next = self.skip_space()?;
        }
        let line = self.line;
        match next {
            None => {
                self.format = FileFormat::Ended;
                return Ok(Some(self.document(line, Err(Fault::CutOff(Vec::new())))));
            }
            Some(b']') => {
                self.next_byte()?;
                // Files that were put together go on after the array.
                self.format = FileFormat::Unknown;
                return self.read();
            }
            Some(_) => {}
        }
        let mut text = Collected::default();
        let (mut depth, mut in_string, mut is_escaped) = (0_usize, false, false);
        while let Some(byte) = self.peek()? {
            if !in_string && depth == 0 && matches!(byte, b',' | b']') {
                return Ok(Some(self.document(line, text.finish())));
            }
            self.next_byte()?;
            text.extend(&[byte]);
            match byte {
                _ if is_escaped => is_escaped = false,
                b'\\' if in_string => is_escaped = true,
                b'"' => in_string = !in_string,
                b'{' | b'[' if !in_string => depth += 1,
                b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
                _ => {}
            }
        }
        if depth == 0 && !in_string {
            // The document is whole. The next call finds that the array is not.
            return Ok(Some(self.document(line, text.finish())));
        }
        self.format = FileFormat::Ended;
        Ok(Some(self.document(line, text.finish().and_then(|text| Err(Fault::CutOff(text))))))
    }

    fn document(&mut self, line: u64, text: Result<Vec<u8>, Fault>) -> RawDocument {
        let number = self.count;
        self.count = self.count.saturating_add(1);
        RawDocument { number, line, text }
    }

    /// The next byte that is no white space. It is not consumed.
    fn skip_space(&mut self) -> io::Result<Option<u8>> {
        loop {
            match self.peek()? {
                Some(byte) if byte.is_ascii_whitespace() => self.next_byte()?,
                other => return Ok(other),
            };
        }
    }

    fn peek(&mut self) -> io::Result<Option<u8>> {
        Ok(self.reader.fill_buf()?.first().copied())
    }

    fn next_byte(&mut self) -> io::Result<Option<u8>> {
        let byte = self.peek()?;
        if let Some(byte) = byte {
            self.reader.consume(1);
            self.line += u64::from(byte == b'\n');
        }
        Ok(byte)
    }
}

/// The places where a document begins directly after another one.
fn starts_of_joined(text: &[u8]) -> Vec<usize> {
    // Few documents have these two bytes at all.
    if !text.iter().zip(text.iter().skip(1)).any(|pair| pair == (&b'}', &b'{')) {
        return Vec::new();
    }
    let (mut starts, mut place, mut level) = (Vec::new(), 0, 0_usize);
    while let Some(&byte) = text.get(place) {
        match byte {
            b'{' if level == 0 && place > 0 && text[place - 1] == b'}' => {
                starts.push(place);
                level = 1;
            }
            b'{' | b'[' => level += 1,
            b'}' | b']' => level = level.saturating_sub(1),
            _ => {}
        }
        place += if byte == b'"' { string_length(&text[place..]) } else { 1 };
    }
    starts
}

/// A document's bytes as they come, up to the limit.
#[derive(Default)]
struct Collected {
    bytes: Vec<u8>,
    is_too_long: bool,
}

impl Collected {
    fn extend(&mut self, bytes: &[u8]) {
        if self.bytes.len() + bytes.len() <= MAX_DOCUMENT_BYTES {
            self.bytes.extend_from_slice(bytes);
        } else {
            self.is_too_long = true;
        }
    }

    fn finish(mut self) -> Result<Vec<u8>, Fault> {
        if self.is_too_long {
            return Err(Fault::TooLong);
        }
        // Where files were put together, a byte order mark may stand before any line.
        if self.bytes.starts_with(BYTE_ORDER_MARK) {
            self.bytes.drain(..BYTE_ORDER_MARK.len());
        }
        Ok(self.bytes)
    }
}

impl RawDocument {
    /// The document's text, if it has been read whole.
    pub fn text(&self) -> Option<&[u8]> {
        self.text.as_deref().ok()
    }

    /// The document's text, even if the file ends within it.
    pub fn text_so_far(&self) -> Option<&[u8]> {
        match &self.text {
            Ok(text) | Err(Fault::CutOff(text)) => Some(text),
            Err(Fault::TooLong) => None,
        }
    }

    /// Whether the text ends before the document does. Only the last one of a file is cut off by the file's end.
    pub fn is_cut_off(&self) -> bool {
        let text = match &self.text {
            Ok(text) => text,
            Err(fault) => return matches!(fault, Fault::CutOff(_)),
        };
        let text = json::in_version_2(text);
        let Err(error) = serde_json::from_slice::<serde::de::IgnoredAny>(&text) else { return false };
        // The parser takes the start of a number for a wrong one, such as `-` or `1.`.
        let ends_in_number = text.last().is_some_and(|byte| b"-+.eE".contains(byte));
        error.is_eof() || (ends_in_number && error.to_string().starts_with("invalid number"))
    }

    /// The document's fields.
    ///
    /// # Errors
    /// It is not JSON, or no document.
    pub fn parse(&self) -> Result<Document, Broken> {
        let line = self.line;
        let text = self.text.as_ref().map_err(|fault| {
            let reason = match fault {
                Fault::TooLong => "longer than 64 MiB",
                Fault::CutOff(_) => "the file ends in the middle of a document",
            };
            Broken { line, reason: reason.into() }
        })?;
        match json::parse(text) {
            Ok(Value::Object(document)) => Ok(document),
            Ok(_) => Err(Broken { line, reason: "not a document, which would be in braces".into() }),
            Err(error) => Err(Broken {
                // A document may have several lines.
                line: line + (error.line() as u64).saturating_sub(1),
                reason: match without_place(&error).as_str() {
                    "recursion limit exceeded" => {
                        format!("more than {MAX_LEVELS} levels of arrays and objects")
                    }
                    text => format!("not JSON: {text} in column {}", error.column()),
                },
            }),
        }
    }
}

/// The parser's words without the place, which it counts from the start of the document.
fn without_place(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let end = text.rfind(" at line ").unwrap_or(text.len());
    text[..end].to_owned()
}

#[cfg(test)]
mod tests {
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
        assert_eq!(
            read("\u{feff}{\"a\":\"[}\"}\r\n\n{\"b\":2}"),
            [ok(1, r#"{"a":"[}"}"#), ok(3, r#"{"b":2}"#)]
        );
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
}
