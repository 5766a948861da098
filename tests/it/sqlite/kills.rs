//! kill -9 at every step and at any moment: the live database is wholly old or wholly new.

use std::process::Stdio;
use std::time::Duration;

use super::{PAIRS, Site, end, wait_until_told};
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
        kill_at(
            &site,
            &["restore", "app.db", "latest", "-y"],
            step,
            &format!("paused at {step}"),
        );
        assert_eq!(is_old_or_new(&site), "1\n3000", "{step}");
        site.snapback(&["list", "app.db"]).ok();
        assert_eq!(site.files(), ["app.db"], "{step}");
    }
    let latest = site.snapback(&["restore", "app.db", "latest", "-y"]).ok();
    assert!(latest.stdout.contains("is the backup"));
    assert_eq!(is_old_or_new(&site), "0\n0");
}

#[test]
fn an_undo_that_is_killed_at_a_step_has_changed_nothing_and_leaves_nothing() {
    let site = site("WAL");
    site.snapback(&["restore", "app.db", "latest", "-y"]).ok();
    for step in ["recover", "unpack", "prove", "safety", "put"] {
        kill_at(&site, &["undo", "app.db", "-y"], step, &format!("paused at {step}"));
        assert_eq!(is_old_or_new(&site), "0\n0", "{step}");
        site.snapback(&["list", "app.db"]).ok();
        assert_eq!(site.files(), ["app.db"], "{step}");
    }
    site.snapback(&["undo", "app.db", "-y"]).ok();
    assert_eq!(is_old_or_new(&site), "1\n3000");
}

#[test]
fn a_backup_that_is_killed_at_a_step_is_whole_or_not_there_and_leaves_the_file_alone() {
    for mode in ["WAL", "DELETE"] {
        let site = site(mode);
        let before = std::fs::read(site.path("app.db")).unwrap();
        let mut whole = 1;
        for step in [
            "lock", "clean", "claim", "dump", "verify", "publish", "release", "prune",
        ] {
            // A backup says where it is in its log.
            kill_at(
                &site,
                &["--log-level", "debug", "backup", "app.db"],
                step,
                &format!("step={step}"),
            );
            if ["release", "prune"].contains(&step) {
                whole += 1;
            }
            let listed = site.snapback(&["list", "app.db", "--json"]).ok().stdout;
            let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
            let backups = listed[0]["backups"].as_array().unwrap();
            assert_eq!(backups.len(), whole, "{mode}, {step}: {listed}");
            site.snapback(&["verify", "app.db", "--all"]).ok();
            assert!(std::fs::read(site.path("app.db")).unwrap() == before, "{mode}, {step}");
            assert_eq!(site.files(), ["app.db"], "{mode}, {step}");
        }
        site.snapback(&["backup", "app.db"]).ok();
        let files = |ending| site.archives(ending).len();
        assert_eq!(
            (files(".db.gz"), files(".json"), files(".run")),
            (whole + 1, whole + 1, 0),
            "{mode}"
        );
    }
}

/// Starts a command that pauses at a step, and kills it there.
fn kill_at(site: &Site, arguments: &[&str], step: &str, told: &str) {
    let mut child = snapback()
        .current_dir(site.dir.path())
        .args(arguments)
        .args(["--pause-at", step])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait_until_told(&mut child, told);
    child.kill().unwrap();
    child.wait().unwrap();
}

/// How often a command is killed at a random moment: a handful, or as often as SNAPBACK_KILLS says.
fn rounds() -> u64 {
    let asked = std::env::var("SNAPBACK_KILLS").ok();
    asked.map_or(10, |text| text.parse().unwrap())
}

/// A process that reads all of `app.db` in one transaction, again and again, and ends with an error when that is no whole state.
fn reader(site: &Site) -> std::process::Child {
    const PROGRAM: &str = r#"
import sqlite3, sys, select
c = sqlite3.connect(sys.argv[1], timeout=60, isolation_level=None)
print("ready", flush=True)
states = set()
while not select.select([sys.stdin], [], [], 0.01)[0]:
    c.execute("BEGIN")
    ask = lambda sql: c.execute(sql).fetchone()[0]
    v = ask("SELECT v FROM version")
    assert ask("SELECT count(*) FROM filler") == 3000
    assert ask("SELECT count(*) FROM filler WHERE v IS NOT (SELECT v FROM version)") == 0, v
    assert ask("SELECT count(*) FROM pair_a") == ask("SELECT count(*) FROM pair_b")
    c.execute("COMMIT")
    states.add(v)
print("fine" if states <= {"old", "new"} else states)
"#;
    let mut child = std::process::Command::new("python3")
        .args(["-c", PROGRAM])
        .arg(site.path("app.db"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut [0; 6]).unwrap();
    child
}

#[test]
fn killed_at_any_moment_under_others_a_database_with_a_log_is_one_whole_state() {
    random_kills("WAL");
}

#[test]
fn killed_at_any_moment_under_others_a_database_with_a_journal_is_one_whole_state() {
    random_kills("DELETE");
}

/// Kills backups and restores under a writer and a reader of other processes.
fn random_kills(mode: &str) {
    let site = Site::with(&format!(
        "PRAGMA journal_mode = {mode}; {PAIRS} CREATE TABLE version (v); INSERT INTO version VALUES ('new');
         CREATE TABLE filler (v, a); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)
         INSERT INTO filler SELECT 'new', hex(randomblob(100)) FROM n;"
    ));
    let new = site.snapback(&["backup", "app.db", "--pin"]).ok().stdout;
    let new = new.trim();
    let make_old = "PRAGMA busy_timeout = 60000; BEGIN IMMEDIATE; UPDATE version SET v = 'old'; UPDATE filler SET v = 'old'; COMMIT";
    site.python("app.db", make_old);
    let (writer, reader) = (site.writer(), reader(&site));
    let (mut replaced, mut stayed) = (0, 0);
    for round in 0..rounds().div_ceil(2) {
        let verb: &[&str] = match round % 4 {
            0 => &["backup", "app.db"],
            1 => &["restore", "app.db", new, "-y"],
            _ => &["restore", "app.db", new, "-y", "--no-safety"],
        };
        let mut child = snapback()
            .current_dir(site.dir.path())
            .args(verb)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(fastrand::u64(5..600)));
        child.kill().unwrap();
        child.wait().unwrap();
        let asked = ".timeout 60000\nPRAGMA integrity_check;\nSELECT v FROM version;";
        let state = site.shell_script("app.db", asked);
        match state.as_str() {
            "ok\nold" => stayed += 1,
            "ok\nnew" => {
                replaced += 1;
                site.python("app.db", make_old);
            }
            other => panic!("{mode}, round {round}: {other}"),
        }
    }
    assert!(
        rounds() < 100 || (replaced > 0 && stayed > 0),
        "{replaced} and {stayed}: the kills come too early or too late"
    );
    println!("{mode}: {replaced} were replaced before the kill, {stayed} were not");
    assert_eq!(end(reader), "fine");
    end(writer);
    site.snapback(&["backup", "app.db"]).ok();
    assert_eq!(site.files(), ["app.db"], "{mode}");
    site.snapback(&["verify", "app.db", "--all"]).ok();
    let archives = site.archives(".db.gz").len();
    assert_eq!(
        (archives, site.archives(".run").len()),
        (site.archives(".json").len(), 0),
        "{mode}"
    );
}
