//! The rows of one table.

use std::io::Write;

use rusqlite::Connection;

use super::Object;
use super::value::field;
use crate::engine::sqlite::tables::quoted;
use crate::error::Result;
use crate::extract::charset::Charset;
use crate::extract::format::{Dialect, Field, Format, Formatter, Shape};
use crate::extract::key::{self, Key};
use crate::extract::name::{Name, choose};

/// Rows are written when they come to so many bytes.
const PIECE: usize = 64 << 10;

/// Writes the rows of the table that `word` means, or the one with the key `values`; returns how many, the table, and the
/// key.
///
/// # Errors
/// There is no such table, or it cannot be read, or `out` cannot be written to.
pub fn write(
    open: &Connection,
    objects: &[Object],
    word: &str,
    format: Format,
    values: &[String],
    out: &mut (dyn Write + Send),
) -> Result<(u64, String, Option<Key>)> {
    let tables: Vec<&Object> = objects.iter().filter(|it| it.kind.ends_with("table")).collect();
    let table = choose(word, "table", &tables, |it| name(it))?;
    let columns = stored_columns(open, &table.name)?;
    let key = match values.is_empty() {
        true => None,
        false => Some(Key::of(values, &primary_key(open, table)?, &table.name)?),
    };
    let formatter = Formatter::new(format, shape(&table.name, &columns))?;
    let rows = rows(open, &table.name, &columns, key.as_ref(), formatter, out)?;
    Ok((rows, table.name.clone(), key))
}

/// What the rows of a table share.
pub fn shape(table: &str, columns: &[String]) -> Shape {
    Shape {
        target: quoted(table),
        columns: columns.to_vec(),
        quoted: columns.iter().map(|name| quoted(name)).collect(),
        overriding: false,
        settings: String::new(),
        dialect: Dialect::Sqlite,
        charset: Charset::Utf8,
    }
}

/// How an object is called.
pub fn name(object: &Object) -> Name {
    Name {
        kind: object.kind.to_ascii_uppercase(),
        schema: Some("main".to_owned()),
        names: vec![object.name.clone()],
        shown: object.name.clone(),
    }
}

/// The columns whose values are stored and not computed, in their order.
pub fn stored_columns(open: &Connection, table: &str) -> rusqlite::Result<Vec<String>> {
    let mut statement =
        open.prepare("SELECT name FROM pragma_table_xinfo(?1, 'main') WHERE hidden = 0 ORDER BY cid")?;
    statement.query_map([table], |row| row.get(0))?.collect()
}

/// The columns of the primary key; where a table has none, the number of a row.
fn primary_key(open: &Connection, table: &Object) -> Result<Vec<String>> {
    let mut statement = open.prepare("SELECT name FROM pragma_table_info(?1, 'main') WHERE pk > 0 ORDER BY pk")?;
    let columns: Vec<String> = statement
        .query_map([&table.name], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    if !columns.is_empty() {
        return Ok(columns);
    }
    if table.kind != "table" {
        return Err(key::none(&table.name).into());
    }
    Ok(vec!["rowid".to_owned()])
}

/// Writes rows; returns how many.
pub fn rows(
    open: &Connection,
    table: &str,
    columns: &[String],
    key: Option<&Key>,
    mut formatter: Formatter,
    out: &mut (dyn Write + Send),
) -> Result<u64> {
    let mut text = Vec::new();
    formatter.begin(&mut text);
    let list: Vec<String> = columns.iter().map(|name| quoted(name)).collect();
    let all = format!("SELECT {} FROM main.{}", list.join(", "), quoted(table));
    // A column compares with a text as its type wants it; one without a type holds numbers that are like no text.
    let conditions = match key {
        None => vec![String::new()],
        Some(key) => ["{}", "CAST({} AS TEXT)"].map(|form| condition(key, form)).to_vec(),
    };
    let mut written = 0;
    for condition in conditions {
        let mut statement = open.prepare(&format!("{all}{condition}"))?;
        let values = key.iter().flat_map(|key| key.parts.iter().map(|(_, value)| value));
        let mut rows = statement.query(rusqlite::params_from_iter(values))?;
        while let Some(row) = rows.next()? {
            let fields = (0..columns.len()).map(|at| Ok(field(row.get_ref(at)?)));
            let fields: Vec<Field<'_>> = fields.collect::<rusqlite::Result<_>>()?;
            formatter.row(&fields, &mut text);
            written += 1;
            if text.len() > PIECE {
                out.write_all(&text)?;
                text.clear();
            }
        }
        if written > 0 {
            break;
        }
    }
    formatter.end(&mut text);
    out.write_all(&text)?;
    Ok(written)
}

/// What picks one row; `form` is how a column is compared.
fn condition(key: &Key, form: &str) -> String {
    let column = |name: &str| if name == "rowid" { name.to_owned() } else { quoted(name) };
    let parts = key
        .parts
        .iter()
        .map(|(name, _)| format!("{} = ?", form.replace("{}", &column(name))));
    format!(" WHERE {}", parts.collect::<Vec<_>>().join(" AND "))
}
