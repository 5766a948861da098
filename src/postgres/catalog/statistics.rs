//! (to come)

use super::emit::Emit;
use super::object::{DumpId, Object};
use super::{Catalog, Step};
use crate::error::Result;

/// An extended statistics object.
#[derive(Debug, Default)]
pub struct Statistics {
    /// Owner.
    pub owner: String,
    /// Its table, if that is known to the dump.
    pub table: Option<DumpId>,
    /// `pg_get_statisticsobjdef`.
    pub definition: String,
    /// The statistics target; negative for the default.
    pub stxstattarget: i32,
}

/// (to come)
pub const READ: Step = Step {
    what: "statistics",
    query: |_| None,
    absorb: |_, _| Ok(()),
};

/// (to come)
///
/// # Errors
/// The catalogs are inconsistent.
pub fn dump(_emit: &mut Emit, _object: &Object, _it: &super::statistics::Statistics) -> Result<()> {
    Ok(())
}
