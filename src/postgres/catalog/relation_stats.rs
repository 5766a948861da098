//! (to come)

use super::emit::Emit;
use super::object::{DumpId, Object};
use super::{Catalog, Step};
use crate::archive::toc::Section;
use crate::error::Result;

/// Planner statistics of one relation (18).
#[derive(Debug)]
pub struct RelationStats {
    /// The table, index or view.
    pub relation: DumpId,
    /// `pg_class.relkind` of it.
    pub relkind: char,
    /// `pg_class.relpages`.
    pub relpages: i32,
    /// `pg_class.reltuples`, as text.
    pub reltuples: String,
    /// `pg_class.relallvisible`.
    pub relallvisible: i32,
    /// `pg_class.relallfrozen`.
    pub relallfrozen: i32,
    /// Names of the columns of an index on expressions, by number; else empty.
    pub index_columns: Vec<String>,
    /// Where it is restored: with the data, or after it.
    pub section: Section,
    /// Statistics of its columns.
    pub columns: Vec<ColumnStats>,
}

/// Planner statistics of one column (18).
#[derive(Debug)]
pub struct ColumnStats {}

/// (to come)
pub const READ: Step = Step {
    what: "relation_stats",
    query: |_| None,
    absorb: |_, _| Ok(()),
};

/// (to come)
///
/// # Errors
/// The catalogs are inconsistent.
pub fn dump(_emit: &mut Emit, _object: &Object, _it: &super::relation_stats::RelationStats) -> Result<()> {
    Ok(())
}
