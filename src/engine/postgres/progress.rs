//! Who hears how a dump goes on.

use super::catalog::Catalog;
use crate::manifest;

/// Hears how a dump goes on. It must not block.
pub trait Progress: Send + Sync {
    /// The next named step began: `connecting`, `reading the catalogs`, `reading rows`, `finishing`.
    fn step(&self, _name: &str) {}
    /// A step of reading the catalogs was done.
    fn read_catalog(&self, _read: &ReadCatalog) {}
    /// All of the catalogs is read and in order, with what there is to warn of.
    fn known(&self, _cat: &Catalog) {}
    /// What `pg_dump -v` says of what was written, in order.
    fn notes(&self, _notes: Vec<String>) {}
    /// All rows that are to be read are about this many bytes (the size of the tables on disk).
    fn expect(&self, _bytes: u64) {}
    /// So many more bytes and rows of COPY text were read.
    fn read(&self, _bytes: u64, _rows: u64) {}
    /// The rows of a table are complete.
    fn table(&self, _table: &manifest::Table) {}
}

/// A step of reading the catalogs.
pub struct ReadCatalog<'a> {
    /// The name of the step, see [`super::catalog::Step`].
    pub what: &'static str,
    /// The server was asked: this dump needs it.
    pub asked: bool,
    /// There was something.
    pub found: bool,
    /// What is known now.
    pub cat: &'a Catalog,
}

/// Nobody listens.
pub struct Silent;
impl Progress for Silent {}
