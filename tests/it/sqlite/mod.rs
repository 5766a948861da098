//! SQLite as a source: files that other programs write (Python's sqlite3, SQLite's own shell), backed up and restored.

mod backup;
mod denied;
mod full_disk;
mod kills;
mod log;
mod pages;
mod restore;
mod round_trip;
mod scenario;
mod stores;
mod tables;
mod verbs;

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::support::{Run, snapback};

/// An empty folder in which databases lie, and their backups.
pub struct Site {
    pub dir: tempfile::TempDir,
}

impl Site {
    pub fn new() -> Site {
        Site {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    /// A site with a database `app.db` that Python made of `sql`.
    pub fn with(sql: &str) -> Site {
        let site = Site::new();
        site.python("app.db", sql);
        site
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Runs the program in the folder.
    pub fn snapback(&self, arguments: &[&str]) -> Run {
        Run::of(snapback().current_dir(self.dir.path()).args(arguments))
    }

    /// SQL that Python's sqlite3 runs on a database.
    pub fn python(&self, name: &str, sql: &str) {
        const PROGRAM: &str = "import sqlite3, sys\nc = sqlite3.connect(sys.argv[1])\nc.executescript(sys.stdin.read())\nc.commit()\nc.close()";
        let mut child = Command::new("python3")
            .args(["-c", PROGRAM])
            .arg(self.path(name))
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(sql.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success(), "{sql}");
    }

    /// What SQLite's shell answers.
    pub fn shell(&self, name: &str, command: &str) -> String {
        shell(&self.path(name), command)
    }

    /// What SQLite's shell answers to several lines, its own commands among them.
    pub fn shell_script(&self, name: &str, lines: &str) -> String {
        let mut child = Command::new("sqlite3")
            .arg(self.path(name))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }

    /// The names in the folder, apart from the store.
    pub fn files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.dir.path()).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.retain(|name| name != "backups");
        names.sort();
        names
    }

    /// The archives in the store of job `app`, the oldest first.
    pub fn archives(&self, ending: &str) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.path("backups/app")).unwrap();
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.retain(|path| path.to_str().unwrap().ends_with(ending));
        paths.sort();
        paths
    }

    /// The manifest of the newest backup.
    pub fn manifest(&self) -> serde_json::Value {
        let path = self.archives(".json").pop().unwrap();
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
    }

    /// What stock `gunzip` makes of the newest archive.
    pub fn gunzipped(&self) -> Vec<u8> {
        let archive = self.archives(".db.gz").pop().unwrap();
        let output = Command::new("gunzip").arg("-c").arg(archive).output().unwrap();
        assert!(output.status.success());
        output.stdout
    }

    /// A process that writes rows to `app.db` without end, one transaction after the other; it prints its longest wait in
    /// milliseconds when its input ends.
    pub fn writer(&self) -> Child {
        const PROGRAM: &str = r#"
import sqlite3, sys, time, threading, select
c = sqlite3.connect(sys.argv[1], timeout=30, isolation_level=None)
print("ready", flush=True)
longest = 0
while not select.select([sys.stdin], [], [], 0)[0]:
    begun = time.monotonic()
    c.execute("BEGIN IMMEDIATE")
    n = c.execute("SELECT coalesce(max(n), 0) + 1 FROM pair_a").fetchone()[0]
    c.execute("INSERT INTO pair_a VALUES (?)", (n,))
    c.execute("INSERT INTO pair_b VALUES (?)", (n,))
    c.execute("COMMIT")
    longest = max(longest, time.monotonic() - begun)
    time.sleep(0.001)
print(int(longest * 1000), flush=True)
"#;
        self.application(PROGRAM)
    }

    /// A program in Python that has `app.db` open; it has said that it is ready.
    pub fn application(&self, program: &str) -> Child {
        let mut child = Command::new("python3")
            .args(["-c", program])
            .arg(self.path("app.db"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut ready = [0; 6];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut ready).unwrap();
        child
    }
}

/// Waits until a command that pauses at `step` has come there.
pub fn wait_until_paused(child: &mut Child, step: &str) {
    wait_until_told(child, &format!("paused at {step}"));
}

/// Waits for a line of what a command tells.
pub fn wait_until_told(child: &mut Child, told: &str) {
    let stderr = child.stderr.as_mut().unwrap();
    let mut lines = BufReader::new(stderr).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains(told)), "{told}");
}

/// Ends a writer; what it printed last.
pub fn end(mut child: Child) -> String {
    drop(child.stdin.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "the writer met an error");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// What SQLite's shell answers on the database at `path`.
pub fn shell(path: &Path, command: &str) -> String {
    let run = Run::of(Command::new("sqlite3").arg(path).arg(command)).ok();
    run.stdout.trim_end().to_owned()
}

/// Two tables that always have the same rows, as the writer leaves them.
pub const PAIRS: &str = "CREATE TABLE pair_a (n INTEGER PRIMARY KEY); CREATE TABLE pair_b (n INTEGER PRIMARY KEY);";

/// Every kind of object that a file can have.
pub const ALL_KINDS: &str = "
    CREATE TABLE people (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, born TEXT, photo BLOB,
        upper_name TEXT GENERATED ALWAYS AS (upper(name)) STORED, initial TEXT AS (substr(name, 1, 1)) VIRTUAL);
    CREATE TABLE tags (name TEXT PRIMARY KEY, weight REAL) WITHOUT ROWID;
    CREATE TABLE strict_one (a INTEGER, b ANY) STRICT;
    CREATE TABLE \"odd \"\" näme\" (\"a b\" TEXT, person INTEGER REFERENCES people);
    CREATE INDEX partial ON people (born) WHERE born IS NOT NULL;
    CREATE INDEX expression ON people (lower(name));
    CREATE VIEW adults AS SELECT name FROM people WHERE born < '2000';
    CREATE TRIGGER note AFTER INSERT ON people BEGIN INSERT INTO tags VALUES (new.name, 1.5); END;
    CREATE VIRTUAL TABLE words USING fts5(body);
    CREATE VIRTUAL TABLE old_words USING fts4(body);
    CREATE VIRTUAL TABLE notes USING fts5(body, content='', columnsize=0);
    CREATE VIRTUAL TABLE boxes USING rtree(id, x0, x1);
    INSERT INTO people (name, born, photo) VALUES ('Ada', '1815', x'00ff'), ('Grace', NULL, NULL), ('Żółć', '2001', zeroblob(9000));
    INSERT INTO strict_one VALUES (1, 'x'), (9007199254740993, 1e300), (NULL, x'');
    INSERT INTO \"odd \"\" näme\" VALUES ('it''s', 1);
    INSERT INTO words VALUES ('the quick brown fox'); INSERT INTO old_words VALUES ('lazy dogs');
    INSERT INTO notes (rowid, body) VALUES (1, 'nothing is kept of it');
    INSERT INTO boxes VALUES (1, 0, 1), (2, 5, 6);
    ANALYZE;";
