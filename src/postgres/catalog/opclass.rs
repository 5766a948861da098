//! (to come)

use super::emit::Emit;
use super::object::{Object, Oid};
use super::{Catalog, Step};
use crate::error::Result;

/// An operator class.
#[derive(Debug, Default)]
pub struct OpClass {
    /// Name of the owner.
    pub owner: String,
    /// OID of the access method.
    pub opcmethod: Oid,
}

/// (to come)
pub const READ: Step = Step {
    what: "opclass",
    query: |_| None,
    absorb: |_, _| Ok(()),
};

/// (to come)
pub const DETAILS: Step = Step {
    what: "opclass",
    query: |_| None,
    absorb: |_, _| Ok(()),
};

/// (to come)
///
/// # Errors
/// The catalogs are inconsistent.
pub fn dump(_emit: &mut Emit, _object: &Object, _it: &super::opclass::OpClass) -> Result<()> {
    Ok(())
}
