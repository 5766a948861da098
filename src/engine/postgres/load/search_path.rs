//! Functions that name no schemas: an index, a check or a generated column that calls one can only be made where the
//! search path is what it was for those who wrote them. `pg_restore` leaves it empty and fails at them.
//!
//! A load leaves it empty too, so that no name can mean another thing than it meant. Only where that failed inside a
//! function it is tried again under the search path of the database, as it is for everybody who uses it.

use tokio_postgres::error::SqlState;

use super::name_of;
use super::session::Loader;
use crate::archive::toc::Entry;

/// Takes on the search path that the role and the database have.
pub(super) const OF_DATABASE: &str = "SET search_path TO DEFAULT";
/// Goes back to that of a load.
pub(super) const NONE: &str = "SELECT pg_catalog.set_config('search_path', '', false)";

/// Whether something was not found by a statement inside a function.
pub(super) fn is_lost(error: &anyhow::Error) -> bool {
    let mut causes = error.chain();
    let server = causes.find_map(|cause| cause.downcast_ref::<tokio_postgres::Error>()?.as_db_error());
    let missing = [
        SqlState::UNDEFINED_FUNCTION,
        SqlState::UNDEFINED_TABLE,
        SqlState::UNDEFINED_OBJECT,
        SqlState::INVALID_SCHEMA_NAME,
    ];
    server.is_some_and(|it| missing.contains(it.code()) && it.where_().is_some_and(|at| at.contains("function ")))
}

impl Loader {
    /// Tells that `entry` was only restored under the search path of the database.
    pub(super) fn tell_search_path(&self, entry: &Entry, error: &anyhow::Error) {
        let name = name_of(entry);
        self.archive.progress.told(format!(
            "{name} could only be restored under the search path of the database, as a function that it uses names no \
             schemas: {error:#}"
        ));
    }
}
