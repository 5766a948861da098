//! Rows as INSERT statements, made of the same COPY text that archives hold.

use anyhow::Context as _;
use memchr::{memchr, memchr2};
use tokio_postgres::types::Type;

use crate::engine::postgres::catalog::table_data::{Source, SourceColumn};
use crate::engine::postgres::options::Inserts;
use crate::error::Result;
use crate::raw_text;
use crate::sql::encoding::Characters;
use crate::sql::quote::Quote;

/// Turns COPY text into INSERT statements. Rows of several calls may share one statement.
pub(super) struct InsertWriter {
    options: Inserts,
    std_strings: bool,
    characters: Characters,
    /// `INSERT INTO t (…) OVERRIDING SYSTEM VALUE VALUES`, with the space or line feed after it.
    head: Vec<u8>,
    columns: Vec<Column>,
    /// Not all of them are generated.
    has_values: bool,
    rows_in_statement: u32,
}

/// Bytes of statements that are passed on together, about.
const PIECE: usize = 256 << 10;

/// How the values of a column are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Column {
    /// Generated: `DEFAULT`, and no value in the COPY text.
    Generated,
    /// Numbers go without quotes where they are finite.
    Number,
    Bit,
    Boolean,
    Other,
}

impl InsertWriter {
    pub(super) fn new(source: &Source, options: Inserts, quote: &Quote) -> Self {
        let columns: Vec<_> = source
            .columns
            .iter()
            // With names there is no need to mention what is computed anyway.
            .filter(|column| !(options.columns && column.generated))
            .collect();
        let mut head = format!("INSERT INTO {} ", source.target);
        if options.columns && !columns.is_empty() {
            let names: Vec<_> = columns.iter().map(|column| quote.id(&column.name)).collect();
            head.push_str(&format!("({}) ", names.join(", ")));
        }
        if source.needs_override {
            head.push_str("OVERRIDING SYSTEM VALUE ");
        }
        // Several rows stand below each other, a single one beside.
        head.push_str(match (columns.is_empty(), options.rows) {
            (true, _) => "DEFAULT VALUES",
            (false, 0 | 1) => "VALUES (",
            (false, _) => "VALUES\n\t(",
        });
        InsertWriter {
            options,
            std_strings: quote.std_strings,
            characters: quote.characters,
            head: raw_text::encode(&head).into_owned(),
            has_values: columns.iter().any(|column| !column.generated),
            columns: columns.into_iter().map(column).collect(),
            rows_in_statement: 0,
        }
    }

    /// Writes the statements of whole rows of COPY text to `out`.
    pub(super) fn rows(&mut self, rows: &[u8], out: &mut Out) -> Result<()> {
        let mut rest = rows;
        while !rest.is_empty() {
            let end = memchr(b'\n', rest).context("a row without its end")?;
            self.row(&rest[..end], out)?;
            rest = &rest[end + 1..];
        }
        Ok(())
    }

    fn row(&mut self, row: &[u8], out: &mut Out) -> Result<()> {
        if self.columns.is_empty() {
            // Without columns nothing can be in conflict.
            out.text.extend_from_slice(&self.head);
            out.text.extend_from_slice(b";\n");
            return out.pass_on();
        }
        if self.rows_in_statement == 0 {
            out.text.extend_from_slice(&self.head);
        } else {
            out.text.extend_from_slice(b",\n\t(");
        }
        // A row of columns that are all generated is an empty line.
        let mut rest = Some(row).filter(|row| self.has_values || !row.is_empty());
        for (at, column) in self.columns.iter().enumerate() {
            if at > 0 {
                out.text.extend_from_slice(b", ");
            }
            if *column == Column::Generated {
                out.text.extend_from_slice(b"DEFAULT");
                continue;
            }
            let fields = rest.context("a row has fewer values than its table columns")?;
            let field = match memchr(b'\t', fields) {
                Some(end) => {
                    rest = Some(&fields[end + 1..]);
                    &fields[..end]
                }
                None => {
                    rest = None;
                    fields
                }
            };
            if field == b"\\N" {
                out.text.extend_from_slice(b"NULL");
            } else {
                self.value(*column, field, out)?;
            }
        }
        // Fewer columns than values cannot be; more would mean that the row was torn apart in the wrong place.
        anyhow::ensure!(rest.is_none(), "a row has more values than its table columns");
        out.text.push(b')');
        self.rows_in_statement += 1;
        if self.rows_in_statement >= self.options.rows {
            self.end_statement(&mut out.text);
        }
        out.pass_on()
    }

    /// Ends a statement that could have taken more rows.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>) {
        if self.rows_in_statement > 0 {
            self.end_statement(out);
        }
    }

    fn end_statement(&mut self, out: &mut Vec<u8>) {
        if self.options.on_conflict_do_nothing {
            out.extend_from_slice(b" ON CONFLICT DO NOTHING");
        }
        out.extend_from_slice(b";\n");
        self.rows_in_statement = 0;
    }

    /// Writes a value, of which `field` is the COPY text.
    fn value(&self, column: Column, field: &[u8], out: &mut Out) -> Result<()> {
        match column {
            Column::Number if field.iter().all(|byte| b"0123456789 +-eE.".contains(byte)) => {
                out.text.extend_from_slice(field);
            }
            Column::Bit => {
                out.text.push(b'B');
                return self.literal(field, out);
            }
            Column::Boolean => out
                .text
                .extend_from_slice(if field == b"t" { b"true" } else { b"false" }),
            Column::Number | Column::Other | Column::Generated => return self.literal(field, out),
        }
        Ok(())
    }

    /// Turns COPY's escapes into those of a literal on the way: a value of many megabytes is never held a second time.
    fn literal(&self, field: &[u8], out: &mut Out) -> Result<()> {
        out.text.push(b'\'');
        let mut rest = field;
        while !rest.is_empty() {
            let (plain, after) = rest.split_at(self.plain(rest));
            out.text.extend_from_slice(plain);
            out.pass_on()?;
            let (character, after) = match after {
                [b'\\', escaped, after @ ..] => (unescaped(*escaped), after),
                [character, after @ ..] if plain.len() < PIECE => (*character, after),
                _ => {
                    rest = after;
                    continue;
                }
            };
            if character == b'\'' || (character == b'\\' && !self.std_strings) {
                out.text.push(character);
            }
            out.text.push(character);
            rest = after;
        }
        out.text.push(b'\'');
        Ok(())
    }

    /// How many bytes at the start of some COPY text stand for themselves: no more than a piece, or a character more.
    fn plain(&self, text: &[u8]) -> usize {
        if self.characters == Characters::AsciiApart {
            let piece = &text[..text.len().min(PIECE)];
            return memchr2(b'\\', b'\'', piece).unwrap_or(piece.len());
        }
        let mut at = 0;
        while at < text.len().min(PIECE) {
            let len = self.characters.first(&text[at..]);
            if len == 1 && matches!(text[at], b'\\' | b'\'') {
                break;
            }
            at += len;
        }
        at
    }
}

/// The built-in types that need no string literal, by their OIDs. An array is none of them.
fn column(column: &SourceColumn) -> Column {
    if column.generated {
        return Column::Generated;
    }
    match column.value_type.and_then(Type::from_oid) {
        Some(Type::INT2 | Type::INT4 | Type::INT8 | Type::OID | Type::FLOAT4 | Type::FLOAT8 | Type::NUMERIC) => {
            Column::Number
        }
        Some(Type::BIT | Type::VARBIT) => Column::Bit,
        Some(Type::BOOL) => Column::Boolean,
        _ => Column::Other,
    }
}

/// What an escape of COPY's text format stands for, by its second character.
fn unescaped(escaped: u8) -> u8 {
    match escaped {
        b'b' => 8,
        b'f' => 12,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'v' => 11,
        other => other,
    }
}

/// Where statements go: passed on whenever there is a piece of them.
pub(super) struct Out<'a> {
    /// What was not passed on yet.
    pub(super) text: Vec<u8>,
    pass: &'a mut dyn FnMut(&[u8]) -> Result<()>,
}

impl<'a> Out<'a> {
    /// Passes on by `pass`, in a buffer that was used before or is new.
    pub(super) fn new(text: Vec<u8>, pass: &'a mut dyn FnMut(&[u8]) -> Result<()>) -> Self {
        Out { text, pass }
    }

    fn pass_on(&mut self) -> Result<()> {
        match self.text.len() < PIECE {
            true => Ok(()),
            false => self.pass_all(),
        }
    }

    /// Passes on what is left.
    pub(super) fn pass_all(&mut self) -> Result<()> {
        (self.pass)(&self.text)?;
        self.text.clear();
        Ok(())
    }
}
