//! (to come)

use super::emit::Emit;
use super::object::{Acl, DumpId, Object, Oid};
use super::{Catalog, Step};
use crate::error::Result;

/// A data type (pg_dump's `TypeInfo`). Row types of tables, array and multirange types are
/// [`Kind::DummyType`](super::Kind::DummyType) instead: they come with something else.
#[derive(Debug, Default)]
pub struct TypeInfo {
    /// Name of the owner.
    pub owner: String,
    /// Privileges.
    pub acl: Acl,
    /// `pg_type.typelem`.
    pub typelem: Oid,
    /// `pg_type.typrelid`, of a composite type.
    pub typrelid: Oid,
    /// `pg_type.typarray`.
    pub typarray: Oid,
    /// `b` base, `c` composite, `d` domain, `e` enum, `p` pseudo, `r` range.
    pub typtype: char,
    /// False for a type that was only announced (`CREATE TYPE name;`).
    pub is_defined: bool,
    /// The announcement that a base or range type may need before its functions.
    pub shell_type: Option<DumpId>,
    /// CHECK constraints of a domain, by name.
    pub dom_checks: Vec<DumpId>,
    /// NOT NULL constraint of a domain (17).
    pub notnull: Option<DumpId>,
}

/// The announcement of a type, for functions that must exist before the type does.
#[derive(Debug)]
pub struct ShellType {
    /// The type that is announced.
    pub base_type: DumpId,
}

/// (to come)
pub const READ: Step = Step {
    what: "types",
    query: |_| None,
    absorb: |_, _| Ok(()),
};

/// (to come)
pub const DETAILS: Step = Step {
    what: "types",
    query: |_| None,
    absorb: |_, _| Ok(()),
};

/// (to come)
///
/// # Errors
/// The catalogs are inconsistent.
pub fn dump(_emit: &mut Emit, _object: &Object, _it: &super::types::TypeInfo) -> Result<()> {
    Ok(())
}

/// (to come)
///
/// # Errors
/// The catalogs are inconsistent.
pub fn dump_shell(_emit: &mut Emit, _object: &Object, _it: &super::types::ShellType) -> Result<()> {
    Ok(())
}
