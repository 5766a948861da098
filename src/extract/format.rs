//! Rows as text: COPY's, CSV, INSERT statements, JSON.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::str::FromStr;

use super::charset::Charset;
use crate::error::{Exit, Fail};
use crate::raw_text;
use crate::sql::encoding::Characters;

/// How rows are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// COPY's text format: a line for each row, tabs between values, `\N` for NULL.
    #[default]
    Copy,
    /// CSV as `COPY … WITH (FORMAT csv, HEADER)` writes it.
    Csv,
    /// A statement for each row.
    Insert,
    /// An array of objects, a line for each row.
    Json,
}

impl FromStr for Format {
    type Err = Fail;

    fn from_str(text: &str) -> Result<Self, Fail> {
        match text {
            "copy" => Ok(Format::Copy),
            "csv" => Ok(Format::Csv),
            "insert" => Ok(Format::Insert),
            "json" => Ok(Format::Json),
            _ => Err(Fail::new(
                Exit::Usage,
                format!("{text:?} is no format of rows: they are copy, csv, insert and json"),
            )),
        }
    }
}

/// What a value is, as far as formats tell values apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// A number, or what stands for none (NaN).
    Number,
    /// `t` or `f`.
    Boolean,
    /// PostgreSQL's bit strings.
    Bits,
    /// A document of JSON.
    Json,
    /// SQLite's bytes.
    Blob,
    /// Everything else.
    Text,
}

/// A value; NULL has no text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    /// What it is.
    pub class: Class,
    /// What it says.
    pub text: Option<Cow<'a, [u8]>>,
}

/// The SQL that statements are for.
#[derive(Clone, Copy, Debug)]
pub enum Dialect {
    /// PostgreSQL; what a character is decides where one that must be doubled is.
    Postgres(Characters),
    /// SQLite.
    Sqlite,
}

/// What all rows of a table share.
#[derive(Clone, Debug)]
pub struct Shape {
    /// The table in a statement.
    pub target: String,
    /// Names of its columns.
    pub columns: Vec<String>,
    /// The same in a statement.
    pub quoted: Vec<String>,
    /// A column has a value that only the server gives (`GENERATED ALWAYS AS IDENTITY`).
    pub overriding: bool,
    /// What statements need before them.
    pub settings: String,
    /// Whose SQL it is.
    pub dialect: Dialect,
    /// What text is in.
    pub charset: Charset,
}

/// Writes the rows of one table.
pub struct Formatter {
    format: Format,
    shape: Shape,
    head: Vec<u8>,
    any: bool,
}

impl Formatter {
    /// Writes rows of this shape.
    ///
    /// # Errors
    /// They cannot be written so.
    pub fn new(format: Format, shape: Shape) -> Result<Self, Fail> {
        if format == Format::Json && matches!(shape.charset, Charset::Unknown) {
            return Err(Fail::new(
                Exit::Usage,
                "JSON is UTF-8, and the encoding of this database is not known well enough to convert it",
            )
            .hint("take another --format: it is in the database's own encoding"));
        }
        let mut head = format!("INSERT INTO {} ", shape.target);
        if shape.quoted.is_empty() {
            head.push_str("DEFAULT VALUES");
        } else {
            let overriding = if shape.overriding {
                "OVERRIDING SYSTEM VALUE "
            } else {
                ""
            };
            let _ = write!(head, "({}) {overriding}VALUES (", shape.quoted.join(", "));
        }
        Ok(Formatter {
            format,
            head: raw_text::encode(&head).into_owned(),
            shape,
            any: false,
        })
    }

    /// What comes before the rows.
    pub fn begin(&self, out: &mut Vec<u8>) {
        match self.format {
            Format::Copy => {}
            Format::Insert => out.extend_from_slice(self.shape.settings.as_bytes()),
            Format::Json => out.push(b'['),
            Format::Csv => {
                for (at, name) in self.shape.columns.iter().enumerate() {
                    if at > 0 {
                        out.push(b',');
                    }
                    csv(&raw_text::encode(name), self.shape.columns.len() == 1, out);
                }
                out.push(b'\n');
            }
        }
    }

    /// One row.
    pub fn row(&mut self, fields: &[Field<'_>], out: &mut Vec<u8>) {
        let first = !std::mem::replace(&mut self.any, true);
        match self.format {
            Format::Copy => {
                separated(fields, b"\t", out, copy);
                out.push(b'\n');
            }
            Format::Csv => {
                let alone = fields.len() == 1;
                separated(fields, b",", out, |field, out| {
                    if let Some(text) = &field.text {
                        csv(&readable(field.class, text), alone, out);
                    }
                });
                out.push(b'\n');
            }
            Format::Insert => {
                out.extend_from_slice(&self.head);
                separated(fields, b", ", out, |field, out| literal(field, self.shape.dialect, out));
                out.extend_from_slice(if fields.is_empty() { b";\n" } else { b");\n" });
            }
            Format::Json => {
                out.extend_from_slice(if first { b"\n{" } else { b",\n{" });
                for (at, (name, field)) in self.shape.columns.iter().zip(fields).enumerate() {
                    if at > 0 {
                        out.push(b',');
                    }
                    json_text(&self.shape.charset.decode(&raw_text::encode(name)), out);
                    out.push(b':');
                    json(field, self.shape.charset, out);
                }
                out.push(b'}');
            }
        }
    }

    /// What comes after the rows.
    pub fn end(&self, out: &mut Vec<u8>) {
        if self.format == Format::Json {
            out.extend_from_slice(b"\n]\n");
        }
    }
}

fn separated(fields: &[Field<'_>], between: &[u8], out: &mut Vec<u8>, write: impl Fn(&Field<'_>, &mut Vec<u8>)) {
    for (at, field) in fields.iter().enumerate() {
        if at > 0 {
            out.extend_from_slice(between);
        }
        write(field, out);
    }
}

/// Bytes that are no text as PostgreSQL writes them.
fn readable<'a>(class: Class, text: &'a [u8]) -> Cow<'a, [u8]> {
    match class {
        Class::Blob => Cow::Owned(format!("\\x{}", hex(text)).into_bytes()),
        _ => Cow::Borrowed(text),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

fn copy(field: &Field<'_>, out: &mut Vec<u8>) {
    let Some(text) = &field.text else {
        out.extend_from_slice(b"\\N");
        return;
    };
    for byte in readable(field.class, text).iter() {
        let escaped = match byte {
            8 => b'b',
            12 => b'f',
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            11 => b'v',
            b'\\' => b'\\',
            byte => {
                out.push(*byte);
                continue;
            }
        };
        out.extend_from_slice(&[b'\\', escaped]);
    }
}

/// A value of CSV: NULL is nothing at all, and an empty text is a pair of quotes.
fn csv(text: &[u8], alone: bool, out: &mut Vec<u8>) {
    let needs_quotes = text.is_empty()
        || text.iter().any(|byte| matches!(byte, b',' | b'"' | b'\n' | b'\r'))
        || alone && text == b"\\.";
    if !needs_quotes {
        out.extend_from_slice(text);
        return;
    }
    out.push(b'"');
    for byte in text {
        if *byte == b'"' {
            out.push(b'"');
        }
        out.push(*byte);
    }
    out.push(b'"');
}

fn literal(field: &Field<'_>, dialect: Dialect, out: &mut Vec<u8>) {
    let Some(text) = &field.text else {
        out.extend_from_slice(b"NULL");
        return;
    };
    let quote = |byte| byte == b'\'';
    match (field.class, dialect) {
        (Class::Number, _) if text.iter().all(|byte| b"0123456789 +-eE.".contains(byte)) => out.extend_from_slice(text),
        (Class::Boolean, _) => out.extend_from_slice(if text.as_ref() == b"t" { b"true" } else { b"false" }),
        (Class::Blob, _) => out.extend_from_slice(format!("X'{}'", hex(text)).as_bytes()),
        // SQLite reads a statement as UTF-8 and up to the first NUL.
        (_, Dialect::Sqlite) if text.contains(&0) || std::str::from_utf8(text).is_err() => {
            out.extend_from_slice(format!("CAST(X'{}' AS TEXT)", hex(text)).as_bytes());
        }
        (class, dialect) => {
            if class == Class::Bits {
                out.push(b'B');
            }
            out.push(b'\'');
            let characters = match dialect {
                Dialect::Postgres(characters) => characters,
                Dialect::Sqlite => Characters::AsciiApart,
            };
            characters.double(text, quote, out);
            out.push(b'\'');
        }
    }
}

fn json(field: &Field<'_>, charset: Charset, out: &mut Vec<u8>) {
    let Some(text) = &field.text else {
        out.extend_from_slice(b"null");
        return;
    };
    match field.class {
        Class::Number if is_json_number(text) => out.extend_from_slice(text),
        Class::Boolean => out.extend_from_slice(if text.as_ref() == b"t" { b"true" } else { b"false" }),
        Class::Json => out.extend_from_slice(charset.decode(text).as_bytes()),
        class => json_text(&charset.decode(&readable(class, text)), out),
    }
}

fn json_text(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    for c in text.chars() {
        match c {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            '\n' => out.extend_from_slice(b"\\n"),
            '\r' => out.extend_from_slice(b"\\r"),
            '\t' => out.extend_from_slice(b"\\t"),
            c if u32::from(c) < 0x20 || c == '\u{7f}' => {
                out.extend_from_slice(format!("\\u{:04x}", u32::from(c)).as_bytes());
            }
            c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    out.push(b'"');
}

fn is_json_number(text: &[u8]) -> bool {
    let digits = |text: &mut &[u8]| {
        let count = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
        *text = &text[count..];
        count
    };
    let mut rest = text.strip_prefix(b"-").unwrap_or(text);
    let zero = rest.first() == Some(&b'0');
    let whole = digits(&mut rest);
    if whole == 0 || zero && whole > 1 {
        return false;
    }
    if let [b'.', after @ ..] = rest {
        rest = after;
        if digits(&mut rest) == 0 {
            return false;
        }
    }
    if let [b'e' | b'E', after @ ..] = rest {
        rest = match after {
            [b'+' | b'-', after @ ..] => after,
            after => after,
        };
        if digits(&mut rest) == 0 {
            return false;
        }
    }
    rest.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_json_takes_for_a_number_is_one() {
        for text in ["0", "-1", "1.50", "1e+20", "-0.5E-3", "12345678901234567890123"] {
            assert!(is_json_number(text.as_bytes()), "{text}");
        }
        for text in ["", "-", "NaN", "Infinity", "01", "1.", ".5", "1e", "+1", "1 "] {
            assert!(!is_json_number(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn json_stays_json_whatever_is_in_a_text() {
        let text = "a\"b\\c\n\u{1}\u{7f}é\t";
        let mut out = Vec::new();
        json_text(text, &mut out);
        assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
    }
}
