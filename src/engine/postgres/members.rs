//! Members of extensions that somebody changed by hand. No dump has such a change, pg_dump's neither: of an extension it is only
//! said that it is created. So it is told when a backup is made, while somebody still knows what was changed and why.
//!
//! The catalogs do not say what an extension's script made and what came later, but each of their rows has the number of the
//! transaction that wrote it. The row of the extension itself is written when it is created, updated or moved, in the same
//! transaction as its members. What a member has that is newer was changed since. Told is only what is sure:
//!
//! - A grant writes the rows of functions, columns and wrappers too, but a dump has it. So what ever was granted is left alone.
//! - Rows of tables and indexes are written by VACUUM FULL, TRUNCATE, REINDEX and CREATE TRIGGER as well, those of operators when
//!   others are made. They tell nothing; the rows of columns, defaults, checks, triggers, rules and labels do.
//! - VACUUM FULL writes the row of a column again that was added with a default. Its default then is older.
//! - pg_upgrade makes members one by one, after their extension. So does `ALTER EXTENSION … ADD`. Where a member joined later
//!   than the extension's row was written, nothing is said of that extension, until it is updated.
//! - Numbers begin anew after four thousand million transactions. On such a server nothing is said.

use super::connect::session::{Query, Session};
use crate::error::Result;

/// How many members a warning names.
const NAMED: usize = 10;

const CHANGED: &str = "\
WITH extension AS (
    SELECT e.oid, e.extname, e.xmin::pg_catalog.text::pg_catalog.int8 AS made FROM pg_catalog.pg_extension e
    WHERE pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())::pg_catalog.text::pg_catalog.numeric < 4294967296
        AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_depend d
            WHERE d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND d.refobjid = e.oid AND d.deptype = 'e'
                AND d.xmin::pg_catalog.text::pg_catalog.int8 > e.xmin::pg_catalog.text::pg_catalog.int8)),
member AS (
    SELECT e.extname, e.made, d.classid, d.objid FROM extension e JOIN pg_catalog.pg_depend d
        ON d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND d.refobjid = e.oid AND d.deptype = 'e'),
relation AS (
    SELECT m.extname, m.made, c.oid, c.relkind FROM member m
        JOIN pg_catalog.pg_class c ON m.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND c.oid = m.objid
    UNION ALL
    SELECT m.extname, m.made, c.oid, c.relkind FROM member m
        JOIN pg_catalog.pg_type t ON m.classid = 'pg_catalog.pg_type'::pg_catalog.regclass AND t.oid = m.objid
        JOIN pg_catalog.pg_class c ON c.oid = t.typrelid AND c.relkind = 'c'),
part AS (
    SELECT m.extname, m.made, m.classid, m.objid, p.xmin AS written, NULL AS name FROM member m
        JOIN pg_catalog.pg_proc p ON m.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND p.oid = m.objid
    WHERE p.proacl IS NULL
    UNION ALL
    SELECT r.extname, r.made, 'pg_catalog.pg_class'::pg_catalog.regclass, r.oid, a.xmin,
        CASE WHEN a.attisdropped THEN 'a column that was dropped' ELSE 'column ' || a.attname END FROM relation r
        JOIN pg_catalog.pg_attribute a ON a.attrelid = r.oid AND a.attnum > 0 AND a.attacl IS NULL
    WHERE r.relkind IN ('r', 'p', 'v', 'm', 'f', 'c') AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_attrdef f
        WHERE f.adrelid = r.oid AND f.adnum = a.attnum AND f.xmin::pg_catalog.text::pg_catalog.int8 <= r.made)
    UNION ALL
    SELECT r.extname, r.made, 'pg_catalog.pg_class'::pg_catalog.regclass, r.oid, f.xmin,
        'default of column ' || a.attname FROM relation r JOIN pg_catalog.pg_attrdef f ON f.adrelid = r.oid
        JOIN pg_catalog.pg_attribute a ON a.attrelid = r.oid AND a.attnum = f.adnum
    UNION ALL
    SELECT r.extname, r.made, 'pg_catalog.pg_class'::pg_catalog.regclass, r.oid, k.xmin, 'constraint ' || k.conname
    FROM relation r JOIN pg_catalog.pg_constraint k ON k.conrelid = r.oid AND k.contype = 'c'
    UNION ALL
    SELECT r.extname, r.made, 'pg_catalog.pg_class'::pg_catalog.regclass, r.oid, g.xmin, 'trigger ' || g.tgname
    FROM relation r JOIN pg_catalog.pg_trigger g ON g.tgrelid = r.oid AND NOT g.tgisinternal
    UNION ALL
    SELECT r.extname, r.made, 'pg_catalog.pg_class'::pg_catalog.regclass, r.oid, w.xmin,
        CASE WHEN w.rulename = '_RETURN' THEN 'its query' ELSE 'rule ' || w.rulename END
    FROM relation r JOIN pg_catalog.pg_rewrite w ON w.ev_class = r.oid
    UNION ALL
    SELECT m.extname, m.made, m.classid, m.objid, k.xmin, 'constraint ' || k.conname FROM member m
        JOIN pg_catalog.pg_constraint k ON m.classid = 'pg_catalog.pg_type'::pg_catalog.regclass AND k.contypid = m.objid
    UNION ALL
    SELECT m.extname, m.made, m.classid, m.objid, l.xmin, 'label ' || l.enumlabel FROM member m
        JOIN pg_catalog.pg_enum l ON m.classid = 'pg_catalog.pg_type'::pg_catalog.regclass AND l.enumtypid = m.objid
    UNION ALL
    SELECT m.extname, m.made, m.classid, m.objid, d.xmin, NULL FROM member m
        JOIN pg_catalog.pg_ts_dict d ON m.classid = 'pg_catalog.pg_ts_dict'::pg_catalog.regclass AND d.oid = m.objid
    UNION ALL
    SELECT m.extname, m.made, m.classid, m.objid, c.xmin, 'its mapping' FROM member m
        JOIN pg_catalog.pg_ts_config_map c
            ON m.classid = 'pg_catalog.pg_ts_config'::pg_catalog.regclass AND c.mapcfg = m.objid
    UNION ALL
    SELECT m.extname, m.made, m.classid, m.objid, w.xmin, NULL FROM member m
        JOIN pg_catalog.pg_foreign_data_wrapper w
            ON m.classid = 'pg_catalog.pg_foreign_data_wrapper'::pg_catalog.regclass AND w.oid = m.objid
    WHERE w.fdwacl IS NULL
    UNION ALL
    SELECT m.extname, m.made, m.classid, m.objid, t.xmin, NULL FROM member m
        JOIN pg_catalog.pg_event_trigger t
            ON m.classid = 'pg_catalog.pg_event_trigger'::pg_catalog.regclass AND t.oid = m.objid)
SELECT extname::pg_catalog.text AS extension, pg_catalog.pg_describe_object(classid, objid, 0)
    || COALESCE(' (' || pg_catalog.string_agg(DISTINCT name, ', ') || ')', '') AS member
FROM part WHERE written::pg_catalog.text::pg_catalog.int8 > made GROUP BY extname, classid, objid ORDER BY 1, 2";

/// What to warn of in the database that `session` is in, one sentence for each extension.
///
/// # Errors
/// The server does not answer.
pub async fn changed(session: &Session) -> Result<Vec<String>> {
    let mut extensions: Vec<(String, Vec<String>)> = Vec::new();
    for row in session.rows(&Query::new(CHANGED)).await? {
        let (extension, member) = (row.text("extension")?, row.text("member")?);
        match extensions.last_mut().filter(|(name, _)| *name == extension) {
            Some((_, members)) => members.push(member),
            None => extensions.push((extension, vec![member])),
        }
    }
    Ok(extensions
        .iter()
        .map(|(name, members)| warning(name, members))
        .collect())
}

fn warning(extension: &str, members: &[String]) -> String {
    let more = match members.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let named: Vec<&str> = members.iter().take(NAMED).map(String::as_str).collect();
    format!(
        "of the extension {extension} this was changed since it was created or updated: {}{more}. No dump has such changes, and \
         a restore makes the extension as it is packaged: keep their statements, and run them after a restore",
        named.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_named_is_counted() {
        let members = |count: usize| (0..count).map(|n| format!("function f{n}()")).collect::<Vec<_>>();
        assert!(warning("x", &members(1)).contains("updated: function f0(). No dump"));
        assert!(warning("x", &members(NAMED + 3)).contains("function f9() and 3 more. No dump"));
    }
}
