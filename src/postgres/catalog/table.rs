//! (to come)

use super::emit::Emit;
use super::object::Object;
use super::{Catalog, Step};
use crate::error::Result;

/// (to come)
#[derive(Debug, Default)]
pub struct Table {}

/// (to come)
pub const READ: Step = Step {
    what: "table",
    query: |_| None,
    absorb: |_, _| Ok(()),
};

/// (to come)
pub const OWNED_SEQUENCES: Step = Step {
    what: "table",
    query: |_| None,
    absorb: |_, _| Ok(()),
};

/// (to come)
///
/// # Errors
/// The catalogs are inconsistent.
pub fn dump(_emit: &mut Emit, _object: &Object, _it: &super::table::Table) -> Result<()> {
    Ok(())
}

/// Locks what is dumped.
pub async fn lock(_cat: &mut Catalog, _session: &crate::postgres::session::Session) -> Result<()> {
    Ok(())
}
