//! Ctrl-C and SIGTERM in every step of a restore, and before: the live database is as it was, and nothing is left.

use std::os::unix::net::UnixListener;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, Stdio};

use super::failures::paused;
use super::{STEPS, Site};
use crate::support::Run;

const INTERRUPTED: i32 = 130;

fn site() -> Site {
    let site = Site::new(15, "app");
    site.server.psql(
        "app",
        "CREATE TABLE who AS SELECT 'new' AS am_i; CREATE VIEW v AS SELECT * FROM who; GRANT SELECT ON v TO PUBLIC",
    );
    site.backup();
    site.server.psql("app", "UPDATE who SET am_i = 'old'");
    site
}

fn send(signal: &str, child: &Child) {
    Run::of(Command::new("kill").args([signal, &child.id().to_string()])).ok();
}

#[test]
fn a_signal_at_any_step_takes_everything_back() {
    let site = site();
    let in_place = [
        "check",
        "lock",
        "safety",
        "remove",
        "pre-data",
        "data",
        "privileges",
        "prove",
    ];
    let before = site.databases();
    // From the fence on nothing is cancelled any more.
    for (mode, steps) in [("swap", &STEPS[..10]), ("in-place", &in_place[..])] {
        for (step, signal) in steps.iter().zip(["-INT", "-TERM"].into_iter().cycle()) {
            let mut child = paused(&site, &["restore", "app", "--yes", "--mode", mode, "--pause-at", step]);
            send(signal, &child);
            assert_eq!(child.wait().unwrap().code(), Some(INTERRUPTED), "{mode}, {step}");
            assert_eq!(site.server.psql("app", "SELECT am_i FROM who"), "old", "{mode}, {step}");
            assert_eq!(site.databases(), before, "{mode}, {step}");
            let claim = std::fs::read_dir(site.backups()).unwrap().find_map(|entry| {
                let name = entry.unwrap().file_name().into_string().unwrap();
                name.ends_with(".run").then_some(name)
            });
            assert_eq!(claim, None, "{mode}, {step}");
        }
    }
    site.restore(&[]);
    assert_eq!(site.server.psql("app", "SELECT am_i FROM v"), "new");
}

/// Before anything is begun a signal ends the program at once, whatever it waits for.
#[test]
fn a_signal_ends_a_plan_that_waits_for_a_server() {
    let site = site();
    let silent = tempfile::Builder::new().prefix("sb").tempdir_in("/tmp").unwrap();
    let listener = UnixListener::bind(silent.path().join(".s.PGSQL.5432")).unwrap();
    site.reconfigure(site.server.host(), silent.path().to_str().unwrap());
    for (signal, number) in [("-INT", 2), ("-TERM", 15)] {
        let mut restore = site.command(&["restore", "app", "--yes"]);
        let mut child = restore.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let waits = listener.accept().unwrap();
        send(signal, &child);
        assert_eq!(child.wait().unwrap().signal(), Some(number));
        drop(waits);
    }
}
