//! (to come)

use super::emit::Emit;
use super::object::{Acl, Object, Oid};
use super::{Catalog, Step};
use crate::error::Result;

/// An aggregate.
#[derive(Debug, Default)]
pub struct Aggregate {
    /// Name of the owner.
    pub owner: String,
    /// Privileges.
    pub acl: Acl,
    /// OIDs of the types of the input arguments.
    pub argtypes: Vec<Oid>,
}

/// (to come)
pub const READ: Step = Step {
    what: "aggregate",
    query: |_| None,
    absorb: |_, _| Ok(()),
};

/// (to come)
pub const DETAILS: Step = Step {
    what: "aggregate",
    query: |_| None,
    absorb: |_, _| Ok(()),
};

/// (to come)
///
/// # Errors
/// The catalogs are inconsistent.
pub fn dump(_emit: &mut Emit, _object: &Object, _it: &super::aggregate::Aggregate) -> Result<()> {
    Ok(())
}
