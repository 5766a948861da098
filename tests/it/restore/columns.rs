//! Tables whose columns are in another order once they are restored: pg_dump's text of children begins with what they
//! inherit. Their rows are the same, and are proven as such.

use super::Site;
use crate::equal::{assert_same, is_text, on_all_versions};

const SETUP: &str = "
    CREATE TABLE p (a int); CREATE TABLE c (b text) INHERITS (p); ALTER TABLE p ADD COLUMN z int;
    INSERT INTO c VALUES (1, 'two', 3), (4, 'five', NULL);
    CREATE TABLE late (extra text, z int, a int, \"Odd, (one)\" numeric); ALTER TABLE late INHERIT p;
    INSERT INTO late VALUES ('x', 2, 1, 5.0);
    CREATE TABLE two (z int, t text); CREATE TABLE twofold (own int, t text, a int, z int); ALTER TABLE twofold INHERIT two;
    ALTER TABLE twofold INHERIT p; INSERT INTO twofold SELECT i, i, -i, 2 * i FROM generate_series(1, 50) i;
    CREATE TABLE made (g int GENERATED ALWAYS AS (a * 2) STORED, b text) INHERITS (p); ALTER TABLE made DROP COLUMN b;
    ALTER TABLE made ADD COLUMN b int; ALTER TABLE p ADD COLUMN y text DEFAULT 'y'; INSERT INTO made VALUES (1, 2, DEFAULT, 3);
    CREATE TABLE parted (k int, v text, w text) PARTITION BY LIST (k);
    CREATE TABLE part_1 (gone int, w text, k int NOT NULL, v text); ALTER TABLE part_1 DROP COLUMN gone;
    ALTER TABLE parted ATTACH PARTITION part_1 FOR VALUES IN (1); INSERT INTO parted VALUES (1, 'v', 'w');
    CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE TABLE by_mood (m mood, n int, o text) PARTITION BY HASH (m);
    CREATE TABLE mood_0 (o text, n int, m mood); ALTER TABLE by_mood ATTACH PARTITION mood_0 FOR VALUES WITH (MODULUS 2, REMAINDER 0);
    CREATE TABLE mood_1 (n int, m mood, o text); ALTER TABLE by_mood ATTACH PARTITION mood_1 FOR VALUES WITH (MODULUS 2, REMAINDER 1);
    INSERT INTO by_mood VALUES ('sad', 1, 'a'), ('ok', 2, 'b');";

/// Rows are compared by the columns of the archive, whatever order they lie in.
fn check(major: u32) {
    let site = Site::new(major, "app");
    site.server.psql("app", SETUP);
    let rows = || {
        let tables = ["c", "late", "twofold", "made", "part_1", "by_mood"];
        tables.map(|table| {
            let columns = site.server.psql(
                "app",
                &format!("SELECT string_agg(quote_ident(attname), ', ' ORDER BY attname) FROM pg_attribute WHERE attrelid = '{table}'::regclass AND attnum > 0 AND NOT attisdropped"),
            );
            site.server.psql("app", &format!("SELECT {columns} FROM {table} ORDER BY 1, 2"))
        })
    };
    let before = rows();
    let stock = site.server.pg_dump("app", &["--restrict-key=x"]);
    let id = site.backup();
    site.run(&["restore", "app", "--yes"]).ok();
    assert_eq!(rows(), before, "swap, PostgreSQL {major}");
    // Stock tools make of the text what the restore has made.
    let theirs = site.folder().join("stock.sql");
    std::fs::write(&theirs, stock).unwrap();
    site.server.create_database("stock");
    site.server.load("stock", &theirs);
    let dump = |database: &str| site.server.pg_dump(database, &["--restrict-key=x"]);
    assert_same(&format!("PostgreSQL {major}"), &dump("stock"), &dump("app"), is_text);
    site.run(&["restore", "app", &id, "--yes", "--mode", "in-place"]).ok();
    assert_eq!(rows(), before, "in place, PostgreSQL {major}");
    site.server.psql("app", "UPDATE c SET b = 'other'; DELETE FROM twofold");
    let tables = ["--table", "c", "--table", "twofold"];
    site.run(&[&["restore", "app", &id, "--yes", "--mode", "in-place"], &tables[..]].concat())
        .ok();
    assert_eq!(rows(), before, "tables in place, PostgreSQL {major}");
    site.run(&["undo", "app", "--yes"]).ok();
    assert_eq!(site.server.psql("app", "SELECT DISTINCT b FROM c"), "other");
}

on_all_versions!(check);
