//! Members of extensions that somebody changed: no dump has that, so backups and the doctor tell it. What is not sure is not
//! told: a grant, an update, an extension that was restored, the work of VACUUM.

use std::sync::Arc;

use serde_json::Value;

use super::Site;
use crate::support::{Run, Server, VERSIONS};

/// What a backup warns of about extensions.
fn told(site: &Site) -> Vec<String> {
    let warned = site.run(&["backup", "app"]).ok().stderr;
    let about = warned.lines().filter(|line| line.contains("this was changed since"));
    about.map(str::to_owned).collect()
}

const MADE: &str = "CREATE EXTENSION hstore VERSION '1.4'; CREATE EXTENSION unaccent; CREATE EXTENSION tablefunc;
    CREATE EXTENSION pg_stat_statements; CREATE EXTENSION citext";

/// What changes nothing that a restore would not bring back, or is told by the dump itself.
const HARMLESS: &[&str] = &[
    "ALTER EXTENSION hstore UPDATE TO '1.6'",
    "ALTER EXTENSION hstore UPDATE",
    "ALTER EXTENSION citext SET SCHEMA pg_catalog",
    "CREATE ROLE reader; GRANT EXECUTE ON FUNCTION akeys(hstore) TO reader; GRANT SELECT ON pg_stat_statements_info TO reader",
    "REVOKE EXECUTE ON FUNCTION akeys(hstore) FROM reader",
    "CREATE TABLE used (h hstore, c citext); INSERT INTO used VALUES ('a=>1', 'A'); CREATE INDEX ON used USING gin (h)",
    "ANALYZE",
    "VACUUM FULL",
    "VACUUM FREEZE",
    "REINDEX DATABASE app",
    "COMMENT ON EXTENSION hstore IS 'mine'",
];

#[test]
fn changed_members_of_extensions_are_told_and_nothing_else() {
    for major in VERSIONS {
        let server = Arc::new(Server::start(major));
        let site = Site::on(Arc::clone(&server), "app", "postgres");
        site.server.create_database("app");
        site.server.psql("app", MADE);
        for sql in HARMLESS {
            site.server.psql("app", sql);
        }
        assert_eq!(told(&site), [""; 0], "{major}");

        for sql in [
            "ALTER TEXT SEARCH DICTIONARY unaccent (RULES = 'unaccent')",
            "ALTER TYPE tablefunc_crosstab_2 ADD ATTRIBUTE more int",
            "ALTER FUNCTION crosstab(text) COST 3",
            "ALTER VIEW pg_stat_statements_info ALTER dealloc SET DEFAULT 3",
        ] {
            site.server.psql("app", sql);
        }
        let warned = told(&site);
        assert_eq!(warned.len(), 3, "{major}: {warned:?}");
        for (extension, members) in [
            ("unaccent", &["text search dictionary unaccent"] as &[_]),
            (
                "tablefunc",
                &["function crosstab(text)", "tablefunc_crosstab_2 (column more)"] as &[_],
            ),
            ("pg_stat_statements", &["view pg_stat_statements_info"] as &[_]),
        ] {
            let of = format!("of the extension {extension} this was changed");
            let line = warned.iter().find(|line| line.contains(&of));
            let line = line.unwrap_or_else(|| panic!("{major} {extension}: {warned:?}"));
            assert!(members.iter().all(|member| line.contains(member)), "{major}: {line}");
        }
        let examined = site.run(&["doctor", "app", "--json"]).stdout;
        let examined: Value = serde_json::from_str(&examined).unwrap();
        let findings = examined[0]["findings"].as_array().unwrap();
        let warnings = findings
            .iter()
            .filter(|it| it["about"] == "restores" && it["severity"] == "warning");
        assert_eq!(warnings.count(), 3, "{major}: {examined:#}");

        // A new version writes all anew: what was changed before may be gone or not.
        site.server
            .psql("app", "DROP EXTENSION tablefunc; CREATE EXTENSION tablefunc");
        assert_eq!(told(&site).len(), 2, "{major}");
    }
}

#[test]
fn restored_extensions_are_as_new() {
    for major in [14, 18] {
        let server = Arc::new(Server::start(major));
        let site = Site::on(Arc::clone(&server), "app", "postgres");
        site.server.create_database("app");
        site.server.psql("app", MADE);
        site.server.psql(
            "app",
            "CREATE ROLE reader; GRANT EXECUTE ON FUNCTION akeys(hstore) TO reader; ALTER FUNCTION crosstab(text) COST 3",
        );
        let id = site.backup();
        for mode in ["swap", "in-place"] {
            site.restore(&[&id, "--mode", mode]);
            assert_eq!(told(&site), [""; 0], "{major} {mode}");
        }
        // By stock pg_restore as well.
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("archive");
        server.pg_dump("app", &["-Fc", "-f", file.to_str().unwrap()]);
        server.psql("postgres", "DROP DATABASE app WITH (FORCE)");
        server.create_database("app");
        Run::of(server.tool("pg_restore").args(server.connection_args("app")).arg(&file)).ok();
        assert_eq!(told(&site), [""; 0], "{major}");
        // What was added to an extension by hand, or by pg_upgrade, joined it later than its row: that tells nothing.
        server.psql(
            "app",
            "CREATE FUNCTION mine() RETURNS int LANGUAGE sql AS 'SELECT 1'; ALTER EXTENSION hstore ADD FUNCTION mine(); \
             ALTER FUNCTION mine() COST 7",
        );
        assert_eq!(told(&site), [""; 0], "{major}");
    }
}

/// Tables and more that are members of hstore: what was added to an extension counts as made by it from its next update on.
const TABLES: &str = "CREATE ROLE reader; CREATE ROLE other; CREATE EXTENSION hstore VERSION '1.4'; CREATE SCHEMA kept;
    CREATE TABLE kept.plain (id int PRIMARY KEY, t text, n int);
    CREATE TABLE kept.tuned (id int PRIMARY KEY, t text) WITH (fillfactor = 70, toast.autovacuum_enabled = off);
    CREATE INDEX by_t ON kept.tuned (t) WITH (fillfactor = 60);
    CREATE TABLE kept.granted (id int PRIMARY KEY, t text) WITH (fillfactor = 71); CREATE TABLE kept.bare (a int) WITH (fillfactor = 72);
    CREATE TABLE kept.parent (id int PRIMARY KEY REFERENCES kept.plain, t text) WITH (fillfactor = 73);
    CREATE TABLE kept.barred (a int); CREATE TABLE kept.renamed (a int); CREATE SEQUENCE kept.counter;
    CREATE VIEW kept.shown WITH (security_barrier) AS SELECT id FROM kept.plain; CREATE VIEW kept.seen AS SELECT id FROM kept.tuned;
    CREATE DOMAIN kept.small AS int; CREATE TYPE kept.mood AS ENUM ('sad');
    CREATE FUNCTION kept.f() RETURNS int LANGUAGE sql AS 'SELECT 1'; CREATE FUNCTION kept.g() RETURNS int LANGUAGE sql AS 'SELECT 1';
    CREATE FUNCTION kept.h() RETURNS trigger LANGUAGE plpgsql SET search_path = '' AS 'BEGIN RETURN NEW; END';
    GRANT SELECT ON kept.granted, kept.tuned TO PUBLIC; REVOKE EXECUTE ON FUNCTION kept.g(), kept.h() FROM PUBLIC;
    ALTER FUNCTION kept.h() OWNER TO other; ALTER TABLE kept.parent OWNER TO other";

const ADDED: &[&str] = &[
    "SCHEMA kept",
    "TABLE kept.plain",
    "TABLE kept.tuned",
    "TABLE kept.granted",
    "TABLE kept.bare",
    "TABLE kept.parent",
    "TABLE kept.barred",
    "TABLE kept.renamed",
    "SEQUENCE kept.counter",
    "VIEW kept.shown",
    "VIEW kept.seen",
    "DOMAIN kept.small",
    "TYPE kept.mood",
    "FUNCTION kept.f()",
    "FUNCTION kept.g()",
    "FUNCTION kept.h()",
];

/// What writes rows of tables and indexes anew and changes nothing that a restore would not bring back.
const WORN: &[&str] = &[
    "VACUUM FULL",
    "CLUSTER kept.tuned USING by_t",
    "REINDEX TABLE kept.tuned",
    "REINDEX TABLE CONCURRENTLY kept.tuned",
    "REINDEX TABLE CONCURRENTLY kept.plain",
    "TRUNCATE kept.tuned, kept.bare",
    "VACUUM",
    "INSERT INTO kept.tuned SELECT n, n FROM generate_series(1, 9) n; ANALYZE",
    "GRANT INSERT ON kept.granted, kept.plain TO reader; GRANT SELECT (t) ON kept.parent TO reader",
    "GRANT EXECUTE ON FUNCTION kept.f(), kept.g() TO reader",
    "CREATE TABLE child () INHERITS (kept.bare); CREATE TABLE refers (id int REFERENCES kept.plain)",
    "DROP TABLE child, refers; ANALYZE kept.plain",
    "ALTER TABLE kept.parent ENABLE ROW LEVEL SECURITY; CREATE POLICY mine ON kept.parent USING (true)",
    "CREATE PUBLICATION told FOR TABLE kept.plain",
    "SELECT nextval('kept.counter'); ALTER SEQUENCE kept.counter RESTART",
    "VACUUM FULL",
    "REINDEX SCHEMA kept",
    "REINDEX SCHEMA CONCURRENTLY kept",
];

/// Changes, and what is told of each.
const CHANGES: &[(&str, &str)] = &[
    ("CREATE INDEX added ON kept.plain (t)", "index added"),
    ("ALTER TABLE kept.plain ALTER n SET DEFAULT 3", "default of column n"),
    ("ALTER TABLE kept.plain ALTER t SET STATISTICS 7", "column t"),
    ("COMMENT ON COLUMN kept.plain.id IS 'mine'", "comment of column id"),
    (
        "ALTER TABLE kept.plain ADD CONSTRAINT once UNIQUE (n)",
        "constraint once",
    ),
    (
        "ALTER TABLE kept.plain ADD CONSTRAINT refers FOREIGN KEY (n) REFERENCES kept.plain",
        "constraint refers",
    ),
    (
        "CREATE TRIGGER mine BEFORE INSERT ON kept.barred FOR EACH ROW EXECUTE FUNCTION kept.h()",
        "table kept.barred (trigger mine)",
    ),
    (
        "ALTER TABLE kept.tuned SET (autovacuum_enabled = off)",
        "table kept.tuned (its options",
    ),
    (
        "ALTER TABLE kept.tuned SET (toast.autovacuum_enabled = on)",
        "options of its TOAST table",
    ),
    (
        "ALTER TABLE kept.granted OWNER TO reader",
        "table kept.granted (its owner)",
    ),
    (
        "ALTER INDEX kept.parent_pkey SET (fillfactor = 50)",
        "options of index parent_pkey",
    ),
    ("COMMENT ON TABLE kept.parent IS 'mine'", "its comment"),
    ("ALTER TABLE kept.renamed RENAME TO called", "its name, schema or owner"),
    ("ALTER TABLE kept.called REPLICA IDENTITY FULL", "its replica identity"),
    (
        "ALTER SEQUENCE kept.counter INCREMENT 5",
        "sequence kept.counter (its counting)",
    ),
    (
        "ALTER VIEW kept.seen SET (security_barrier)",
        "view kept.seen (its options)",
    ),
    (
        "CREATE OR REPLACE VIEW kept.shown WITH (security_barrier) AS SELECT id + 0 AS id FROM kept.plain",
        "view kept.shown (its query)",
    ),
    ("ALTER DOMAIN kept.small SET DEFAULT 3", "type kept.small"),
    ("ALTER TYPE kept.mood ADD VALUE 'glad'", "type kept.mood (label glad)"),
    (
        "ALTER FUNCTION kept.f() OWNER TO reader",
        "function kept.f() (its owner)",
    ),
    (
        "CREATE OR REPLACE FUNCTION kept.g() RETURNS int LANGUAGE sql AS 'SELECT 2'",
        "function kept.g()",
    ),
    ("ALTER FUNCTION kept.h() SET search_path = kept", "its settings"),
    ("ALTER SCHEMA kept OWNER TO reader", "schema kept (its owner)"),
];

/// Makes copies of a database, changes them, and asserts that it is told. Ten members are named, so not all at once.
fn assert_changes_are_told(server: &Arc<Server>, database: &str, except: &[&str]) {
    for (n, changes) in CHANGES.chunks(15).enumerate() {
        let name = format!("{database}_{n}");
        server.psql("postgres", &format!("CREATE DATABASE {name} TEMPLATE {database}"));
        let copy = Site::on(Arc::clone(server), &name, "postgres");
        // What a new database has of a template was written when it was created.
        assert_eq!(told(&copy), [""; 0], "{} {name}", server.major);
        for (sql, _) in changes {
            server.psql(&name, sql);
        }
        let warned = told(&copy).concat();
        for (sql, part) in changes.iter().filter(|(_, part)| !except.contains(part)) {
            assert!(
                warned.contains(part),
                "{} {name}: {part} after {sql}: {warned}",
                server.major
            );
        }
    }
}

#[test]
fn indexes_owners_and_options_of_members_are_told_and_the_work_of_every_day_is_not() {
    for major in VERSIONS {
        let server = Arc::new(Server::start(major));
        let site = Site::on(Arc::clone(&server), "app", "postgres");
        server.create_database("app");
        server.psql("app", TABLES);
        for member in ADDED {
            server.psql("app", &format!("ALTER EXTENSION hstore ADD {member}"));
        }
        server.psql("app", "ALTER EXTENSION hstore UPDATE");
        assert_eq!(told(&site), [""; 0], "{major}: as updated");
        assert_changes_are_told(&server, "app", &[]);

        server.psql("postgres", "CREATE DATABASE worn TEMPLATE app");
        for sql in WORN {
            server.psql("worn", sql);
        }
        // An index that was built anew, and a table without one, look like those with other properties.
        assert_changes_are_told(
            &server,
            "worn",
            &["options of index parent_pkey", "its replica identity"],
        );
    }
}
