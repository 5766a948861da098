//! The server is killed while the command runs: what became of it is told, and the way back is there.

use std::fs;

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

#[test]
fn a_server_that_stays_away_is_told_of_with_the_way_back() {
    let (mut server, project) = project(15);
    for on_failure in ["restore", "keep"] {
        let run = project.guard(&["--on-failure", on_failure, "--", "./fatal"]).code(4);
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
    let run = project.guard(&["--dry-run", "--", "./fatal"]);
    assert!(run.code.is_some_and(|code| code != 0));
    assert!(run.stderr.contains("dropping the copy"), "{}", run.stderr);
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
