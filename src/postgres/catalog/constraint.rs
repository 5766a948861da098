//! (to come)

use super::emit::Emit;
use super::object::Object;
use super::{Catalog, Step};
use crate::error::Result;

/// (to come)
#[derive(Debug, Default)]
pub struct Constraint {}

/// (to come)
pub const FOREIGN_KEYS: Step = Step {
    what: "constraint",
    query: |_| None,
    absorb: |_, _| Ok(()),
};

/// (to come)
pub const DOMAIN_CHECKS: Step = Step {
    what: "constraint",
    query: |_| None,
    absorb: |_, _| Ok(()),
};

/// (to come)
///
/// # Errors
/// The catalogs are inconsistent.
pub fn dump(_emit: &mut Emit, _object: &Object, _it: &super::constraint::Constraint) -> Result<()> {
    Ok(())
}
