//! (to come)

use super::emit::Emit;
use super::object::{Acl, Object, Oid};
use super::{Catalog, Step};
use crate::error::Result;

/// A procedural language.
#[derive(Debug, Default)]
pub struct Language {
    /// Name of the owner.
    pub owner: String,
    /// Privileges.
    pub acl: Acl,
    /// `pg_language.lanpltrusted`.
    pub lanpltrusted: bool,
    /// OID of the call handler.
    pub lanplcallfoid: Oid,
    /// OID of the handler of DO blocks; 0: none.
    pub laninline: Oid,
    /// OID of the validator; 0: none.
    pub lanvalidator: Oid,
}

/// (to come)
pub const READ: Step = Step {
    what: "language",
    query: |_| None,
    absorb: |_, _| Ok(()),
};

/// (to come)
///
/// # Errors
/// The catalogs are inconsistent.
pub fn dump(_emit: &mut Emit, _object: &Object, _it: &super::language::Language) -> Result<()> {
    Ok(())
}
