//! Whether code of a database could change rows that are loaded already, while the rest of it is restored.
//!
//! Triggers and rules are created after the rows of their table, and do not fire then. What is left: functions that checks,
//! generated columns, domains, types, casts, operators and expressions of indexes call; and whatever a materialized view is
//! made of. Functions in C, which extensions have for their types and operators, count only where a materialized view may
//! call them.

use tokio_postgres::Client;

use crate::error::Result;

/// Whether there is such code in the database.
///
/// # Errors
/// The server says no.
pub(super) async fn possible(client: &Client) -> Result<bool> {
    Ok(client.query_one(CODE, &[]).await?.try_get(0)?)
}

/// Objects that initdb makes have numbers below 16384.
const CODE: &str = "\
WITH code AS (
    SELECT p.oid, l.lanname IN ('c', 'internal') AND p.prokind <> 'a' AS compiled
    FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_language l ON l.oid = p.prolang
    WHERE p.oid >= 16384
), caller AS (
    SELECT d.classid, d.objid, d.refclassid, d.refobjid
    FROM pg_catalog.pg_depend d
    WHERE d.deptype NOT IN ('e', 'x') AND d.classid NOT IN (
        'pg_catalog.pg_trigger'::pg_catalog.regclass, 'pg_catalog.pg_event_trigger'::pg_catalog.regclass,
        'pg_catalog.pg_policy'::pg_catalog.regclass, 'pg_catalog.pg_proc'::pg_catalog.regclass)
), views AS (
    SELECT EXISTS (SELECT 1 FROM pg_catalog.pg_class WHERE relkind = 'm' AND oid >= 16384) AS are_stored
)
SELECT EXISTS (
    SELECT 1 FROM caller JOIN code ON caller.refobjid = code.oid
    WHERE caller.refclassid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND CASE caller.classid
        WHEN 'pg_catalog.pg_rewrite'::pg_catalog.regclass THEN (SELECT are_stored FROM views)
        WHEN 'pg_catalog.pg_attrdef'::pg_catalog.regclass THEN NOT code.compiled AND EXISTS (
            SELECT 1 FROM pg_catalog.pg_attrdef f
            JOIN pg_catalog.pg_attribute a ON a.attrelid = f.adrelid AND a.attnum = f.adnum
            WHERE f.oid = caller.objid AND a.attgenerated <> '')
        ELSE NOT code.compiled END
) OR EXISTS (
    SELECT 1 FROM caller
    WHERE caller.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND caller.refobjid >= 16384
        AND caller.refclassid IN ('pg_catalog.pg_operator'::pg_catalog.regclass, 'pg_catalog.pg_cast'::pg_catalog.regclass)
        AND (SELECT are_stored FROM views)
)";
