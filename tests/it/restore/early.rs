//! What a restore does with large tables while the rest is still loaded: it proves no less than it does at the end.

use super::Site;

const DAMAGED: i32 = 6;

/// A table of about 13 MiB with slow indexes, one that refers to it, and what is asked for beside them.
fn site(more: &str) -> Site {
    let site = Site::new(15, "app");
    site.server.psql(
        "app",
        &format!(
            "CREATE TABLE big (id int PRIMARY KEY, a text, b text, c timestamptz, d float8); \
             INSERT INTO big SELECT g, md5(g::text) || md5((g + 1)::text), E'a\\\\b\\tc' || g, \
                 '2024-01-01'::timestamptz + g * interval '7 min', g / 7.0 FROM generate_series(1, 90000) g; \
             CREATE INDEX ON big USING gin (to_tsvector('simple', a)); CREATE INDEX ON big (lower(b)); \
             CREATE STATISTICS big_ab ON a, b FROM big; \
             CREATE TABLE child (id int PRIMARY KEY, big int REFERENCES big); \
             INSERT INTO child SELECT g, g FROM generate_series(1, 1000) g; {more}"
        ),
    );
    site.backup();
    site
}

/// SQL that creates `harm()`, which changes a row of `big` in any database but the first, as soon as there are some.
const HARM: &str = "CREATE FUNCTION harm() RETURNS int LANGUAGE plpgsql AS $$ BEGIN \
         IF current_database() <> 'app' THEN \
             WHILE NOT EXISTS (SELECT FROM public.big) LOOP PERFORM pg_sleep(0.01); END LOOP; \
             UPDATE public.big SET a = 'x' WHERE id = 7; \
         END IF; RETURN 1; END $$;";

#[test]
fn large_tables_are_proven_and_analysed_while_indexes_are_built() {
    let site = site("");
    let proof = &site.restore(&["--no-safety", "-j", "2"])["outcome"]["proof"];
    assert_eq!((&proof["tables"], &proof["rows"]), (&2.into(), &91_000.into()));
    assert_eq!(proof["read_while_loading"], 1);
    // Columns, an expression of an index, and what belongs together.
    let gathered = "SELECT count(*) FILTER (WHERE tablename = 'big'), count(*) FILTER (WHERE tablename = 'big_lower_idx'), \
                    (SELECT count(*) FROM pg_stats_ext) FROM pg_stats WHERE schemaname = 'public'";
    assert_eq!(site.server.psql("app", gathered), "5|1|1");
}

#[test]
fn what_code_of_the_database_changes_after_the_reading_is_found_out() {
    for (what, code) in [
        (
            "a materialized view",
            "CREATE MATERIALIZED VIEW m AS SELECT public.harm()",
        ),
        (
            "an index",
            "CREATE FUNCTION same(a int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS \
                 $$ BEGIN PERFORM public.harm(); RETURN a; END $$; \
             CREATE TABLE late (a int); INSERT INTO late VALUES (1); CREATE INDEX ON late (public.same(a))",
        ),
        (
            "an operator that a materialized view uses",
            "CREATE FUNCTION plus(a int, b int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN RETURN public.harm(); END $$; \
             CREATE OPERATOR <#> (LEFTARG = int, RIGHTARG = int, FUNCTION = plus); \
             CREATE MATERIALIZED VIEW m AS SELECT 1 OPERATOR(public.<#>) 2 AS a",
        ),
    ] {
        let site = site(&format!("{HARM} {code}"));
        let failed = site
            .run(&["restore", "app", "--yes", "--no-safety", "-j", "2"])
            .code(DAMAGED);
        assert!(
            failed.stderr.contains("public.big has other rows"),
            "{what}: {}",
            failed.stderr
        );
    }
}

#[test]
fn functions_that_are_only_called_by_the_application_or_by_triggers_keep_nothing_from_being_read() {
    let site = site(&format!(
        "{HARM} CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.c = now(); RETURN NEW; END $$; \
         CREATE TRIGGER touch BEFORE UPDATE ON big FOR EACH ROW EXECUTE FUNCTION touch(); \
         CREATE TABLE other (a int DEFAULT public.harm()); CREATE VIEW v AS SELECT public.harm() AS a"
    ));
    let proof = &site.restore(&["--no-safety", "-j", "2"])["outcome"]["proof"];
    assert_eq!(proof["read_while_loading"], 1);
}

/// Forty tables of few rows, which one message each would be dear for, and one without any.
fn small_tables(more: &str) -> Site {
    let site = Site::new(15, "app");
    let tables: String = (0..40)
        .map(|at| {
            format!(
                "CREATE TABLE t{at} (id int PRIMARY KEY, at timestamptz, part float8); \
                 INSERT INTO t{at} SELECT g, '2024-01-01'::timestamptz + g * interval '7 min', g / 7.0 FROM generate_series(1, {at}) g;"
            )
        })
        .collect();
    site.server.psql("app", &format!("{tables} {more}"));
    site.backup();
    site
}

#[test]
fn small_tables_are_proven_by_the_session_that_has_loaded_them() {
    let site = small_tables("");
    // What they are read with are the settings of the backup, not those of the database.
    site.server.psql(
        "app",
        "ALTER DATABASE app SET DateStyle = 'German'; ALTER DATABASE app SET extra_float_digits = -5; \
         ALTER DATABASE app SET TimeZone = 'Asia/Kathmandu'",
    );
    let proof = &site.restore(&["--no-safety", "-j", "2"])["outcome"]["proof"];
    assert_eq!((&proof["tables"], &proof["rows"]), (&40.into(), &780.into()));
    assert_eq!(proof["read_while_loading"], 40);
}

#[test]
fn what_is_changed_in_a_small_table_after_the_reading_is_found_out() {
    let harm = HARM.replace(
        "public.big SET a = 'x' WHERE id = 7",
        "public.t9 SET part = 0 WHERE id = 7",
    );
    let harm = harm.replace("FROM public.big", "FROM public.t9");
    let site = small_tables(&format!("{harm} CREATE MATERIALIZED VIEW m AS SELECT public.harm()"));
    let failed = site
        .run(&["restore", "app", "--yes", "--no-safety", "-j", "2"])
        .code(DAMAGED);
    assert!(failed.stderr.contains("public.t9 has other rows"), "{}", failed.stderr);
}
