//! What the proof is worth: restores that are sabotaged on their way must not become live.

use super::Site;

const DAMAGED: i32 = 6;

/// A database in which `sabotage` runs wherever it is restored under another name, at the end of the load: the
/// content of a materialized view comes after everything else.
fn sabotaged(sabotage: &str) -> Site {
    let site = Site::new(15, "app");
    site.server.psql(
        "app",
        &format!(
            "CREATE TABLE parent (id int PRIMARY KEY); INSERT INTO parent SELECT generate_series(1, 100); \
             CREATE TABLE child (id serial, parent int CONSTRAINT child_parent REFERENCES parent, t text); \
             INSERT INTO child (parent, t) SELECT 1 + n % 100, md5(n::text) FROM generate_series(1, 500) n; \
             CREATE INDEX child_t ON child (t); \
             SELECT lo_from_bytea(4711, 'what a large object'); \
             CREATE FUNCTION sabotage() RETURNS int LANGUAGE plpgsql AS $$ BEGIN \
                 IF current_database() <> 'app' THEN {sabotage}; END IF; RETURN 1; END $$; \
             CREATE MATERIALIZED VIEW m AS SELECT public.sabotage()"
        ),
    );
    site.backup();
    site
}

#[test]
fn a_restore_that_is_not_what_was_backed_up_is_found_out() {
    for (sabotage, words) in [
        (
            "DELETE FROM public.child WHERE id = 7",
            "public.child has 499 rows instead of 500",
        ),
        (
            "UPDATE public.child SET t = 'x' WHERE id = 7",
            "public.child has other rows",
        ),
        (
            "PERFORM setval('public.child_id_seq', 7)",
            "sequence child_id_seq stands elsewhere",
        ),
        (
            "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'public.child_t'::regclass",
            "INDEX public.child_t is missing",
        ),
        ("DROP INDEX public.child_t", "INDEX public.child_t is missing"),
        (
            "UPDATE pg_constraint SET convalidated = false WHERE conname = 'child_parent'",
            "child_parent is not valid",
        ),
        (
            "ALTER TABLE public.child DROP CONSTRAINT child_parent",
            "child_parent is missing",
        ),
        ("PERFORM lo_put(4711, 0, 'WHAT')", "large objects have other contents"),
        ("PERFORM lo_unlink(4711)", "there are 0 large objects instead of 1"),
    ] {
        let site = sabotaged(sabotage);
        let before = site.server.pg_dump("app", &["--restrict-key=x"]);
        let failed = site.run(&["restore", "app", "--yes", "--no-safety"]).code(DAMAGED);
        assert!(failed.stderr.contains(words), "{sabotage}: {}", failed.stderr);
        assert!(
            failed.stderr.contains("nothing was changed"),
            "{sabotage}: {}",
            failed.stderr
        );
        assert!(
            site.server.pg_dump("app", &["--restrict-key=x"]) == before,
            "{sabotage}"
        );
        assert_eq!(
            site.databases(),
            ["app", "postgres", "template0", "template1"],
            "{sabotage}"
        );
    }
}

#[test]
fn what_is_proven_is_told() {
    let site = sabotaged("NULL");
    let proof = &site.restore(&["--no-safety"])["outcome"]["proof"];
    assert_eq!(proof["tables"], 2);
    assert_eq!(proof["rows"], 600);
    assert_eq!(proof["sequences"], 1);
    assert_eq!(proof["large_objects"], 1);
}

#[test]
fn settings_of_the_database_change_no_value_on_its_way() {
    let site = Site::new(15, "app");
    site.server.psql(
        "app",
        "CREATE TABLE t AS SELECT now() - g * interval '100 days' AS at, decode(md5(g::text), 'hex') AS b, \
             g::numeric::money AS m, g * interval '1 day 3:04:05' AS i, ARRAY['x', NULL, 'NULL'] AS a, \
             xml '<a/>text' AS x, 1.0::float8 / g AS f FROM generate_series(1, 500) g; \
         CREATE VIEW late AS SELECT * FROM t WHERE at > timestamptz '2001-02-03 04:05:06+00'",
    );
    for setting in [
        "TimeZone = 'Asia/Kathmandu'",
        "DateStyle = 'German'",
        "IntervalStyle = 'sql_standard'",
        "bytea_output = 'escape'",
        "extra_float_digits = -10",
        "client_encoding = 'LATIN1'",
        "xmloption = 'document'",
        "array_nulls = off",
        "transform_null_equals = on",
        "quote_all_identifiers = on",
        "standard_conforming_strings = off",
        "search_path = 'nowhere'",
        "default_transaction_isolation = 'serializable'",
        "default_transaction_read_only = on",
        "session_replication_role = 'replica'",
        "row_security = off",
    ] {
        site.server
            .psql("postgres", &format!("ALTER DATABASE app SET {setting}"));
    }
    let before = site.server.pg_dump("app", &["--restrict-key=x"]);
    site.backup();
    site.run(&["restore", "app", "--yes"]).ok();
    assert!(site.server.pg_dump("app", &["--restrict-key=x"]) == before);
    site.run(&["restore", "app", "--mode", "in-place", "--yes"]).ok();
    assert!(site.server.pg_dump("app", &["--restrict-key=x"]) == before);

    // Nor do those of today, where they are others than those of the backup.
    site.server
        .psql("postgres", "ALTER DATABASE app SET TimeZone = 'America/Caracas'");
    site.run(&["restore", "app", "--yes"]).ok();
    site.server
        .psql("postgres", "ALTER SYSTEM SET TimeZone = 'Africa/Lagos'");
    site.server.psql("postgres", "SELECT pg_reload_conf()");
    site.run(&["restore", "app", "--mode", "new", "--as", "copy", "--yes"])
        .ok();
    assert_eq!(site.server.psql("copy", "SELECT count(*) FROM public.t"), "500");
}

/// What an extension grants is told apart by its owner: once that is another one, the dump has grants that change nothing.
#[test]
fn privileges_that_an_extension_gives_itself_are_not_missing() {
    let folder = tempfile::Builder::new().prefix("sb").tempdir_in("/tmp").unwrap();
    let extension = folder.path().join("extension");
    std::fs::create_dir(&extension).unwrap();
    let control = "default_version = '1.0'\nrelocatable = false\nschema = granting\n";
    std::fs::write(extension.join("granting.control"), control).unwrap();
    let script = "CREATE TABLE t (a int, b text); GRANT SELECT (a) ON t TO PUBLIC; GRANT SELECT ON t TO pg_monitor; \
        CREATE VIEW v AS SELECT a FROM t; GRANT SELECT (a) ON v TO pg_monitor;\n\
        CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'; REVOKE ALL ON FUNCTION f() FROM PUBLIC;\n";
    std::fs::write(extension.join("granting--1.0.sql"), script).unwrap();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(folder.path(), open).unwrap();
    let path = format!("extension_control_path=$system:{}", folder.path().display());
    let server = crate::support::Server::start_with(18, &[&path]);
    server.create_database("app");
    server.psql(
        "app",
        "CREATE ROLE other; CREATE SCHEMA granting; CREATE EXTENSION granting; ALTER TABLE granting.t OWNER TO other; \
         ALTER VIEW granting.v OWNER TO other; ALTER FUNCTION granting.f() OWNER TO other",
    );
    let site = Site::on(server, "app", "postgres");
    site.backup();
    for mode in ["swap", "in-place"] {
        let run = site.run(&["restore", "app", "--yes", "--mode", mode]).ok();
        assert!(
            run.stderr.contains("COLUMN t.a: its statements change nothing"),
            "{}",
            run.stderr
        );
    }
}
