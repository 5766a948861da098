//! (to come)

use super::emit::Emit;
use super::object::Object;
use super::{Catalog, Step};
use crate::error::Result;

/// (to come)
#[derive(Debug, Default)]
pub struct TypeInfo {}

/// (to come)
#[derive(Debug, Default)]
pub struct ShellType {}

/// (to come)
pub const READ: Step = Step {
    what: "types",
    query: |_| None,
    absorb: |_, _| Ok(()),
};

/// (to come)
pub const DETAILS: Step = Step {
    what: "types",
    query: |_| None,
    absorb: |_, _| Ok(()),
};

/// (to come)
///
/// # Errors
/// The catalogs are inconsistent.
pub fn dump(_emit: &mut Emit, _object: &Object, _it: &super::types::TypeInfo) -> Result<()> {
    Ok(())
}

/// (to come)
///
/// # Errors
/// The catalogs are inconsistent.
pub fn dump_shell(_emit: &mut Emit, _object: &Object, _it: &super::types::ShellType) -> Result<()> {
    Ok(())
}
