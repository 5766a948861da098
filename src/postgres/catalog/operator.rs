//! (to come)

use super::emit::Emit;
use super::object::{Object, Oid};
use super::{Catalog, Step};
use crate::error::Result;

/// An operator.
#[derive(Debug, Default)]
pub struct Operator {
    /// Name of the owner.
    pub owner: String,
    /// `b` infix, `l` prefix.
    pub oprkind: char,
    /// OID of the left operand's type, 0 for a prefix operator.
    pub oprleft: Oid,
    /// OID of the right operand's type.
    pub oprright: Oid,
    /// OID of the function; 0 for an operator that another one only mentions.
    pub oprcode: Oid,
}

/// (to come)
pub const READ: Step = Step {
    what: "operator",
    query: |_| None,
    absorb: |_, _| Ok(()),
};

/// (to come)
pub const DETAILS: Step = Step {
    what: "operator",
    query: |_| None,
    absorb: |_, _| Ok(()),
};

/// (to come)
///
/// # Errors
/// The catalogs are inconsistent.
pub fn dump(_emit: &mut Emit, _object: &Object, _it: &super::operator::Operator) -> Result<()> {
    Ok(())
}
