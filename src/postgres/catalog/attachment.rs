//! (to come)

use super::emit::Emit;
use super::object::Object;
use super::{Catalog, Step};
use crate::error::Result;

/// (to come)
pub const COMMENTS: Step = Step {
    what: "attachment",
    query: |_| None,
    absorb: |_, _| Ok(()),
};

/// (to come)
pub const SECURITY_LABELS: Step = Step {
    what: "attachment",
    query: |_| None,
    absorb: |_, _| Ok(()),
};

/// (to come)
#[derive(Debug, Default)]
pub struct Attachments {}
