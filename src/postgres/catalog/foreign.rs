//! (to come)

use super::emit::Emit;
use super::object::Object;
use super::{Catalog, Step};
use crate::error::Result;

/// (to come)
#[derive(Debug, Default)]
pub struct ForeignDataWrapper {}

/// (to come)
#[derive(Debug, Default)]
pub struct ForeignServer {}

/// (to come)
pub const WRAPPERS: Step = Step {
    what: "foreign",
    query: |_| None,
    absorb: |_, _| Ok(()),
};

/// (to come)
pub const SERVERS: Step = Step {
    what: "foreign",
    query: |_| None,
    absorb: |_, _| Ok(()),
};

/// (to come)
pub const USER_MAPPINGS: Step = Step {
    what: "foreign",
    query: |_| None,
    absorb: |_, _| Ok(()),
};

/// (to come)
///
/// # Errors
/// The catalogs are inconsistent.
pub fn dump_wrapper(_emit: &mut Emit, _object: &Object, _it: &super::foreign::ForeignDataWrapper) -> Result<()> {
    Ok(())
}

/// (to come)
///
/// # Errors
/// The catalogs are inconsistent.
pub fn dump_server(_emit: &mut Emit, _object: &Object, _it: &super::foreign::ForeignServer) -> Result<()> {
    Ok(())
}
