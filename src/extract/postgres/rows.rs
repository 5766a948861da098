//! The rows of a table in an archive, read one by one and written in the form that is wanted. One block of the archive is
//! read from its beginning, and no further than it takes to find what is looked for.

use std::borrow::Cow;
use std::io::Write;

use bytes::{Bytes, BytesMut};
use memchr::memchr;

use super::columns::{self, Type};
use super::table::{Column, Table};
use crate::archive::data::Rows;
use crate::archive::reader::Reader;
use crate::archive::toc::Entry;
use crate::error::{Exit, Fail, Result, damage};
use crate::extract::charset::Charset;
use crate::extract::format::{Field, Format, Formatter};
use crate::extract::key::Key;
use crate::manifest;
use crate::row_hash::{PieceHash, RowHash};

/// Rows are written when they come to so many bytes.
const PIECE: usize = 64 << 10;

/// What ends the rows of an entry: a line that no row can be.
const END: &[u8] = b"\\.\n";

/// What follows that line.
const AFTER_END: &[u8] = b"\n\n";

/// Which rows are wanted.
pub struct Wanted<'a> {
    /// Of this table.
    pub table: &'a Table<'a>,
    /// Only the one that has this key.
    pub key: Option<&'a Key>,
    /// What the manifest says of all rows.
    pub known: &'a [manifest::Table],
}

/// Writes the rows that are `wanted` to `out`; returns how many. All rows of a table are compared with what the manifest knows.
///
/// # Errors
/// The archive is damaged, or `out` cannot be written to.
pub async fn write(
    reader: &Reader,
    wanted: &Wanted<'_>,
    format: Format,
    mut formatter: Formatter,
    charset: Charset,
    out: &mut (dyn Write + Send),
) -> Result<u64> {
    let Wanted { table, key, known } = *wanted;
    let mut text = Vec::new();
    formatter.begin(&mut text);
    let mut written = 0;
    for part in &table.parts {
        let order = order(table, part)?;
        let mut lines = Lines::new(reader.rows(part.dump_id).await.map_err(|error| of_rows(part, error))?);
        let mut hash = PieceHash::default();
        let as_it_is = format == Format::Copy && order.is_none();
        while let Some(line) = lines.next().await.map_err(|error| of_rows(part, error))? {
            if key.is_none() {
                hash.update(&line);
            }
            let line = &line[..line.len() - 1];
            let fields = match (as_it_is, key) {
                (true, None) => None,
                _ => Some(fields(line, &table.columns, order.as_deref())?),
            };
            if let (Some(key), Some(fields)) = (key, &fields)
                && !matches(key, &table.columns, fields, charset)
            {
                continue;
            }
            match fields {
                Some(fields) if !as_it_is => formatter.row(&fields, &mut text),
                _ => {
                    text.extend_from_slice(line);
                    text.push(b'\n');
                }
            }
            written += 1;
            if text.len() > PIECE {
                out.write_all(&text)?;
                text.clear();
            }
            if key.is_some() {
                break;
            }
        }
        if key.is_none() {
            compare(part, &hash.finish(), known)?;
        } else if written > 0 {
            break;
        }
    }
    formatter.end(&mut text);
    out.write_all(&text)?;
    Ok(written)
}

/// Whatever keeps rows from being read is damage, unless it says what else it is.
fn of_rows(part: &Entry, error: anyhow::Error) -> anyhow::Error {
    damage(format_args!("the rows of {}", part.tag), error)
}

/// Whether the rows of `part` are those that were backed up.
fn compare(part: &Entry, found: &RowHash, known: &[manifest::Table]) -> Result<()> {
    let schema = part.namespace.as_deref().unwrap_or_default();
    let wanted = known.iter().find(|it| it.schema == schema && it.name == part.tag);
    match wanted {
        Some(wanted) if (found.rows, found.hash()) != (wanted.rows, wanted.hash.clone()) => {
            let message = format!(
                "{schema}.{} has {found} in the archive instead of {} rows, {}",
                part.tag, wanted.rows, wanted.hash
            );
            Err(Fail::new(Exit::Damaged, message).into())
        }
        _ => Ok(()),
    }
}

/// Where the columns of the table are in the rows of `part`; `None` where they are in the same order.
fn order(table: &Table<'_>, part: &Entry) -> Result<Option<Vec<usize>>> {
    let there = columns::of_copy(&part.copy_stmt);
    if there.iter().eq(table.columns.iter().map(|column| &column.name)) {
        return Ok(None);
    }
    let place = |column: &Column| there.iter().position(|name| *name == column.name);
    let order: Option<Vec<usize>> = table.columns.iter().map(place).collect();
    let order = order.filter(|order| order.len() == there.len());
    let message = format!("the columns of {} are not those of {}", part.tag, table.name.1);
    Ok(Some(order.ok_or_else(|| Fail::new(Exit::Damaged, message))?))
}

/// The values of a row, in the order of `columns`.
fn fields<'a>(line: &'a [u8], columns: &[Column], order: Option<&[usize]>) -> Result<Vec<Field<'a>>> {
    let found: Vec<&[u8]> = match columns.is_empty() {
        true => Vec::new(),
        false => line.split(|byte| *byte == b'\t').collect(),
    };
    if found.len() != columns.len() {
        let message = format!(
            "a row has {} values, and its table {} columns",
            found.len(),
            columns.len()
        );
        return Err(Fail::new(Exit::Damaged, message).into());
    }
    let field = |(at, column): (usize, &Column)| {
        let text = found[order.map_or(at, |order| order[at])];
        Field {
            class: column.kind.class(),
            text: (text != b"\\N").then(|| unescaped(text)),
        }
    };
    Ok(columns.iter().enumerate().map(field).collect())
}

/// A value without COPY's escapes.
fn unescaped(text: &[u8]) -> Cow<'_, [u8]> {
    let Some(first) = memchr(b'\\', text) else {
        return Cow::Borrowed(text);
    };
    let (plain, mut rest) = text.split_at(first);
    let mut out = plain.to_vec();
    while let [byte, after @ ..] = rest {
        rest = after;
        match (byte, rest) {
            (b'\\', [escaped, after @ ..]) => {
                out.push(match escaped {
                    b'b' => 8,
                    b'f' => 12,
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'v' => 11,
                    other => *other,
                });
                rest = after;
            }
            (byte, _) => out.push(*byte),
        }
    }
    Cow::Owned(out)
}

/// Whether a row has the key that is looked for.
fn matches(key: &Key, columns: &[Column], fields: &[Field<'_>], charset: Charset) -> bool {
    key.parts.iter().all(|(name, value)| {
        let at = columns.iter().position(|column| column.name == *name);
        let found = at.and_then(|at| Some((columns[at].kind, fields[at].text.as_deref()?)));
        found.is_some_and(|(kind, text)| is_equal(kind, text, value, charset))
    })
}

/// Whether `value`, as a person writes it, is the one in the archive.
fn is_equal(kind: Type, text: &[u8], value: &str, charset: Charset) -> bool {
    if text == charset.encode(value).as_ref() {
        return true;
    }
    let number = |text: &str| text.trim().parse::<i128>().ok();
    let uuid = |text: &str| -> String {
        let digits = text.chars().filter(char::is_ascii_hexdigit);
        digits.map(|digit| digit.to_ascii_lowercase()).collect()
    };
    let Ok(text) = std::str::from_utf8(text) else {
        return false;
    };
    match kind {
        Type::Integer => number(text).is_some_and(|it| Some(it) == number(value)),
        Type::Uuid => uuid(text) == uuid(value),
        Type::Boolean => matches!((text, value), ("t", "true") | ("f", "false")),
        _ => false,
    }
}

/// The lines of an entry's rows, with their ends.
struct Lines {
    rows: Rows,
    buffer: BytesMut,
    /// How much of the buffer has no end of a line.
    looked: usize,
}

impl Lines {
    fn new(rows: Rows) -> Self {
        Lines {
            rows,
            buffer: BytesMut::new(),
            looked: 0,
        }
    }

    /// The next row; `None` at the end.
    async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            if let Some(at) = memchr(b'\n', &self.buffer[self.looked..]) {
                let line = self.buffer.split_to(self.looked + at + 1).freeze();
                self.looked = 0;
                if line == END {
                    self.end().await?;
                    return Ok(None);
                }
                return Ok(Some(line));
            }
            self.looked = self.buffer.len();
            match self.rows.next().await? {
                Some(more) => self.buffer.extend_from_slice(&more),
                None => return Err(Fail::new(Exit::Damaged, "the rows do not end as rows do").into()),
            }
        }
    }

    /// Reads what follows the rows, for only then it is known whether the checksum of their compression is right.
    async fn end(&mut self) -> Result<()> {
        while let Some(more) = self.rows.next().await? {
            self.buffer.extend_from_slice(&more);
            if self.buffer.len() > AFTER_END.len() {
                break;
            }
        }
        match self.buffer.as_ref() == AFTER_END {
            true => Ok(()),
            false => Err(Fail::new(Exit::Damaged, "the rows do not end as rows do").into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_as_people_write_it() {
        for (kind, text, value, equal) in [
            (Type::Integer, "7", "007", true),
            (Type::Integer, "7", "+7", true),
            (Type::Other, "7", "007", false),
            (
                Type::Uuid,
                "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
                "{A0EEBC999C0B4EF8BB6D6BB9BD380A11}",
                true,
            ),
            (Type::Other, "Ab", "ab", false),
            (Type::Boolean, "t", "true", true),
        ] {
            assert_eq!(
                is_equal(kind, text.as_bytes(), value, Charset::Utf8),
                equal,
                "{text} {value}"
            );
        }
        assert!(is_equal(Type::Other, b"Andr\xe9", "Andr\u{e9}", Charset::Latin1));
    }

    #[test]
    fn escapes_of_copy_are_undone() {
        assert_eq!(unescaped(b"a\\tb\\\\n\\nc\\v"), b"a\tb\\n\nc\x0b".as_slice());
    }
}
