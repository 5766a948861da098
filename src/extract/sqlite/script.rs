//! A whole database as SQL, equal in meaning to what `.dump` of SQLite's shell writes, and with the numbers in the header
//! that applications keep there.

use std::io::Write;

use rusqlite::Connection;

use super::Object;
use super::table::{rows, shape, stored_columns};
use crate::error::Result;
use crate::extract::format::{Format, Formatter};

/// The highest numbers of tables that count their rows.
const SEQUENCE: &str = "sqlite_sequence";

/// Writes all of it to `out`.
///
/// # Errors
/// Something cannot be read, or `out` cannot be written to.
pub fn write(open: &Connection, objects: &[Object], out: &mut (dyn Write + Send)) -> Result<()> {
    let encoding: String = open.query_row("PRAGMA encoding", [], |row| row.get(0))?;
    if encoding != "UTF-8" {
        writeln!(out, "PRAGMA encoding = '{encoding}';")?;
    }
    out.write_all(b"PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;\n")?;
    let has_virtual = objects.iter().any(|it| it.kind == "virtual table");
    if has_virtual {
        out.write_all(b"PRAGMA writable_schema=ON;\n")?;
    }
    let mut tables: Vec<&Object> = objects.iter().filter(|it| it.kind.ends_with("table")).collect();
    // It counts what is in the others, which change it.
    tables.sort_by_key(|it| it.name == SEQUENCE);
    let mut analysed = false;
    for table in tables {
        let Some(sql) = &table.sql else { continue };
        if table.kind == "virtual table" {
            // Its module would make the tables that are made here with their rows.
            let literal = |text: &str| format!("'{}'", text.replace('\'', "''"));
            let name = literal(&table.name);
            writeln!(
                out,
                "INSERT INTO sqlite_schema(type,name,tbl_name,rootpage,sql) VALUES('table',{name},{name},0,{});",
                literal(sql)
            )?;
            continue;
        }
        match table.name.as_str() {
            SEQUENCE if !objects.iter().any(counts) => continue,
            SEQUENCE => out.write_all(b"DELETE FROM sqlite_sequence;\n")?,
            name if name.starts_with("sqlite_stat") => {
                if !std::mem::replace(&mut analysed, true) {
                    out.write_all(b"ANALYZE sqlite_schema;\n")?;
                }
            }
            name if name.starts_with("sqlite_") => continue,
            _ => writeln!(out, "{sql};")?,
        }
        all_rows(open, &table.name, out)?;
    }
    let built_on_them = objects.iter().filter(|it| !it.kind.ends_with("table"));
    for sql in built_on_them.filter_map(|it| it.sql.as_ref()) {
        writeln!(out, "{sql};")?;
    }
    if has_virtual {
        out.write_all(b"PRAGMA writable_schema=OFF;\n")?;
    }
    for pragma in ["user_version", "application_id"] {
        let number: i64 = open.query_row(&format!("PRAGMA {pragma}"), [], |row| row.get(0))?;
        if number != 0 {
            writeln!(out, "PRAGMA {pragma} = {number};")?;
        }
    }
    out.write_all(b"COMMIT;\n")?;
    Ok(())
}

/// Whether a table counts its rows: [`SEQUENCE`] comes only with such a one, and stays for good.
fn counts(table: &Object) -> bool {
    let sql = table.sql.as_ref().filter(|_| table.kind == "table");
    sql.is_some_and(|sql| sql.to_ascii_uppercase().contains("AUTOINCREMENT"))
}

fn all_rows(open: &Connection, table: &str, out: &mut (dyn Write + Send)) -> Result<()> {
    let columns = stored_columns(open, table)?;
    let formatter = Formatter::new(Format::Insert, shape(table, &columns))?;
    rows(open, table, &columns, None, formatter, out).map(|_| ())
}
