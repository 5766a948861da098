//! (to come)

use super::emit::Emit;
use super::object::Object;
use super::{Catalog, Step};
use crate::error::Result;

/// (to come)
pub const NAMES: Step = Step {
    what: "role",
    query: |_| None,
    absorb: |_, _| Ok(()),
};
