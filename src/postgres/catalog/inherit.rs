//! Inheritance and partitions.

use super::Step;
use super::emit::Emit;
use super::object::{DumpId, Object};
use crate::error::Result;

/// `ALTER TABLE … ATTACH PARTITION`, which has an entry of its own.
#[derive(Debug, Default)]
pub struct TableAttach {
    /// The partitioned table.
    pub parent: DumpId,
    /// The partition.
    pub partition: DumpId,
}

/// Who inherits from whom.
pub const READ: Step = Step {
    what: "inheritance",
    query: |_| None,
    absorb: |_, _| Ok(()),
};

/// Marks the tables whose details are needed, and their parents.
pub const FLAG_TABLES: Step = Step {
    what: "inheritance",
    query: |_| None,
    absorb: |_, _| Ok(()),
};

/// Marks what columns only inherit.
pub const FLAG_COLUMNS: Step = Step {
    what: "inherited columns",
    query: |_| None,
    absorb: |_, _| Ok(()),
};

/// Writes `ALTER TABLE … ATTACH PARTITION`.
///
/// # Errors
/// The catalogs are inconsistent.
pub fn dump_attach(_emit: &mut Emit, _object: &Object, _it: &TableAttach) -> Result<()> {
    Ok(())
}
