//! One document of an export: its text, its fields, or what is wrong with it.

use serde_json::{Map, Value};

use super::json::{self, MAX_LEVELS};

/// The maximum size of one document, in bytes. MongoDB's own limit is 16 MiB of BSON. The same document as extended
/// JSON can be a few times as large.
const MAX_DOCUMENT_BYTES: usize = 64 * 1024 * 1024;

/// The byte order mark in UTF-8. Windows tools write it.
pub const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

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

/// The text of one document.
#[derive(Debug)]
pub struct RawDocument {
    /// Which document of the file it is. The first one is 0.
    pub number: u32,
    /// The line that it starts in.
    pub line: u64,
    /// The text, or what is wrong with it.
    pub text: Result<Vec<u8>, Fault>,
}

/// Why a part of the file is not a document.
#[derive(Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is longer than 64 MiB.
    TooLong,
    /// The file ends within a document or between the elements of an array. This is the text up to the end.
    CutOff(Vec<u8>),
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
        // If the text ends within a number, such as `-` or `1.`, the parser says that the number is wrong.
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

/// A document's bytes as they come, up to the limit.
#[derive(Default)]
pub struct Collected {
    /// The bytes.
    pub bytes: Vec<u8>,
    is_too_long: bool,
}

impl Collected {
    /// Adds some bytes, if there is room for all of them.
    pub fn extend(&mut self, bytes: &[u8]) {
        if self.bytes.len() + bytes.len() <= MAX_DOCUMENT_BYTES {
            self.bytes.extend_from_slice(bytes);
        } else {
            self.is_too_long = true;
        }
    }

    /// The whole text.
    ///
    /// # Errors
    /// It is too long.
    pub fn finish(mut self) -> Result<Vec<u8>, Fault> {
        if self.is_too_long {
            return Err(Fault::TooLong);
        }
        // Where files were joined, a byte order mark may stand before any line.
        if self.bytes.starts_with(BYTE_ORDER_MARK) {
            self.bytes.drain(..BYTE_ORDER_MARK.len());
        }
        Ok(self.bytes)
    }
}
