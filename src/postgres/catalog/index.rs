//! (to come)

use super::emit::Emit;
use super::object::{DumpId, Object, Oid};
use super::{Catalog, Step};
use crate::error::Result;

/// An index.
#[derive(Debug, Default)]
pub struct Index {
    /// Its table.
    pub table: DumpId,
    /// `pg_get_indexdef`.
    pub indexdef: String,
    /// Tablespace; empty for the database's own.
    pub tablespace: String,
    /// Storage parameters as `array_to_string` of pg_class.reloptions would show them.
    pub options: Vec<String>,
    /// Columns with a statistics target of their own: number and target.
    pub statistics: Vec<(i32, i32)>,
    /// Attribute numbers of its columns, key columns first; 0 for an expression.
    pub indkey: Vec<i32>,
    /// How many of them are key columns.
    pub indnkeyatts: usize,
    /// The table is clustered on it.
    pub indisclustered: bool,
    /// It is the table's replica identity.
    pub indisreplident: bool,
    /// `NULLS NOT DISTINCT` (15).
    pub indnullsnotdistinct: bool,
    /// OID of the partitioned index that it belongs to; 0 for none.
    pub parent: Oid,
    /// The constraint that it carries.
    pub constraint: Option<DumpId>,
    /// For a partitioned index: attachments of its partitions.
    pub attachments: Vec<DumpId>,
}

/// The attachment of a partition's index to the partitioned one.
#[derive(Debug, Default)]
pub struct IndexAttach {
    /// The partitioned index.
    pub parent: DumpId,
    /// The index of the partition.
    pub partition: DumpId,
}

/// (to come)
pub const READ: Step = Step {
    what: "index",
    query: |_| None,
    absorb: |_, _| Ok(()),
};

/// (to come)
pub const FLAG_INHERITED: Step = Step {
    what: "index",
    query: |_| None,
    absorb: |_, _| Ok(()),
};

/// (to come)
///
/// # Errors
/// The catalogs are inconsistent.
pub fn dump(_emit: &mut Emit, _object: &Object, _it: &super::index::Index) -> Result<()> {
    Ok(())
}

/// (to come)
///
/// # Errors
/// The catalogs are inconsistent.
pub fn dump_attach(_emit: &mut Emit, _object: &Object, _it: &super::index::IndexAttach) -> Result<()> {
    Ok(())
}
