//! (to come)

use super::emit::Emit;
use super::object::{DumpId, Object};
use super::{Catalog, Step};
use crate::error::Result;

/// A policy, or the fact that row security is on.
#[derive(Debug, Default)]
pub struct Policy {
    /// Its table.
    pub table: DumpId,
    /// What it says; `None` when this stands for `ENABLE ROW LEVEL SECURITY`.
    pub rule: Option<PolicyRule>,
}

/// What a policy says.
#[derive(Debug, Default)]
pub struct PolicyRule {
    /// `*` all, `r` SELECT, `a` INSERT, `w` UPDATE, `d` DELETE.
    pub polcmd: char,
    /// `PERMISSIVE`, else `RESTRICTIVE`.
    pub polpermissive: bool,
    /// The roles that it is for, quoted; `None`: PUBLIC.
    pub polroles: Option<String>,
    /// The `USING` expression.
    pub polqual: Option<String>,
    /// The `WITH CHECK` expression.
    pub polwithcheck: Option<String>,
}

/// (to come)
pub const READ: Step = Step {
    what: "policy",
    query: |_| None,
    absorb: |_, _| Ok(()),
};

/// (to come)
///
/// # Errors
/// The catalogs are inconsistent.
pub fn dump(_emit: &mut Emit, _object: &Object, _it: &super::policy::Policy) -> Result<()> {
    Ok(())
}
