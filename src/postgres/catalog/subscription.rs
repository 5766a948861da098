//! (to come)

use super::emit::Emit;
use super::object::Object;
use super::{Catalog, Step};
use crate::error::Result;

/// (to come)
#[derive(Debug, Default)]
pub struct Subscription {}

/// (to come)
#[derive(Debug, Default)]
pub struct SubscriptionRel {}

/// (to come)
pub const READ: Step = Step {
    what: "subscription",
    query: |_| None,
    absorb: |_, _| Ok(()),
};

/// (to come)
pub const RELATIONS: Step = Step {
    what: "subscription",
    query: |_| None,
    absorb: |_, _| Ok(()),
};

/// (to come)
///
/// # Errors
/// The catalogs are inconsistent.
pub fn dump(_emit: &mut Emit, _object: &Object, _it: &super::subscription::Subscription) -> Result<()> {
    Ok(())
}

/// (to come)
///
/// # Errors
/// The catalogs are inconsistent.
pub fn dump_relation(_emit: &mut Emit, _object: &Object, _it: &super::subscription::SubscriptionRel) -> Result<()> {
    Ok(())
}
