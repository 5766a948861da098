//! (to come)

use super::emit::Emit;
use super::object::{DumpId, Object, Oid};
use super::{Catalog, Step};
use crate::error::Result;

/// A constraint of a table or a domain.
#[derive(Debug, Default)]
#[allow(clippy::struct_excessive_bools)] // they are columns of pg_constraint
pub struct Constraint {
    /// Its table; `None` for a domain's.
    pub table: Option<DumpId>,
    /// Its domain; `None` for a table's.
    pub domain: Option<DumpId>,
    /// `c` check, `f` foreign key, `p` primary key, `u` unique, `x` exclusion, `n` not null, `t` trigger.
    pub contype: char,
    /// `pg_get_constraintdef`, where the kind needs it.
    pub condef: Option<String>,
    /// OID of the table that a foreign key refers to.
    pub confrelid: Oid,
    /// The index that carries it.
    pub conindex: Option<DumpId>,
    /// `DEFERRABLE`.
    pub condeferrable: bool,
    /// `INITIALLY DEFERRED`.
    pub condeferred: bool,
    /// `WITHOUT OVERLAPS` or `PERIOD` (18).
    pub conperiod: bool,
    /// Defined here, not only inherited.
    pub conislocal: bool,
    /// It needs an entry of its own.
    pub separate: bool,
}

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
