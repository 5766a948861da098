//! What a restore of a database will need help with, found when it is backed up: then somebody has the time to mend it.

use super::connect::session::{Query, Session};
use super::members;
use crate::error::Result;

/// Materialized views whose owner may not read what they are made of, so that nobody can refresh them. A view in between
/// reads with the rights of its own owner, unless it says otherwise.
const UNREADABLE: &str = "\
WITH RECURSIVE uses(matview, reader, class, object, part) AS (
    SELECT c.oid, c.relowner, d.refclassid, d.refobjid, d.refobjsubid
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_rewrite r ON r.ev_class = c.oid
    JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND d.objid = r.oid
    WHERE c.relkind = 'm' AND c.relispopulated AND d.refobjid <> c.oid
    UNION
    SELECT u.matview, CASE WHEN v.reloptions::pg_catalog.text ~* 'security_invoker=(true|on|1|yes)' THEN u.reader
        ELSE v.relowner END, d.refclassid, d.refobjid, d.refobjsubid
    FROM uses u JOIN pg_catalog.pg_class v ON v.oid = u.object AND v.relkind = 'v'
        AND u.class = 'pg_catalog.pg_class'::pg_catalog.regclass
    JOIN pg_catalog.pg_rewrite r ON r.ev_class = v.oid AND r.ev_type = '1'
    JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND d.objid = r.oid
    WHERE d.refobjid <> v.oid)
SELECT u.matview::pg_catalog.regclass::pg_catalog.text AS matview,
    pg_catalog.string_agg(DISTINCT pg_catalog.pg_get_userbyid(u.reader) || ': '
        || COALESCE(t.oid::pg_catalog.regclass::pg_catalog.text, f.oid::pg_catalog.regprocedure::pg_catalog.text), ', ') AS what
FROM uses u
LEFT JOIN pg_catalog.pg_class t ON u.class = 'pg_catalog.pg_class'::pg_catalog.regclass AND t.oid = u.object
LEFT JOIN pg_catalog.pg_proc f ON u.class = 'pg_catalog.pg_proc'::pg_catalog.regclass AND f.oid = u.object
JOIN pg_catalog.pg_roles o ON o.oid = u.reader
WHERE (t.relkind IN ('r', 'v', 'm', 'f', 'p') AND NOT CASE WHEN u.part > 0
        THEN pg_catalog.has_column_privilege(u.reader, t.oid, u.part::int2, 'SELECT')
        ELSE pg_catalog.has_any_column_privilege(u.reader, t.oid, 'SELECT') END)
    OR (t.relrowsecurity AND NOT o.rolsuper AND NOT o.rolbypassrls
        AND (t.relforcerowsecurity OR NOT pg_catalog.pg_has_role(u.reader, t.relowner, 'USAGE')))
    OR (f.oid IS NOT NULL AND NOT pg_catalog.has_function_privilege(u.reader, f.oid, 'EXECUTE'))
GROUP BY u.matview ORDER BY 1";

/// Views of themselves, which `CREATE OR REPLACE VIEW` can make. Before 16 each view seems to depend on itself; there only
/// its columns tell.
const OF_ITSELF: &str = "\
SELECT DISTINCT r.ev_class::pg_catalog.regclass::pg_catalog.text AS view
FROM pg_catalog.pg_rewrite r JOIN pg_catalog.pg_class c ON c.oid = r.ev_class AND c.relkind = 'v'
JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND d.objid = r.oid
    AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid = r.ev_class AND d.deptype = 'n'
WHERE r.ev_type = '1' AND (d.refobjsubid > 0 OR pg_catalog.current_setting('server_version_num')::int4 >= 160000)
ORDER BY 1";

/// Extensions that can be created in one database only, the one that a setting names.
const ONE_DATABASE: &str = "\
SELECT e.extname AS extension, s.name AS setting FROM pg_catalog.pg_extension e JOIN pg_catalog.pg_settings s
    ON s.name = pg_catalog.regexp_replace(e.extname, '^pg_', '') || '.database_name'
WHERE s.setting = pg_catalog.current_database() ORDER BY 1";

/// Extensions whose files are gone from the server.
const GONE: &str = "\
SELECT e.extname AS extension FROM pg_catalog.pg_extension e
WHERE NOT EXISTS (SELECT 1 FROM pg_catalog.pg_available_extensions a WHERE a.name = e.extname) ORDER BY 1";

/// What a role that owns the database, and so may restore it, cannot make again: objects of others, and extensions that only
/// superusers create.
const NOT_OURS: &str = "\
WITH me AS (SELECT 1 FROM pg_catalog.pg_roles r, pg_catalog.pg_database d WHERE r.rolname = CURRENT_USER AND NOT r.rolsuper
    AND d.datname = pg_catalog.current_database() AND pg_catalog.pg_has_role(d.datdba, 'USAGE'))
SELECT 'owner' AS kind, r.rolname AS name FROM me, pg_catalog.pg_roles r
WHERE NOT pg_catalog.pg_has_role(r.oid, 'MEMBER') AND EXISTS (SELECT 1 FROM pg_catalog.pg_shdepend s
    WHERE s.refclassid = 'pg_catalog.pg_authid'::pg_catalog.regclass AND s.refobjid = r.oid AND s.deptype = 'o'
    AND s.dbid = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
    AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_depend m WHERE m.classid = s.classid AND m.objid = s.objid
        AND m.deptype = 'e'))
UNION ALL
SELECT 'extension', e.extname FROM me, pg_catalog.pg_extension e
JOIN pg_catalog.pg_available_extension_versions v ON v.name = e.extname AND v.version = e.extversion
WHERE v.superuser AND NOT v.trusted ORDER BY 1, 2";

/// Queries of this size are compiled first where the catalogs are large: half a second, for a millisecond that they take. And no
/// timeout of the role or the database ends them.
const BEGIN: &str = "BEGIN READ ONLY; SET LOCAL statement_timeout = 0; SET LOCAL jit = off";

/// Asks the database that `session` is in, which is in no transaction.
///
/// # Errors
/// The server does not answer.
pub async fn read(session: &Session) -> Result<Vec<String>> {
    session.run(BEGIN).await?;
    let all = ask(session).await;
    let ended = session.run("ROLLBACK").await;
    // The first error tells more.
    let all = all?;
    ended?;
    Ok(all)
}

async fn ask(session: &Session) -> Result<Vec<String>> {
    let queries = [UNREADABLE, ONE_DATABASE, GONE, NOT_OURS, OF_ITSELF].map(Query::new);
    let mut all = Vec::new();
    for row in session.rows(&queries[0]).await? {
        all.push(format!(
            "nobody can refresh the materialized view {}, and a restore will leave it unpopulated: not allowed for {}",
            row.text("matview")?,
            row.text("what")?
        ));
    }
    for row in session.rows(&queries[1]).await? {
        all.push(format!(
            "the extension {} can only be created in the database that {} names: restore with --mode in-place",
            row.text("extension")?,
            row.text("setting")?
        ));
    }
    for row in session.rows(&queries[2]).await? {
        all.push(format!(
            "the files of the extension {} are not on this server any more: it cannot be created again here",
            row.text("extension")?
        ));
    }
    for row in session.rows(&queries[4]).await? {
        all.push(format!(
            "nobody can read the view {}, which is one of itself, and a restore will leave it out: drop it, or replace it by \
             what it was meant to show",
            row.text("view")?
        ));
    }
    let (mut owners, mut extensions) = (Vec::new(), Vec::new());
    for row in session.rows(&queries[3]).await? {
        match row.text("kind")?.as_ref() {
            "owner" => owners.push(row.text("name")?.clone()),
            _ => extensions.push(row.text("name")?.clone()),
        }
    }
    for (names, what) in [
        (owners, "a restore by this role cannot give objects to their owners"),
        (
            extensions,
            "a restore by this role cannot create extensions that only superusers can",
        ),
    ] {
        if !names.is_empty() {
            all.push(format!("{what}: {}", names.join(", ")));
        }
    }
    all.extend(members::changed(session).await?);
    Ok(all)
}
