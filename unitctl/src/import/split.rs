//! Splits the text of a mongoexport into its documents: one a line, each over several lines (`--pretty`), or the
//! elements of an array (`--jsonArray`).

use std::collections::VecDeque;
use std::io::{self, BufRead};

use super::document::{BYTE_ORDER_MARK, Collected, Fault, RawDocument};
use super::json::string_length;

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

    /// The next line that is not empty. If it is an opening brace alone, the document ends with the next line that
    /// starts with a closing brace, because the lines between are indented. If the files that were joined lack a last
    /// line break, a document begins where the one before it ends.
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
                // Files that were joined go on after the array.
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

#[cfg(test)]
mod tests;
