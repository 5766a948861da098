//! Parts of archives of PostgreSQL.

use std::io::Write as _;
use std::process::Stdio;

use serde_json::Value;

use crate::restore::Site;
use crate::support::{Run, VERSIONS};

/// Tables whose names and values are hard to write.
const TABLES: &str = r#"
    CREATE SCHEMA "Odd.Schema";
    CREATE TABLE plain (id int PRIMARY KEY, name text, n numeric, f float8, ok boolean, bits bit(3), doc jsonb, raw json,
        at timestamptz, tags int[], data bytea, doubled int GENERATED ALWAYS AS (id * 2) STORED, uid uuid);
    INSERT INTO plain (id, name, n, f, ok, bits, doc, raw, at, tags, data, uid) VALUES
        (1, E'tab\tline\nreturn\rback\\slash "quote" ''apostrophe'', comma', 1.50, 1e300, true, B'101', '{"a": [1, null]}', '{"b" :  2}',
            '2026-11-20 02:00:00+00', '{1,2}', '\x00ff', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'),
        (2, '', 'NaN', 'Infinity', false, B'000', 'null', '"text"', NULL, '{}', '', NULL),
        (3, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
        (-4, '\.', -0.001, -2.5e-7, true, B'111', '"ü"', '1', 'infinity', '{NULL}', '\xdeadbeef', NULL),
        (5, E'\b\f\v', 0, 0, false, NULL, '[]', '[]', '-infinity', NULL, NULL, NULL);
    CREATE TABLE "Odd.Schema"."Odd "".Name" ("Col, umn" text, "from" int, PRIMARY KEY ("Col, umn", "from"));
    INSERT INTO "Odd.Schema"."Odd "".Name" VALUES ('a,b', 1), ('a', 2);
    CREATE TABLE single (v text); INSERT INTO single VALUES ('\.'), (''), (NULL), ('x');
    CREATE TABLE nothing (); INSERT INTO nothing DEFAULT VALUES; INSERT INTO nothing DEFAULT VALUES;
    CREATE TABLE counted (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, v text); INSERT INTO counted (v) VALUES ('a'), ('b');
    CREATE TABLE parts (id int, at date, v text, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
    CREATE TABLE parts_2025 (v text, at date NOT NULL, id int NOT NULL);
    ALTER TABLE parts ATTACH PARTITION parts_2025 FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
    CREATE TABLE parts_2026 PARTITION OF parts FOR VALUES FROM ('2026-01-01') TO ('2027-01-01') PARTITION BY LIST (id);
    CREATE TABLE parts_2026_a PARTITION OF parts_2026 FOR VALUES IN (2);
    CREATE TABLE parts_2026_b PARTITION OF parts_2026 DEFAULT;
    INSERT INTO parts VALUES (1, '2025-05-05', 'x'), (2, '2026-05-05', 'a'), (3, '2026-06-06', E'b\tc');
    CREATE TABLE empty_parts (id int) PARTITION BY LIST (id);
"#;

fn extract(site: &Site, arguments: &[&str]) -> Run {
    site.run(&[&["extract", "app"], arguments].concat())
}

/// Bytes, of which not all are text.
fn bytes(site: &Site, arguments: &[&str]) -> Vec<u8> {
    let output = site
        .command(&[&["extract", "app"], arguments].concat())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

/// What psql's COPY makes of a query.
fn copied(site: &Site, query: &str, options: &str) -> Vec<u8> {
    let mut psql = site.server.tool("psql");
    psql.args(["-XAtq", "-v", "ON_ERROR_STOP=1"])
        .args(site.server.connection_args("app"))
        .args([
            "-c",
            "SET timezone = 'UTC'",
            "-c",
            &format!("COPY {query} TO STDOUT {options}"),
        ]);
    let output = psql.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// Runs SQL from standard input, as a pipe into psql does.
fn piped(site: &Site, database: &str, sql: &[u8]) {
    let mut psql = site.server.tool("psql");
    psql.args(["-XAtq", "-v", "ON_ERROR_STOP=1"])
        .args(site.server.connection_args(database));
    let mut child = psql.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(sql).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn site(major: u32) -> Site {
    let site = Site::new(major, "app");
    site.server.psql("postgres", "ALTER DATABASE app SET timezone = 'UTC'");
    site.server.psql("app", TABLES);
    site.backup();
    site
}

const COLUMNS: &str = "(SELECT id, name, n, f, ok, bits, doc, raw, at, tags, data, uid FROM plain)";
const PARTS: &str = "(SELECT id, at, v FROM parts)";
const ODD: &str = "\"Odd.Schema\".\"Odd \"\".Name\"";

#[test]
fn rows_are_what_copy_writes() {
    for major in [15, 18] {
        let site = site(major);
        for (word, query) in [
            ("plain", COLUMNS),
            ("public.plain", COLUMNS),
            (ODD, ODD),
            ("Odd \".Name", ODD),
            ("single", "single"),
            ("counted", "counted"),
            ("parts_2025", "parts_2025"),
        ] {
            let copy = bytes(&site, &["--table", word]);
            assert_eq!(
                String::from_utf8_lossy(&copy),
                String::from_utf8_lossy(&copied(&site, query, "")),
                "{word}"
            );
            let csv = bytes(&site, &["--table", word, "--format", "csv"]);
            assert_eq!(
                String::from_utf8_lossy(&csv),
                String::from_utf8_lossy(&copied(&site, query, "WITH (FORMAT csv, HEADER)")),
                "{word}"
            );
        }
        assert_eq!(bytes(&site, &["--table", "nothing"]), b"\n\n");
        // The rows of all partitions come in the order of the table's own columns.
        for (format, options) in [("copy", ""), ("csv", "WITH (FORMAT csv, HEADER)")] {
            let sorted = |text: &[u8]| {
                let mut lines: Vec<String> = String::from_utf8_lossy(text).lines().map(str::to_owned).collect();
                lines.sort();
                lines
            };
            let found = bytes(&site, &["--table", "parts", "--format", format]);
            assert_eq!(sorted(&found), sorted(&copied(&site, PARTS, options)), "{format}");
        }
        assert_eq!(bytes(&site, &["--table", "empty_parts"]), b"");
    }
}

#[test]
fn rows_as_json_are_what_the_server_makes_of_them() {
    let site = site(15);
    let json: Value = serde_json::from_slice(&bytes(&site, &["--table", "plain", "--format", "json"])).unwrap();
    let query =
        "SELECT json_agg(json_build_object('id', id, 'name', name, 'n', n, 'f', f, 'ok', ok, 'bits', bits, 'doc', doc,
        'raw', raw, 'at', at::text, 'tags', tags::text, 'data', data::text, 'uid', uid)) FROM plain";
    let wanted: Value = serde_json::from_str(&site.server.psql("app", query)).unwrap();
    assert_eq!(json, wanted);
    let none: Value = serde_json::from_slice(&bytes(&site, &["--table", "empty_parts", "--format", "json"])).unwrap();
    assert_eq!(none, serde_json::json!([]));
}

#[test]
fn rows_as_statements_are_pg_dumps_and_give_back_what_was_deleted() {
    for major in [15, 18] {
        let site = site(major);
        for table in ["plain", ODD, "single", "counted", "parts_2025"] {
            let dumped = site
                .server
                .pg_dump("app", &["--data-only", "--column-inserts", "-t", table]);
            let inserts = |text: &[u8]| {
                let text = String::from_utf8(text.to_vec()).unwrap();
                let text = &text[text.find("INSERT INTO").unwrap()..];
                // What follows in a dump: the value of a sequence, the end.
                text.split("\n\n\n--\n").next().unwrap().trim_end().to_owned()
            };
            let found = bytes(&site, &["--table", table, "--format", "insert"]);
            assert_eq!(inserts(&found), inserts(&dumped), "{table}");
        }
        let digest = |table: &str| {
            let query = format!("SELECT count(*), sum(hashtext(t::text)::bigint) FROM {table} t");
            site.server.psql("app", &query)
        };
        for (table, keys, condition) in [
            ("plain", &["-4"][..], "id = -4"),
            ("plain", &["01"], "id = 1"),
            ("counted", &["2"], "id = 2"),
            (ODD, &["a,b", "1"], "\"from\" = 1"),
            (ODD, &["a,2"], "\"from\" = 2"),
            ("parts", &["3,2026-06-06"], "id = 3"),
        ] {
            let before = digest(table);
            site.server
                .psql("app", &format!("DELETE FROM {table} WHERE {condition}"));
            assert_ne!(digest(table), before);
            let mut arguments = vec!["--table", table, "--format", "insert"];
            for key in keys {
                arguments.extend(["--where-key", key]);
            }
            piped(&site, "app", &bytes(&site, &arguments));
            assert_eq!(digest(table), before, "{table} {keys:?}");
        }
    }
}

#[test]
fn one_row_is_found_by_its_key_or_told_to_be_missing() {
    let site = site(15);
    let row = extract(&site, &["--table", "plain", "--where-key", "2", "--format", "csv"])
        .ok()
        .stdout;
    assert_eq!(row.lines().count(), 2, "{row}");
    for (arguments, code, told) in [
        (
            &["--table", "plain", "--where-key", "99"][..],
            3,
            "no row with id = 99 in public.plain",
        ),
        (&["--table", "single", "--where-key", "x"], 2, "has no primary key"),
        (&["--table", "parts", "--where-key", "1"], 2, "(id, at)"),
        (&["--table", "plian"], 3, "did you mean plain?"),
        (
            &["--table", "plain", "--format", "xml"],
            2,
            "copy, csv, insert and json",
        ),
        (&["--definition", "nosuch"], 3, "no object \"nosuch\""),
        (&[], 2, "--table"),
        (&["--where-key", "1", "--list"], 2, "--table"),
    ] {
        let run = extract(&site, arguments).code(code);
        assert!(run.stderr.contains(told), "{arguments:?}: {}", run.stderr);
        assert_eq!(run.stdout, "", "{arguments:?}");
    }
    // A name in two schemas is told with both.
    site.server.psql(
        "app",
        "CREATE SCHEMA old; CREATE TABLE old.plain (x int); INSERT INTO old.plain VALUES (7)",
    );
    site.backup();
    let run = extract(&site, &["--table", "plain"]).code(2);
    assert!(
        run.stderr.contains("old.plain") && run.stderr.contains("public.plain"),
        "{}",
        run.stderr
    );
    assert_eq!(extract(&site, &["--table", "old.plain"]).ok().stdout, "7\n");
}

#[test]
fn all_as_sql_is_what_pg_restore_writes() {
    for major in VERSIONS {
        let site = Site::new(major, "app");
        site.server.psql("app", TABLES);
        site.server.psql(
            "app",
            "SELECT lo_from_bytea(0, decode(repeat('41', 40000), 'hex')); SELECT lo_from_bytea(0, '')",
        );
        let id = site.backup();
        let archive = site.backups().join(format!("app_{id}.dump"));
        let output = site
            .server
            .tool("pg_restore")
            .args(["-f", "-"])
            .arg(&archive)
            .output()
            .unwrap();
        assert!(output.status.success());
        // The key is another one each time.
        let lines = |text: &[u8]| -> Vec<String> {
            let text = String::from_utf8_lossy(text).into_owned();
            let keyless = |line: &str| match line.split_once("restrict ") {
                Some((before, _)) if line.starts_with('\\') => format!("{before}restrict"),
                _ => line.to_owned(),
            };
            text.lines().map(keyless).collect()
        };
        let sql = bytes(&site, &["--sql"]);
        assert_eq!(lines(&sql), lines(&output.stdout), "{major}");
        site.server.create_database("again");
        piped(&site, "again", &sql);
        assert!(
            site.server.pg_dump("again", &["--restrict-key=x"]) == site.server.pg_dump("app", &["--restrict-key=x"]),
            "{major}"
        );
        // How the time of the archive is written is not the same in all minor releases.
        let timeless = |text: &[u8]| {
            let text = String::from_utf8_lossy(text).into_owned();
            let lines = text.lines().filter(|line| !line.starts_with("; Archive created"));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        let list = site.server.tool("pg_restore").arg("-l").arg(&archive).output().unwrap();
        assert_eq!(timeless(&bytes(&site, &["--list"])), timeless(&list.stdout));
    }
}

#[test]
fn a_definition_is_what_pg_dump_writes_of_the_object() {
    const OBJECTS: &str = r#"
        CREATE TABLE owner (id serial PRIMARY KEY, name text DEFAULT 'x' UNIQUE);
        CREATE TABLE pet (id int GENERATED BY DEFAULT AS IDENTITY, owner int REFERENCES owner, born date, CHECK (id > 0));
        CREATE INDEX pet_born ON pet (born) WHERE born IS NOT NULL;
        COMMENT ON INDEX pet_born IS 'of the living'; COMMENT ON TABLE pet IS 'a pet'; COMMENT ON COLUMN pet.born IS 'when';
        GRANT SELECT ON pet TO PUBLIC; GRANT UPDATE (born) ON pet TO PUBLIC;
        ALTER TABLE pet ENABLE ROW LEVEL SECURITY; CREATE POLICY mine ON pet USING (owner = 1);
        CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN new; END $$;
        CREATE FUNCTION note(a int, b text) RETURNS int LANGUAGE sql AS 'SELECT 1';
        CREATE TRIGGER noted BEFORE INSERT ON pet FOR EACH ROW EXECUTE FUNCTION note();
        CREATE RULE quiet AS ON DELETE TO pet DO NOTHING;
        CREATE VIEW pets AS SELECT * FROM pet; COMMENT ON VIEW pets IS 'all';
        CREATE MATERIALIZED VIEW counted AS SELECT count(*) AS n FROM pet; CREATE UNIQUE INDEX ON counted (n);
        CREATE TABLE log (id int, at date, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
        CREATE TABLE log_1 PARTITION OF log FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
        CREATE INDEX ON log (at);
        CREATE TYPE mood AS ENUM ('good', 'bad'); COMMENT ON TYPE mood IS 'how';
    "#;
    for major in VERSIONS {
        let site = Site::new(major, "app");
        site.server.psql("app", OBJECTS);
        site.backup();
        for table in ["owner", "pet", "log", "log_1", "pets", "counted"] {
            let dumped = site.server.pg_dump("app", &["-s", "-t", table, "--restrict-key=x"]);
            let dumped = String::from_utf8(dumped).unwrap();
            // What stands around a whole dump: settings before, and two lines after.
            let begin = dumped.find("SET row_security = off;\n\n").unwrap() + "SET row_security = off;\n\n".len();
            let end = dumped.find("--\n-- PostgreSQL database dump complete").unwrap();
            let found = extract(&site, &["--definition", table]).ok().stdout;
            assert_eq!(found, dumped[begin..end], "{major} {table}");
        }
        let function = extract(&site, &["--definition", "note(integer, text)"]).ok().stdout;
        assert!(
            function.contains("CREATE FUNCTION public.note(a integer, b text)"),
            "{function}"
        );
        let run = extract(&site, &["--definition", "note"]).code(2);
        assert!(
            run.stderr.contains("public.note(integer, text)") && run.stderr.contains("public.note()"),
            "{}",
            run.stderr
        );
        for (word, text) in [
            ("mood", "COMMENT ON TYPE public.mood IS 'how';"),
            ("public.mood", "CREATE TYPE public.mood AS ENUM ("),
            ("pet_born", "CREATE INDEX pet_born ON public.pet"),
            ("noted", "CREATE TRIGGER noted BEFORE INSERT ON public.pet"),
            ("owner_name_key", "ADD CONSTRAINT owner_name_key UNIQUE (name);"),
            ("mine", "CREATE POLICY mine ON public.pet"),
        ] {
            let found = extract(&site, &["--definition", word]).ok().stdout;
            assert!(found.contains(text), "{word}: {found}");
        }
    }
}
