//! (to come)

use super::emit::Emit;
use super::object::{DumpId, Object};
use super::{Catalog, Step};
use crate::error::Result;

/// A trigger.
#[derive(Debug, Default)]
pub struct Trigger {
    /// Its table or view.
    pub table: DumpId,
    /// `O` origin, `D` disabled, `R` replica, `A` always.
    pub tgenabled: char,
    /// It was made with that of the partitioned table.
    pub tgispartition: bool,
    /// `pg_get_triggerdef`.
    pub tgdef: String,
}

/// (to come)
pub const READ: Step = Step {
    what: "trigger",
    query: |_| None,
    absorb: |_, _| Ok(()),
};

/// (to come)
///
/// # Errors
/// The catalogs are inconsistent.
pub fn dump(_emit: &mut Emit, _object: &Object, _it: &super::trigger::Trigger) -> Result<()> {
    Ok(())
}
