//! (to come)

use super::emit::Emit;
use super::object::Object;
use super::{Catalog, Step};
use crate::error::Result;

/// (to come)
#[derive(Debug, Default)]
pub struct Index {}

/// (to come)
#[derive(Debug, Default)]
pub struct IndexAttach {}

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
