//! Names of roles: the catalogs name owners by OID.

use super::Step;
use crate::engine::postgres::connect::session::Query;

/// All role names; see [`super::Catalog::role`].
pub const NAMES: Step = Step {
    what: "role names",
    query: |_| Some(Query::new("SELECT oid, rolname FROM pg_catalog.pg_roles ORDER BY 1")),
    absorb: |cat, rows| {
        for row in rows {
            cat.roles.insert(row.oid("oid")?, row.text("rolname")?);
        }
        Ok(())
    },
};
