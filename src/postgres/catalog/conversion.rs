//! (to come)

use super::emit::Emit;
use super::object::Object;
use super::{Catalog, Step};
use crate::error::Result;

/// A conversion between encodings.
#[derive(Debug, Default)]
pub struct Conversion {
    /// Name of the owner.
    pub owner: String,
}

/// (to come)
pub const READ: Step = Step {
    what: "conversion",
    query: |_| None,
    absorb: |_, _| Ok(()),
};

/// (to come)
pub const DETAILS: Step = Step {
    what: "conversion",
    query: |_| None,
    absorb: |_, _| Ok(()),
};

/// (to come)
///
/// # Errors
/// The catalogs are inconsistent.
pub fn dump(_emit: &mut Emit, _object: &Object, _it: &super::conversion::Conversion) -> Result<()> {
    Ok(())
}
