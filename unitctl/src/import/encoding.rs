//! Turns a file that is compressed or in UTF-16 into UTF-8 text, and recognizes files that are not text.

use std::io::{self, BufRead, BufReader, Cursor, Read};

use flate2::bufread::MultiGzDecoder;

/// Bytes that are read at once.
const BUFFER_BYTES: usize = 256 * 1024;

/// Bytes that are looked at to recognize the encoding.
const HEAD_BYTES: u64 = 512;

/// A file's text in UTF-8.
pub type Text = Box<dyn BufRead + Send>;

/// The kind of a file that is not text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binary {
    /// Documents as `mongodump` writes them, in a file of their own or in an archive.
    Bson,
    /// Something else.
    Other,
}

/// The text of a file: as it is, or decompressed by gzip, or converted from UTF-16. The reader fails with
/// [`io::ErrorKind::UnexpectedEof`] when the compressed data or the last character is cut off.
///
/// # Errors
/// The file can't be read.
pub fn decode(file: impl Read + Send + 'static) -> io::Result<Result<Text, Binary>> {
    let file = peek(file)?;
    if file.head.starts_with(&[0x1F, 0x8B]) {
        let text = MultiGzDecoder::new(BufReader::with_capacity(BUFFER_BYTES, file.whole));
        return Ok(decode_plain(peek(text)?));
    }
    Ok(decode_plain(file))
}

fn decode_plain(file: Peeked<impl Read + Send + 'static>) -> Result<Text, Binary> {
    let head = file.head.as_slice();
    let file = BufReader::with_capacity(BUFFER_BYTES, file.whole);
    // A document starts with a brace, an array with a bracket. In UTF-16 a NUL byte is beside it.
    let is_start = |byte: u8| matches!(byte, b'{' | b'[') || byte.is_ascii_whitespace();
    let is_inside = |byte: u8| byte.is_ascii() && byte != 0;
    match *head {
        [0xFF, 0xFE, ..] => Ok(Box::new(BufReader::new(Utf16::new(file, u16::from_le_bytes)))),
        [0xFE, 0xFF, ..] => Ok(Box::new(BufReader::new(Utf16::new(file, u16::from_be_bytes)))),
        [first, 0, second, 0, ..] if is_start(first) && is_inside(second) => {
            Ok(Box::new(BufReader::new(Utf16::new(file, u16::from_le_bytes))))
        }
        [0, first, 0, second, ..] if is_start(first) && is_inside(second) => {
            Ok(Box::new(BufReader::new(Utf16::new(file, u16::from_be_bytes))))
        }
        _ if is_bson(head) => Err(Binary::Bson),
        _ if head.contains(&0) => Err(Binary::Other),
        _ => Ok(Box::new(file)),
    }
}

/// A file whose first bytes are known.
struct Peeked<R> {
    /// The first bytes, at most [`HEAD_BYTES`].
    head: Vec<u8>,
    /// The file with these bytes still in it.
    whole: R,
}

fn peek(mut file: impl Read + Send + 'static) -> io::Result<Peeked<impl Read + Send + 'static>> {
    let mut head = Vec::new();
    let cut_off = match file.by_ref().take(HEAD_BYTES).read_to_end(&mut head) {
        Ok(_) => None,
        // Compressed data may end this early.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Some(error),
        Err(error) => return Err(error),
    };
    let whole = Cursor::new(head.clone()).chain(Failure(cut_off)).chain(file);
    Ok(Peeked { head, whole })
}

/// Fails once, if there is an error.
struct Failure(Option<io::Error>);

impl Read for Failure {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        self.0.take().map_or(Ok(0), Err)
    }
}

/// Whether it starts with a BSON document (its length in four bytes, then the type of its first field and the
/// field's name) or as an archive of `mongodump`.
fn is_bson(head: &[u8]) -> bool {
    match *head {
        [0x6D, 0xE2, 0x99, 0x81, ..] => true,
        [a, b, c, d, kind, ref name @ ..] => {
            let length = u32::from_le_bytes([a, b, c, d]);
            let name_end = name.iter().position(|byte| *byte == 0);
            let is_name = name_end.is_some_and(|end| name[..end].iter().all(u8::is_ascii_graphic));
            // MongoDB's documents have at most 16 MiB.
            (5..=16 * 1024 * 1024 + 16 * 1024).contains(&length) && (1..=0x13).contains(&kind) && is_name
        }
        _ => false,
    }
}

/// Converts UTF-16 to UTF-8. Half of a surrogate pair becomes bytes that are not UTF-8, so that the parser
/// finds it in its line. A byte order mark becomes the one of UTF-8.
struct Utf16<R> {
    reader: R,
    unit: fn([u8; 2]) -> u16,
    /// The first half of a surrogate pair.
    high: Option<u16>,
    converted: Cursor<Vec<u8>>,
}

impl<R: BufRead> Utf16<R> {
    fn new(reader: R, unit: fn([u8; 2]) -> u16) -> Self {
        Self { reader, unit, high: None, converted: Cursor::default() }
    }

    /// Converts some more, unless the file is at its end.
    fn convert(&mut self) -> io::Result<()> {
        let mut bytes = Vec::new();
        self.reader.by_ref().take(BUFFER_BYTES as u64).read_to_end(&mut bytes)?;
        if bytes.len() % 2 == 1 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file ends within a character"));
        }
        let units = bytes.chunks_exact(2).map(|pair| (self.unit)([pair[0], pair[1]]));
        let mut units: Vec<u16> = self.high.take().into_iter().chain(units).collect();
        let is_at_end = bytes.is_empty();
        if !is_at_end {
            self.high = units.pop_if(|unit| (0xD800..0xDC00).contains(unit));
        }
        let mut text = Vec::with_capacity(units.len() * 2);
        for unit in char::decode_utf16(units) {
            match unit {
                Ok(char) => text.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes()),
                Err(_) => text.push(0xFF),
            }
        }
        self.converted = Cursor::new(text);
        Ok(())
    }
}

impl<R: BufRead> Read for Utf16<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.converted.position() == self.converted.get_ref().len() as u64 {
            self.convert()?;
            // A chunk that was nothing but the first half of a surrogate pair has given no text yet.
            if self.converted.get_ref().is_empty() && self.high.is_some() {
                self.convert()?;
            }
        }
        self.converted.read(buffer)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn read(bytes: Vec<u8>) -> io::Result<Result<Vec<u8>, Binary>> {
        match decode(Cursor::new(bytes))? {
            Err(binary) => Ok(Err(binary)),
            Ok(mut text) => {
                let mut read = Vec::new();
                text.read_to_end(&mut read)?;
                let without_mark = read.strip_prefix("\u{feff}".as_bytes()).map(<[u8]>::to_vec);
                Ok(Ok(without_mark.unwrap_or(read)))
            }
        }
    }

    fn utf16(text: &str, to_bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
        text.encode_utf16().flat_map(to_bytes).collect()
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).expect("memory takes it");
        encoder.finish().expect("memory takes it")
    }

    #[test]
    fn text_is_the_same_in_every_encoding() {
        // Characters of one to four bytes in UTF-8.
        let long = format!("{{\"_id\":\"aé€😀\"}}\r\n{{\"b\":\"{}\"}}\n", "x😀".repeat(200_000));
        for text in ["", "{\"_id\":\"aé€😀\"}", " [\n]", "[]", &long] {
            let expected = || Ok(text.as_bytes().to_vec());
            let with_mark = format!("\u{feff}{text}");
            assert_eq!(read(text.into()).expect("it is read"), expected());
            for to_bytes in [u16::to_le_bytes, u16::to_be_bytes] {
                assert_eq!(read(utf16(&with_mark, to_bytes)).expect("it is read"), expected());
                assert_eq!(read(utf16(text, to_bytes)).expect("it is read"), expected());
                assert_eq!(read(gzip(&utf16(&with_mark, to_bytes))).expect("it is read"), expected());
            }
            assert_eq!(read(gzip(text.as_bytes())).expect("it is read"), expected());
            // `cat one.gz two.gz` is a gzip file, too.
            let (one, two) = text.as_bytes().split_at(text.len() / 2);
            assert_eq!(read([gzip(one), gzip(two)].concat()).expect("it is read"), expected());
        }
    }

    #[test]
    fn half_a_surrogate_pair_is_no_utf8() {
        let mut bytes = utf16("\u{feff}{\"", u16::to_le_bytes);
        bytes.extend([0x3D, 0xD8]);
        bytes.extend(utf16("\"}", u16::to_le_bytes));
        assert_eq!(read(bytes).expect("it is read"), Ok(b"{\"\xFF\"}".to_vec()));
        let mut bytes = utf16("{ ", u16::to_le_bytes);
        bytes.extend([0x3D, 0xD8]);
        assert_eq!(read(bytes).expect("it is read"), Ok(b"{ \xFF".to_vec()));
    }

    #[test]
    fn text_that_is_cut_off_is_an_unexpected_end() {
        let mut half_a_character = utf16("\u{feff}{}", u16::to_le_bytes);
        half_a_character.pop();
        let whole = gzip(&b"{\"_id\":\"a\"}\n".repeat(1000));
        for bytes in [
            half_a_character,
            whole[..whole.len() - 1].to_vec(),
            whole[..whole.len() / 2].to_vec(),
            whole[..15].to_vec(),
        ] {
            let error = read(bytes).expect_err("it is cut off");
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        }
    }

    #[test]
    fn binary_files_are_recognized() {
        let bson = b"\x16\0\0\0\x02_id\0\x02\0\0\0a\0\0";
        // A length that looks like UTF-16 without a byte order mark.
        let long_bson = b"\0\x7B\0\0\x07_id\0aaaaaaaaaaaa";
        for (bytes, binary) in [
            (bson.to_vec(), Binary::Bson),
            (long_bson.to_vec(), Binary::Bson),
            (gzip(bson), Binary::Bson),
            (b"\x6D\xE2\x99\x81\x66\0\0\0".to_vec(), Binary::Bson),
            (b"PK\x03\x04\0\0".to_vec(), Binary::Other),
        ] {
            assert_eq!(read(bytes).expect("it is read"), Err(binary));
        }
    }
}
