//! (to come)

use super::emit::Emit;
use super::object::Object;
use super::{Catalog, Step};
use crate::error::Result;

/// (to come)
#[derive(Debug, Default)]
pub struct TableAttach {}

/// (to come)
pub const READ: Step = Step {
    what: "inherit",
    query: |_| None,
    absorb: |_, _| Ok(()),
};

/// (to come)
pub const FLAG_TABLES: Step = Step {
    what: "inherit",
    query: |_| None,
    absorb: |_, _| Ok(()),
};

/// (to come)
pub const FLAG_COLUMNS: Step = Step {
    what: "inherit",
    query: |_| None,
    absorb: |_, _| Ok(()),
};

/// (to come)
///
/// # Errors
/// The catalogs are inconsistent.
pub fn dump_attach(_emit: &mut Emit, _object: &Object, _it: &super::inherit::TableAttach) -> Result<()> {
    Ok(())
}
