//! What depends on what: pg_depend, and the boundaries between the sections.

use super::{Catalog, Step};

/// (to come)
pub const READ: Step = Step {
    what: "dependencies",
    query: |_| None,
    absorb: |_, _| Ok(()),
};

/// (to come)
pub fn add_boundaries(_cat: &mut Catalog) {}
