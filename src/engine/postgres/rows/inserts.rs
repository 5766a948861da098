//! Rows as INSERT statements, made of the same COPY text that archives hold.

use std::borrow::Cow;

use anyhow::Context as _;

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
    rows_in_statement: u32,
}

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
            columns: columns.into_iter().map(column).collect(),
            rows_in_statement: 0,
        }
    }

    /// Appends the statements of whole rows of COPY text to `out`.
    pub(super) fn rows(&mut self, rows: &[u8], out: &mut Vec<u8>) -> Result<()> {
        for row in rows.split_inclusive(|byte| *byte == b'\n') {
            self.row(row.strip_suffix(b"\n").unwrap_or(row), out)?;
        }
        Ok(())
    }

    fn row(&mut self, row: &[u8], out: &mut Vec<u8>) -> Result<()> {
        if self.columns.is_empty() {
            // Without columns nothing can be in conflict.
            out.extend_from_slice(&self.head);
            out.extend_from_slice(b";\n");
            return Ok(());
        }
        if self.rows_in_statement == 0 {
            out.extend_from_slice(&self.head);
        } else {
            out.extend_from_slice(b",\n\t(");
        }
        let mut fields = row.split(|byte| *byte == b'\t');
        for (at, column) in self.columns.iter().enumerate() {
            if at > 0 {
                out.extend_from_slice(b", ");
            }
            if *column == Column::Generated {
                out.extend_from_slice(b"DEFAULT");
                continue;
            }
            let field = fields.next().context("a row has fewer values than its table columns")?;
            if field == b"\\N" {
                out.extend_from_slice(b"NULL");
            } else {
                self.value(*column, &unescape(field, self.characters), out);
            }
        }
        // Fewer columns than values cannot be; more would mean that the row was torn apart in the wrong place.
        anyhow::ensure!(fields.next().is_none(), "a row has more values than its table columns");
        out.push(b')');
        self.rows_in_statement += 1;
        if self.rows_in_statement >= self.options.rows {
            self.end_statement(out);
        }
        Ok(())
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

    fn value(&self, column: Column, value: &[u8], out: &mut Vec<u8>) {
        match column {
            Column::Number if value.iter().all(|byte| b"0123456789 +-eE.".contains(byte)) => {
                out.extend_from_slice(value);
            }
            Column::Bit => {
                out.extend_from_slice(b"B'");
                out.extend_from_slice(value);
                out.push(b'\'');
            }
            Column::Boolean => out.extend_from_slice(if value == b"t" { b"true" } else { b"false" }),
            Column::Number | Column::Other | Column::Generated => self.literal(value, out),
        }
    }

    fn literal(&self, value: &[u8], out: &mut Vec<u8>) {
        out.push(b'\'');
        let escape = |byte| byte == b'\'' || (byte == b'\\' && !self.std_strings);
        self.characters.double(value, escape, out);
        out.push(b'\'');
    }
}

/// The built-in types that need no string literal. Names are unambiguous: all other types are written with
/// their schema or in quotes.
fn column(column: &SourceColumn) -> Column {
    if column.generated {
        return Column::Generated;
    }
    let name = column.type_name.split('(').next().unwrap_or_default();
    match name {
        // `oid` is no key word of SQL, so --quote-all-identifiers quotes it.
        "oid" | "\"oid\"" => Column::Number,
        "smallint" | "integer" | "bigint" | "real" | "double precision" | "numeric" => Column::Number,
        "bit" | "bit varying" => Column::Bit,
        "boolean" => Column::Boolean,
        _ => Column::Other,
    }
}

/// Undoes the escapes of COPY's text format.
fn unescape(field: &[u8], characters: Characters) -> Cow<'_, [u8]> {
    if !field.contains(&b'\\') {
        return Cow::Borrowed(field);
    }
    let mut value = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, after @ ..] = rest {
        if *first != b'\\' {
            let (character, after) = rest.split_at(characters.first(rest));
            value.extend_from_slice(character);
            rest = after;
            continue;
        }
        let (escaped, after) = after.split_first().unwrap_or((&b'\\', &[]));
        value.push(match escaped {
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
    Cow::Owned(value)
}
