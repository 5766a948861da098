//! The fourth guide: one backup.sh and one restore.sh, SQLite in development and PostgreSQL in production, under one
//! `DATABASE_URL`: the same commands for both.

use std::process::Command;

use super::Site;
use crate::support::{Run, Server, snapback};

const SCHEMA: &str = "CREATE TABLE students (id INTEGER PRIMARY KEY, name TEXT NOT NULL);
    CREATE TABLE grades (student INTEGER REFERENCES students, grade REAL);
    INSERT INTO students VALUES (1, 'Ada'), (2, 'Grace'); INSERT INTO grades VALUES (1, 5.5), (2, 6.0);";

#[test]
fn the_same_commands_serve_both_engines() {
    let server = Server::start(15);
    let site = Site::with(SCHEMA);
    server.psql("postgres", "CREATE DATABASE teaching");
    server.psql("teaching", SCHEMA);
    let postgres = server.url("teaching");
    for url in ["sqlite:///app.db", postgres.as_str()] {
        let folder = site.path(if url.starts_with("sqlite") {
            "development"
        } else {
            "production"
        });
        let run = |arguments: &[&str]| {
            let mut command = snapback();
            command.current_dir(site.dir.path()).args(arguments);
            Run::of(
                command
                    .env("DATABASE_URL", url)
                    .env("SNAPBACK__STORES__DEFAULT__PATH", &folder),
            )
        };
        let ask = |sql: &str| match url.starts_with("sqlite") {
            true => site.shell("app.db", sql),
            false => server.psql("teaching", sql),
        };
        // Before a deployment: a backup with a name; then the migration stops halfway.
        run(&["backup", "--label", "before-deployment"]).ok();
        let _ = ask("DELETE FROM grades");
        let _ = ask("ALTER TABLE students ADD COLUMN email TEXT");
        run(&["verify", "--full"]).ok();
        run(&["restore", "latest", "--yes"]).ok();
        assert_eq!(ask("SELECT count(*) FROM grades"), "2", "{url}");
        assert_eq!(ask("SELECT sum(grade) FROM grades"), "11.5", "{url}");
        run(&["undo", "--yes"]).ok();
        assert_eq!(ask("SELECT count(*) FROM grades"), "0", "{url}");
        run(&["undo", "--yes"]).ok();
        assert_eq!(ask("SELECT count(*) FROM grades"), "2", "{url}");
        let list = run(&["list"]).ok().stdout;
        assert!(list.contains("before-deployment"), "{list}");
        run(&["prune"]).ok();
    }
}

#[test]
fn files_of_backup_sh_are_restored() {
    let site = Site::with(SCHEMA);
    let gzip = Command::new("gzip")
        .arg("-kc")
        .arg(site.path("app.db"))
        .output()
        .unwrap();
    std::fs::write(site.path("backup_20250117_143022.db.gz"), gzip.stdout).unwrap();
    site.python("app.db", "DROP TABLE grades");
    site.snapback(&["restore", "app.db", "--from", "backup_20250117_143022.db.gz", "--yes"])
        .ok();
    assert_eq!(site.shell("app.db", "SELECT count(*) FROM grades"), "2");
    site.snapback(&["undo", "app.db", "--yes"]).ok();
    assert_eq!(
        site.shell("app.db", "SELECT count(*) FROM sqlite_schema WHERE name = 'grades'"),
        "0"
    );
}
