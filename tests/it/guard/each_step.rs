//! The server is killed at each step of guards, of all at once: never a half state without a word. Each guard has a database of
//! its own on one server, stops at its step, and goes on when the server is there again.

use std::io::Read as _;
use std::process::{Child, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{Project, json};
use crate::restore;
use crate::support::{Run, Server, Size, Terminal};

/// A hang is a failure.
const PATIENCE: Duration = Duration::from_secs(150);

/// Steps of the backup, in their order. Once the archive is there the server is needed no more.
const BACKUP: [&str; 7] = ["lock", "clean", "claim", "dump", "verify", "globals", "publish"];

/// A guard that was started, and what it has said so far.
struct Paused {
    project: Project,
    database: String,
    what: String,
    child: Child,
    said: mpsc::Receiver<String>,
    all: String,
}

impl Paused {
    fn start(server: &Server, database: &str, phase: &str, step: &str, options: &[&str]) -> Paused {
        let project = Project::on(server, database, "alembic");
        server.psql(
            database,
            "CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)",
        );
        let url = server.url(database);
        project.script(
            "half",
            &format!("touch ran; psql -qXc 'DELETE FROM t' \"${{DATABASE_URL:-{url}}}\"; exit 3"),
        );
        let place = format!("{phase}:{step}");
        let mut arguments = vec!["--json", "--log-level", "debug", "--pause-at", &place];
        if !options.contains(&"--dry-run") {
            arguments.extend(["--on-failure", "restore"]);
        }
        let mut command = project.command(&[&arguments, options, &["--", "./half"]].concat());
        // As libpq and psql write it.
        command
            .env("DATABASE_URL", &url)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stderr = child.stderr.take().unwrap();
        let (sends, said) = mpsc::channel();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(read @ 1..) = stderr.read(&mut bytes) {
                if sends
                    .send(String::from_utf8_lossy(&bytes[..read]).into_owned())
                    .is_err()
                {
                    break;
                }
            }
        });
        Paused {
            project,
            database: database.to_owned(),
            what: format!("{place} {options:?}"),
            child,
            said,
            all: String::new(),
        }
    }

    fn wait_for(&mut self, text: &str) {
        while !self.all.contains(text) {
            let more = self.said.recv_timeout(PATIENCE);
            self.all += &more.unwrap_or_else(|_| panic!("{} never reached {text}: {}", self.what, self.all));
        }
    }

    /// Lets it go on, each time that it stops at its step again, until it ends.
    fn end(&mut self, begun: Instant) -> Run {
        while self.child.try_wait().unwrap().is_none() {
            assert!(begun.elapsed() < PATIENCE, "{} does not end: {}", self.what, self.all);
            let pid = rustix::process::Pid::from_child(&self.child);
            rustix::process::kill_process(pid, rustix::process::Signal::USR1).unwrap();
            self.all.extend(self.said.try_iter());
            std::thread::sleep(Duration::from_millis(50));
        }
        self.all.extend(self.said.iter());
        let mut stdout = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
        let code = self.child.wait().unwrap().code();
        let stderr = self.all.clone();
        Run { code, stdout, stderr }
    }

    fn rows(&self, server: &Server) -> String {
        server.psql(&self.database, "SELECT count(*) FROM t")
    }
}

impl Drop for Paused {
    /// A test that fails leaves nothing that waits for ever.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What is left of databases that were not finished.
fn leftovers(server: &Server) -> String {
    server.psql(
        "postgres",
        "SELECT string_agg(datname, ' ') FROM pg_database WHERE datname ~ 'restoring|rehearsal'",
    )
}

#[test]
fn a_server_that_is_killed_at_any_step_leaves_a_whole_database_and_a_word() {
    let mut server = Server::start_with(17, &["max_connections=500"]);
    server.psql("postgres", "ALTER SYSTEM SET max_connections = 500");
    let mut guards = Vec::new();
    for step in BACKUP {
        let name = format!("backup_{step}");
        guards.push(Paused::start(&server, &name, "backup", step, &[]));
    }
    for step in restore::STEPS.into_iter().chain(["done"]) {
        let name = format!("restore_{step}").replace('-', "_");
        guards.push(Paused::start(&server, &name, "restore", step, &[]));
    }
    for step in ["remove", "pre-data", "data", "prove", "commit"] {
        let name = format!("in_place_{step}").replace('-', "_");
        guards.push(Paused::start(&server, &name, "restore", step, &["--mode", "in-place"]));
    }
    for step in ["create", "data", "prove", "done"] {
        guards.push(Paused::start(
            &server,
            &format!("rehearse_{step}"),
            "restore",
            step,
            &["--dry-run"],
        ));
    }
    for guard in &mut guards {
        let step = guard.what.split([':', ' ']).nth(1).unwrap().to_owned();
        guard.wait_for(&format!("step={step}"));
    }
    server.crash_and_restart();

    let begun = Instant::now();
    let ended: Vec<Run> = guards.iter_mut().map(|guard| guard.end(begun)).collect();
    for (guard, run) in guards.iter().zip(&ended) {
        let (what, ran) = (&guard.what, guard.project.site.path("ran").exists());
        assert_eq!(guard.rows(&server), "1", "{what}: {} {}", run.stderr, run.stdout);
        if run.stdout.is_empty() {
            // Nothing was run, and that is said; the reason is the server's.
            assert!(!ran, "{what}: {}", run.stderr);
            let words = match what.contains("dry-run") {
                true => "the rehearsal needs a copy of the database",
                false => "the command was not run",
            };
            assert!(run.stderr.contains(words), "{what}: {}", run.stderr);
            assert_eq!(run.code, Some(4), "{what}: {}", run.stderr);
        } else {
            let report: Value = json(run);
            let action = if what.contains("dry-run") { "none" } else { "restored" };
            assert_eq!(
                (run.code, &report["action"]),
                (Some(3), &action.into()),
                "{what}: {report} {}",
                run.stderr
            );
            assert!(ran, "{what}");
        }
        assert!(
            !what.starts_with("restore") || what.contains("dry-run") || ran,
            "{what}"
        );
        // The next command says what is there, and removes what is not needed.
        let listed = guard.project.snapback(&["list"]).ok();
        assert!(!listed.stderr.contains("a guard of job"), "{what}: {}", listed.stderr);
    }
    assert_eq!(leftovers(&server), "");
    for guard in &guards {
        // And the next guard goes its way.
        if ["backup:dump", "restore:data", "restore:rename"]
            .iter()
            .any(|place| guard.what.starts_with(place))
        {
            let mut again = guard
                .project
                .command(&["--json", "--on-failure", "restore", "--", "./half"]);
            let run = Run::of(again.env("DATABASE_URL", server.url(&guard.database))).code(3);
            assert_eq!(json(&run)["action"], "restored", "{}", guard.what);
            assert_eq!(guard.rows(&server), "1", "{}", guard.what);
        }
    }
}

#[test]
fn a_server_that_is_killed_under_the_comparison_or_the_question_is_waited_for() {
    let mut server = Server::start(16);
    let project = Project::on(&server, "app", "alembic");
    server.psql("app", "CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)");
    let url = server.url("app");
    project.script(
        "half",
        &format!("psql -qXc 'DELETE FROM t' '{url}'; touch ran; while [ -e wait ]; do sleep 0.1; done; exit 3"),
    );
    let rows = |server: &Server| server.psql("app", "SELECT count(*) FROM t");

    // The comparison waits for a lock of somebody, and dies with the server.
    std::fs::write(project.site.path("wait"), "").unwrap();
    let guard = project.start(&["--json", "--on-failure", "restore", "--", "./half"]);
    project.wait_for("ran");
    let mut psql = server.tool("psql");
    psql.args(["-qX", &url, "-c", "BEGIN; LOCK TABLE t; SELECT pg_sleep(600)"]);
    let mut holds = psql.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let until = |sql: &str| {
        let begun = Instant::now();
        while server.psql("postgres", sql) == "0" {
            assert!(begun.elapsed() < PATIENCE, "{sql}");
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    until("SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND granted AND relation IS NOT NULL");
    std::fs::remove_file(project.site.path("wait")).unwrap();
    until("SELECT count(*) FROM pg_locks WHERE NOT granted");
    server.crash_and_restart();
    holds.wait().unwrap();
    let run = Run::from(guard.wait_with_output().unwrap());
    let report = json(&run);
    assert_eq!(
        (run.code, &report["action"]),
        (Some(3), &"restored".into()),
        "{report} {}",
        run.stderr
    );
    assert_eq!(report["diff"]["tables"][0]["rows_after"], 0, "{report}");
    assert_eq!(rows(&server), "1");

    // The question stays, and its answer is done.
    for (answer, left) in [("keep", "0"), ("restore", "1")] {
        server.psql("app", "DELETE FROM t; INSERT INTO t VALUES (1)");
        let size = Size { rows: 40, columns: 120 };
        let setup = |command: &mut std::process::Command| {
            project.environment(command);
        };
        let mut terminal = Terminal::run(project.site.dir.path(), &size, setup, "guard -- ./half");
        terminal.wait_for("or keep to leave the database as it is:");
        server.crash_and_restart();
        terminal.type_keys(&format!("{answer}\n"));
        let (code, screen) = terminal.end();
        assert_eq!(code, Some(3), "{screen}");
        assert_eq!(rows(&server), left, "{screen}");
    }
}
