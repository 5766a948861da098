//! Checks that read other tables: no dependency tells which, so that pg_restore loads their rows too early and fails.

use super::Site;
use super::in_place::{assert_same, dump};

/// In the order of their names each of the first three needs the rows of a later one.
const SETUP: &str = "
    CREATE FUNCTION is_in(what text, value int) RETURNS boolean LANGUAGE plpgsql AS $$ DECLARE found boolean; BEGIN
        EXECUTE format('SELECT EXISTS (SELECT FROM public.%I WHERE n = $1)', what) INTO found USING value; RETURN found;
    END $$;
    CREATE DOMAIN known AS int CHECK (is_in('c', value));
    CREATE TABLE a (n int CHECK (is_in('b', n))); CREATE TABLE b (n known); CREATE TABLE c (n int CHECK (is_in('d', n)));
    CREATE TABLE big (n int CHECK (n < 0 OR is_in('d', 1)), filler text); CREATE TABLE d (n int PRIMARY KEY);
    INSERT INTO d VALUES (1); INSERT INTO c VALUES (1); INSERT INTO b VALUES (1); INSERT INTO a VALUES (1);
    INSERT INTO big SELECT i, repeat('x', 1000) FROM generate_series(1, 2000) i;
    CREATE FUNCTION loud() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''no''; END';
    CREATE TRIGGER loud BEFORE INSERT ON a FOR EACH ROW EXECUTE FUNCTION loud(); CREATE INDEX ON big (n);";

#[test]
fn rows_that_need_those_of_other_tables_are_loaded_after_them() {
    let site = Site::new(15, "app");
    site.server.psql("app", SETUP);
    let id = site.backup();
    let before = dump(&site, "app");
    for how in [
        &["--mode", "swap", "-j", "1"][..],
        &["--mode", "swap", "-j", "3"],
        &["--mode", "in-place"],
    ] {
        site.server.psql("app", "DELETE FROM a; DELETE FROM b; DELETE FROM big");
        site.restore(&[&[id.as_str()], how].concat());
        assert_same(&dump(&site, "app"), &before, how[1]);
    }
}

#[test]
fn small_tables_that_are_loaded_together_wait_for_each_other_too() {
    let site = Site::new(15, "app");
    site.server.psql("app", SETUP);
    site.server.psql(
        "app",
        "DO $$ BEGIN FOR i IN 1..91 LOOP \
             EXECUTE format('CREATE TABLE t%s (n int PRIMARY KEY, v text)', i); \
             EXECUTE format('INSERT INTO t%s SELECT g, md5(g::text) FROM generate_series(1, 20) g', i); \
         END LOOP; \
         FOR i IN 9..90 BY 9 LOOP \
             EXECUTE format('ALTER TABLE t%s ADD CHECK (is_in(%L, n))', i, 't' || i + 1 - 5 * (i % 2)); \
         END LOOP; END $$",
    );
    site.backup();
    let before = dump(&site, "app");
    for jobs in ["1", "2", "3"] {
        site.restore(&["--no-safety", "-j", jobs]);
        assert_same(&dump(&site, "app"), &before, jobs);
    }
    // There many share a savepoint, and what cannot go yet goes alone.
    site.server.psql("app", "DELETE FROM t1; DROP TABLE t2");
    site.restore(&["--mode", "in-place"]);
    assert_same(&dump(&site, "app"), &before, "in place");
}

#[test]
fn rows_that_a_check_never_allows_are_named() {
    let site = Site::new(15, "app");
    site.server.psql("app", SETUP);
    // It was true when the rows came.
    site.server.psql(
        "app",
        "CREATE OR REPLACE FUNCTION is_in(what text, value int) RETURNS boolean LANGUAGE sql AS 'SELECT false'",
    );
    site.backup();
    let before = dump(&site, "app");
    for mode in ["swap", "in-place"] {
        let failed = site.run(&["restore", "app", "--yes", "--mode", mode]).code(1);
        for words in [
            "restoring TABLE DATA public.",
            "violates check constraint",
            "nothing was changed",
            "hint: a check refuses rows",
        ] {
            assert!(failed.stderr.contains(words), "{mode}, {words}: {}", failed.stderr);
        }
        assert_same(&dump(&site, "app"), &before, mode);
    }
    assert_eq!(site.databases(), ["app", "postgres", "template0", "template1"]);
}
