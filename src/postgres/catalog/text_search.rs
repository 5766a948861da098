//! (to come)

use super::emit::Emit;
use super::object::Object;
use super::{Catalog, Step};
use crate::error::Result;

/// (to come)
#[derive(Debug, Default)]
pub struct Parser {}

/// (to come)
#[derive(Debug, Default)]
pub struct Dictionary {}

/// (to come)
#[derive(Debug, Default)]
pub struct Template {}

/// (to come)
#[derive(Debug, Default)]
pub struct Configuration {}

/// (to come)
pub const PARSERS: Step = Step {
    what: "text_search",
    query: |_| None,
    absorb: |_, _| Ok(()),
};

/// (to come)
pub const TEMPLATES: Step = Step {
    what: "text_search",
    query: |_| None,
    absorb: |_, _| Ok(()),
};

/// (to come)
pub const DICTIONARIES: Step = Step {
    what: "text_search",
    query: |_| None,
    absorb: |_, _| Ok(()),
};

/// (to come)
pub const CONFIGURATIONS: Step = Step {
    what: "text_search",
    query: |_| None,
    absorb: |_, _| Ok(()),
};

/// (to come)
pub const DETAILS: Step = Step {
    what: "text_search",
    query: |_| None,
    absorb: |_, _| Ok(()),
};

/// (to come)
///
/// # Errors
/// The catalogs are inconsistent.
pub fn dump_parser(_emit: &mut Emit, _object: &Object, _it: &super::text_search::Parser) -> Result<()> {
    Ok(())
}

/// (to come)
///
/// # Errors
/// The catalogs are inconsistent.
pub fn dump_dictionary(_emit: &mut Emit, _object: &Object, _it: &super::text_search::Dictionary) -> Result<()> {
    Ok(())
}

/// (to come)
///
/// # Errors
/// The catalogs are inconsistent.
pub fn dump_template(_emit: &mut Emit, _object: &Object, _it: &super::text_search::Template) -> Result<()> {
    Ok(())
}

/// (to come)
///
/// # Errors
/// The catalogs are inconsistent.
pub fn dump_configuration(_emit: &mut Emit, _object: &Object, _it: &super::text_search::Configuration) -> Result<()> {
    Ok(())
}
