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
fn settings_that_decide_how_values_are_written_do_not_matter() {
    let site = Site::new(15, "app");
    site.server.psql(
        "app",
        "CREATE TABLE t AS SELECT now() - g * interval '100 days' AS at, decode(md5(g::text), 'hex') AS b, \
             g::numeric::money AS m FROM generate_series(1, 500) g; \
         ALTER DATABASE app SET TimeZone = 'Asia/Kathmandu'; ALTER DATABASE app SET bytea_output = 'escape'; \
         ALTER ROLE postgres IN DATABASE app SET extra_float_digits = -10",
    );
    site.backup();
    // Neither those that came with the backup nor those of today.
    site.server
        .psql("postgres", "ALTER DATABASE app SET TimeZone = 'America/Caracas'");
    site.run(&["restore", "app", "--yes"]).ok();
    site.server
        .psql("postgres", "ALTER SYSTEM SET TimeZone = 'Africa/Lagos'");
    site.server.psql("postgres", "SELECT pg_reload_conf()");
    site.run(&["restore", "app", "--mode", "new", "--as", "copy", "--yes"])
        .ok();
    assert_eq!(site.server.psql("copy", "SELECT count(*) FROM t"), "500");
}
