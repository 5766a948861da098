//! kill -9 at every step and at any moment: the live database is wholly old or wholly new.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::time::Duration;

use super::{PAIRS, Site};
use crate::support::snapback;

const ROWS: &str =
    "CREATE TABLE filler (a); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)
    INSERT INTO filler SELECT hex(randomblob(300)) FROM n;";

/// A database with a backup, and something else in it since.
fn site(mode: &str) -> Site {
    let site = Site::with(&format!("PRAGMA journal_mode = {mode}; {PAIRS} {ROWS}"));
    site.snapback(&["backup", "app.db"]).ok();
    site.python(
        "app.db",
        "INSERT INTO pair_a VALUES (1); UPDATE filler SET a = a || 'x'",
    );
    site
}

fn is_old_or_new(site: &Site) -> String {
    assert_eq!(site.shell("app.db", "PRAGMA integrity_check"), "ok");
    let state = site.shell(
        "app.db",
        "SELECT count(*) FROM pair_a; SELECT count(*) FROM filler WHERE a LIKE '%x'",
    );
    assert!(["1\n3000", "0\n0"].contains(&state.as_str()), "{state}");
    state
}

#[test]
fn a_restore_that_is_killed_at_a_step_has_changed_nothing_and_leaves_nothing() {
    let site = site("WAL");
    for step in ["recover", "unpack", "prove", "safety", "put"] {
        let mut child = snapback()
            .current_dir(site.dir.path())
            .args(["restore", "app.db", "latest", "-y", "--pause-at", step])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let paused = format!("paused at {step}");
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        assert!(lines.map_while(Result::ok).any(|line| line.contains(&paused)), "{step}");
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(is_old_or_new(&site), "1\n3000", "{step}");
        site.snapback(&["list", "app.db"]).ok();
        assert_eq!(site.files(), ["app.db"], "{step}");
    }
    let latest = site.snapback(&["restore", "app.db", "latest", "-y"]).ok();
    assert!(latest.stdout.contains("is the backup"));
    assert_eq!(is_old_or_new(&site), "0\n0");
}

#[test]
fn a_restore_or_a_backup_that_is_killed_at_any_moment_leaves_one_whole_state() {
    for mode in ["WAL", "DELETE"] {
        let site = site(mode);
        for round in 0..12u64 {
            let verb: &[&str] = match round % 3 {
                0 => &["backup", "app.db"],
                _ => &["restore", "app.db", "latest", "-y", "--no-safety"],
            };
            let mut child = snapback()
                .current_dir(site.dir.path())
                .args(verb)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            std::thread::sleep(Duration::from_millis(fastrand::u64(5..400)));
            child.kill().unwrap();
            child.wait().unwrap();
            if is_old_or_new(&site) == "0\n0" {
                site.python(
                    "app.db",
                    "INSERT INTO pair_a VALUES (1); UPDATE filler SET a = a || 'x'",
                );
            }
        }
        site.snapback(&["backup", "app.db"]).ok();
        assert_eq!(site.files(), ["app.db"], "{mode}");
        site.snapback(&["verify", "app.db", "--all"]).ok();
    }
}
