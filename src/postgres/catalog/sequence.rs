//! Sequences: their parameters and their values.

use super::Step;
use super::emit::Emit;
use super::object::Object;
use super::table_data::TableData;
use crate::error::Result;

/// What `pg_sequence` and the sequence itself say.
#[derive(Debug, Default, Clone)]
pub struct Sequence {
    /// `smallint`, `integer` or `bigint`.
    pub type_name: String,
    /// START WITH.
    pub start: i64,
    /// INCREMENT BY.
    pub increment: i64,
    /// MAXVALUE.
    pub max: i64,
    /// MINVALUE.
    pub min: i64,
    /// CACHE.
    pub cache: i64,
    /// CYCLE.
    pub cycle: bool,
    /// `last_value` and `is_called`, when its value is dumped.
    pub value: Option<(i64, bool)>,
}

/// Parameters and values.
pub const DETAILS: Step = Step {
    what: "sequences",
    query: |_| None,
    absorb: |_, _| Ok(()),
};

/// Writes `setval`.
///
/// # Errors
/// The catalogs are inconsistent.
pub fn dump_value(_emit: &mut Emit, _object: &Object, _it: &TableData) -> Result<()> {
    Ok(())
}
