//! Drills that are killed: what they leave is removed by the next command.

use super::paused_at;
use crate::restore::Site;

#[test]
fn what_a_killed_drill_left_is_removed_by_the_next_command() {
    let site = Site::new(15, "app");
    site.server.psql(
        "app",
        "CREATE TABLE t AS SELECT generate_series(1, 1000) n; CREATE EXTENSION citext",
    );
    site.backup();
    let scratch = || site.databases().iter().filter(|name| name.contains("_drill_")).count();
    for (number, step) in [
        "recover", "check", "create", "pre-data", "data", "prove", "checks", "drop",
    ]
    .iter()
    .enumerate()
    {
        let mut child = paused_at(site.command(&["drill", "app"]), step);
        child.kill().unwrap();
        child.wait().unwrap();
        // The server notices soon.
        while site
            .server
            .psql("postgres", "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")
            != "0"
        {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        let made = !matches!(*step, "recover" | "check" | "create");
        assert_eq!(scratch(), usize::from(made), "{step}");
        // Whichever command is next; a drill itself tells of it.
        match number % 3 {
            0 => drop(site.run(&["list", "app"]).ok()),
            1 => drop(site.run(&["drill", "app"]).ok()),
            _ => drop(site.restore(&[])),
        }
        assert_eq!(scratch(), usize::from(made && number % 3 == 2), "{step}");
    }
    site.run(&["drill", "app"]).ok();
    assert_eq!(scratch(), 0);
    // A database that somebody else calls so is nobody's leftover.
    site.server.create_database("app_drill_20260101T000000Z");
    site.server.psql("app_drill_20260101T000000Z", "CREATE TABLE mine ()");
    site.run(&["list", "app"]).ok();
    site.run(&["drill", "app"]).ok();
    assert_eq!(scratch(), 1);
}

#[test]
fn a_server_that_goes_down_in_the_middle_is_no_fault_of_the_backup() {
    let mut site = Site::new(15, "app");
    site.server
        .psql("app", "CREATE TABLE t AS SELECT generate_series(1, 1000) n");
    site.backup();
    let mut child = paused_at(site.command(&["drill", "app"]), "prove");
    child.kill().unwrap();
    child.wait().unwrap();
    std::sync::Arc::get_mut(&mut site.server).unwrap().crash_and_restart();
    site.run(&["drill", "app"]).ok();
    let listed = site.run(&["list", "app"]).ok().stdout;
    assert!(listed.contains("restorable") && !listed.contains("FAILED"), "{listed}");
    assert!(!site.databases().iter().any(|name| name.contains("_drill_")));
}
