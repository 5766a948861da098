//! The rows of tables: which are dumped, and the statements that carry them.

use super::emit::Emit;
use super::object::{DumpId, Object, Oid};
use super::{Catalog, Step};
use crate::error::Result;

/// The rows of a table; also the value of a sequence and the refresh of a materialized view.
#[derive(Debug, Default)]
pub struct TableData {
    /// The relation.
    pub table: DumpId,
    /// `WHERE …` of an extension's configuration table.
    pub filtercond: Option<String>,
}

/// Which rows are dumped.
pub const READ: Step = Step {
    what: "table data",
    query: |_| None,
    absorb: |_, _| Ok(()),
};

/// What a worker needs to read and write the rows of a table.
#[derive(Debug, Clone)]
pub struct Source {
    /// OID of the relation.
    pub oid: Oid,
    /// `r`, or `f` for a foreign table.
    pub relkind: char,
    /// Schema, unquoted.
    pub schema: String,
    /// Name, unquoted.
    pub name: String,
    /// `(a, b)`, quoted; `()`-less empty text when no column is written.
    pub column_list: String,
    /// Names of the columns, unquoted, in order; generated and dropped ones left out.
    pub columns: Vec<String>,
    /// `WHERE …` to apply, or empty.
    pub filter: String,
    /// Its heap may be read in ranges of ctid.
    pub by_ctid: bool,
    /// Pages as the statistics have them.
    pub relpages: u32,
    /// `COPY … TO stdout` of the whole table, without semicolon.
    pub copy_out: String,
    /// `COPY … FROM stdin;` with its line feed, as the archive holds it.
    pub copy_in: String,
    /// The relation that rows are loaded into, quoted with its schema: itself or the partition root.
    pub target: String,
    /// Some columns are GENERATED ALWAYS AS IDENTITY: INSERTs need `OVERRIDING SYSTEM VALUE`.
    pub needs_override: bool,
}

/// Where the rows of `it` come from and go to.
///
/// # Errors
/// The catalogs are inconsistent.
pub fn source(_cat: &Catalog, _it: &TableData) -> Result<Source> {
    anyhow::bail!("table data is not read yet")
}

/// Writes the entry that stands for the rows.
///
/// # Errors
/// The catalogs are inconsistent.
pub fn dump(_emit: &mut Emit, _object: &Object, _it: &TableData) -> Result<()> {
    Ok(())
}
