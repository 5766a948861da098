//! Rewrite rules.

use super::Step;
use super::emit::Emit;
use super::object::{DumpId, Object};
use crate::error::Result;

/// A rule; that of a view (`_RETURN`) too, which has an entry only after a loop repair.
#[derive(Debug, Default)]
pub struct Rule {
    /// Its table or view.
    pub table: DumpId,
    /// `1` SELECT, `2` UPDATE, `3` INSERT, `4` DELETE.
    pub ev_type: char,
    /// `DO INSTEAD`.
    pub is_instead: bool,
    /// `O` origin, `D` disabled, `R` replica, `A` always.
    pub ev_enabled: char,
    /// It needs an entry of its own; the ON SELECT rule of a view does not.
    pub separate: bool,
    /// `pg_get_ruledef`.
    pub definition: String,
}

/// The rules.
pub const READ: Step = Step {
    what: "rules",
    query: |_| None,
    absorb: |_, _| Ok(()),
};

/// Writes a rule.
///
/// # Errors
/// The catalogs are inconsistent.
pub fn dump(_emit: &mut Emit, _object: &Object, _it: &Rule) -> Result<()> {
    Ok(())
}
