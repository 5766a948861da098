//! (to come)

use super::emit::Emit;
use super::object::Object;
use super::{Catalog, Step};
use crate::error::Result;

/// (to come)
#[derive(Debug, Default)]
pub struct Publication {}

/// (to come)
#[derive(Debug, Default)]
pub struct PublicationRel {}

/// (to come)
#[derive(Debug, Default)]
pub struct PublicationSchema {}

/// (to come)
pub const READ: Step = Step {
    what: "publication",
    query: |_| None,
    absorb: |_, _| Ok(()),
};

/// (to come)
pub const SCHEMAS: Step = Step {
    what: "publication",
    query: |_| None,
    absorb: |_, _| Ok(()),
};

/// (to come)
pub const RELATIONS: Step = Step {
    what: "publication",
    query: |_| None,
    absorb: |_, _| Ok(()),
};

/// (to come)
///
/// # Errors
/// The catalogs are inconsistent.
pub fn dump(_emit: &mut Emit, _object: &Object, _it: &super::publication::Publication) -> Result<()> {
    Ok(())
}

/// (to come)
///
/// # Errors
/// The catalogs are inconsistent.
pub fn dump_relation(_emit: &mut Emit, _object: &Object, _it: &super::publication::PublicationRel) -> Result<()> {
    Ok(())
}

/// (to come)
///
/// # Errors
/// The catalogs are inconsistent.
pub fn dump_schema(_emit: &mut Emit, _object: &Object, _it: &super::publication::PublicationSchema) -> Result<()> {
    Ok(())
}
