//! What may stop a restore, and what somebody can do then.

use serde_json::Value;

use super::Site;
use super::in_place::{assert_same, dump};
use crate::support::{Run, Server};

const INCOMPLETE: i32 = 10;

/// Runs a restore that ends with something missing, and returns its report.
#[track_caller]
fn incomplete(site: &Site, args: &[&str]) -> Value {
    let all = [&["restore", "app", "--yes", "--json"], args].concat();
    serde_json::from_str(&site.run(&all).code(INCOMPLETE).stdout).unwrap()
}

/// What a list of missing things names.
fn named(missing: &Value) -> Vec<&str> {
    let all = missing.as_array().unwrap().iter();
    all.map(|it| it["what"].as_str().unwrap()).collect()
}

const VIEWS: &str = "CREATE ROLE weak;
    CREATE TABLE t (n int); INSERT INTO t VALUES (1), (2); CREATE VIEW v AS SELECT n FROM t;
    CREATE MATERIALIZED VIEW m AS SELECT n FROM v; CREATE MATERIALIZED VIEW over_m AS SELECT n FROM m;
    CREATE MATERIALIZED VIEW good AS SELECT sum(n) FROM t; CREATE UNIQUE INDEX ON m (n);
    ALTER MATERIALIZED VIEW m OWNER TO weak;";
const POPULATED: &str =
    "SELECT string_agg(relname, ' ' ORDER BY relname) FROM pg_class WHERE relkind = 'm' AND relispopulated";

#[test]
fn a_view_that_nobody_can_refresh_keeps_nobody_from_their_data() {
    let site = Site::new(15, "app");
    site.server.psql("app", VIEWS);
    let warned = site.run(&["backup", "app"]).ok().stderr;
    assert!(
        warned.contains("nobody can refresh the materialized view m,") && warned.contains("weak: v"),
        "{warned}"
    );
    let before = dump(&site, "app");
    for mode in ["swap", "in-place"] {
        site.server.psql("app", "DELETE FROM t");
        let report = incomplete(&site, &["--mode", mode]);
        let missing = &report["outcome"]["missing"];
        let wanted = [
            "MATERIALIZED VIEW DATA public.m",
            "MATERIALIZED VIEW DATA public.over_m",
        ];
        assert_eq!(named(missing), wanted, "{mode}");
        assert_eq!(missing[0]["sql"], "REFRESH MATERIALIZED VIEW public.m;", "{mode}");
        assert_eq!(missing[0]["why"], "permission denied for view v", "{mode}");
        assert!(
            report["plan"]["warnings"]
                .to_string()
                .contains("refresh the materialized view m,")
        );
        assert_eq!(site.server.psql("app", "SELECT count(*) FROM t"), "2", "{mode}");
        assert_eq!(site.server.psql("app", POPULATED), "good", "{mode}");
        site.server.psql("app", "GRANT SELECT ON v TO weak");
        for it in missing.as_array().unwrap() {
            site.server.psql("app", it["sql"].as_str().unwrap());
        }
        site.server.psql("app", "REVOKE SELECT ON v FROM weak");
        assert_same(&dump(&site, "app"), &before, mode);
    }
    // The last restore was in place, and so is its undo; nor can that refresh them.
    let undone = site.run(&["undo", "app", "--yes"]).code(INCOMPLETE);
    assert!(
        undone.stdout.contains("REFRESH MATERIALIZED VIEW public.over_m;"),
        "{}",
        undone.stdout
    );
    assert_eq!(site.server.psql("app", "SELECT count(*) FROM t"), "0");
    // Of a table that is replaced in place, the views that others built on it.
    site.server.psql(
        "app",
        "GRANT SELECT ON v TO weak; REFRESH MATERIALIZED VIEW m; REFRESH MATERIALIZED VIEW over_m",
    );
    site.server
        .psql("app", "REVOKE SELECT ON v FROM weak; ALTER TABLE t ADD COLUMN late int");
    let report = incomplete(&site, &["--mode", "in-place", "-t", "t"]);
    assert_eq!(named(&report["outcome"]["missing"]).len(), 2);
    assert_eq!(site.server.psql("app", POPULATED), "good");
}

#[test]
fn a_view_of_itself_keeps_nobody_from_their_data() {
    for version in [15, 18] {
        let site = Site::new(version, "app");
        site.server.psql(
            "app",
            "CREATE ROLE weak; CREATE TABLE t (n int); INSERT INTO t VALUES (1), (2); CREATE VIEW \"odd v\" AS SELECT n FROM t;
             CREATE OR REPLACE VIEW \"odd v\" AS SELECT n FROM \"odd v\"; ALTER VIEW \"odd v\" OWNER TO weak;
             GRANT SELECT ON \"odd v\" TO PUBLIC; COMMENT ON VIEW \"odd v\" IS 'x'; CREATE VIEW over_v AS SELECT n FROM \"odd v\";
             CREATE VIEW a AS SELECT 1 AS n; CREATE VIEW b AS SELECT n FROM a; CREATE OR REPLACE VIEW a AS SELECT n FROM b",
        );
        let warned = site.run(&["backup", "app"]).ok().stderr;
        assert!(
            warned.contains("nobody can read the view \"odd v\""),
            "{version}: {warned}"
        );
        assert_eq!(warned.matches("nobody can read").count(), 1, "{version}: {warned}");
        // What is restored of the plain text is what psql makes of it.
        site.server.create_database("as_psql");
        let script = site.folder().join("app.sql");
        std::fs::write(&script, site.server.pg_dump("app", &[])).unwrap();
        let mut psql = site.server.tool("psql");
        psql.args(["-Xq", "-d", &site.server.url("as_psql"), "-f"]).arg(&script);
        assert!(Run::of(&mut psql).ok().stderr.contains("does not exist"));
        let wanted = dump(&site, "as_psql");
        for mode in ["swap", "in-place"] {
            site.server.psql("app", "DELETE FROM t");
            let report = incomplete(&site, &["--mode", mode]);
            let missing = named(&report["outcome"]["missing"]);
            let all = [
                "VIEW public.odd v",
                "COMMENT public.VIEW \"odd v\"",
                "VIEW public.over_v",
                "ACL public.TABLE \"odd v\"",
            ];
            assert_eq!(missing, all, "{version}, {mode}");
            assert_same(&dump(&site, "app"), &wanted, mode);
        }
    }
}

#[test]
fn views_are_left_alone_when_told_so() {
    let site = Site::new(15, "app");
    site.server.psql("app", VIEWS);
    site.backup();
    let dry = site.run(&["restore", "app", "--skip-refresh", "--dry-run"]).ok().stdout;
    let line = "these materialized views are left unpopulated (--skip-refresh): public.good, public.m, public.over_m";
    assert!(dry.contains(line), "{dry}");
    let report = incomplete(&site, &["--skip-refresh"]);
    assert_eq!(named(&report["outcome"]["missing"]).len(), 3);
    assert_eq!(site.server.psql("app", POPULATED), "");
    let script = site.folder().join("app.sql");
    site.server.psql("app", "REFRESH MATERIALIZED VIEW good");
    std::fs::write(&script, site.server.pg_dump("app", &[])).unwrap();
    let report = incomplete(&site, &["--skip-refresh", "--from", "app.sql"]);
    assert_eq!(report["outcome"]["missing"].as_array().unwrap().len(), 1);
}

/// An index, a constraint and rows that cannot be made again, though they are there.
const BROKEN: &str = "CREATE ROLE other;
    CREATE FUNCTION f(n int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT n';
    CREATE FUNCTION ok(n int) RETURNS boolean LANGUAGE sql AS 'SELECT true';
    CREATE TABLE t (n int PRIMARY KEY, note text DEFAULT 'new'); INSERT INTO t SELECT generate_series(1, 100);
    CREATE TABLE refused (n int CHECK (ok(n))); INSERT INTO refused VALUES (1);
    CREATE TABLE child (n int REFERENCES t); INSERT INTO child VALUES (1); CREATE SEQUENCE s START 5;
    CREATE INDEX by_f ON t (f(n)); CREATE INDEX by_note ON t (note); COMMENT ON INDEX by_f IS 'by f';
    CREATE OR REPLACE FUNCTION f(n int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT 1 / (n - n)';";
const REFUSE: &str = "CREATE OR REPLACE FUNCTION ok(n int) RETURNS boolean LANGUAGE sql AS 'SELECT false'";
const FACTS: &str = "SELECT (SELECT count(*) FROM t WHERE note = 'new') || ' ' || (SELECT count(*) FROM child) || ' ' || \
    (SELECT string_agg(relname, ' ' ORDER BY relname) FROM pg_class WHERE relname ~ '^by_|_pkey$')";

#[test]
fn without_a_word_nothing_changes_and_with_it_all_but_what_failed_is_there() {
    let site = Site::new(15, "app");
    site.server.psql("app", BROKEN);
    site.backup();
    site.server.psql("app", "DELETE FROM child");
    let live = site.server.psql("app", FACTS);
    for mode in ["swap", "in-place"] {
        let failed = site.run(&["restore", "app", "--yes", "--mode", mode]).code(1).stderr;
        for words in [
            "restoring INDEX public.by_f",
            "division by zero",
            "nothing was changed",
            "hint: with --keep-going",
        ] {
            assert!(failed.contains(words), "{mode}, {words}: {failed}");
        }
        let kept = site
            .run(&["restore", "app", "--yes", "--mode", mode, "--keep-going"])
            .code(INCOMPLETE);
        for words in [
            "is missing: INDEX public.by_f",
            "nothing was changed",
            "--accept-missing",
        ] {
            assert!(kept.stderr.contains(words), "{mode}, {words}: {}", kept.stderr);
        }
        let script = "-- INDEX public.by_f: division by zero\nCREATE INDEX by_f ON public.t USING btree (public.f(n));";
        assert!(kept.stdout.contains(script), "{mode}: {}", kept.stdout);
        assert_eq!(site.server.psql("app", FACTS), live, "{mode}");
        let report = incomplete(&site, &["--mode", mode, "--keep-going", "--accept-missing"]);
        let missing = &report["outcome"]["missing"];
        assert_eq!(
            named(missing),
            ["INDEX public.by_f", "COMMENT public.INDEX by_f"],
            "{mode}"
        );
        assert_eq!(report["outcome"]["proof"]["tables"], 3, "{mode}");
        assert_eq!(site.server.psql("app", FACTS), "100 1 by_note t_pkey", "{mode}");
        // What is listed makes it.
        let mend = "CREATE OR REPLACE FUNCTION f(n int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT n'";
        site.server.psql("app", mend);
        for it in missing.as_array().unwrap() {
            site.server.psql("app", it["sql"].as_str().unwrap());
        }
        site.run(&["undo", "app", "--yes", "--keep-going", "--accept-missing"])
            .code(if mode == "swap" { 0 } else { INCOMPLETE });
        assert!(site.server.psql("app", FACTS).starts_with("100 0 "), "{mode}");
    }
    assert_eq!(
        site.databases()
            .iter()
            .filter(|name| name.contains("restoring"))
            .count(),
        0
    );
}

#[test]
fn rows_that_are_refused_are_named_and_all_others_are_there() {
    let site = Site::new(15, "app");
    site.server.psql("app", BROKEN);
    site.server.psql("app", REFUSE);
    site.backup();
    for how in [
        &["--mode", "swap", "-j", "1"][..],
        &["--mode", "swap", "-j", "3"],
        &["--mode", "in-place"],
    ] {
        let report = incomplete(&site, &[how, &["--keep-going", "--accept-missing"]].concat());
        let missing = named(&report["outcome"]["missing"]);
        assert!(
            missing.contains(&"TABLE DATA public.refused") && missing.contains(&"INDEX public.by_f"),
            "{missing:?}"
        );
        assert_eq!(missing.len(), 3, "{missing:?}");
        assert_eq!(report["outcome"]["proof"]["tables"], 2);
        let rows = "SELECT (SELECT count(*) FROM refused) || ' ' || (SELECT count(*) FROM t)";
        assert_eq!(site.server.psql("app", rows), "0 100", "{how:?}");
        site.run(&["undo", "app", "--yes", "--keep-going", "--accept-missing"]);
    }
}

#[test]
fn a_script_goes_on_too() {
    let site = Site::new(15, "app");
    site.server.psql("app", BROKEN);
    site.server.psql("app", REFUSE);
    for (name, options) in [("copy.sql", &[][..]), ("inserts.sql", &["--inserts"])] {
        std::fs::write(site.folder().join(name), site.server.pg_dump("app", options)).unwrap();
    }
    site.server.psql("app", "DROP INDEX by_f; UPDATE t SET note = 'old'");
    for name in ["copy.sql", "inserts.sql"] {
        let failed = site.run(&["restore", "app", "--yes", "--from", name]).code(1).stderr;
        assert!(
            failed.contains("--keep-going") && failed.contains("violates check"),
            "{failed}"
        );
        let listed = site
            .run(&["restore", "app", "--yes", "--from", name, "--keep-going"])
            .code(INCOMPLETE);
        assert!(
            listed.stdout.contains("CREATE INDEX by_f ON public.t"),
            "{}",
            listed.stdout
        );
        assert!(site.server.psql("app", FACTS).starts_with("0 "), "{name}");
        let report = incomplete(&site, &["--from", name, "--keep-going", "--accept-missing"]);
        let missing = named(&report["outcome"]["missing"]).join("\n");
        for words in ["CREATE INDEX", "rows of public.refused", "COMMENT ON INDEX"] {
            assert!(missing.contains(words), "{name}, {words}: {missing}");
        }
        assert_eq!(site.server.psql("app", FACTS), "100 1 by_note t_pkey", "{name}");
        site.run(&["undo", "app", "--yes"]).ok();
    }
    // In a transaction of its own all that came before is lost: that is no list of what is missing.
    let script = "BEGIN; CREATE TABLE a (n int); CREATE INDEX ON nowhere (n); COMMIT;\n";
    std::fs::write(site.folder().join("own.sql"), script).unwrap();
    let own = site
        .run(&["restore", "app", "--yes", "--from", "own.sql", "--keep-going"])
        .code(1)
        .stderr;
    assert!(own.contains("\"nowhere\" does not exist"), "{own}");
}

#[test]
fn what_the_server_lacks_is_left_out_when_told_so() {
    let site = Site::new(15, "app");
    // Debian has this extension, the other server has not; nor has it the role.
    site.server.psql(
        "app",
        "CREATE EXTENSION periods CASCADE; CREATE ROLE gone; CREATE TABLE t (n int); INSERT INTO t VALUES (7);
         CREATE TABLE own (n int); ALTER TABLE own OWNER TO gone; GRANT SELECT ON t TO gone",
    );
    site.backup();
    let elsewhere = Server::start(16);
    let to = elsewhere.url("app");
    let refused = site.run(&["restore", "app", "--to", &to, "--yes"]).code(1).stderr;
    assert!(refused.contains("the server lacks extensions: periods"), "{refused}");
    assert!(refused.contains("lacks roles: gone"), "{refused}");
    let restore = [
        "restore",
        "app",
        "--to",
        &to,
        "--yes",
        "--json",
        "--keep-going",
        "--accept-missing",
    ];
    let report: Value = serde_json::from_str(&site.run(&restore).code(INCOMPLETE).stdout).unwrap();
    let missing = named(&report["outcome"]["missing"]);
    for what in ["EXTENSION periods", "TABLE public.own, its owner", "ACL public.TABLE t"] {
        assert!(missing.contains(&what), "{what}: {missing:?}");
    }
    assert_eq!(
        elsewhere.psql("app", "SELECT n FROM t; SELECT count(*) FROM own"),
        "7\n0"
    );
}
