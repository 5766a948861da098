//! Single tables come back in one transaction, all else stays; and an undo takes back what a restore really did.

use std::process::Stdio;

use super::{ALL_KINDS, Site};
use crate::support::snapback;

/// Tables that refer to each other and to numbers of rows, with all that hangs on a table.
const SCHOOL: &str = "
    CREATE TABLE students (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, upper_name TEXT AS (upper(name)) STORED);
    CREATE TABLE grades (student INTEGER REFERENCES students, grade REAL CHECK (grade <= 6));
    CREATE TABLE notes (text TEXT); CREATE TABLE pairs (a INT, b INT, PRIMARY KEY (a, b)) WITHOUT ROWID;
    CREATE TABLE log (what TEXT); CREATE VIRTUAL TABLE words USING fts5(text, content='notes');
    CREATE INDEX by_grade ON grades (grade) WHERE grade > 4; CREATE INDEX by_name ON students (lower(name));
    CREATE TRIGGER told AFTER INSERT ON grades BEGIN INSERT INTO log VALUES ('graded'); END;
    CREATE VIEW best AS SELECT name, grade FROM students JOIN grades ON student = id WHERE grade > 5;
    INSERT INTO students (name) VALUES ('Ada'), ('Grace'), ('gone'); DELETE FROM students WHERE name = 'gone';
    INSERT INTO grades VALUES (1, 5.5), (2, 6), (2, 4); INSERT INTO notes (rowid, text) VALUES (7, 'old'), (9, 'words');
    INSERT INTO words (words) VALUES ('rebuild'); INSERT INTO pairs VALUES (1, 2), (3, 4);";

/// What SQLite's shell prints of one table, with its indexes and triggers, and with the numbers of its rows.
fn table(site: &Site, name: &str, table: &str) -> String {
    let definitions = format!("SELECT sql FROM sqlite_schema WHERE tbl_name = '{table}' ORDER BY type, name");
    let rowid = if table == "pairs" { "a" } else { "rowid" };
    site.shell(name, &definitions) + "\n" + &site.shell(name, &format!("SELECT {rowid}, * FROM {table} ORDER BY 1"))
}

#[test]
fn single_tables_come_back_and_all_else_stays() {
    for mode in ["WAL", "DELETE"] {
        let site = Site::with(&format!("PRAGMA journal_mode = {mode}; {SCHOOL}"));
        let names = ["students", "grades", "notes", "pairs"];
        let before = names.map(|name| table(&site, "app.db", name));
        site.snapback(&["backup", "app.db"]).ok();
        site.python(
            "app.db",
            "DROP TRIGGER told; DROP INDEX by_grade; ALTER TABLE grades ADD COLUMN late INT; UPDATE grades SET grade = 1;
             DELETE FROM students WHERE id = 2; DELETE FROM notes; DROP TABLE pairs;
             CREATE TABLE later (a); INSERT INTO later VALUES (1); INSERT INTO log VALUES ('kept')",
        );
        let damaged = site.shell("app.db", ".dump");
        let run = site
            .snapback(&[
                "restore", "app.db", "latest", "-y", "-t", "grades", "-t", "Students", "-t", "pairs", "-t", "notes",
            ])
            .ok();
        assert!(run.stdout.contains("has a part of the backup"), "{}", run.stdout);
        assert_eq!(names.map(|name| table(&site, "app.db", name)), before, "{mode}");
        // The trigger did not fire for rows that came back, and what is not named is what it was.
        assert_eq!(
            site.shell("app.db", "SELECT group_concat(what) FROM log"),
            "graded,graded,graded,kept"
        );
        assert_eq!(
            site.shell("app.db", "SELECT * FROM later; SELECT seq FROM sqlite_sequence"),
            "1\n3"
        );
        assert_eq!(
            site.shell("app.db", "SELECT rowid FROM words WHERE words MATCH 'words'"),
            "9"
        );
        assert_eq!(site.shell("app.db", "SELECT name FROM best ORDER BY 1"), "Ada\nGrace");
        assert_eq!(
            site.shell("app.db", "PRAGMA integrity_check; PRAGMA foreign_key_check"),
            "ok"
        );
        // An undo takes back these tables, and leaves alone what came since.
        site.python("app.db", "INSERT INTO later VALUES (2)");
        site.snapback(&["undo", "app.db", "-y"]).ok();
        site.python("app.db", "DELETE FROM later WHERE a = 2");
        let lines = |dump: &str| {
            let mut lines: Vec<String> = dump.lines().map(str::to_owned).collect();
            lines.sort();
            lines
        };
        assert_eq!(lines(&site.shell("app.db", ".dump")), lines(&damaged), "{mode}");
        assert_eq!(site.files(), ["app.db"]);
    }
}

#[test]
fn what_cannot_come_back_alone_is_refused_and_nothing_is_changed() {
    let site = Site::with(SCHOOL);
    site.snapback(&["backup", "app.db"]).ok();
    site.python(
        "app.db",
        "DELETE FROM grades; DELETE FROM students WHERE id = 2; DROP TABLE pairs; CREATE VIEW pairs AS SELECT 1",
    );
    let changed = site.shell("app.db", ".dump");
    for (table, code, why) in [
        (
            "grades",
            1,
            "rows of grades refer to rows of students that are not there: 2",
        ),
        ("words", 2, "is a virtual table"),
        ("words_data", 2, "belongs to a virtual table"),
        ("best", 2, "is a view"),
        ("pairs", 2, "is a view in the live database"),
        ("sqlite_sequence", 3, "has no table sqlite_sequence"),
        ("student", 3, "has no table student"),
    ] {
        let run = site
            .snapback(&["restore", "app.db", "latest", "-y", "-t", table])
            .code(code);
        assert!(run.stderr.contains(why), "{table}: {}", run.stderr);
        assert_eq!(site.shell("app.db", ".dump"), changed, "{table}");
    }
    let run = site.snapback(&["restore", "app.db", "latest", "-y", "-s"]).code(2);
    assert!(
        run.stderr.contains("single tables are restored, or all"),
        "{}",
        run.stderr
    );
    // Beside it they make a database of their own.
    site.snapback(&[
        "restore", "app.db", "latest", "-y", "-t", "students", "-t", "grades", "--mode", "new", "--as", "part.db",
    ])
    .ok();
    assert_eq!(
        site.shell("part.db", "SELECT count(*) FROM grades; PRAGMA integrity_check"),
        "3\nok"
    );
    assert_eq!(
        site.shell(
            "part.db",
            "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%'"
        ),
        "2"
    );
    let gone = site
        .snapback(&["restore", "app.db", "latest", "-y", "-t", "grades", "--to", "none.db"])
        .code(3);
    assert!(gone.stderr.contains("could be put into"), "{}", gone.stderr);
    assert_eq!(site.files(), ["app.db", "part.db"]);
}

#[test]
fn an_undo_goes_by_the_last_restore_that_replaced_anything() {
    let site = Site::with(ALL_KINDS);
    std::fs::write(
        site.path("snapback.toml"),
        "[stores.default]\npath = \"backups\"\n[jobs.app]\nurl = \"sqlite:///app.db\"\ndump.lock_wait_timeout = \"1s\"\n",
    )
    .unwrap();
    let none = site.snapback(&["undo", "app", "-y"]).code(3);
    assert!(none.stderr.contains("no restore of"), "{}", none.stderr);
    site.snapback(&["backup"]).ok();
    site.python("app.db", "DELETE FROM tags");
    let damaged = site.shell("app.db", ".dump");
    site.snapback(&["restore", "app", "latest", "-y"]).ok();
    // One that fails for the locks of somebody else, and one that is killed, have taken safety snapshots and replaced nothing.
    site.python("app.db", "INSERT INTO strict_one VALUES (77, 'later')");
    let reader = site.reader_that_stays();
    let failed = site.snapback(&["restore", "app", "latest", "-y"]).code(4);
    assert!(failed.stderr.contains("is locked by python3"), "{}", failed.stderr);
    super::end(reader);
    let mut killed = snapback()
        .current_dir(site.dir.path())
        .args(["restore", "app", "latest", "-y", "--pause-at", "put"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    super::wait_until_paused(&mut killed, "put");
    killed.kill().unwrap();
    killed.wait().unwrap();
    site.snapback(&["undo", "app", "-y"]).ok();
    assert_eq!(site.shell("app.db", ".dump"), damaged);
    // The other way round: what was replaced without a word of it (a kill between both) is told to be unknown.
    let marks: Vec<_> = site.archives(".replaced");
    assert_eq!(marks.len(), 2);
    std::fs::remove_file(marks.last().unwrap()).unwrap();
    let unknown = site.snapback(&["undo", "app", "-y"]).code(3);
    assert!(
        unknown.stderr.contains("is not known: the restore was killed"),
        "{}",
        unknown.stderr
    );
    let id = unknown
        .stderr
        .split("--kept ")
        .nth(1)
        .unwrap()
        .split('`')
        .next()
        .unwrap()
        .to_owned();
    site.snapback(&["undo", "app", "-y", "--kept", &id]).ok();
    assert_eq!(
        site.shell("app.db", "SELECT count(*) FROM strict_one; SELECT count(*) FROM tags"),
        "4\n3"
    );
}
