//! The documents of one file of a mongoexport, one after the other: a line each, or the elements of an array.

use std::io::{self, BufRead};

use serde_json::{Map, Value};

/// Most bytes of one document. MongoDB's own limit is 16 MiB of BSON; as extended JSON it can be a few
/// times as much.
const MAX_DOCUMENT_BYTES: usize = 64 * 1024 * 1024;

/// A document's fields.
pub type Document = Map<String, Value>;

/// Something in the file that is no document.
#[derive(Debug, PartialEq, Eq)]
pub struct Broken {
    /// Where, counted from 1.
    pub line: u64,
    /// What is wrong.
    pub reason: String,
}

/// Reads a file's documents. It holds one of them at a time, however large the file.
pub struct Documents<R> {
    reader: R,
    /// The line that the next byte is in, counted from 1.
    line: u64,
    form: Form,
    /// The bytes that have been read so far, for a progress bar.
    bytes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// Nothing has been read yet.
    Unknown,
    /// `mongoexport`'s default.
    Lines,
    /// `mongoexport --jsonArray`.
    Array,
    /// The file is at its end, as far as anything can be made of it.
    Over,
}

/// The bytes of one document, or what is wrong with them.
struct Piece {
    line: u64,
    bytes: Result<Vec<u8>, &'static str>,
}

impl<R: BufRead> Documents<R> {
    /// The documents that `reader` gives.
    pub fn new(reader: R) -> Self {
        Self { reader, line: 1, form: Form::Unknown, bytes: 0 }
    }

    /// How many bytes have been read.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The next document and the line that it starts in; `None` at the end of the file.
    ///
    /// # Errors
    /// The file can't be read.
    pub fn read(&mut self) -> io::Result<Option<Result<(u64, Document), Broken>>> {
        if self.form == Form::Unknown {
            self.form = self.find_form()?;
        }
        let piece = match self.form {
            Form::Lines => self.next_line()?,
            Form::Array => self.next_element()?,
            Form::Unknown | Form::Over => None,
        };
        Ok(piece.map(parse))
    }

    fn find_form(&mut self) -> io::Result<Form> {
        // Windows tools put a byte order mark before UTF-8.
        if self.reader.fill_buf()?.starts_with(b"\xEF\xBB\xBF") {
            self.consume(3);
        }
        Ok(match self.skip_space()? {
            Some(b'[') => {
                self.next_byte()?;
                Form::Array
            }
            Some(_) => Form::Lines,
            None => Form::Over,
        })
    }

    /// The next line that is not empty.
    fn next_line(&mut self) -> io::Result<Option<Piece>> {
        if self.skip_space()?.is_none() {
            self.form = Form::Over;
            return Ok(None);
        }
        let line = self.line;
        let mut piece = Collected::default();
        loop {
            let buffer = self.reader.fill_buf()?;
            let end = buffer.iter().position(|byte| *byte == b'\n');
            piece.extend(&buffer[..end.unwrap_or(buffer.len())]);
            let count = end.map_or(buffer.len(), |end| end + 1);
            self.consume(count);
            if end.is_some() {
                self.line += 1;
            }
            if end.is_some() || count == 0 {
                return Ok(Some(piece.at(line)));
            }
        }
    }

    /// The next element of the array. Commas and brackets count only outside of strings, and they are all
    /// that is looked at: a broken element does not hide those after it.
    fn next_element(&mut self) -> io::Result<Option<Piece>> {
        let mut next = self.skip_space()?;
        while next == Some(b',') {
            self.next_byte()?;
            next = self.skip_space()?;
        }
        let line = self.line;
        match next {
            None => {
                self.form = Form::Over;
                return Ok(Some(Piece { line, bytes: Err("the file ends before its array does") }));
            }
            Some(b']') => {
                self.next_byte()?;
                self.form = Form::Over;
                let rest = self.skip_space()?;
                let line = self.line;
                return Ok(rest.map(|_| Piece { line, bytes: Err("the file goes on after its array") }));
            }
            Some(_) => {}
        }
        let mut piece = Collected::default();
        let (mut depth, mut in_string, mut is_escaped) = (0_usize, false, false);
        while let Some(byte) = self.peek()? {
            if !in_string && depth == 0 && matches!(byte, b',' | b']') {
                return Ok(Some(piece.at(line)));
            }
            self.next_byte()?;
            piece.extend(&[byte]);
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
            // This one is whole; that the array is not is told next.
            return Ok(Some(piece.at(line)));
        }
        self.form = Form::Over;
        Ok(Some(Piece { line, bytes: Err("the file ends in the middle of this document") }))
    }

    /// The next byte that is no white space, which is not consumed.
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
            self.consume(1);
            self.line += u64::from(byte == b'\n');
        }
        Ok(byte)
    }

    fn consume(&mut self, count: usize) {
        self.reader.consume(count);
        self.bytes += count as u64;
    }
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

    fn at(self, line: u64) -> Piece {
        Piece { line, bytes: if self.is_too_long { Err("longer than 64 MiB") } else { Ok(self.bytes) } }
    }
}

fn parse(piece: Piece) -> Result<(u64, Document), Broken> {
    let Piece { line, bytes } = piece;
    let bytes = bytes.map_err(|reason| Broken { line, reason: reason.into() })?;
    match serde_json::from_slice(&bytes) {
        Ok(Value::Object(document)) => Ok((line, document)),
        Ok(_) => Err(Broken { line, reason: "not a document, which would be in braces".into() }),
        Err(error) => Err(Broken {
            // An element may have several lines.
            line: line + (error.line() as u64).saturating_sub(1),
            reason: format!("not JSON: {} in column {}", words(&error), error.column()),
        }),
    }
}

/// The parser's words without its place, which counts from the start of the document.
fn words(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let end = text.rfind(" at line ").unwrap_or(text.len());
    text[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<Result<(u64, String), (u64, String)>> {
        // A buffer of three bytes: nothing may depend on where a buffer ends.
        let mut documents = Documents::new(io::BufReader::with_capacity(3, text.as_bytes()));
        let mut found = Vec::new();
        while let Some(document) = documents.read().expect("memory is readable") {
            found.push(match document {
                Ok((line, document)) => Ok((line, Value::Object(document).to_string())),
                Err(Broken { line, reason }) => Err((line, reason)),
            });
        }
        let is_read_whole = !found.contains(&broken(2, "the file goes on after its array"));
        assert!(!is_read_whole || documents.bytes() == text.len() as u64, "{} bytes", documents.bytes());
        found
    }

    fn ok(line: u64, document: &str) -> Result<(u64, String), (u64, String)> {
        Ok((line, document.into()))
    }

    fn broken(line: u64, reason: &str) -> Result<(u64, String), (u64, String)> {
        Err((line, reason.into()))
    }

    #[test]
    fn lines() {
        assert_eq!(read(""), []);
        assert_eq!(read("\u{feff}\r\n \n"), []);
        assert_eq!(
            read("\u{feff}{\"a\":\"[}\"}\r\n\n{\"b\":2}"),
            [ok(1, r#"{"a":"[}"}"#), ok(3, r#"{"b":2}"#)]
        );
        assert_eq!(
            read("{\"a\":1\n5\n{\"b\":\"\n{\"c\":3}\n"),
            [
                broken(1, "not JSON: EOF while parsing an object in column 6"),
                broken(2, "not a document, which would be in braces"),
                broken(3, "not JSON: EOF while parsing a string in column 6"),
                ok(4, r#"{"c":3}"#),
            ]
        );
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
        assert_eq!(
            read("[{\"a\":1}"),
            [ok(1, r#"{"a":1}"#), broken(1, "the file ends before its array does")]
        );
        assert_eq!(
            read("[{\"a\":1},\n{\"b\":"),
            [ok(1, r#"{"a":1}"#), broken(2, "the file ends in the middle of this document")]
        );
        assert_eq!(
            read("[{\"a\":1}]\n[{\"b\":2}]"),
            [ok(1, r#"{"a":1}"#), broken(2, "the file goes on after its array")]
        );
    }
}
