//! (to come)

use super::emit::Emit;
use super::object::Object;
use super::{Catalog, Step};
use crate::error::Result;

/// (to come)
#[derive(Debug, Default)]
pub struct AttrDef {}

/// (to come)
pub const READ: Step = Step {
    what: "column",
    query: |_| None,
    absorb: |_, _| Ok(()),
};

/// (to come)
pub const DEFAULTS: Step = Step {
    what: "column",
    query: |_| None,
    absorb: |_, _| Ok(()),
};

/// (to come)
pub const CHECKS: Step = Step {
    what: "column",
    query: |_| None,
    absorb: |_, _| Ok(()),
};

/// (to come)
pub const ACLS: Step = Step {
    what: "column",
    query: |_| None,
    absorb: |_, _| Ok(()),
};

/// (to come)
///
/// # Errors
/// The catalogs are inconsistent.
pub fn dump_default(_emit: &mut Emit, _object: &Object, _it: &super::column::AttrDef) -> Result<()> {
    Ok(())
}
