//! Functions that name no schemas, where pg_restore fails: they find what they mean under the search path of the database.

use super::Site;
use super::in_place::assert_same;

fn dump(site: &Site, database: &str) -> String {
    let text = site.server.pg_dump(database, &["--restrict-key=x"]);
    String::from_utf8(text).unwrap()
}

const SETUP: &str = "
    CREATE SCHEMA tools;
    CREATE FUNCTION tools.low(text) RETURNS text IMMUTABLE LANGUAGE sql AS 'SELECT lower($1)';
    CREATE FUNCTION key_of(text) RETURNS text IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN low($1); END';
    CREATE FUNCTION is_known(text) RETURNS boolean STABLE LANGUAGE sql AS $$ SELECT low($1) <> 'unknown' $$;
    CREATE TABLE names (name text CHECK (is_known(name)), key text GENERATED ALWAYS AS (key_of(name)) STORED);
    INSERT INTO names VALUES ('Anna'), ('Bert'); CREATE INDEX ON names (key_of(name));
    CREATE TABLE many (n int, key text GENERATED ALWAYS AS (key_of('X' || n)) STORED, filler text);
    INSERT INTO many (n, filler) SELECT i, repeat('x', 200) FROM generate_series(1, 8000) i;
    CREATE MATERIALIZED VIEW keys AS SELECT key_of(name) AS key FROM names;";

fn site() -> Site {
    let site = Site::new(15, "app");
    site.server
        .psql("postgres", "ALTER DATABASE app SET search_path TO public, tools");
    site.server.psql("app", SETUP);
    site
}

#[test]
fn what_calls_them_comes_back_and_is_told() {
    let site = site();
    let id = site.backup();
    let before = dump(&site, "app");
    for how in [
        &["--mode", "swap"][..],
        &["--mode", "in-place"],
        &["--mode", "new", "--as", "other"],
    ] {
        site.server.psql("app", "DELETE FROM names; DELETE FROM many");
        let restored = site
            .run(&[&["restore", "app", id.as_str(), "--yes"], how].concat())
            .ok();
        let database = how.get(3).unwrap_or(&"app");
        assert_same(&dump(&site, database), &before, how[1]);
        for what in [
            "TABLE DATA public.many",
            "TABLE DATA public.names",
            "INDEX public.names_key_of_idx",
            "MATERIALIZED VIEW DATA public.keys",
        ] {
            let told = format!("{what} could only be restored under the search path");
            assert!(restored.stderr.contains(&told), "{what}: {}", restored.stderr);
        }
        let keys = "SELECT string_agg(key, ' ' ORDER BY key), (SELECT max(key) FROM public.many) FROM public.keys";
        assert_eq!(site.server.psql(database, keys), "anna bert|x999");
    }
}

#[test]
fn what_is_not_there_at_all_is_still_an_error() {
    let site = site();
    site.server
        .psql("app", "ALTER FUNCTION tools.low(text) RENAME TO lowest");
    site.backup();
    let failed = site.run(&["restore", "app", "--yes"]).code(1);
    for words in [
        "TABLE DATA public.",
        "function low(text) does not exist",
        "nothing was changed",
    ] {
        assert!(failed.stderr.contains(words), "{words}: {}", failed.stderr);
    }
    assert_eq!(site.databases(), ["app", "postgres", "template0", "template1"]);
}
