//! (to come)

use super::emit::Emit;
use super::object::Object;
use super::{Catalog, Step};
use crate::error::Result;

/// A collation.
#[derive(Debug, Default)]
pub struct Collation {
    /// Name of the owner.
    pub owner: String,
    /// `pg_collation.collencoding`: -1 for any.
    pub collencoding: i32,
}

/// (to come)
pub const READ: Step = Step {
    what: "collation",
    query: |_| None,
    absorb: |_, _| Ok(()),
};

/// (to come)
pub const DETAILS: Step = Step {
    what: "collation",
    query: |_| None,
    absorb: |_, _| Ok(()),
};

/// (to come)
///
/// # Errors
/// The catalogs are inconsistent.
pub fn dump(_emit: &mut Emit, _object: &Object, _it: &super::collation::Collation) -> Result<()> {
    Ok(())
}
