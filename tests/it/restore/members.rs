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
