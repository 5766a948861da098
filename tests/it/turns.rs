//! Backups and restores of one job take turns.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::restore::Site;
use crate::support::Run;

const BUSY: i32 = 5;
const INTERRUPTED: i32 = 130;

/// A site with a backup of `old`, whose database says `new` since, and whose last restore can be undone.
fn site() -> Site {
    let site = Site::new(15, "app");
    site.server
        .psql("app", "CREATE TABLE who AS SELECT 'old'::text AS name");
    site.backup();
    site.restore(&["latest"]);
    site.server.psql("app", "UPDATE who SET name = 'new'");
    site
}

fn who(site: &Site) -> String {
    site.server.psql("app", "SELECT name FROM who")
}

/// A backup that is under way, and stays so.
fn backup_under_way(site: &Site) -> Child {
    let mut backup = site.command(&["backup", "app", "--pause-at", "dump"]);
    let child = backup.stderr(Stdio::null()).spawn().unwrap();
    let claims = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted";
    let deadline = Instant::now() + Duration::from_secs(60);
    while site.server.psql("postgres", claims) == "0" {
        assert!(Instant::now() < deadline, "the backup never began");
        std::thread::sleep(Duration::from_millis(20));
    }
    child
}

/// Starts the program and returns when it says that it waits.
fn waiting(site: &Site, args: &[&str]) -> Child {
    let mut command = site.command(args);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut said = Vec::new();
    for line in lines.by_ref() {
        let line = line.unwrap();
        let waits = line.contains("waiting until it has ended, for 1h at most");
        said.push(line);
        if waits {
            break;
        }
    }
    let last = said.last().unwrap();
    assert!(
        last.contains("a run of job app is under way (server process"),
        "{said:#?}"
    );
    std::thread::spawn(move || lines.count());
    child
}

#[test]
fn a_restore_waits_for_the_backup_that_is_under_way() {
    for mode in ["swap", "in-place"] {
        let site = site();
        let mut backup = backup_under_way(&site);
        let args = ["restore", "app", "latest", "--yes", "--mode", mode];
        let busy = site.run(&[&args[..], &["--wait", "0"]].concat()).code(BUSY);
        assert!(busy.stderr.contains("a run of job app is under way"), "{}", busy.stderr);
        // Whoever gives up while it waits has changed nothing.
        let given_up = waiting(&site, &args);
        Run::of(std::process::Command::new("kill").args(["-INT", &given_up.id().to_string()])).ok();
        assert_eq!(Run::from(given_up.wait_with_output().unwrap()).code, Some(INTERRUPTED));
        assert_eq!(who(&site), "new");
        let restore = waiting(&site, &args);
        // Others work on meanwhile, also where the restore will be in place.
        site.server.psql("app", "UPDATE who SET name = 'newer'");
        backup.kill().unwrap();
        backup.wait().unwrap();
        Run::from(restore.wait_with_output().unwrap()).ok();
        assert_eq!(who(&site), "old");
        site.run(&["undo", "app", "--yes"]).ok();
        assert_eq!(who(&site), "newer");
    }
}

#[test]
fn an_undo_waits_for_the_backup_that_is_under_way() {
    let site = site();
    let mut backup = backup_under_way(&site);
    site.run(&["undo", "app", "--yes", "--wait", "0"]).code(BUSY);
    let undo = waiting(&site, &["undo", "app", "--yes"]);
    assert_eq!(backup.try_wait().unwrap(), None, "it was not cut off");
    backup.kill().unwrap();
    backup.wait().unwrap();
    Run::from(undo.wait_with_output().unwrap()).ok();
    // What was live before the restore.
    assert_eq!(who(&site), "old");
    assert!(site.databases().iter().any(|name| name.starts_with("app_before_")));
}
