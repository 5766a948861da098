//! `snapback guard` around real migrations: of Alembic, which works, fails halfway, fails outside of a transaction, deletes data;
//! one guard line for SQLite and PostgreSQL. And what happens when guard, its command or the server is killed.

mod crashes;
mod each_step;
mod examples;
mod kills;
mod tools;

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::sqlite::Site;
use crate::support::server::cache_dir;
use crate::support::{Run, Server, Size, Terminal, snapback};

/// A project with Alembic, as people have it: a folder, a `DATABASE_URL` and a command.
struct Project {
    site: Site,
    url: String,
}

impl Project {
    fn new(url: String, fixture: &str) -> Project {
        let project = Project { site: Site::new(), url };
        let config = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/{fixture}/alembic.ini"));
        project.script(
            "alembic",
            &format!(
                "exec python3 -c 'import sys; from alembic.config import main; main(argv=sys.argv[1:])' -c {} \"$@\"",
                config.display()
            ),
        );
        project
    }

    fn on(server: &Server, database: &str, fixture: &str) -> Project {
        server.psql("postgres", &format!("CREATE DATABASE {database}"));
        let url = server.url(database).replace("postgresql://", "postgresql+psycopg2://");
        Project::new(url, fixture)
    }

    /// Writes a program of the project.
    fn script(&self, name: &str, text: &str) {
        let path = self.site.path(name);
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn environment<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command
            .current_dir(self.site.dir.path())
            .env("DATABASE_URL", &self.url)
            .env("PYTHONPATH", cache_dir().join("alembic-1.20.1"))
            .env("PYTHONDONTWRITEBYTECODE", "1")
    }

    fn snapback(&self, arguments: &[&str]) -> Run {
        Run::of(self.environment(&mut snapback()).args(arguments))
    }

    fn guard(&self, arguments: &[&str]) -> Run {
        self.snapback(&[&["guard"], arguments].concat())
    }

    #[track_caller]
    fn alembic(&self, arguments: &[&str]) -> Run {
        Run::of(
            self.environment(&mut Command::new(self.site.path("alembic")))
                .args(arguments),
        )
    }

    fn revision(&self) -> String {
        let said = self.alembic(&["current"]).ok().stdout;
        said.split_whitespace().next().unwrap_or_default().to_owned()
    }

    fn sql(&self, statements: &[&str]) -> String {
        const PROGRAM: &str = "import os, sys\nfrom sqlalchemy import create_engine, text\n\
            with create_engine(os.environ['DATABASE_URL']).begin() as c:\n    for s in sys.argv[1:]:\n        \
            r = c.execute(text(s))\n        if r.returns_rows: print(*[' '.join(map(str, row)) for row in r], sep='\\n')";
        let mut command = Command::new("python3");
        command.args(["-c", PROGRAM]).args(statements);
        Run::of(self.environment(&mut command)).ok().stdout.trim().to_owned()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = snapback();
        self.environment(&mut command).arg("guard").args(arguments);
        command
    }

    fn start(&self, arguments: &[&str]) -> Child {
        let mut command = self.command(arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Waits until the command has written the file.
    fn wait_for(&self, name: &str) {
        let begun = Instant::now();
        while !self.site.path(name).exists() {
            assert!(begun.elapsed() < Duration::from_secs(60), "{name} does not come");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn backups(&self) -> Vec<Value> {
        let listed: Value = serde_json::from_str(&self.snapback(&["list", "--json"]).ok().stdout).unwrap();
        let text = listed.to_string();
        assert!(text.contains("guard"), "{text}");
        listed.as_array().unwrap().clone()
    }
}

fn json(run: &Run) -> Value {
    serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{error}: {} {}", run.stdout, run.stderr))
}

/// The same commands, whatever the engine.
fn story(project: &Project) {
    project.alembic(&["upgrade", "1a2b3c4d5e6f"]).ok();
    project.sql(&[
        "INSERT INTO students (id, \"displayName\") VALUES (1, 'Ada'), (2, 'Grace')",
        "INSERT INTO grades (student_id, grade) VALUES (1, 5.5), (2, 6), (2, 4)",
    ]);
    let facts = || {
        let facts = project.sql(&[
            "SELECT count(*), sum(grade) FROM grades",
            "SELECT id FROM students ORDER BY id",
        ]);
        (facts, project.revision())
    };
    let before = facts();

    // The rehearsal tells what would happen, and the live database knows nothing of it.
    let run = project
        .guard(&["--dry-run", "--json", "--", "./alembic", "upgrade", "head"])
        .code(1);
    let report = json(&run);
    assert_eq!(
        (&report["rehearsal"], &report["action"]),
        (&true.into(), &"none".into())
    );
    let grades = |report: &Value| {
        let tables = report["diff"]["tables"].as_array().unwrap().clone();
        let table = tables.into_iter().find(|table| table["name"] == "grades").unwrap();
        (
            table["rows_before"].as_u64().unwrap(),
            table["rows_after"].as_u64().unwrap(),
        )
    };
    assert_eq!(grades(&report), (3, 0));
    assert_eq!(facts(), before);

    // The migration stops halfway, and all is as before; or as the migration left it, if somebody wants that.
    let run = project.guard(&[
        "--on-failure",
        "restore",
        "--label",
        "deploy",
        "--",
        "./alembic",
        "upgrade",
        "head",
    ]);
    let run = run.code(1);
    assert!(run.stdout.contains("is live again"), "{}", run.stdout);
    assert!(
        run.stdout.contains("rows of") && run.stdout.contains("3 rows -> 0 rows"),
        "{}",
        run.stdout
    );
    assert_eq!(facts(), before);
    project.snapback(&["undo", "--yes"]).ok();
    assert_eq!(project.revision(), "2b3c4d5e6f7a");
    project.snapback(&["undo", "--yes"]).ok();
    assert_eq!(facts(), before);

    // Repaired, it still deletes the grades; nobody is asked, so it stays until somebody says that it may.
    let fixed = |arguments: &[&str]| {
        let mut command = snapback();
        let all = [
            &["guard", "--json", "--expect-rows-kept"],
            arguments,
            &["--", "./alembic", "upgrade", "head"],
        ]
        .concat();
        Run::of(project.environment(&mut command).env("FIXED", "1").args(all))
    };
    let report = json(&fixed(&["--on-failure", "restore"]).code(12));
    assert_eq!(
        (&report["action"], &report["command_exit"]),
        (&"restored".into(), &0.into())
    );
    assert!(
        report["failure"]
            .as_str()
            .unwrap()
            .contains("grades has 0 rows instead of 3"),
        "{report}"
    );
    assert_eq!(facts(), before);
    let report = json(&fixed(&["--may-lose", "grades", "--check", "SELECT count(*) = 2 FROM students"]).ok());
    assert_eq!(report["failure"], Value::Null);
    assert_eq!(project.revision(), "3c4d5e6f7a8b");

    // The downgrade drops a table with its rows, and is taken back.
    let rooms = || project.sql(&["SELECT count(*) FROM rooms"]);
    let there = rooms();
    project
        .guard(&[
            "--expect-rows-kept",
            "--on-failure",
            "restore",
            "--",
            "./alembic",
            "downgrade",
            "-1",
        ])
        .code(12);
    assert_eq!((project.revision(), rooms()), ("3c4d5e6f7a8b".to_owned(), there));
    for (check, code) in [
        ("SELECT 1 = 1", 0),
        ("SELECT 0", 12),
        ("SELECT nonsense", 12),
        ("SELECT 1 WHERE 1 = 0", 12),
    ] {
        project.guard(&["--check", check, "--", "true"]).code(code);
    }
    project
        .guard(&["--check-cmd", "test -n \"$SNAPBACK_BACKUP_ID\"", "--", "true"])
        .ok();
    project.guard(&["--check-cmd", "exit 3", "--", "true"]).code(12);
    assert!(!project.backups().is_empty());
}

#[test]
fn one_guard_line_is_for_sqlite() {
    let project = Project::new("sqlite:///app.db".to_owned(), "alembic");
    story(&project);
    assert_eq!(project.site.files(), ["alembic", "app.db"]);
}

#[test]
fn and_for_postgresql() {
    let server = Server::start(16);
    let project = Project::on(&server, "teaching", "alembic");
    story(&project);
    let left = server.psql(
        "postgres",
        "SELECT count(*) FROM pg_database WHERE datname LIKE '%rehearsal%'",
    );
    assert_eq!(left, "0");
}

#[test]
fn what_failed_outside_of_a_transaction_is_taken_back() {
    let server = Server::start(17);
    let project = Project::on(&server, "tasks", "alembic-outside");
    project.alembic(&["upgrade", "a1"]).ok();
    let labels = || {
        server.psql(
            "tasks",
            "SELECT string_agg(enumlabel, ',' ORDER BY enumsortorder) FROM pg_enum",
        )
    };
    let report = json(
        &project
            .guard(&["--json", "--on-failure", "keep", "--", "./alembic", "upgrade", "a2"])
            .code(1),
    );
    assert_eq!(labels(), "open,done,late");
    let objects = report["diff"]["objects"].as_array().unwrap();
    let names: Vec<&str> = objects.iter().map(|it| it["name"].as_str().unwrap()).collect();
    assert!(names.contains(&"state"), "{names:?}");
    assert_eq!(report["others"]["tables"], serde_json::json!(["public.tasks"]));
    let id = report["backup"].as_str().unwrap();
    project.snapback(&["restore", id, "--yes"]).ok();
    project
        .guard(&["--on-failure", "restore", "--", "./alembic", "upgrade", "a2"])
        .code(1);
    assert_eq!(
        (labels(), project.revision()),
        ("open,done".to_owned(), "a1".to_owned())
    );
    assert_eq!(
        server.psql("tasks", "SELECT count(*) FROM pg_index WHERE NOT indisvalid"),
        "0"
    );
    let arguments = [
        "--mode",
        "in-place",
        "--on-failure",
        "restore",
        "--",
        "./alembic",
        "upgrade",
        "a2",
    ];
    project.guard(&arguments).code(1);
    assert_eq!(
        (labels(), project.revision()),
        ("open,done".to_owned(), "a1".to_owned())
    );
}

#[test]
fn without_a_backup_or_a_command_nothing_is_run() {
    let server = Arc::new(Server::start(15));
    let project = Project::on(&server, "app", "alembic");
    for (command, code) in [("./nothing", 127), ("no-such-program", 127), ("./app.db", 126)] {
        std::fs::write(project.site.path("app.db"), "").unwrap();
        project.guard(&["--", command]).code(code);
        assert!(!project.site.path("backups").exists());
    }
    std::fs::write(project.site.path("backups"), "no folder").unwrap();
    let run = project.guard(&["--", "touch", "ran"]);
    assert_ne!(run.code, Some(0));
    assert!(run.stderr.contains("the command was not run"), "{}", run.stderr);
    assert!(!project.site.path("ran").exists());
}

#[test]
fn a_command_that_changed_nothing_is_not_taken_back() {
    let server = Server::start(15);
    let on_server = Project::on(&server, "app", "alembic");
    server.psql("app", "CREATE TABLE t (a int); INSERT INTO t VALUES (1)");
    let file = Project::new("sqlite:///app.db".to_owned(), "alembic");
    file.site
        .python("app.db", "CREATE TABLE t (a); INSERT INTO t VALUES (1)");
    for project in [&on_server, &file] {
        for on_failure in ["restore", "keep"] {
            let failing = ["--json", "--on-failure", on_failure, "--", "sh", "-c", "exit 3"];
            let report = json(&project.guard(&failing).code(3));
            assert_eq!(report["action"], "unchanged", "{report}");
            assert_eq!(report["diff"]["differ"], false, "{report}");
        }
        let false_check = ["--on-failure", "restore", "--check", "SELECT 1 = 2", "--", "true"];
        let run = project.guard(&false_check).code(12);
        assert!(run.stdout.contains("there is nothing to put back"), "{}", run.stdout);
        // No restore was begun: it would have taken a safety snapshot.
        let listed = Value::from(project.backups()).to_string();
        assert!(!listed.contains("\"kind\":\"safety\""), "{listed}");
    }
    assert_eq!(
        server.psql(
            "postgres",
            "SELECT count(*) FROM pg_database WHERE datname LIKE 'app_%'"
        ),
        "0"
    );
}

#[test]
fn the_command_gets_signals_and_an_end() {
    let project = Project::new("sqlite:///app.db".to_owned(), "alembic");
    project
        .site
        .python("app.db", "CREATE TABLE t (a); INSERT INTO t VALUES (1)");
    project.script(
        "slow",
        "trap 'echo got it > got; exit 5' TERM; touch running; while :; do sleep 0.1; done",
    );
    let child = project.start(&["--", "./slow"]);
    project.wait_for("running");
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    let ended = Run::from(child.wait_with_output().unwrap()).code(5);
    assert!(project.site.path("got").exists(), "{}", ended.stderr);
    project.guard(&["--", "sh", "-c", "kill -KILL $$"]).code(137);
    // What takes too long is ended with all that it began.
    project.script(
        "stubborn",
        "trap '' TERM; (trap '' TERM; sleep 1; sleep 20; touch late) & wait; wait; sleep 30",
    );
    let run = project.guard(&["--timeout", "1s", "--", "./slow"]).code(124);
    assert!(run.stdout.contains("took longer than 1 s"), "{}", run.stdout);
    project.guard(&["--timeout", "1s", "--", "./stubborn"]).code(124);
    assert!(!project.site.path("late").exists());
}

#[test]
fn a_killed_guard_is_told_of_by_the_next_command() {
    let project = Project::new("sqlite:///app.db".to_owned(), "alembic");
    project
        .site
        .python("app.db", "CREATE TABLE t (a); INSERT INTO t VALUES (1)");
    project.script("half", "sqlite3 app.db 'DELETE FROM t'; touch running; sleep 60");
    let mut child = project.start(&["--", "./half"]);
    project.wait_for("running");
    child.kill().unwrap();
    child.wait().unwrap();
    let run = project.snapback(&["list"]).ok();
    assert!(run.stderr.contains("a guard of job app was killed"), "{}", run.stderr);
    let id = run.stderr.split("; backup ").nth(1).unwrap().split(' ').next().unwrap();
    assert!(
        !project.snapback(&["list"]).ok().stderr.contains("was killed"),
        "told twice"
    );
    project.snapback(&["restore", id, "--yes"]).ok();
    assert_eq!(project.site.shell("app.db", "SELECT count(*) FROM t"), "1");
}

#[test]
fn a_killed_rehearsal_leaves_nothing_for_long() {
    let server = Server::start(18);
    let project = Project::on(&server, "app", "alembic");
    server.psql("app", "CREATE TABLE t AS SELECT 1 AS a");
    project.script(
        "half",
        "psql -qc 'INSERT INTO t VALUES (2)' || exit 9; touch running; exec sleep 60",
    );
    let mut child = project.start(&["--dry-run", "--", "./half"]);
    project.wait_for("running");
    let copies = || {
        server.psql(
            "postgres",
            "SELECT count(*) FROM pg_database WHERE datname LIKE 'app_rehearsal_%'",
        )
    };
    assert_eq!(copies(), "1");
    child.kill().unwrap();
    child.wait().unwrap();
    // The server may take a moment to see that the lock's session is gone.
    let begun = Instant::now();
    while copies() != "0" {
        assert!(begun.elapsed() < Duration::from_secs(60), "the copy is still there");
        project.snapback(&["list"]).ok();
    }
    assert_eq!(server.psql("app", "SELECT count(*) FROM t"), "1");
}

#[test]
fn a_person_is_asked_what_becomes_of_a_failure() {
    let project = Project::new("sqlite:///app.db".to_owned(), "alembic");
    project
        .site
        .python("app.db", "CREATE TABLE t (a); INSERT INTO t VALUES (1)");
    for (answer, rows) in [("keep", "0"), ("restore", "1")] {
        project.site.python("app.db", "DELETE FROM t; INSERT INTO t VALUES (1)");
        project.script(
            "fail",
            "test -t 0 && test -t 1 && sqlite3 app.db 'DELETE FROM t'; exit 3",
        );
        let size = Size { rows: 40, columns: 120 };
        let setup = |command: &mut Command| {
            project.environment(command);
        };
        let mut terminal = Terminal::run(project.site.dir.path(), &size, setup, "guard -- ./fail");
        terminal.wait_for("or keep to leave the database as it is:");
        terminal.type_keys(&format!("{answer}\n"));
        let (code, screen) = terminal.end();
        assert_eq!(code, Some(3), "{screen}");
        assert_eq!(project.site.shell("app.db", "SELECT count(*) FROM t"), rows, "{screen}");
    }
}
