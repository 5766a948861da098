//! Every run of every verb is remembered, with what it was and why it failed.

use std::fs;

use serde_json::Value;

use super::{json, site};
use crate::sqlite::Site;
use crate::support::snapback;

/// The lines of `history --json`, the newest first.
fn lines(site: &Site, arguments: &[&str]) -> Vec<Value> {
    let mut all = vec!["--json", "history"];
    all.extend(arguments);
    let run = site.snapback(&all).ok();
    run.stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn verbs(lines: &[Value]) -> Vec<String> {
    let word = |line: &Value| {
        format!(
            "{} {}",
            line["verb"].as_str().unwrap(),
            line["outcome"].as_str().unwrap()
        )
    };
    lines.iter().rev().map(word).collect()
}

#[test]
fn every_verb_leaves_its_run() {
    let site = site(&["app"], "");
    site.snapback(&["backup", "app"]).ok();
    site.snapback(&["verify", "app", "--full"]).ok();
    site.python("app.db", "DELETE FROM t");
    site.snapback(&["restore", "app", "--yes"]).ok();
    site.snapback(&["undo", "app", "--yes"]).ok();
    site.snapback(&["prune", "app"]).ok();
    // What only shows a plan has done nothing.
    site.snapback(&["prune", "app", "--dry-run"]).ok();
    site.snapback(&["restore", "app", "--dry-run"]).ok();
    site.snapback(&["restore", "app", "20200101T000000Z", "--yes"]).code(3);
    fs::rename(site.path("app.db"), site.path("gone.db")).unwrap();
    let failed = site.snapback(&["backup", "app"]);
    assert_ne!(failed.code, Some(0));

    let all = lines(&site, &[]);
    assert_eq!(
        verbs(&all),
        [
            "backup ok",
            "verify ok",
            "restore ok",
            "undo ok",
            "prune ok",
            "restore failed",
            "backup failed"
        ]
    );
    let backup = &all[6];
    assert_eq!(
        (&backup["job"], &backup["kind"], &backup["rows"]),
        (&"app".into(), &"manual".into(), &2.into())
    );
    let archive = fs::metadata(site.path(&format!("backups/app/app_{}.db.gz", backup["backup"].as_str().unwrap())));
    assert_eq!(backup["bytes"], archive.unwrap().len());
    let last = &all[0];
    assert_eq!(i64::from(failed.code.unwrap()), last["exit"].as_i64().unwrap());
    assert!(
        failed.stderr.contains(last["error"].as_str().unwrap()),
        "{last} {}",
        failed.stderr
    );

    assert_eq!(
        verbs(&lines(&site, &["app", "--failed"])),
        ["restore failed", "backup failed"]
    );
    assert_eq!(lines(&site, &["other"]).len(), 0);
    assert_eq!(lines(&site, &["-n", "2"]).len(), 2);
    let text = site.snapback(&["history", "--failed", "--since", "1d"]).ok().stdout;
    assert_eq!(text.lines().count(), 3, "{text}");
}

#[test]
fn a_run_that_is_killed_is_remembered_as_that_and_losing_the_history_loses_no_backup() {
    let site = site(&["app"], "");
    let mut paused = snapback();
    paused
        .current_dir(site.dir.path())
        .args(["backup", "app", "--pause-at", "dump"]);
    let mut paused = paused.spawn().unwrap();
    super::wait_for("the run", || {
        lines(&site, &[])
            .first()
            .filter(|run| run["outcome"] == "running")
            .cloned()
    });
    let (_, status) = json(&site, &["status"]);
    assert_eq!(status["jobs"][0]["running"][0]["verb"], "backup");
    paused.kill().unwrap();
    paused.wait().unwrap();
    assert_eq!(verbs(&lines(&site, &[])), ["backup killed"]);

    site.snapback(&["backup", "app"]).ok();
    let (code, before) = json(&site, &["status"]);
    fs::remove_dir_all(site.path("state")).unwrap();
    let (again, after) = json(&site, &["status"]);
    assert_eq!((code, again), (Some(0), Some(0)));
    assert_eq!(before["jobs"][0]["newest"]["id"], after["jobs"][0]["newest"]["id"]);
    assert_eq!(before["jobs"][0]["backups"], after["jobs"][0]["backups"]);
}

#[test]
fn nothing_is_remembered_where_nothing_is_to_be() {
    let site = site(&["app"], "");
    let mut command = snapback();
    command
        .current_dir(site.dir.path())
        .env("SNAPBACK__DAEMON__STATE", "none")
        .args(["backup", "app"]);
    assert!(command.output().unwrap().status.success());
    assert!(!site.path("state").exists());
    // Neither does a folder that cannot be made keep a backup from being taken.
    fs::write(site.path("state"), "a file is in the way").unwrap();
    site.snapback(&["backup", "app"]).ok();
}
