//! (to come)

use super::emit::Emit;
use super::object::{Acl, Object, Oid};
use super::{Catalog, Step};
use crate::error::Result;

/// A function, a procedure or a window function.
#[derive(Debug, Default)]
pub struct Function {
    /// Name of the owner.
    pub owner: String,
    /// Privileges.
    pub acl: Acl,
    /// OID of the language.
    pub lang: Oid,
    /// OIDs of the types of the input arguments.
    pub argtypes: Vec<Oid>,
    /// OID of the result type.
    pub prorettype: Oid,
    /// It must come after the data, since it needs a primary key (loop repair).
    pub postponed_def: bool,
}

/// (to come)
pub const READ: Step = Step {
    what: "function",
    query: |_| None,
    absorb: |_, _| Ok(()),
};

/// (to come)
pub const DETAILS: Step = Step {
    what: "function",
    query: |_| None,
    absorb: |_, _| Ok(()),
};

/// (to come)
///
/// # Errors
/// The catalogs are inconsistent.
pub fn dump(_emit: &mut Emit, _object: &Object, _it: &super::function::Function) -> Result<()> {
    Ok(())
}
