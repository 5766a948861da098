//! (to come)

use super::emit::Emit;
use super::object::Object;
use super::{Catalog, Step};
use crate::error::Result;

/// An event trigger.
#[derive(Debug, Default)]
pub struct EventTrigger {
    /// Owner.
    pub owner: String,
    /// The event, for example `ddl_command_start`.
    pub evtevent: String,
    /// The tags that it is limited to, as quoted literals with commas; empty for all.
    pub evttags: String,
    /// The function, qualified and quoted.
    pub evtfname: String,
    /// `O` origin, `D` disabled, `R` replica, `A` always.
    pub evtenabled: char,
}

/// (to come)
pub const READ: Step = Step {
    what: "event_trigger",
    query: |_| None,
    absorb: |_, _| Ok(()),
};

/// (to come)
///
/// # Errors
/// The catalogs are inconsistent.
pub fn dump(_emit: &mut Emit, _object: &Object, _it: &super::event_trigger::EventTrigger) -> Result<()> {
    Ok(())
}
