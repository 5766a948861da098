//! Reading headers and entries: total over any bytes. A length is believed only as far as bytes are there.

use chrono::{NaiveDate, NaiveDateTime};

use super::{FormatCode, MAGIC, Place};
use crate::archive::Header;
use crate::archive::toc::{Entry, Section};
use crate::raw_text;
use crate::seal::Algorithm;

/// Why bytes cannot be read as what they should be.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The bytes end within an item: more of them may help.
    #[error("the archive ends too early")]
    Incomplete,
    /// No more bytes would help.
    #[error("the archive is damaged: {0}")]
    Damaged(String),
    /// It is no archive at all, or one of another time.
    #[error("{0}")]
    Foreign(String),
}

type Result<T> = std::result::Result<T, Error>;

fn damaged<T>(what: impl Into<String>) -> Result<T> {
    Err(Error::Damaged(what.into()))
}

/// Bytes that are read item by item.
pub struct Input<'a> {
    bytes: &'a [u8],
    len: usize,
    int_size: usize,
}

impl<'a> Input<'a> {
    /// Reads `bytes`, whose integers have `int_size` bytes of magnitude.
    #[must_use]
    pub fn new(bytes: &'a [u8], int_size: u8) -> Self {
        Input {
            bytes,
            len: bytes.len(),
            int_size: usize::from(int_size),
        }
    }

    /// How many bytes were read.
    #[must_use]
    pub fn position(&self) -> usize {
        self.len - self.bytes.len()
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.bytes.split_at_checked(len).ok_or(Error::Incomplete)?;
        self.bytes = rest;
        Ok(taken)
    }

    /// One byte.
    ///
    /// # Errors
    /// [`Error::Incomplete`].
    pub fn byte(&mut self) -> Result<u8> {
        Ok(self.take(1)?[0])
    }

    fn magnitude(&mut self, size: usize) -> Result<u64> {
        let bytes = self.take(size)?;
        let mut value = [0; 8];
        let kept = size.min(8);
        value[..kept].copy_from_slice(&bytes[..kept]);
        match bytes[kept..].iter().all(|byte| *byte == 0) {
            true => Ok(u64::from_le_bytes(value)),
            false => damaged("a number is too large"),
        }
    }

    /// An integer.
    ///
    /// # Errors
    /// It does not fit into 32 bits.
    pub fn int(&mut self) -> Result<i32> {
        let negative = self.byte()? != 0;
        let magnitude = i64::try_from(self.magnitude(self.int_size)?).unwrap_or(i64::MAX);
        let value = if negative { -magnitude } else { magnitude };
        i32::try_from(value).or_else(|_| damaged("a number is too large"))
    }

    /// An OID, which is spelled as the integer of the same 32 bits.
    ///
    /// # Errors
    /// It does not fit into 32 bits.
    pub fn oid(&mut self) -> Result<u32> {
        let negative = self.byte()? != 0;
        let magnitude = self.magnitude(self.int_size)?;
        match u32::try_from(magnitude) {
            Ok(value) if negative => Ok(value.wrapping_neg()),
            Ok(value) => Ok(value),
            Err(_) => damaged("an OID is too large"),
        }
    }

    /// A string, or `None`.
    ///
    /// # Errors
    /// Its length is beyond the input.
    pub fn text(&mut self) -> Result<Option<String>> {
        match usize::try_from(self.int()?) {
            Ok(len) => Ok(Some(raw_text::decode(self.take(len)?))),
            Err(_) => Ok(None),
        }
    }

    fn text_or_empty(&mut self) -> Result<String> {
        Ok(self.text()?.unwrap_or_default())
    }

    fn number_in_text(&mut self) -> Result<u32> {
        let text = self.text_or_empty()?;
        text.trim().parse().or_else(|_| damaged(format!("{text:?} is no OID")))
    }
}

/// The header, and what it says about how the rest is spelled.
#[derive(Clone, Debug)]
pub struct Head {
    /// What the header says of the dump.
    pub header: Header,
    /// Version of the format: 1.`minor`.
    pub minor: u8,
    /// Bytes of an integer's magnitude.
    pub int_size: u8,
    /// Bytes of an offset.
    pub offset_size: u8,
    /// Which format follows.
    pub format: FormatCode,
    /// How data is compressed.
    pub algorithm: Algorithm,
    /// The level, which only versions before 1.15 say; -1 is gzip's own default.
    pub level: Option<i32>,
}

impl Head {
    /// Reads the header.
    ///
    /// # Errors
    /// The input does not start with the header of a supported version.
    pub fn read(input: &mut Input) -> Result<Self> {
        let magic = input.take(MAGIC.len().min(input.bytes.len()))?;
        if magic != &MAGIC[..magic.len()] {
            return Err(Error::Foreign("this is not an archive of pg_dump".to_owned()));
        }
        if magic.len() < MAGIC.len() {
            return Err(Error::Incomplete);
        }
        let (major, minor, _revision) = (input.byte()?, input.byte()?, input.byte()?);
        if major != 1 || !(10..=16).contains(&minor) {
            return Err(Error::Foreign(format!(
                "archives of version {major}.{minor} are not supported (1.10 to 1.16 are)"
            )));
        }
        let (int_size, offset_size) = (input.byte()?, input.byte()?);
        if !(1..=8).contains(&int_size) || !(1..=8).contains(&offset_size) {
            return damaged(format!("integers of {int_size} bytes, offsets of {offset_size}"));
        }
        input.int_size = usize::from(int_size);
        let format = match input.byte()? {
            1 => FormatCode::Custom,
            3 => FormatCode::Files,
            other => return damaged(format!("unknown format {other}")),
        };
        let (algorithm, level) = compression(input, minor)?;
        let created = time(input)?;
        Ok(Head {
            header: Header {
                created,
                database: input.text_or_empty()?,
                server_version: input.text_or_empty()?,
                dumper_version: input.text_or_empty()?,
            },
            minor,
            int_size,
            offset_size,
            format,
            algorithm,
            level,
        })
    }
}

fn compression(input: &mut Input, minor: u8) -> Result<(Algorithm, Option<i32>)> {
    if minor < 15 {
        // Older versions only say the level of gzip.
        let level = input.int()?;
        let algorithm = if level == 0 { Algorithm::None } else { Algorithm::Gzip };
        return Ok((algorithm, Some(level)));
    }
    let algorithm = match input.byte()? {
        0 => Algorithm::None,
        1 => Algorithm::Gzip,
        2 => Algorithm::Lz4,
        3 => Algorithm::Zstd,
        other => return damaged(format!("unknown compression {other}")),
    };
    Ok((algorithm, None))
}

/// C's `struct tm`; a time that never was is the epoch, because nothing depends on it.
fn time(input: &mut Input) -> Result<NaiveDateTime> {
    let mut field = || input.int();
    let (second, minute, hour, day) = (field()?, field()?, field()?, field()?);
    let (month, year, _is_dst) = (field()?, field()?, field()?);
    let number = |value: i32| u32::try_from(value).unwrap_or(u32::MAX);
    let date = NaiveDate::from_ymd_opt(year.saturating_add(1900), number(month).saturating_add(1), number(day));
    let time = date.and_then(|date| date.and_hms_opt(number(hour), number(minute), number(second)));
    Ok(time.unwrap_or_default())
}

/// A table of contents. What stands after each entry depends on the format.
#[derive(Clone, Debug)]
pub struct Toc {
    /// The header before it.
    pub head: Head,
    /// The entries.
    pub entries: Vec<Entry>,
    /// Where each entry's data is (custom format).
    pub places: Vec<Place>,
    /// The name of each entry's file, empty where it has none (directory and tar).
    pub files: Vec<String>,
}

impl Toc {
    /// Reads header and table of contents from the start of an archive or a `toc.dat`.
    ///
    /// # Errors
    /// As [`Head::read`]; or an entry is damaged.
    pub fn read(input: &mut Input) -> Result<Self> {
        let head = Head::read(input)?;
        let count = input.int()?;
        if count < 0 {
            return damaged("a negative number of entries");
        }
        let mut toc = Toc {
            head,
            entries: Vec::new(),
            places: Vec::new(),
            files: Vec::new(),
        };
        for _ in 0..count {
            let entry = toc.entry(input)?;
            match toc.head.format {
                FormatCode::Custom => toc.places.push(place(input, toc.head.offset_size)?),
                FormatCode::Files => toc.files.push(input.text_or_empty()?),
            }
            toc.entries.push(entry);
        }
        Ok(toc)
    }

    fn entry(&self, input: &mut Input) -> Result<Entry> {
        let minor = self.head.minor;
        let dump_id = input.int()?;
        if dump_id <= 0 {
            return damaged(format!("entry number {dump_id}"));
        }
        let has_data = input.int()? != 0;
        let (table_oid, oid) = (input.number_in_text()?, input.number_in_text()?);
        let (tag, desc) = (input.text_or_empty()?, input.text_or_empty()?);
        let section = match minor >= 11 {
            true => section(input.int()?)?,
            false => section_by_type(&desc),
        };
        let entry = Entry {
            table_oid,
            oid,
            has_data,
            defn: input.text_or_empty()?,
            drop_stmt: input.text_or_empty()?,
            copy_stmt: input.text_or_empty()?,
            namespace: input.text()?,
            tablespace: input.text()?,
            tableam: if minor >= 14 { input.text()? } else { None },
            relkind: if minor >= 16 { relkind(input.int()?)? } else { 0 },
            owner: input.text_or_empty()?,
            ..Entry::new(dump_id, &desc, tag, section)
        };
        // Whether the table has OIDs: not since PostgreSQL 12.
        input.text()?;
        Ok(Entry {
            dependencies: dependencies(input)?,
            ..entry
        })
    }
}

fn dependencies(input: &mut Input) -> Result<Vec<i32>> {
    let mut dependencies = Vec::new();
    while let Some(text) = input.text()? {
        match text.parse() {
            Ok(id) => dependencies.push(id),
            Err(_) => return damaged(format!("{text:?} is no entry number")),
        }
    }
    Ok(dependencies)
}

fn relkind(value: i32) -> Result<u8> {
    u8::try_from(value).or_else(|_| damaged(format!("relation kind {value}")))
}

fn section(value: i32) -> Result<Section> {
    match value {
        1 => Ok(Section::None),
        2 => Ok(Section::PreData),
        3 => Ok(Section::Data),
        4 => Ok(Section::PostData),
        other => damaged(format!("unknown section {other}")),
    }
}

/// The section of an entry, in archives from before sections were written down.
fn section_by_type(desc: &str) -> Section {
    match desc {
        "COMMENT" | "ACL" | "ACL LANGUAGE" => Section::None,
        "TABLE DATA" | "BLOBS" | "BLOB COMMENTS" => Section::Data,
        "CONSTRAINT" | "CHECK CONSTRAINT" | "FK CONSTRAINT" | "INDEX" | "RULE" | "TRIGGER" => Section::PostData,
        _ => Section::PreData,
    }
}

fn place(input: &mut Input, size: u8) -> Result<Place> {
    let flag = input.byte()?;
    let at = input.magnitude(usize::from(size))?;
    match flag {
        1 => Ok(Place::Unknown),
        2 => Ok(Place::At(at)),
        3 => Ok(Place::NoData),
        other => damaged(format!("unknown offset flag {other}")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{put_entry, put_header, put_int, put_place};
    use super::*;
    use crate::seal::Compression;

    fn sample() -> (Header, Entry) {
        let header = Header {
            created: NaiveDate::from_ymd_opt(2026, 11, 20)
                .unwrap()
                .and_hms_opt(2, 3, 4)
                .unwrap(),
            database: "odd \"db".to_owned(),
            server_version: "17.1".to_owned(),
            dumper_version: "x".to_owned(),
        };
        let entry = Entry {
            defn: "CREATE TABLE …".to_owned(),
            copy_stmt: "COPY t FROM stdin;\n".to_owned(),
            namespace: Some("public".to_owned()),
            tablespace: Some(String::new()),
            tableam: Some("heap".to_owned()),
            relkind: b'p',
            owner: "o".to_owned(),
            dependencies: vec![1, 22],
            has_data: true,
            ..Entry::new(7, "TABLE", "caf\u{10FFE9}", Section::PreData)
        };
        (header, entry)
    }

    fn bytes(minor: u8) -> Vec<u8> {
        let (header, entry) = sample();
        let mut out = Vec::new();
        put_header(&mut out, &header, minor, FormatCode::Custom, Compression::default());
        put_int(&mut out, 1);
        put_entry(&mut out, &entry, minor);
        put_place(&mut out, Place::At(0x1_0000_0000));
        out
    }

    #[test]
    fn what_is_written_is_read() {
        let (header, entry) = sample();
        let bytes = bytes(16);
        let mut input = Input::new(&bytes, 4);
        let toc = Toc::read(&mut input).unwrap();
        assert_eq!(input.position(), bytes.len());
        assert_eq!(toc.head.header, header);
        assert_eq!(toc.head.algorithm, Algorithm::Gzip);
        assert_eq!(toc.entries, [entry]);
        assert_eq!(toc.places, [Place::At(0x1_0000_0000)]);
    }

    #[test]
    fn a_table_of_contents_that_is_cut_is_incomplete_everywhere() {
        let bytes = bytes(14);
        for len in 0..bytes.len() {
            let result = Toc::read(&mut Input::new(&bytes[..len], 4));
            assert!(matches!(result, Err(Error::Incomplete)), "cut at {len}: {result:?}");
        }
    }

    #[test]
    fn numbers_keep_their_sign_and_their_limits() {
        let mut out = Vec::new();
        for number in [0, -1, i32::MAX, i32::MIN] {
            put_int(&mut out, number);
        }
        put_int(&mut out, 4_000_000_000_u32.cast_signed());
        let mut input = Input::new(&out, 4);
        for number in [0, -1, i32::MAX, i32::MIN] {
            assert_eq!(input.int().unwrap(), number);
        }
        assert_eq!(input.oid().unwrap(), 4_000_000_000);
        assert!(matches!(
            Input::new(&[0, 255, 255, 255, 255], 4).int(),
            Err(Error::Damaged(_))
        ));
    }
}
