//! The fourth guide: one backup.sh and one restore.sh, SQLite in development and PostgreSQL in production, under one
//! `DATABASE_URL` as SQLAlchemy writes it, with Alembic's migrations: the same commands for both.

use std::path::Path;
use std::process::Command;

use super::Site;
use crate::support::server::cache_dir;
use crate::support::{Run, Server, snapback};

/// The project of the guide with one of its databases.
struct Project {
    site: Site,
    url: String,
}

impl Project {
    fn snapback(&self, arguments: &[&str]) -> Run {
        let mut command = snapback();
        command.current_dir(self.site.dir.path()).env("DATABASE_URL", &self.url);
        Run::of(command.args(arguments))
    }

    /// Python with Alembic and SQLAlchemy.
    fn python(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new("python3");
        command
            .current_dir(self.site.dir.path())
            .args(["-c", program])
            .args(arguments)
            .env("PYTHONPATH", cache_dir().join("alembic-1.20.1"))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("DATABASE_URL", &self.url);
        command
    }

    fn alembic(&self, arguments: &[&str]) -> Command {
        let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/alembic/alembic.ini");
        let program = "import sys; from alembic.config import main; main(argv=sys.argv[1:])";
        let mut all = vec!["-c", config.to_str().unwrap()];
        all.extend(arguments);
        self.python(program, &all)
    }

    fn revision(&self) -> String {
        let said = Run::of(&mut self.alembic(&["current"])).ok().stdout;
        said.split_whitespace().next().unwrap_or_default().to_owned()
    }

    /// What the application does with the database; the rows of each statement, if any.
    fn sql(&self, statements: &[&str]) -> String {
        const PROGRAM: &str = "import os, sys\nfrom sqlalchemy import create_engine, text\n\
            with create_engine(os.environ['DATABASE_URL']).begin() as c:\n    for s in sys.argv[1:]:\n        \
            r = c.execute(text(s))\n        if r.returns_rows: print(*[' '.join(map(str, row)) for row in r], sep='\\n')";
        Run::of(&mut self.python(PROGRAM, statements))
            .ok()
            .stdout
            .trim()
            .to_owned()
    }

    fn facts(&self) -> String {
        self.sql(&[
            "SELECT count(*), sum(grade) FROM grades",
            "SELECT \"displayName\" FROM students ORDER BY id",
        ])
    }
}

/// The guide from its first migration through its danger and back.
fn story(project: &Project) {
    Run::of(&mut project.alembic(&["upgrade", "1a2b3c4d5e6f"])).ok();
    project.sql(&[
        "INSERT INTO students (id, \"displayName\") VALUES (1, 'Ada'), (2, 'Grace')",
        "INSERT INTO grades (student_id, grade) VALUES (1, 5.5), (2, 6), (2, 4)",
    ]);
    let before = project.facts();
    assert!(before.starts_with("3 15.5"), "{before}");
    // The pre-deployment backup, and the drill that the guide asks for.
    project.snapback(&["backup", "--label", "before-deployment"]).ok();
    project.snapback(&["verify", "--full"]).ok();
    // The migration stops halfway: one revision is in, and the grades are gone.
    let failed = Run::of(&mut project.alembic(&["upgrade", "head"]));
    assert_ne!(failed.code, Some(0));
    assert_eq!(project.revision(), "2b3c4d5e6f7a", "{}", failed.stderr);
    assert!(project.facts().starts_with("0 None"), "{}", project.facts());
    // restore.sh: the newest backup, and the revision is what it was.
    project.snapback(&["restore", "latest", "--yes"]).ok();
    assert_eq!(
        (project.facts(), project.revision()),
        (before.clone(), "1a2b3c4d5e6f".to_owned())
    );
    // That was the wrong one? Back, and back again.
    project.snapback(&["undo", "--yes"]).ok();
    assert_eq!(project.revision(), "2b3c4d5e6f7a");
    project.snapback(&["undo", "--yes"]).ok();
    assert_eq!(
        (project.facts(), project.revision()),
        (before, "1a2b3c4d5e6f".to_owned())
    );
    // The migration is fixed, and the nightly backups go on.
    Run::of(project.alembic(&["upgrade", "head"]).env("FIXED", "1")).ok();
    assert_eq!(project.revision(), "3c4d5e6f7a8b");
    project.snapback(&["backup"]).ok();
    project.snapback(&["prune"]).ok();
    let list = project.snapback(&["list"]).ok().stdout;
    assert!(list.contains("before-deployment"), "{list}");
}

#[test]
fn migrations_of_the_development_database_go_wrong_and_are_taken_back() {
    let site = Site::new();
    let project = Project {
        site,
        url: "sqlite:///app.db".to_owned(),
    };
    story(&project);
    assert_eq!(project.site.files(), ["app.db"]);
}

#[test]
fn migrations_of_the_production_database_go_wrong_and_are_taken_back() {
    let server = Server::start(15);
    server.psql("postgres", "CREATE DATABASE teaching");
    let url = server
        .url("teaching")
        .replace("postgresql://", "postgresql+psycopg2://");
    let project = Project { site: Site::new(), url };
    story(&project);
}

#[test]
fn files_of_backup_sh_are_restored() {
    let site = Site::with(
        "CREATE TABLE students (id INTEGER PRIMARY KEY, name TEXT NOT NULL);
         CREATE TABLE grades (student INTEGER REFERENCES students, grade REAL);
         INSERT INTO students VALUES (1, 'Ada'), (2, 'Grace'); INSERT INTO grades VALUES (1, 5.5), (2, 6.0);",
    );
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
