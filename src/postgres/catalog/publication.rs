//! (to come)

use super::emit::Emit;
use super::object::{DumpId, Object};
use super::{Catalog, Step};
use crate::error::Result;

/// A publication.
#[derive(Debug, Default)]
#[allow(clippy::struct_excessive_bools)] // they are columns of pg_publication
pub struct Publication {
    /// Owner.
    pub owner: String,
    /// `FOR ALL TABLES`.
    pub puballtables: bool,
    /// What is published, in the order of the statement.
    pub publish: Vec<&'static str>,
    /// `publish_via_partition_root`.
    pub pubviaroot: bool,
    /// Generated columns (18): `n` none, `s` stored.
    pub pubgencols: char,
}

/// A table in a publication.
#[derive(Debug, Default)]
pub struct PublicationRel {
    /// The publication.
    pub publication: DumpId,
    /// The table.
    pub table: DumpId,
    /// The row filter.
    pub prqual: Option<String>,
    /// The columns, if not all.
    pub prattrs: Option<Vec<String>>,
}

/// A schema in a publication (15).
#[derive(Debug, Default)]
pub struct PublicationSchema {
    /// The publication.
    pub publication: DumpId,
}

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
