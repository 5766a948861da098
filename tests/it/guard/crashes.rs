//! The server is killed while the command runs: what became of it is told, and the way back is there.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{Project, json};
use crate::support::{Run, Server};

/// A server with a table of three rows, and a guard's project on it.
fn project(major: u32) -> (Server, Project) {
    let server = Server::start(major);
    let project = Project::on(&server, "app", "alembic");
    server.psql(
        "app",
        "CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1), (2), (3)",
    );
    // A migration in two steps, of which only the first one is done; it ends when its server is there again.
    let (psql, ready) = (server.bin("psql"), server.bin("pg_isready"));
    let (psql, ready, url) = (psql.display(), ready.display(), server.url("app"));
    project.script(
        "half",
        &format!(
            "{psql} -qX '{url}' -c 'DELETE FROM t WHERE id > 1; ALTER TABLE t ADD COLUMN half int'
             {psql} -qX -v ON_ERROR_STOP=1 '{url}' -c BEGIN -c 'INSERT INTO t (id) VALUES (9)' -c '\\! touch half-done' \
                -c 'SELECT pg_sleep(60)' -c COMMIT
             code=$?; until {ready} -q -d '{url}'; do sleep 0.1; done; exit $code"
        ),
    );
    project.script(
        "fatal",
        &format!(
            "{psql} -qX '{url}' -c 'DELETE FROM t WHERE id > 1'; kill -QUIT $(head -n 1 {}/data/postmaster.pid)\n\
             while test -e {}/data/postmaster.pid && kill -0 $(head -n 1 {}/data/postmaster.pid) 2>&-; do sleep 0.1; done 2>&-; exit 4",
            server.host(),
            server.host(),
            server.host()
        ),
    );
    (server, project)
}

fn ids(server: &Server) -> String {
    server.psql("app", "SELECT string_agg(t::text, ' ' ORDER BY id) FROM t")
}

const BEFORE: &str = "(1) (2) (3)";
const HALF: &str = "(1,)";

#[test]
fn a_server_that_comes_back_gets_the_backup_back() {
    let (mut server, project) = project(17);
    let mut half = |on_failure: &str| -> Value {
        let _ = fs::remove_file(project.site.path("half-done"));
        let child = project.start(&["--json", "--on-failure", on_failure, "--", "./half"]);
        project.wait_for("half-done");
        server.crash_and_restart();
        let run = Run::from(child.wait_with_output().unwrap());
        let report = json(&run);
        assert!(run.code.is_some_and(|code| code != 0), "{report}");
        assert_eq!(
            run.code.map(Value::from),
            Some(report["command_exit"].clone()),
            "{report}"
        );
        report
    };
    // The command was in the middle of its second step, which the server has rolled back.
    let kept = half("keep");
    assert_eq!(kept["action"], "kept");
    let table = &kept["diff"]["tables"][0];
    assert_eq!((&table["rows_before"], &table["rows_after"]), (&3.into(), &1.into()));
    let id = kept["backup"].as_str().unwrap().to_owned();
    let restored = half_after(&project, &id, &mut half);
    assert_eq!(restored["action"], "restored", "{restored}");
    assert_eq!(ids(&server), BEFORE);
    project.snapback(&["undo", "--yes"]).ok();
    assert_eq!(ids(&server), HALF);
}

/// Takes the first one back, and lets the next guard do so itself.
fn half_after(project: &Project, id: &str, half: &mut dyn FnMut(&str) -> Value) -> Value {
    project.snapback(&["restore", id, "--yes"]).ok();
    half("restore")
}

/// Starts a guard and waits until it has said something.
fn started_until_said(project: &Project, arguments: &[&str], said: &str) -> Child {
    let mut child = project.start(arguments);
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut all = String::new();
    while !all.contains(said) {
        let read = stderr.read_line(&mut all).unwrap();
        assert!(read > 0, "ended without saying {said:?}: {all}");
    }
    // It is read to its end, so that nothing waits for room in the pipe.
    std::thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::sink()));
    child
}

#[test]
fn a_server_that_died_with_the_command_is_waited_for() {
    let (mut server, project) = project(16);
    let arguments = [
        "--json",
        "--server-wait",
        "10m",
        "--on-failure",
        "restore",
        "--",
        "./fatal",
    ];
    let child = started_until_said(&project, &arguments, "waiting for it, for 600 s at most");
    server.crash_and_restart();
    let run = Run::from(child.wait_with_output().unwrap());
    let report = json(&run);
    assert_eq!(run.code, Some(4), "{report}");
    assert_eq!(
        (&report["action"], &report["diff"]["tables"][0]["rows_after"]),
        (&"restored".into(), &1.into())
    );
    assert_eq!(ids(&server), BEFORE);
    project.snapback(&["undo", "--yes"]).ok();
    assert_eq!(ids(&server), "(1)");
}

#[test]
fn a_server_that_dies_while_the_backup_is_put_back_is_waited_for_too() {
    let (mut server, project) = project(15);
    server.psql("app", "CREATE MATERIALIZED VIEW slow AS SELECT 1 AS a FROM pg_sleep(3)");
    let arguments = [
        "--json",
        "--on-failure",
        "restore",
        "--",
        "sh",
        "-c",
        "psql -qXc 'DELETE FROM t' \"$URL\"; exit 5",
    ];
    let url = server.url("app");
    let mut command = project.command(&arguments);
    let child = command
        .env("URL", &url)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let refreshes = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'REFRESH%' AND state = 'active'";
    let begun = Instant::now();
    while server.psql("postgres", refreshes) == "0" {
        assert!(begun.elapsed() < Duration::from_secs(120), "nothing is refreshed");
        std::thread::sleep(Duration::from_millis(20));
    }
    server.crash_and_restart();
    let run = Run::from(child.wait_with_output().unwrap());
    let report = json(&run);
    assert_eq!((run.code, &report["action"]), (Some(5), &"restored".into()), "{report}");
    assert_eq!(ids(&server), BEFORE);
    // Nothing is left of the restore that was broken off.
    let left = "SELECT count(*) FROM pg_database WHERE datname LIKE '%restoring%'";
    assert_eq!(server.psql("postgres", left), "0");
}

#[test]
fn a_copy_that_cannot_be_dropped_is_told_after_the_report() {
    let server = Server::start_with(17, &["max_prepared_transactions=3"]);
    let project = Project::on(&server, "app", "alembic");
    server.psql("app", "CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)");
    project.script(
        "stuck",
        "psql -qX -c BEGIN -c 'INSERT INTO t VALUES (2)' -c \"PREPARE TRANSACTION 'stuck'\" && psql -qXc 'INSERT INTO t VALUES (3)'",
    );
    let run = project.guard(&["--dry-run", "--", "./stuck"]).ok();
    for part in [
        "rows of public.t: 1 row -> 2 rows",
        "the live database was not touched; the copy app_rehearsal_",
        "could not be dropped",
    ] {
        assert!(run.stdout.contains(part), "{part}: {}", run.stdout);
    }
    let copies = "SELECT datname FROM pg_database WHERE datname LIKE 'app_rehearsal_%'";
    let copy = server.psql("postgres", copies);
    server.psql(&copy, "ROLLBACK PREPARED 'stuck'");
    project.snapback(&["list"]).ok();
    assert_eq!(server.psql("postgres", copies), "");
}

#[test]
fn a_server_that_stays_away_is_told_of_with_the_way_back() {
    let (mut server, project) = project(15);
    for on_failure in ["restore", "keep"] {
        let arguments = ["--server-wait", "1s", "--on-failure", on_failure, "--", "./fatal"];
        let run = project.guard(&arguments).code(4);
        assert!(run.stderr.contains("did not come back in time"), "{}", run.stderr);
        assert!(run.stderr.contains("could not be compared"), "{}", run.stderr);
        assert!(run.stdout.contains("exit code 4"), "{}", run.stdout);
        let said = match on_failure {
            "restore" => {
                assert!(run.stderr.contains("could not be put back"), "{}", run.stderr);
                run.stderr
            }
            _ => run.stdout,
        };
        let way = said
            .split("snapback restore app ")
            .nth(1)
            .unwrap_or_else(|| panic!("{said}"));
        let id = way.split_whitespace().next().unwrap().to_owned();
        server.crash_and_restart();
        // What the command did stays until somebody decides.
        assert_eq!(ids(&server), "(1)");
        project.snapback(&["restore", &id, "--yes"]).ok();
        assert_eq!(ids(&server), BEFORE);
    }
}

#[test]
fn the_copy_of_a_rehearsal_whose_server_is_killed_is_removed_later() {
    let (mut server, project) = project(18);
    let run = project
        .guard(&["--server-wait", "1s", "--dry-run", "--json", "--", "./fatal"])
        .code(4);
    // What the rehearsal found out is told all the same.
    let report = json(&run);
    assert_eq!(
        (&report["command_exit"], &report["rehearsal"]),
        (&4.into(), &true.into())
    );
    let leftover = report["leftover"].as_str().unwrap();
    assert!(
        leftover.contains("app_rehearsal_") && leftover.contains("could not be dropped"),
        "{leftover}"
    );
    server.crash_and_restart();
    let copies = || {
        server.psql(
            "postgres",
            "SELECT count(*) FROM pg_database WHERE datname LIKE 'app_rehearsal_%'",
        )
    };
    assert_eq!(copies(), "1");
    project.snapback(&["list"]).ok();
    assert_eq!(copies(), "0");
}
