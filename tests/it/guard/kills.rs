//! Guard is killed while it takes its backup, and while it puts it back.

use super::Project;
use crate::drill::started_until;
use crate::support::Server;

/// Starts a guard that stops in `phase` at `step`, and kills it there.
fn kill_at(project: &Project, phase: &str, step: &str) {
    let place = format!("{phase}:{step}");
    let arguments = [
        "--log-level",
        "debug",
        "--pause-at",
        &place,
        "--on-failure",
        "restore",
        "--",
        "./half",
    ];
    let mut child = started_until(project.command(&arguments), step);
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Kills guards at steps of both of their phases; `rows` says what the table `t` has: 1 before the command, 0 after it.
fn story(project: &Project, steps: &[&str], rows: &dyn Fn() -> String) {
    // While the backup is taken the command does not run, and no guard is to be told of: the backup itself is.
    for step in ["claim", "dump", "verify", "publish"] {
        kill_at(project, "backup", step);
        assert!(!project.site.path("ran").exists(), "the command has run at {step}");
        assert_eq!(rows(), "1", "{step}");
        let listed = project.snapback(&["list"]).ok();
        assert!(!listed.stderr.contains("a guard of job"), "{}", listed.stderr);
        assert!(
            listed.stdout.contains("was killed: that process is gone"),
            "{step}: {}",
            listed.stdout
        );
    }
    // It ends well where nothing kills it.
    project.guard(&["--on-failure", "restore", "--", "./half"]).code(3);
    assert_eq!(rows(), "1");
    for step in steps {
        std::fs::remove_file(project.site.path("ran")).unwrap();
        kill_at(project, "restore", step);
        assert!(project.site.path("ran").exists(), "{step}");
        // The old state or the new one.
        let left = rows();
        assert_eq!(left, if *step == "done" { "1" } else { "0" }, "{step}");
        let listed = project.snapback(&["list"]).ok();
        let told = listed.stderr.lines().find(|line| line.contains("a guard of job"));
        let told = told.unwrap_or_else(|| panic!("nothing is told at {step}: {}", listed.stderr));
        assert!(told.contains("the backup was being put back"), "{told}");
        let id = told.split("; backup ").nth(1).unwrap().split(' ').next().unwrap();
        // Once only; and what it says is the way.
        let again = project.snapback(&["list"]).ok();
        assert!(!again.stderr.contains("a guard of job"), "{step}: {}", again.stderr);
        project.snapback(&["diff", "app", id]).ok();
        project.snapback(&["restore", id, "--yes"]).ok();
        assert_eq!(rows(), "1", "{step}");
    }
}

#[test]
fn a_guard_of_sqlite_that_is_killed_is_told_of_and_leaves_a_whole_database() {
    let project = Project::new("sqlite:///app.db".to_owned(), "alembic");
    project
        .site
        .python("app.db", "CREATE TABLE t (a); INSERT INTO t VALUES (1)");
    project.script("half", "touch ran; sqlite3 app.db 'DELETE FROM t'; exit 3");
    let rows = || project.site.shell("app.db", "SELECT count(*) FROM t");
    story(
        &project,
        &["recover", "unpack", "prove", "safety", "put", "done"],
        &rows,
    );
    assert_eq!(project.site.files(), ["alembic", "app.db", "half", "ran"]);
}

#[test]
fn and_one_of_postgresql() {
    let server = Server::start(16);
    let project = Project::on(&server, "app", "alembic");
    server.psql("app", "CREATE TABLE t AS SELECT 1 AS a");
    project.script(
        "half",
        &format!(
            "touch ran; psql -qXc 'DELETE FROM t' '{}' || exit 9; exit 3",
            server.url("app")
        ),
    );
    let rows = || server.psql("app", "SELECT count(*) FROM t");
    let steps = ["check", "safety", "create", "data", "prove", "fence", "rename", "done"];
    story(&project, &steps, &rows);
    project.snapback(&["list"]).ok();
    let left = server.psql(
        "postgres",
        "SELECT count(*) FROM pg_database WHERE datname LIKE '%restoring%'",
    );
    assert_eq!(left, "0");
}
