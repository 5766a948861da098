//! A restore into a live file writes the pages that differ, and nothing else.

use std::fs;

use super::*;

/// A process that has `app.db` open, with its schema in mind; for each line of SQL it prints what comes of it.
fn shell_of_an_application(site: &Site) -> Child {
    site.application(
        r#"
import sqlite3, sys
c = sqlite3.connect(sys.argv[1], timeout=30, isolation_level=None)
c.execute("SELECT * FROM sqlite_schema").fetchall()
print("ready", flush=True)
for line in sys.stdin:
    try: print(c.execute(line).fetchall(), flush=True)
    except sqlite3.Error as error: print(error, flush=True)
"#,
    )
}

struct Asked(Child, BufReader<std::process::ChildStdout>);

impl Asked {
    fn of(site: &Site) -> Asked {
        let mut child = shell_of_an_application(site);
        let out = BufReader::new(child.stdout.take().unwrap());
        Asked(child, out)
    }

    fn ask(&mut self, sql: &str) -> String {
        writeln!(self.0.stdin.as_mut().unwrap(), "{sql}").unwrap();
        let mut line = String::new();
        self.1.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    fn end(mut self) {
        drop(self.0.stdin.take());
        assert!(self.0.wait().unwrap().success());
    }
}

#[test]
fn who_has_the_file_open_reads_by_the_schema_of_the_backup() {
    for mode in ["WAL", "DELETE"] {
        let site = Site::with(&format!(
            "PRAGMA journal_mode = {mode}; CREATE TABLE a (x); INSERT INTO a VALUES ('of the backup')"
        ));
        site.snapback(&["backup", "app.db"]).ok();
        let cookie = site.shell("app.db", "PRAGMA schema_version");
        // The schema of the live database has the number that the backup's has, and is another one.
        site.python(
            "app.db",
            &format!(
                "DROP TABLE a; CREATE TABLE b (y, z); INSERT INTO b VALUES (1, 2); PRAGMA schema_version = {cookie}"
            ),
        );
        let mut application = Asked::of(&site);
        assert_eq!(application.ask("SELECT * FROM b"), "[(1, 2)]");
        site.snapback(&["restore", "app.db", "latest", "-y"]).ok();
        assert_eq!(application.ask("SELECT * FROM a"), "[('of the backup',)]", "{mode}");
        assert_eq!(application.ask("SELECT * FROM b"), "no such table: b", "{mode}");
        assert_eq!(application.ask("INSERT INTO a VALUES (2)"), "[]", "{mode}");
        site.snapback(&["undo", "app.db", "-y"]).ok();
        assert_eq!(application.ask("SELECT * FROM b"), "[(1, 2)]", "{mode}");
        assert_eq!(application.ask("PRAGMA integrity_check"), "[('ok',)]", "{mode}");
        assert_eq!(
            application.ask("PRAGMA journal_mode"),
            format!("[('{}',)]", mode.to_lowercase())
        );
        application.end();
    }
}

const MANY: &str = "CREATE TABLE many (id INTEGER PRIMARY KEY, a);
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 40000)
    INSERT INTO many SELECT i, hex(randomblob(100)) FROM n;";

#[test]
fn a_row_that_was_changed_costs_its_page_and_not_the_file() {
    let site = Site::with(&format!("PRAGMA journal_mode = WAL; {MANY}"));
    site.snapback(&["backup", "app.db"]).ok();
    let mut application = Asked::of(&site);
    application.ask("UPDATE many SET a = 'changed' WHERE id = 20000");
    application.ask("PRAGMA wal_checkpoint(TRUNCATE)");
    assert_eq!(fs::metadata(site.path("app.db-wal")).unwrap().len(), 0);
    site.snapback(&["restore", "app.db", "latest", "-y"]).ok();
    let log = fs::metadata(site.path("app.db-wal")).unwrap().len();
    assert!(
        (4096..64 << 10).contains(&log),
        "{log} bytes of log for one row of {} bytes of database",
        fs::metadata(site.path("app.db")).unwrap().len()
    );
    assert_eq!(
        application.ask("SELECT count(*) FROM many WHERE a = 'changed'"),
        "[(0,)]"
    );
    // A second one finds nothing to do.
    application.ask("PRAGMA wal_checkpoint(TRUNCATE)");
    site.snapback(&["restore", "app.db", "latest", "-y"]).ok();
    assert_eq!(fs::metadata(site.path("app.db-wal")).unwrap().len(), 0);
    application.end();
}

/// All pages but the first, in which SQLite counts changes.
fn pages(file: &[u8]) -> &[u8] {
    &file[4096..]
}

#[test]
fn a_file_grows_and_shrinks_to_what_it_was_byte_for_byte() {
    for mode in ["DELETE", "WAL"] {
        for auto_vacuum in ["NONE", "FULL"] {
            let case = format!("{mode}, {auto_vacuum}");
            let site = Site::with(&format!(
                "PRAGMA auto_vacuum = {auto_vacuum}; PRAGMA journal_mode = {mode}; CREATE TABLE few (a); INSERT INTO few VALUES (1)"
            ));
            let small = site.snapback(&["backup", "app.db"]).ok().stdout;
            let small_pages = site.gunzipped();
            site.python("app.db", MANY);
            let large = site.snapback(&["backup", "app.db"]).ok().stdout;
            let large_pages = site.gunzipped();
            for (id, wanted) in [(&small, &small_pages), (&large, &large_pages), (&small, &small_pages)] {
                site.snapback(&["restore", "app.db", id.trim(), "-y"]).ok();
                assert_eq!(site.shell("app.db", "PRAGMA integrity_check"), "ok", "{case}");
                // The shell was the last to close it, so the log is in the file.
                let live = fs::read(site.path("app.db")).unwrap();
                assert_eq!(live.len(), wanted.len(), "{case}");
                assert!(pages(&live) == pages(wanted), "{case}");
                assert_eq!(site.files(), ["app.db"], "{case}");
            }
        }
    }
}

#[test]
fn a_live_database_whose_schema_cannot_be_read_is_saved_and_replaced() {
    let site = Site::with(&format!("{MANY} CREATE TABLE other (a)"));
    site.snapback(&["backup", "app.db"]).ok();
    let wanted = site.gunzipped();
    site.shell(
        "app.db",
        "PRAGMA writable_schema = ON; UPDATE sqlite_schema SET sql = 'CREATE TABLE many (' WHERE name = 'many'",
    );
    // It is saved as it is, and never counts as good.
    let saved = site.snapback(&["backup", "app.db"]).ok();
    assert!(
        saved.stderr.contains("was damaged before it was saved"),
        "{}",
        saved.stderr
    );
    assert!(
        saved.stderr.contains("malformed database schema (many)"),
        "{}",
        saved.stderr
    );
    site.snapback(&["restore", "app.db", "latest", "-y"]).ok();
    assert_eq!(site.shell("app.db", "PRAGMA integrity_check"), "ok");
    assert!(pages(&fs::read(site.path("app.db")).unwrap()) == pages(&wanted));
}
