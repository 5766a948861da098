//! Parts of backups of SQLite, compared with what its shell makes of the same file.

use std::fs;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::sqlite::{ALL_KINDS, Site, shell};
use crate::support::Run;

fn extract(site: &Site, arguments: &[&str]) -> Run {
    site.snapback(&[&["extract", "app.db"], arguments].concat())
}

/// What the rows of CSV come to, whoever writes them.
fn parsed(csv: &str) -> Value {
    const PROGRAM: &str = "import csv, json, sys\nprint(json.dumps(list(csv.reader(sys.stdin))))";
    let mut child = Command::new("python3")
        .args(["-c", PROGRAM])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), csv.as_bytes()).unwrap();
    serde_json::from_slice(&child.wait_with_output().unwrap().stdout).unwrap()
}

/// Makes a database of SQL with SQLite's own shell.
fn made_of(site: &Site, name: &str, sql: &str) {
    let mut child = Command::new("sqlite3")
        .args(["-bail", name])
        .current_dir(site.dir.path())
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), sql.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success(), "{sql}");
}

#[test]
fn all_as_sql_makes_the_same_database() {
    let site = Site::with(ALL_KINDS);
    site.python(
        "app.db",
        "PRAGMA user_version = 7; PRAGMA application_id = 99; CREATE TABLE values_of (id INTEGER PRIMARY KEY, v);
         INSERT INTO values_of (v) VALUES (1), (1.0), (0.1), (-1e-300), (9e999), (-9e999), (NULL), ('it''s; -- x'), (x''), (x'00ff27'),
            ('two\nlines'), (char(0) || 'after'), (9223372036854775807), ('ünï'), ('');
         DELETE FROM people WHERE name = 'Grace';",
    );
    site.snapback(&["backup", "app.db"]).ok();
    let sql = extract(&site, &["--sql"]).ok().stdout;
    made_of(&site, "again.db", &sql);
    // Both are told by the shell itself, with whatever it says of every row.
    for command in [
        ".dump",
        "PRAGMA user_version",
        "PRAGMA application_id",
        "PRAGMA integrity_check",
        "SELECT quote(v), typeof(v) FROM values_of",
    ] {
        assert_eq!(
            site.shell("again.db", command),
            site.shell("app.db", command),
            "{command}"
        );
    }
    assert_eq!(
        site.shell("again.db", "SELECT body FROM words WHERE words MATCH 'fox'"),
        "the quick brown fox"
    );
    // It is also what a restore of a script takes.
    fs::write(site.path("app.sql"), &sql).unwrap();
    site.snapback(&[
        "restore", "app.db", "--from", "app.sql", "--mode", "new", "--as", "third.db", "--yes",
    ])
    .ok();
    // The library in the program has one more table for statistics than the shell's.
    let dumped = |name: &str| site.shell(name, ".dump").replace("ANALYZE sqlite_schema;\n", "");
    assert_eq!(dumped("third.db"), dumped("app.db"));
    // A database in UTF-16 stays one.
    let wide = Site::with("PRAGMA encoding = 'UTF-16le'; CREATE TABLE t (v); INSERT INTO t VALUES ('ünï')");
    wide.snapback(&["backup", "app.db"]).ok();
    made_of(&wide, "again.db", &extract(&wide, &["--sql"]).ok().stdout);
    assert_eq!(
        wide.shell("again.db", "PRAGMA encoding; SELECT v FROM t"),
        "UTF-16le\nünï"
    );
}

#[test]
fn rows_are_what_the_shell_writes() {
    let site = Site::with(ALL_KINDS);
    site.snapback(&["backup", "app.db"]).ok();
    for (table, query) in [
        ("tags", "SELECT * FROM tags"),
        ("strict_one", "SELECT a, b FROM strict_one"),
        ("odd \" näme", "SELECT * FROM \"odd \"\" näme\""),
        ("words", "SELECT body FROM words"),
        ("people", "SELECT id, name, born, photo FROM people WHERE 0"),
    ] {
        let csv = extract(&site, &["--table", table, "--format", "csv"]).ok().stdout;
        let shell = Run::of(
            Command::new("sqlite3")
                .args(["-csv", "-header"])
                .arg(site.path("app.db"))
                .arg(query),
        )
        .ok();
        match table {
            // Of bytes the shell writes what a terminal makes of them; of no rows not even the names.
            "people" | "strict_one" => assert!(csv.lines().count() > 3, "{csv}"),
            _ => assert_eq!(parsed(&csv), parsed(&shell.stdout), "{table}"),
        }
    }
    let people = extract(&site, &["--table", "people", "--format", "csv"]).ok().stdout;
    assert!(
        people.starts_with("id,name,born,photo\n1,Ada,1815,\\x00ff\n2,Grace,,\n"),
        "{people}"
    );
    let json: Value =
        serde_json::from_str(&extract(&site, &["--table", "tags", "--format", "json"]).ok().stdout).unwrap();
    let wanted = Run::of(
        Command::new("sqlite3")
            .arg("-json")
            .arg(site.path("app.db"))
            .arg("SELECT * FROM tags"),
    )
    .ok();
    assert_eq!(json, serde_json::from_str::<Value>(&wanted.stdout).unwrap());
    let copy = extract(&site, &["--table", "strict_one"]).ok().stdout;
    assert_eq!(copy, "1\tx\n9007199254740993\t1e300\n\\N\t\\\\x\n");
}

#[test]
fn a_deleted_row_comes_back_in_one_command() {
    let site = Site::with(ALL_KINDS);
    site.python("app.db", "CREATE TABLE pairs (a, b, PRIMARY KEY (a, b)); INSERT INTO pairs VALUES (1, 'x'), (2, 'y,z'); CREATE TABLE loose (v); INSERT INTO loose VALUES ('one'), ('two');");
    site.snapback(&["backup", "app.db"]).ok();
    for (table, keys, condition) in [
        ("people", &["1"][..], "id = 1"),
        ("tags", &["Ada"], "name = 'Ada'"),
        ("pairs", &["1,x"], "a = 1"),
        ("pairs", &["2", "y,z"], "a = 2"),
        ("loose", &["2"], "rowid = 2"),
    ] {
        let all = format!("SELECT * FROM {table} ORDER BY 1, 2");
        let all = if table == "loose" {
            "SELECT v FROM loose".to_owned()
        } else {
            all
        };
        let before = site.shell("app.db", &all);
        site.shell("app.db", "DROP TRIGGER IF EXISTS note");
        site.shell("app.db", &format!("DELETE FROM {table} WHERE {condition}"));
        assert_ne!(site.shell("app.db", &all), before, "{table}");
        let mut arguments = vec!["--table", table, "--format", "insert"];
        for key in keys {
            arguments.extend(["--where-key", key]);
        }
        let sql = extract(&site, &arguments).ok().stdout;
        made_of(&site, "app.db", &sql);
        assert_eq!(site.shell("app.db", &all), before, "{table}: {sql}");
    }
    let run = extract(&site, &["--table", "people", "--where-key", "77"]).code(3);
    assert!(run.stderr.contains("no row with id = 77 in people"), "{}", run.stderr);
    let run = extract(&site, &["--table", "words", "--where-key", "1"]).code(2);
    assert!(run.stderr.contains("no primary key"), "{}", run.stderr);
    let run = extract(&site, &["--globals"]).code(3);
    assert!(run.stderr.contains("neither roles nor tablespaces"), "{}", run.stderr);
}

#[test]
fn definitions_and_the_list_are_those_of_the_file() {
    let site = Site::with(ALL_KINDS);
    site.snapback(&["backup", "app.db"]).ok();
    let people = extract(&site, &["--definition", "people"]).ok().stdout;
    let wanted = site.shell("app.db", "SELECT sql || ';' FROM sqlite_schema WHERE tbl_name = 'people' AND sql NOT NULL ORDER BY type = 'table' DESC, rowid");
    assert_eq!(people.trim_end(), wanted);
    assert_eq!(
        extract(&site, &["--definition", "adults"]).ok().stdout.trim_end(),
        site.shell("app.db", "SELECT sql || ';' FROM sqlite_schema WHERE name = 'adults'")
    );
    let list: Value = serde_json::from_str(&extract(&site, &["--list", "--json"]).ok().stdout).unwrap();
    let names: Vec<&str> = list
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        names.join("\n"),
        site.shell("app.db", "SELECT name FROM sqlite_schema ORDER BY rowid")
    );
    assert!(extract(&site, &["--list"]).ok().stdout.contains("virtual table  words"));
    let run = extract(&site, &["--definition", "sqlite_autoindex_people_1"]).code(2);
    assert!(run.stderr.contains("--definition people"), "{}", run.stderr);
    // The archive is the packed file.
    extract(&site, &["--archive", "whole.db.gz"]).ok();
    assert!(fs::read(site.path("whole.db.gz")).unwrap() == fs::read(site.archives(".db.gz").pop().unwrap()).unwrap());
    let run = Run::of(Command::new("gunzip").current_dir(site.dir.path()).arg("whole.db.gz")).ok();
    assert_eq!(run.stderr, "");
    assert_eq!(shell(&site.path("whole.db"), ".dump"), site.shell("app.db", ".dump"));
    // Nothing of what was unpacked stays.
    let left = fs::read_dir(std::env::temp_dir()).unwrap().flatten();
    let id = site.manifest()["id"].as_str().unwrap().to_owned();
    let left: Vec<_> = left
        .filter(|entry| entry.file_name().to_string_lossy().contains(&id))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}
