//! (to come)

use super::emit::Emit;
use super::object::Object;
use super::{Catalog, Step};
use crate::error::Result;

/// (to come)
pub const READ: Step = Step {
    what: "database",
    query: |_| None,
    absorb: |_, _| Ok(()),
};

/// (to come)
#[derive(Debug, Default)]
pub struct Database {}
/// ENCODING, STDSTRINGS, SEARCHPATH
pub fn dump_settings(_emit: &mut Emit) -> Result<()> {
    Ok(())
}
/// DATABASE and its properties
pub fn dump(_emit: &mut Emit) -> Result<()> {
    Ok(())
}
