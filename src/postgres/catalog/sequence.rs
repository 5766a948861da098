//! (to come)

use super::emit::Emit;
use super::object::Object;
use super::{Catalog, Step};
use crate::error::Result;

/// (to come)
pub const DETAILS: Step = Step {
    what: "sequence",
    query: |_| None,
    absorb: |_, _| Ok(()),
};

/// (to come)
///
/// # Errors
/// The catalogs are inconsistent.
pub fn dump_value(_emit: &mut Emit, _object: &Object, _it: &super::table_data::TableData) -> Result<()> {
    Ok(())
}
