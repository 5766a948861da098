//! (to come)

use super::emit::Emit;
use super::object::{Object, Oid};
use super::{Catalog, Step};
use crate::error::Result;

/// A transform: how a language sees a type.
#[derive(Debug, Default)]
pub struct Transform {
    /// OID of the type.
    pub trftype: Oid,
    /// Name of the language, quoted.
    pub language: String,
    /// OID of the function that converts for the language; 0: none.
    pub trffromsql: Oid,
    /// OID of the function that converts for SQL; 0: none.
    pub trftosql: Oid,
}

/// (to come)
pub const READ: Step = Step {
    what: "transform",
    query: |_| None,
    absorb: |_, _| Ok(()),
};

/// (to come)
///
/// # Errors
/// The catalogs are inconsistent.
pub fn dump(_emit: &mut Emit, _object: &Object, _it: &super::transform::Transform) -> Result<()> {
    Ok(())
}
