//! (to come)

use super::emit::Emit;
use super::object::Object;
use super::{Catalog, Step};
use crate::error::Result;

/// (to come)
pub const PATTERNS: Step = Step {
    what: "select",
    query: |_| None,
    absorb: |_, _| Ok(()),
};

/// (to come)
#[derive(Debug, Default)]
pub struct Selection {}
