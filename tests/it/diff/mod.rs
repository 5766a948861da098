//! `snapback diff`: nothing that changed is missed, and nothing is invented.

mod live;
mod stores;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::restore::Site;
use crate::sqlite::Site as Files;

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// Kind, name and change of each object that differs.
fn objects(found: &Value) -> BTreeSet<(String, String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let objects = found["objects"].as_array().unwrap().iter();
    objects
        .map(|it| (text(&it["kind"]), text(&it["name"]), text(&it["change"])))
        .collect()
}

/// The rows that were added, removed and changed of each table that is on both sides and differs.
fn rows(found: &Value) -> BTreeMap<String, [u64; 3]> {
    let tables = found["tables"].as_array().unwrap().iter();
    let differ = tables.filter(|it| it["contents"] != "same" && !it["rows"].is_null());
    let count = |it: &Value, what: &str| it["rows"][what].as_u64().unwrap();
    differ
        .map(|it| {
            let counts = ["added", "removed", "changed"].map(|what| count(it, what));
            (it["name"].as_str().unwrap().to_owned(), counts)
        })
        .collect()
}

#[test]
fn a_migration_is_shown_with_what_it_did_to_definitions_and_rows() {
    let site = Site::new(16, "app");
    let sql = |text: &str| site.server.psql("app", text);
    sql("CREATE TYPE mood AS ENUM ('sad', 'fine');
         CREATE TABLE users (id serial PRIMARY KEY, name text, born timestamptz DEFAULT now(), m mood);
         INSERT INTO users (name) SELECT 'user ' || g FROM generate_series(1, 500) g;
         CREATE TABLE words (word text); INSERT INTO words VALUES ('a'), ('a'), (E'tab\tline\nend'), (NULL);
         CREATE TABLE gone (x int); INSERT INTO gone VALUES (1); CREATE TABLE same (x int); INSERT INTO same VALUES (1)");
    let id = site.backup();
    let run = site.run(&["diff", "app", "--exit-code"]).ok();
    assert!(
        run.stdout.ends_with("no difference (4 tables compared)\n"),
        "{}",
        run.stdout
    );
    assert!(!run.stdout.contains('\u{1b}'));

    sql("SET TimeZone = 'Asia/Tokyo'; ALTER TYPE mood ADD VALUE 'great'; ALTER TABLE users ADD COLUMN email text;
         UPDATE users SET name = 'renamed' WHERE id = 7; DELETE FROM users WHERE id > 498; DROP TABLE gone;
         DELETE FROM words WHERE ctid = (SELECT min(ctid) FROM words WHERE word = 'a'); INSERT INTO words VALUES ('b');
         CREATE INDEX by_name ON users (name); GRANT SELECT ON users TO pg_monitor; ALTER DATABASE app SET work_mem = '7MB'");
    let run = site
        .run(&["diff", "app", &id, "live", "--rows", "--show", "9", "--exit-code"])
        .code(11);
    for line in [
        "TABLE public.gone removed",
        "INDEX public.by_name added",
        "    +    'fine',",
        "    +    'great'",
        "    +    email text",
        "rows of public.gone: gone, 1 row",
        "rows of public.users: 500 rows -> 498 rows (compared by id, name, born, m)",
        "    0 added, 2 removed, 1 changed (by id)",
        "rows of public.words: 4 rows, other contents",
        "    1 added, 1 removed, 0 changed (no primary key)",
        "    -word=a",
        "    +word=b",
        "1 table is the same",
    ] {
        assert!(run.stdout.contains(line), "no {line:?} in:\n{}", run.stdout);
    }
    let found = json(
        &site
            .run(&["diff", "--json", "--rows", "--show", "1", "-t", "users"])
            .ok()
            .stdout,
    );
    assert_eq!(found["differ"], true);
    let wanted = [
        ("ACL", "TABLE users", "added"),
        ("INDEX", "by_name", "added"),
        ("TABLE", "users", "changed"),
    ];
    let wanted: BTreeSet<_> = wanted
        .map(|(kind, name, change)| (kind.to_owned(), name.to_owned(), change.to_owned()))
        .into();
    assert_eq!(objects(&found), wanted);
    assert_eq!(rows(&found), BTreeMap::from([("users".to_owned(), [0, 2, 1])]));
    assert_eq!(found["tables"].as_array().unwrap().len(), 1);

    // Two backups, and a backup as a file, tell the same; and so does the way back.
    let second = site.backup();
    let two = json(&site.run(&["diff", "app", &id, &second, "--rows", "--json"]).ok().stdout);
    let live = json(&site.run(&["diff", "app", &id, "live", "--rows", "--json"]).ok().stdout);
    let file = site.backups().join(format!("app_{id}.dump"));
    let file = json(
        &site
            .run(&["diff", "--from", file.to_str().unwrap(), "--rows", "--json"])
            .ok()
            .stdout,
    );
    for other in [&two, &file] {
        assert_eq!(objects(other), objects(&live));
        assert_eq!(rows(other), rows(&live));
    }
    let back = json(&site.run(&["diff", "app", "live", &id, "--rows", "--json"]).ok().stdout);
    let turned = |[added, removed, changed]: [u64; 3]| [removed, added, changed];
    let wanted: BTreeMap<_, _> = rows(&live)
        .into_iter()
        .map(|(name, counts)| (name, turned(counts)))
        .collect();
    assert_eq!(rows(&back), wanted);
    let schema = json(&site.run(&["diff", "app", &id, "--schema-only", "--json"]).ok().stdout);
    assert_eq!(objects(&schema), objects(&live));
    assert_eq!(schema["tables"].as_array().unwrap().len(), 0);
    site.run(&["diff", "app", "live", "live"]).code(2);
}

#[test]
fn a_file_of_sqlite_is_compared_likewise() {
    let site = Files::with(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT); INSERT INTO t VALUES (1, 'x'), (2, 'y');
         CREATE TABLE k (z); INSERT INTO k VALUES (1), (1), ('1'), (NULL); CREATE TABLE same (x); INSERT INTO same VALUES (1)",
    );
    let id = site.snapback(&["backup", "app.db"]).ok().stdout.trim().to_owned();
    site.snapback(&["diff", "app.db", "--exit-code"]).ok();
    std::fs::copy(site.path("app.db"), site.path("before.db")).unwrap();
    site.python(
        "app.db",
        "UPDATE k SET z = 2 WHERE typeof(z) = 'text'; INSERT INTO t VALUES (3, 'z'); PRAGMA user_version = 7",
    );
    let rows_only = json(&site.snapback(&["diff", "app.db", "--json", "--rows"]).ok().stdout);
    let counts = BTreeMap::from([("k".to_owned(), [1, 1, 0]), ("t".to_owned(), [1, 0, 0])]);
    assert_eq!(rows(&rows_only), counts);
    site.python(
        "app.db",
        "ALTER TABLE t ADD COLUMN b; CREATE VIEW v AS SELECT a FROM t; DROP TABLE same",
    );
    for from in [&[id.as_str()][..], &["--from", "before.db"]] {
        let arguments = [&["diff", "app.db"], from, &["--json", "--rows"]].concat();
        let found = json(&site.snapback(&arguments).ok().stdout);
        let wanted = [
            ("PRAGMA", "user_version", "changed"),
            ("TABLE", "same", "removed"),
            ("TABLE", "t", "changed"),
            ("VIEW", "v", "added"),
        ];
        let wanted: BTreeSet<_> = wanted
            .map(|(kind, name, change)| (kind.to_owned(), name.to_owned(), change.to_owned()))
            .into();
        assert_eq!(objects(&found), wanted);
        assert_eq!(rows(&found), counts);
    }
}

/// What a change does to a table, as SQL and as what is to be found.
#[derive(Default)]
struct Expected {
    sql: String,
    objects: BTreeSet<(String, String, String)>,
    rows: BTreeMap<String, [u64; 3]>,
    sequences: BTreeSet<String>,
}

impl Expected {
    fn object(&mut self, kind: &str, name: &str, change: &str) {
        self.objects
            .insert((kind.to_owned(), name.to_owned(), change.to_owned()));
    }

    /// Some rows are added, removed and changed, then the definition is.
    fn change(&mut self, table: usize, keyed: bool, random: &mut fastrand::Rng) {
        let name = format!("t{table}");
        if random.bool() {
            let [added, removed, changed] = [(); 3].map(|()| random.u64(0..6));
            self.sql += &format!(
                "INSERT INTO {name} SELECT 1000 + g, 'new', g FROM generate_series(1, {added}) g;
                 DELETE FROM {name} WHERE id <= {removed};
                 UPDATE {name} SET a = a || '!' WHERE id BETWEEN 11 AND {};",
                10 + changed
            );
            let counts = match keyed {
                true => [added, removed, changed],
                false => [added + changed, removed + changed, 0],
            };
            if counts != [0; 3] {
                self.rows.insert(name.clone(), counts);
            }
        }
        let (sql, kind, object, how) = match random.u8(0..14) {
            0 => (
                format!("ALTER TABLE {name} ADD COLUMN more text DEFAULT 'x'"),
                "TABLE",
                name,
                "changed",
            ),
            1 => (format!("ALTER TABLE {name} DROP COLUMN n"), "TABLE", name, "changed"),
            2 => (
                format!("ALTER TABLE {name} ALTER n TYPE bigint"),
                "TABLE",
                name,
                "changed",
            ),
            3 => (
                format!("CREATE INDEX i{table} ON {name} (a)"),
                "INDEX",
                format!("i{table}"),
                "added",
            ),
            4 => (
                format!("DROP INDEX old{table}"),
                "INDEX",
                format!("old{table}"),
                "removed",
            ),
            5 => (
                format!("ALTER TABLE {name} ADD CHECK (id > -1)"),
                "TABLE",
                name,
                "changed",
            ),
            6 => (
                format!("GRANT SELECT ON {name} TO pg_monitor"),
                "ACL",
                format!("TABLE {name}"),
                "added",
            ),
            7 => (
                format!("ALTER TYPE e{table} ADD VALUE 'b' BEFORE 'z'"),
                "TYPE",
                format!("e{table}"),
                "changed",
            ),
            8 => (
                format!("COMMENT ON COLUMN {name}.a IS 'text'"),
                "COMMENT",
                format!("COLUMN {name}.a"),
                "added",
            ),
            9 => (
                format!("CREATE OR REPLACE FUNCTION f{table}(int) RETURNS int LANGUAGE sql AS 'SELECT $1 + 1'"),
                "FUNCTION",
                format!("f{table}(integer)"),
                "changed",
            ),
            10 => (
                format!("ALTER TABLE {name} OWNER TO pg_monitor"),
                "TABLE",
                name,
                "changed",
            ),
            11 => (
                format!("CREATE VIEW v{table} AS SELECT id FROM {name}"),
                "VIEW",
                format!("v{table}"),
                "added",
            ),
            12 => {
                self.sequences.insert(format!("public.s{table}"));
                self.sql += &format!("SELECT setval('s{table}', {});", random.u32(2..99));
                return;
            }
            _ => return,
        };
        self.sql += &format!("{sql};");
        self.object(kind, &object, how);
        if sql.ends_with("DROP COLUMN n") {
            self.object("INDEX", &format!("old{table}"), "removed");
        }
    }
}

/// `SNAPBACK_DIFF_PAIRS` says how many pairs of databases are compared.
#[test]
fn random_changes_are_found_and_no_others() {
    let pairs: u64 = std::env::var("SNAPBACK_DIFF_PAIRS").map_or(4, |text| text.parse().unwrap());
    let site = Site::new(17, "app");
    let mut random = fastrand::Rng::new();
    for _ in 0..pairs {
        let seed = random.u64(..);
        println!("seed {seed}");
        compare(&site, fastrand::Rng::with_seed(seed));
    }
}

fn compare(site: &Site, mut random: fastrand::Rng) {
    let tables = random.usize(1..7);
    let keyed: Vec<bool> = (0..tables).map(|_| random.bool()).collect();
    let mut sql = "DROP SCHEMA public CASCADE; CREATE SCHEMA public;".to_owned();
    for (at, keyed) in keyed.iter().enumerate() {
        let key = if *keyed { "PRIMARY KEY" } else { "NOT NULL" };
        sql += &format!(
            "CREATE TABLE t{at} (id int {key}, a text, n int); CREATE INDEX old{at} ON t{at} (n);
             INSERT INTO t{at} SELECT g, md5(g::text), g % 7 FROM generate_series(1, {}) g;
             CREATE TYPE e{at} AS ENUM ('a', 'z'); CREATE SEQUENCE s{at};
             CREATE FUNCTION f{at}(int) RETURNS int LANGUAGE sql AS 'SELECT $1';",
            random.u32(20..300)
        );
    }
    site.server.psql("app", &sql);
    let id = site.backup();
    let mut expected = Expected::default();
    for (at, keyed) in keyed.iter().enumerate() {
        expected.change(at, *keyed, &mut random);
    }
    if random.bool() {
        expected.sql += "CREATE TABLE fresh (x int); INSERT INTO fresh VALUES (1);";
        expected.object("TABLE", "fresh", "added");
    }
    let sql = expected.sql.clone();
    if !sql.is_empty() {
        site.server.psql("app", &sql);
    }
    let found = json(&site.run(&["diff", "app", &id, "live", "--rows", "--json"]).ok().stdout);
    let sequences = found["sequences"].as_array().unwrap().iter();
    let sequences: BTreeSet<String> = sequences.map(|it| it["name"].as_str().unwrap().to_owned()).collect();
    assert_eq!(objects(&found), expected.objects, "{sql}");
    assert_eq!(rows(&found), expected.rows, "{sql}");
    assert_eq!(sequences, expected.sequences, "{sql}");
}
