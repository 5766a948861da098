//! (to come)

use super::emit::Emit;
use super::object::{Object, Oid};
use super::{Catalog, Step};
use crate::error::Result;

/// A cast.
#[derive(Debug, Default)]
pub struct Cast {
    /// OID of the type that is cast.
    pub castsource: Oid,
    /// OID of the type that it becomes.
    pub casttarget: Oid,
    /// OID of the function; 0: none.
    pub castfunc: Oid,
    /// `e` explicit, `a` in assignments, `i` implicit.
    pub castcontext: char,
    /// `f` by function, `b` binary coercible, `i` by input and output functions.
    pub castmethod: char,
}

/// (to come)
pub const READ: Step = Step {
    what: "cast",
    query: |_| None,
    absorb: |_, _| Ok(()),
};

/// (to come)
///
/// # Errors
/// The catalogs are inconsistent.
pub fn dump(_emit: &mut Emit, _object: &Object, _it: &super::cast::Cast) -> Result<()> {
    Ok(())
}
