//! Members of extensions that somebody changed by hand. No dump has such a change, pg_dump's neither: of an extension it is only
//! said that it is created. So it is told when a backup is made, while somebody still knows what was changed and why.
//!
//! The catalogs do not say what an extension's script made and what came later, but each of their rows has the number of the
//! transaction that wrote it. The row of the extension itself is written when it is created, updated or moved, in the same
//! transaction as its members. What a member has that is newer was changed since. Told is only what is sure:
//!
//! - A grant writes the rows of functions, columns and tables too, but a dump has it. So a row tells something only where the
//!   rights are those that the extension came with (`pg_init_privs`). Of functions with rights of their own even that is asked
//!   only for settings: a right that was given and taken back leaves no other trace.
//! - Owners are rows of `pg_shdepend`. CREATE DATABASE writes them too, when it copies a template, but then the member's own row
//!   is older. Of a table that is the row of its type, which is written when it is renamed, moved or given to somebody, and else never.
//! - Rows of tables and indexes in `pg_class` are also written by VACUUM FULL, TRUNCATE, REINDEX, CREATE TRIGGER and others. What
//!   rewrites a table gives it a new file and writes the rows of its indexes in the same transaction, and REINDEX writes them
//!   later; the others write a row elsewhere. Only where none of these explains a row that is newer, what it says was set by hand. One way
//!   to be wrong is left: a table whose options are the extension's own, and to which a foreign key pointed that is gone.
//! - REINDEX CONCURRENTLY makes a new index, and moves what depends on the old one to it in a later transaction. So an index was
//!   created by hand where its columns and its dependencies are of the same transaction. Constraints move with their
//!   index, but what they depend on does not.
//! - VACUUM FULL writes the row of a column again that was added with a default. Its default then is older.
//! - pg_upgrade makes members one by one, after their extension. So does `ALTER EXTENSION … ADD`. Where a member joined later
//!   than the extension's row was written, nothing is said of that extension, until it is updated.
//! - Numbers begin anew after four thousand million transactions. On such a server nothing is said.

use super::connect::session::{Query, Session};
use crate::error::Result;

/// How many members a warning names.
const NAMED: usize = 10;

/// What each extension has, with the numbers of the transactions that wrote it. `{…}` stands for what [`number`],
/// [`as_made`] and [`owned`] write.
const MEMBERS: &str = "\
WITH extension AS (
    SELECT e.oid, e.extname, e.extowner, {e.xmin} AS made, d.oid AS dbid
    FROM pg_catalog.pg_extension e, pg_catalog.pg_database d
    WHERE d.datname = pg_catalog.current_database()
        AND pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())::pg_catalog.text::pg_catalog.numeric < 4294967296
        AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_depend d
            WHERE d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND d.refobjid = e.oid AND d.deptype = 'e'
                AND {d.xmin} > {e.xmin})),
member AS (
    SELECT e.extname, e.made, e.extowner, e.dbid, d.classid, d.objid FROM extension e JOIN pg_catalog.pg_depend d
        ON d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND d.refobjid = e.oid AND d.deptype = 'e'
    WHERE NOT EXISTS (SELECT 1 FROM pg_catalog.pg_type y WHERE d.classid = 'pg_catalog.pg_type'::pg_catalog.regclass
        AND y.oid = d.objid AND y.typcategory = 'A')),
owner AS (
    SELECT m.extname, m.made, m.classid, m.objid, s.xmin AS written FROM member m JOIN pg_catalog.pg_shdepend s
        ON s.dbid = m.dbid AND s.classid = m.classid AND s.objid = m.objid AND s.objsubid = 0 AND s.deptype = 'o'
    WHERE s.refobjid <> m.extowner AND {s.xmin} > m.made AND CASE s.classid
        WHEN 'pg_catalog.pg_class'::pg_catalog.regclass THEN (SELECT COALESCE({r.xmin}, {c.xmin}) FROM pg_catalog.pg_class c
            LEFT JOIN pg_catalog.pg_type r ON r.oid = c.reltype WHERE c.oid = s.objid)
        {owned} END >= {s.xmin}),
relation AS (
    SELECT m.extname, m.made, c.oid, c.relkind FROM member m
        JOIN pg_catalog.pg_class c ON m.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND c.oid = m.objid
    UNION ALL
    SELECT m.extname, m.made, c.oid, c.relkind FROM member m
        JOIN pg_catalog.pg_type t ON m.classid = 'pg_catalog.pg_type'::pg_catalog.regclass AND t.oid = m.objid
        JOIN pg_catalog.pg_class c ON c.oid = t.typrelid AND c.relkind = 'c'),
-- Tables with their indexes and TOAST tables, whose row in pg_class was written by nothing that is known to write it.
settled AS (
    SELECT r.extname, r.made, r.oid AS relation, c.* FROM relation r CROSS JOIN LATERAL (
        SELECT c.oid, c.xmin AS written, c.relname, c.reloptions, CASE WHEN c.relkind IN ('i', 'I') THEN 'index'
            WHEN c.relkind = 't' THEN 'toast' END AS part, c.relkind IN ('r', 'p') AND c.relreplident <> 'd' AS identity,
            c.relforcerowsecurity AS forced
        FROM pg_catalog.pg_class c WHERE (c.oid = r.oid OR c.oid = (SELECT t.reltoastrelid FROM pg_catalog.pg_class t
                WHERE t.oid = r.oid) OR c.oid IN (SELECT x.indexrelid FROM pg_catalog.pg_index x WHERE x.indrelid = r.oid))
            AND c.relkind <> 'S' AND {c.xmin} > r.made AND {made: c.relacl pg_class c.oid 0} AND NOT c.relrowsecurity
            AND CASE WHEN c.relkind IN ('i', 'I') THEN c.relfilenode IN (0, c.oid) AND EXISTS (
                    SELECT 1 FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND {a.xmin} <= r.made)
                WHEN c.relkind = 't' OR c.relfilenode NOT IN (0, c.oid) THEN EXISTS (
                        SELECT 1 FROM pg_catalog.pg_index x WHERE x.indrelid IN (c.oid, c.reltoastrelid))
                    AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_index x JOIN pg_catalog.pg_class i ON i.oid = x.indexrelid
                        WHERE x.indrelid IN (c.oid, c.reltoastrelid) AND {i.xmin} >= {c.xmin})
                ELSE true END
            AND NOT EXISTS (
                SELECT 1 FROM pg_catalog.pg_trigger g WHERE g.tgrelid = c.oid AND g.xmin = c.xmin
                UNION ALL SELECT 1 FROM pg_catalog.pg_rewrite w WHERE w.ev_class = c.oid AND w.xmin = c.xmin
                UNION ALL SELECT 1 FROM pg_catalog.pg_inherits h WHERE h.inhparent = c.oid AND h.xmin = c.xmin
                UNION ALL SELECT 1 FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.xmin = c.xmin
                UNION ALL SELECT 1 FROM pg_catalog.pg_constraint k WHERE k.conrelid = c.oid AND k.xmin = c.xmin
                UNION ALL SELECT 1 FROM owner o WHERE o.objid = r.oid AND o.written = c.xmin
                UNION ALL SELECT 1 FROM pg_catalog.pg_type y WHERE y.oid = c.reltype AND y.xmin = c.xmin)
            -- What was created once and is gone has left a sign, but no time.
            AND NOT (c.relhastriggers AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_trigger g WHERE g.tgrelid = c.oid))
            AND NOT (c.relhasrules AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_rewrite w WHERE w.ev_class = c.oid))
            AND NOT (c.relhassubclass AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_inherits h WHERE h.inhparent = c.oid))
        ) c)";

/// Where a member tells of a change: each is a SELECT of an extension, when it was made, the member, when this was written, and what
/// it is of the member.
const PARTS: &[&str] = &[
    "SELECT m.extname, m.made, m.classid, m.objid, p.xmin AS written, CASE WHEN p.proacl IS NOT NULL THEN 'its settings' END AS name
    FROM member m JOIN pg_catalog.pg_proc p ON m.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND p.oid = m.objid
    WHERE p.proacl IS NULL OR (p.proconfig IS NOT NULL AND {made: p.proacl pg_proc p.oid 0})",
    // Its dependencies are written anew when a function is replaced.
    "SELECT m.extname, m.made, m.classid, m.objid, d.xmin, NULL FROM member m JOIN pg_catalog.pg_depend d
        ON m.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND d.classid = m.classid AND d.objid = m.objid
        AND d.refclassid = 'pg_catalog.pg_namespace'::pg_catalog.regclass",
    "SELECT extname, made, classid, objid, written, 'its owner' FROM owner",
    "SELECT r.extname, r.made, 'pg_catalog.pg_class'::pg_catalog.regclass, r.oid, a.xmin,
        CASE WHEN a.attisdropped THEN 'a column that was dropped' ELSE 'column ' || a.attname END FROM relation r
        JOIN pg_catalog.pg_attribute a ON a.attrelid = r.oid AND a.attnum > 0 AND {made: a.attacl pg_class r.oid a.attnum}
    WHERE r.relkind IN ('r', 'p', 'v', 'm', 'f', 'c') AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_attrdef f
        WHERE f.adrelid = r.oid AND f.adnum = a.attnum AND {f.xmin} <= r.made)",
    "SELECT r.extname, r.made, 'pg_catalog.pg_class'::pg_catalog.regclass, r.oid, f.xmin,
        'default of column ' || a.attname FROM relation r JOIN pg_catalog.pg_attrdef f ON f.adrelid = r.oid
        JOIN pg_catalog.pg_attribute a ON a.attrelid = r.oid AND a.attnum = f.adnum",
    "SELECT r.extname, r.made, 'pg_catalog.pg_class'::pg_catalog.regclass, r.oid, k.xmin, 'constraint ' || k.conname
    FROM relation r JOIN pg_catalog.pg_constraint k ON k.conrelid = r.oid AND k.contype = 'c'",
    "SELECT r.extname, r.made, 'pg_catalog.pg_class'::pg_catalog.regclass, r.oid, d.xmin, 'constraint ' || k.conname
    FROM relation r JOIN pg_catalog.pg_constraint k ON k.conrelid = r.oid AND k.contype IN ('p', 'u', 'x', 'f')
        JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_constraint'::pg_catalog.regclass AND d.objid = k.oid
            AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid = r.oid AND d.deptype = 'a'",
    "SELECT r.extname, r.made, 'pg_catalog.pg_class'::pg_catalog.regclass, r.oid, d.xmin, 'index ' || i.relname
    FROM relation r JOIN pg_catalog.pg_index x ON x.indrelid = r.oid JOIN pg_catalog.pg_class i ON i.oid = x.indexrelid
        JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = i.oid
            AND d.refclassid = d.classid AND d.refobjid = r.oid AND d.deptype = 'a'
    WHERE EXISTS (SELECT 1 FROM pg_catalog.pg_attribute a WHERE a.attrelid = i.oid AND a.xmin = d.xmin)",
    "SELECT extname, made, 'pg_catalog.pg_class'::pg_catalog.regclass, relation, written, CASE
        WHEN part = 'index' THEN 'options of index ' || relname
        WHEN part = 'toast' THEN 'options of its TOAST table' ELSE 'its options' END
    FROM settled WHERE reloptions IS NOT NULL",
    "SELECT extname, made, 'pg_catalog.pg_class'::pg_catalog.regclass, relation, written, 'its replica identity'
    FROM settled WHERE identity",
    "SELECT extname, made, 'pg_catalog.pg_class'::pg_catalog.regclass, relation, written, 'its forced row security'
    FROM settled WHERE forced",
    // The type of a table's rows is renamed and moved with it, and written by nothing else.
    "SELECT r.extname, r.made, 'pg_catalog.pg_class'::pg_catalog.regclass, r.oid, y.xmin, 'its name, schema or owner'
    FROM relation r JOIN pg_catalog.pg_type y ON y.typrelid = r.oid
    WHERE y.typacl IS NULL AND NOT EXISTS (SELECT 1 FROM owner o WHERE o.objid = r.oid AND o.written = y.xmin)",
    "SELECT m.extname, m.made, m.classid, m.objid, y.xmin, NULL FROM member m JOIN pg_catalog.pg_type y
        ON m.classid = 'pg_catalog.pg_type'::pg_catalog.regclass AND y.oid = m.objid AND y.typrelid = 0
    WHERE {made: y.typacl pg_type y.oid 0}",
    "SELECT r.extname, r.made, 'pg_catalog.pg_class'::pg_catalog.regclass, r.oid, q.xmin, 'its counting'
    FROM relation r JOIN pg_catalog.pg_sequence q ON q.seqrelid = r.oid
    WHERE q.seqincrement <> 1 OR q.seqcache <> 1 OR q.seqcycle OR q.seqmin <> 1 OR q.seqstart <> 1
        OR q.seqmax <> CASE q.seqtypid WHEN 'int2'::pg_catalog.regtype THEN 32767 WHEN 'int4'::pg_catalog.regtype THEN 2147483647
            ELSE 9223372036854775807 END",
    "SELECT r.extname, r.made, 'pg_catalog.pg_class'::pg_catalog.regclass, r.oid, g.xmin, 'trigger ' || g.tgname
    FROM relation r JOIN pg_catalog.pg_trigger g ON g.tgrelid = r.oid AND NOT g.tgisinternal",
    "SELECT r.extname, r.made, 'pg_catalog.pg_class'::pg_catalog.regclass, r.oid, w.xmin,
        CASE WHEN w.rulename = '_RETURN' THEN 'its query' ELSE 'rule ' || w.rulename END
    FROM relation r JOIN pg_catalog.pg_rewrite w ON w.ev_class = r.oid",
    "SELECT r.extname, r.made, 'pg_catalog.pg_class'::pg_catalog.regclass, r.oid, f.xmin, 'its options'
    FROM relation r JOIN pg_catalog.pg_foreign_table f ON f.ftrelid = r.oid",
    "SELECT m.extname, m.made, m.classid, m.objid, d.xmin, COALESCE((SELECT 'comment of column ' || a.attname
        FROM pg_catalog.pg_attribute a WHERE m.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND a.attrelid = m.objid
            AND a.attnum = d.objsubid AND d.objsubid <> 0), 'its comment')
    FROM member m JOIN pg_catalog.pg_description d ON d.classoid = m.classid AND d.objoid = m.objid",
    "SELECT m.extname, m.made, m.classid, m.objid, k.xmin, 'constraint ' || k.conname FROM member m
        JOIN pg_catalog.pg_constraint k ON m.classid = 'pg_catalog.pg_type'::pg_catalog.regclass AND k.contypid = m.objid",
    "SELECT m.extname, m.made, m.classid, m.objid, l.xmin, 'label ' || l.enumlabel FROM member m
        JOIN pg_catalog.pg_enum l ON m.classid = 'pg_catalog.pg_type'::pg_catalog.regclass AND l.enumtypid = m.objid",
    "SELECT m.extname, m.made, m.classid, m.objid, d.xmin, NULL FROM member m
        JOIN pg_catalog.pg_ts_dict d ON m.classid = 'pg_catalog.pg_ts_dict'::pg_catalog.regclass AND d.oid = m.objid",
    "SELECT m.extname, m.made, m.classid, m.objid, c.xmin, 'its mapping' FROM member m
        JOIN pg_catalog.pg_ts_config_map c
            ON m.classid = 'pg_catalog.pg_ts_config'::pg_catalog.regclass AND c.mapcfg = m.objid",
    "SELECT m.extname, m.made, m.classid, m.objid, w.xmin, NULL FROM member m
        JOIN pg_catalog.pg_foreign_data_wrapper w
            ON m.classid = 'pg_catalog.pg_foreign_data_wrapper'::pg_catalog.regclass AND w.oid = m.objid
    WHERE {made: w.fdwacl pg_foreign_data_wrapper w.oid 0}",
    "SELECT m.extname, m.made, m.classid, m.objid, v.xmin, NULL FROM member m JOIN pg_catalog.pg_foreign_server v
        ON m.classid = 'pg_catalog.pg_foreign_server'::pg_catalog.regclass AND v.oid = m.objid
    WHERE {made: v.srvacl pg_foreign_server v.oid 0}",
    "SELECT m.extname, m.made, m.classid, m.objid, t.xmin, NULL FROM member m
        JOIN pg_catalog.pg_event_trigger t
            ON m.classid = 'pg_catalog.pg_event_trigger'::pg_catalog.regclass AND t.oid = m.objid",
];

const CHANGED: &str = "\
SELECT extname::pg_catalog.text AS extension, pg_catalog.pg_describe_object(classid, objid, 0)
    || COALESCE(' (' || pg_catalog.string_agg(DISTINCT name, ', ') || ')', '') AS member
FROM part WHERE {written} > made GROUP BY extname, classid, objid ORDER BY 1, 2";

/// The whole query.
fn query() -> String {
    let text = format!(
        "{MEMBERS},\npart AS (\n    {})\n{CHANGED}",
        PARTS.join("\n    UNION ALL\n    ")
    );
    let mut pieces = text.split('{');
    let mut filled = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (marked, rest) = piece.split_once('}').unwrap_or((piece, ""));
        filled += &match marked.strip_prefix("made: ") {
            Some(rights) => as_made(rights),
            None if marked == "owned" => OWNED.map(owned).join(" "),
            None => number(marked),
        };
        filled += rest;
    }
    filled
}

/// Catalogs of what has an owner, besides tables.
const OWNED: [&str; 15] = [
    "pg_proc",
    "pg_type",
    "pg_namespace",
    "pg_operator",
    "pg_opclass",
    "pg_opfamily",
    "pg_collation",
    "pg_conversion",
    "pg_language",
    "pg_ts_dict",
    "pg_ts_config",
    "pg_foreign_data_wrapper",
    "pg_foreign_server",
    "pg_event_trigger",
    "pg_statistic_ext",
];

/// When the row of an object in `catalog` was written.
fn owned(catalog: &str) -> String {
    format!(
        "WHEN 'pg_catalog.{catalog}'::pg_catalog.regclass THEN (SELECT {} FROM pg_catalog.{catalog} r WHERE r.oid = s.objid)",
        number("r.xmin")
    )
}

/// The number of a transaction, to be compared.
fn number(xid: &str) -> String {
    format!("{xid}::pg_catalog.text::pg_catalog.int8")
}

/// Whether rights are those that the extension's script gave: `ACL CATALOG OID SUBID`.
fn as_made(rights: &str) -> String {
    let [acl, catalog, oid, subid] = rights.split(' ').collect::<Vec<_>>()[..] else {
        return "false".to_owned();
    };
    format!(
        "{acl} IS NOT DISTINCT FROM (SELECT given.initprivs FROM pg_catalog.pg_init_privs given WHERE given.objoid = {oid} \
         AND given.classoid = 'pg_catalog.{catalog}'::pg_catalog.regclass AND given.objsubid = {subid} AND given.privtype = 'e')"
    )
}

/// What to warn of in the database that `session` is in, one sentence for each extension.
///
/// # Errors
/// The server does not answer.
pub async fn changed(session: &Session) -> Result<Vec<String>> {
    let mut extensions: Vec<(String, Vec<String>)> = Vec::new();
    for row in session.rows(&Query::new(query())).await? {
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
    fn what_is_marked_in_the_query_is_filled_in() {
        let text = query();
        assert!(!text.contains(['{', '}']), "{text}");
        assert!(!as_made("a b c d").contains("false"));
        assert_eq!(text.matches("false").count(), 0, "{text}");
    }

    #[test]
    fn what_is_not_named_is_counted() {
        let members = |count: usize| (0..count).map(|n| format!("function f{n}()")).collect::<Vec<_>>();
        assert!(warning("x", &members(1)).contains("updated: function f0(). No dump"));
        assert!(warning("x", &members(NAMED + 3)).contains("function f9() and 3 more. No dump"));
    }
}
