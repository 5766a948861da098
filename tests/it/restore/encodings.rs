//! Databases in encodings that do not become UTF-8, or whose text is none: what has names and texts in such bytes comes back
//! by every way.

use std::fs;

use super::Site;
use crate::equal::{assert_same, is_text};
use crate::support::{Run, Server};

/// Every kind of object, with `~` where the text of the encoding goes.
const SETUP: &str = r#"
    CREATE ROLE "r~"; CREATE SCHEMA "s~"; COMMENT ON SCHEMA "s~" IS 'a ~ comment';
    CREATE TYPE "s~"."e~" AS ENUM ('l~', 'm'); CREATE DOMAIN "s~"."d~" AS text DEFAULT '~' CONSTRAINT "k~" CHECK (VALUE <> 'x~');
    CREATE TYPE "s~"."y~" AS ("a~" int, b text);
    CREATE TABLE "s~"."t~" ("c~" int GENERATED ALWAYS AS IDENTITY CONSTRAINT "p~" PRIMARY KEY, "d~" text DEFAULT '~' CHECK ("d~" <> 'z~'),
        e "s~"."e~", "o~" "s~"."d~", y "s~"."y~");
    INSERT INTO "s~"."t~" ("d~", e, y) SELECT 'row ~ ' || i, 'l~', ROW(i, '~')::"s~"."y~" FROM generate_series(1, 200) i;
    CREATE TABLE "f~" ("c~" int CONSTRAINT "f~" REFERENCES "s~"."t~", gone int); INSERT INTO "f~" VALUES (1), (2);
    CREATE TABLE "h~" ("own~" text) INHERITS ("f~"); ALTER TABLE "f~" ADD COLUMN "n~" int; INSERT INTO "h~" VALUES (3, 3, '~', 4);
    CREATE VIEW "v~" AS SELECT "d~", '~'::text AS "w~" FROM "s~"."t~"; CREATE MATERIALIZED VIEW "m~" AS SELECT * FROM "v~";
    CREATE INDEX "i~" ON "m~" ("w~"); CREATE SEQUENCE "q~"; SELECT setval('"q~"', 7);
    CREATE FUNCTION "g~"("a~" int, OUT "b~" text) LANGUAGE sql AS $$SELECT '~'::text$$;
    CREATE FUNCTION "tr~"() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RETURN NEW; END$$;
    CREATE TRIGGER "b~" BEFORE INSERT ON "f~" FOR EACH ROW EXECUTE FUNCTION "tr~"(); ALTER TABLE "f~" ENABLE ALWAYS TRIGGER "b~";
    CREATE RULE "u~" AS ON DELETE TO "f~" DO INSTEAD NOTHING; CREATE POLICY "z~" ON "f~" TO "r~" USING (true);
    CREATE STATISTICS "st~" ON "c~", "n~" FROM "f~"; CREATE PUBLICATION "pub~" FOR TABLE "f~";
    CREATE COLLATION "co~" (locale = 'C'); CREATE TEXT SEARCH DICTIONARY "di~" (TEMPLATE = simple); CREATE TEXT SEARCH CONFIGURATION "cf~" (COPY = simple);
    CREATE FUNCTION "x~"() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'; CREATE EVENT TRIGGER "ev~" ON sql_drop EXECUTE FUNCTION "x~"();
    GRANT SELECT ("c~") ON "f~" TO "r~"; ALTER TABLE "h~" OWNER TO "r~"; SELECT lo_from_bytea(4711, 'x'); COMMENT ON LARGE OBJECT 4711 IS '~';
    CREATE FOREIGN DATA WRAPPER "fw~"; CREATE SERVER "sv~" FOREIGN DATA WRAPPER "fw~" OPTIONS ("o~" '~');
    CREATE FOREIGN TABLE "ft~" ("c~" int) SERVER "sv~"; COMMENT ON COLUMN "ft~"."c~" IS '~';
    COMMENT ON DATABASE app IS '~ is in no encoding of others'; ALTER DATABASE app SET "app.name" TO 'n~';
"#;

/// Runs statements in the encoding of the database; some may fail.
fn run(server: &Server, encoding: &str, own: &[u8], sql: &str) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("script.sql");
    fs::write(&file, sql.split('~').map(str::as_bytes).collect::<Vec<_>>().join(own)).unwrap();
    let mut psql = server.tool("psql");
    psql.env("PGCLIENTENCODING", encoding).args(["-XAtq", "-f"]).arg(&file);
    Run::of(psql.args(server.connection_args("app"))).ok();
}

/// What a database has besides its contents: its comment and its setting.
fn properties(server: &Server, database: &str) -> Vec<Vec<u8>> {
    let text = server.pg_dump(database, &["--create", "--schema-only"]);
    let about = |line: &[u8]| line.starts_with(b"COMMENT ON DATABASE ") || line.starts_with(b"ALTER DATABASE ");
    let lines = text.split(|byte| *byte == b'\n').filter(|line| about(line));
    let after = |line: &[u8]| {
        let at = line.windows(4).position(|part| part == b" IS " || part == b" SET")?;
        Some(line[at..].to_vec())
    };
    lines.filter_map(after).collect()
}

fn check(encoding: &str, own: &[u8]) {
    let server = Server::start(15);
    server.psql(
        "postgres",
        &format!("CREATE DATABASE app TEMPLATE template0 ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C'"),
    );
    run(&server, encoding, own, SETUP);
    let site = Site::on(server, "app", "postgres");
    let dump = || site.server.pg_dump("app", &["--restrict-key=x"]);
    let before = dump();
    // The kinds are there, and not only what came before the first that failed.
    let made = site.server.psql(
        "app",
        "SELECT count(*) FROM pg_depend WHERE classid <> 'pg_class'::regclass AND objid >= 16384",
    );
    assert!(made.parse::<usize>().unwrap() > 50, "{made}");
    let around = properties(&site.server, "app");
    assert_eq!(around.len(), 2, "{around:?}");
    let id = site.backup();
    site.run(&["verify", "app", &id, "--full"]).ok();
    site.restore(&[&id, "--mode", "in-place"]);
    let stock = dump();
    // The child's columns are in another order now, as pg_restore has them.
    assert!(stock.len() == before.len(), "{encoding}");
    run(
        &site.server,
        encoding,
        own,
        "DROP TABLE \"h~\"; DROP VIEW \"v~\" CASCADE; CREATE TABLE \"other~\" (a int)",
    );
    let changed = dump();
    site.restore(&[&id]);
    assert_same(&format!("{encoding}, swapped"), &stock, &dump(), is_text);
    assert_eq!(properties(&site.server, "app"), around);
    site.run(&["undo", "app", "--yes"]).ok();
    assert_same(&format!("{encoding}, undone"), &changed, &dump(), is_text);
    assert_eq!(properties(&site.server, "app"), around);
    site.restore(&[&id, "--mode", "in-place"]);
    assert_same(&format!("{encoding}, in place"), &stock, &dump(), is_text);
    site.run(&["undo", "app", "--yes"]).ok();
    assert_same(&format!("{encoding}, in place undone"), &changed, &dump(), is_text);
    site.restore(&[&id, "--mode", "new", "--as", "new"]);
    assert_same(
        &format!("{encoding}, new"),
        &stock,
        &site.server.pg_dump("new", &["--restrict-key=x"]),
        is_text,
    );
    assert_eq!(properties(&site.server, "new"), around);
}

#[test]
fn bytes_that_are_no_text_come_back() {
    check("SQL_ASCII", b"\xe9\xff");
}

#[test]
fn an_encoding_that_does_not_become_utf8_comes_back() {
    check("MULE_INTERNAL", b"\x81\xe9");
}

#[test]
fn characters_without_a_meaning_come_back() {
    check("WIN1252", b"\xe9\x81");
}

#[test]
fn characters_of_four_bytes_come_back() {
    check("EUC_TW", b"\x8e\xa3\xa1\xa1");
}
