//! (to come)

use super::emit::Emit;
use super::object::Object;
use super::{Catalog, Step};
use crate::error::Result;

/// An access method of indexes or tables.
#[derive(Debug, Default)]
pub struct AccessMethod {
    /// `i` index, `t` table.
    pub amtype: char,
    /// The handler function, quoted and qualified as `regproc` shows it.
    pub amhandler: String,
}

/// (to come)
pub const READ: Step = Step {
    what: "access_method",
    query: |_| None,
    absorb: |_, _| Ok(()),
};

/// (to come)
///
/// # Errors
/// The catalogs are inconsistent.
pub fn dump(_emit: &mut Emit, _object: &Object, _it: &super::access_method::AccessMethod) -> Result<()> {
    Ok(())
}
