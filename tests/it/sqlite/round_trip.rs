//! Everything that a file can have, there and back: sqldiff and the shell's own hash of all tables say that it is the same.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use super::{ALL_KINDS, Site};
use crate::support::Run;

/// More than [`ALL_KINDS`]: full text over rows of others, of the third kind too, and settings of each.
const MORE: &str = "
    CREATE TABLE documents (id INTEGER PRIMARY KEY, body TEXT, kind TEXT COLLATE NOCASE);
    CREATE VIRTUAL TABLE found USING fts5(body, content='documents', content_rowid='id');
    CREATE TRIGGER documents_ai AFTER INSERT ON documents BEGIN INSERT INTO found (rowid, body) VALUES (new.id, new.body); END;
    CREATE VIRTUAL TABLE oldest_words USING fts3(body, tokenize=porter);
    CREATE VIRTUAL TABLE places USING rtree_i32(id, x0, x1, y0, y1);
    CREATE UNIQUE INDEX by_kind ON documents (kind, length(body)) WHERE kind IS NOT NULL;
    CREATE TABLE wide (a, b DEFAULT (abs(-7)), c TEXT CHECK (c <> ''), d AS (a + b) VIRTUAL, PRIMARY KEY (a, b));
    INSERT INTO documents VALUES (-5, 'ünïcödé', 'A'), (1, 'running', 'b'), (9223372036854775807, 'last', NULL);
    INSERT INTO oldest_words VALUES ('running words'); INSERT INTO places VALUES (1, 0, 10, 5, 6);
    INSERT INTO wide (a, c) VALUES (1.5, 'x'), ('text', 'y'), (x'00ff00', 'z');
    DELETE FROM people WHERE name = 'Grace'; ANALYZE;";

fn equal(site: &Site, original: &str, restored: &str, what: &str) {
    let (original, restored) = (site.path(original), site.path(restored));
    let hash = |path| super::shell(path, ".sha3sum --schema --sha3-256");
    assert_eq!(hash(&original), hash(&restored), "{what}");
    for option in ["--table", "--primarykey", "--schema"] {
        let mut diff = Command::new("sqldiff");
        if option != "--table" {
            diff.arg(option);
        }
        let said = Run::of(diff.arg(&original).arg(&restored)).ok().stdout;
        assert_eq!(said.trim(), "", "{what}");
    }
    let definitions = "SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY 1, 2";
    assert_eq!(
        super::shell(&original, definitions),
        super::shell(&restored, definitions),
        "{what}"
    );
}

#[test]
fn page_sizes_encodings_and_all_kinds_of_objects_come_back() {
    let page_sizes = [512, 1024, 2048, 4096, 8192, 16384, 32768, 65536];
    for (n, page_size) in page_sizes.into_iter().enumerate() {
        let encoding = ["UTF-8", "UTF-16le", "UTF-16be"][n % 3];
        let mode = ["DELETE", "WAL"][n % 2];
        let settings = format!(
            "PRAGMA page_size = {page_size}; PRAGMA encoding = '{encoding}'; PRAGMA auto_vacuum = {}; \
             PRAGMA user_version = {n}; PRAGMA application_id = {page_size}; PRAGMA journal_mode = {mode};",
            n % 3
        );
        let site = Site::with(&format!("{settings} {ALL_KINDS} {MORE}"));
        fs::copy(site.path("app.db"), site.path("original.db")).unwrap();
        site.snapback(&["backup", "app.db"]).ok();
        assert!(
            site.gunzipped() == fs::read(site.path("original.db")).unwrap(),
            "{settings}"
        );
        site.python(
            "app.db",
            "UPDATE documents SET body = 'lost'; DROP TABLE wide; DELETE FROM people; CREATE TABLE other (x); DROP VIEW adults",
        );
        site.snapback(&["restore", "app.db", "latest", "-y"]).ok();
        equal(&site, "original.db", "app.db", &settings);
        site.snapback(&["restore", "app.db", "latest", "--mode", "new", "--as", "new.db", "-y"])
            .ok();
        assert!(
            fs::read(site.path("new.db")).unwrap() == fs::read(site.path("original.db")).unwrap(),
            "a new file is the old one, byte for byte"
        );
        assert_eq!(
            site.shell(
                "app.db",
                "SELECT body FROM found WHERE found MATCH 'running'; SELECT id FROM places WHERE x1 > 3"
            ),
            "running\n1"
        );
        assert_eq!(site.shell("app.db", "PRAGMA integrity_check"), "ok", "{settings}");
    }
}

#[test]
fn reserved_bytes_and_files_of_old_versions_stay_what_they_are() {
    let site = Site::new();
    // Bytes that an extension keeps at the end of each page.
    let made = Command::new("sqlite3")
        .arg(site.path("app.db"))
        .args([
            ".filectrl reserve_bytes 24",
            "CREATE TABLE t (a)",
            "INSERT INTO t VALUES ('kept')",
            "VACUUM",
        ])
        .output()
        .unwrap();
    let original = fs::read(site.path("app.db")).unwrap();
    assert_eq!(original[20], 24, "{}", String::from_utf8_lossy(&made.stderr));
    site.snapback(&["backup", "app.db"]).ok();
    assert_eq!(site.manifest()["sqlite"]["reserved_bytes"], 24);
    fs::remove_file(site.path("app.db")).unwrap();
    site.python("app.db", "CREATE TABLE other (a)");
    site.snapback(&["restore", "app.db", "latest", "-y"]).ok();
    assert_eq!(fs::read(site.path("app.db")).unwrap()[20], 24);
    assert_eq!(
        site.shell("app.db", "SELECT a FROM t; PRAGMA integrity_check"),
        "kept\nok"
    );

    // What SQLite wrote before 3.7.0: the oldest format of a schema, and a header that does not count the pages.
    let old = Site::new();
    Run::of(Command::new("sqlite3").arg(old.path("app.db")).args([
        ".dbconfig legacy_file_format on",
        "CREATE TABLE t (a, b); CREATE INDEX i ON t (a DESC); INSERT INTO t VALUES (1, 'old'), (NULL, x'00')",
    ]))
    .ok();
    let mut bytes = fs::read(old.path("app.db")).unwrap();
    assert_eq!(bytes[44..48], [0, 0, 0, 1]);
    bytes[28..32].fill(0);
    bytes[92..100].fill(0);
    fs::write(old.path("app.db"), &bytes).unwrap();
    old.snapback(&["backup", "app.db"]).ok();
    assert!(old.gunzipped() == bytes);
    fs::write(old.path("original.db"), &bytes).unwrap();
    old.python("app.db", "DELETE FROM t");
    old.snapback(&["restore", "app.db", "latest", "-y"]).ok();
    equal(&old, "original.db", "app.db", "an old file");
}

#[test]
fn what_a_killed_application_left_is_rolled_back_and_not_saved() {
    let site = Site::with(
        "CREATE TABLE t (a); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000)
        INSERT INTO t SELECT printf('%.300c', 'o') FROM n;",
    );
    const PROGRAM: &str = "import sqlite3, sys, os, signal\nc = sqlite3.connect(sys.argv[1], isolation_level=None)\n\
        c.execute('PRAGMA cache_size = 5')\nc.execute('BEGIN')\nc.execute(\"UPDATE t SET a = printf('%.300c', 'n')\")\n\
        os.kill(os.getpid(), signal.SIGKILL)";
    let killed = Command::new("python3")
        .args(["-c", PROGRAM])
        .arg(site.path("app.db"))
        .status()
        .unwrap();
    assert!(!killed.success());
    assert!(
        fs::metadata(site.path("app.db-journal")).unwrap().len() > 0,
        "there is a hot journal"
    );
    // Who may only read cannot roll it back, and is told so.
    let store = tempfile::tempdir().unwrap();
    let nobody = Some(65534);
    for path in [
        site.dir.path().to_owned(),
        site.path("app.db"),
        site.path("app.db-journal"),
    ] {
        std::os::unix::fs::chown(&path, nobody, nobody).unwrap();
        let mode = if path.is_dir() { 0o755 } else { 0o644 };
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }
    let mut powerless = Command::new("setpriv");
    powerless.args([
        "--bounding-set=-all",
        "--inh-caps=-all",
        env!("CARGO_BIN_EXE_snapback"),
        "backup",
    ]);
    let run = Run::of(
        powerless
            .arg(site.path("app.db"))
            .env("SNAPBACK__STORES__DEFAULT__PATH", store.path()),
    )
    .code(8);
    assert!(
        run.stderr.contains("must be written to before it can be read"),
        "{}",
        run.stderr
    );
    assert!(site.path("app.db-journal").exists());
    site.snapback(&["backup", "app.db"]).ok();
    fs::write(site.path("copy.db"), site.gunzipped()).unwrap();
    assert_eq!(
        site.shell(
            "copy.db",
            "PRAGMA integrity_check; SELECT count(*) FROM t WHERE a LIKE 'o%'"
        ),
        "ok\n2000"
    );
}
