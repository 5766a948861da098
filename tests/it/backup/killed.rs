//! Kill -9 at every named step: no manifest, or a whole backup; the next run cleans up.

use std::fs;
use std::io::Read as _;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use super::House;

/// The steps at which no manifest may be there yet, and the ones at which the backup exists.
const BEFORE: [&str; 7] = ["lock", "clean", "claim", "dump", "verify", "globals", "publish"];
const AFTER: [&str; 2] = ["release", "prune"];

/// Starts a backup that stops at `step`, and waits until it is there.
pub fn paused_at(house: &House, step: &str) -> Child {
    let mut child = house
        .command(&["--log-level", "debug", "backup", "--pause-at", step])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stderr = child.stderr.take().unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut seen = String::new();
    let mut buffer = [0; 4096];
    while !seen.contains(&format!("step={step}")) {
        assert!(Instant::now() < deadline, "never reached {step}: {seen}");
        let n = stderr.read(&mut buffer).unwrap();
        assert!(n > 0, "ended before {step}: {seen}");
        seen.push_str(&String::from_utf8_lossy(&buffer[..n]));
    }
    // The pipe stays open, so that the program is not ended by writing to it.
    child.stderr = Some(stderr);
    child
}

#[test]
fn a_kill_at_any_step_leaves_a_whole_backup_or_none_and_the_next_run_cleans_up() {
    let house = House::new();
    house.configure(
        "retention.keep_last = 100\nstores = [\"default\", \"second\"]\n[stores.second]\npath = \"second\"\n",
    );
    let second = || fs::read_dir(house.dir.path().join("second/app")).unwrap().count();
    let mut whole = vec![house.backup()];
    for step in BEFORE.iter().chain(&AFTER) {
        let mut child = paused_at(&house, step);
        child.kill().unwrap();
        child.wait().unwrap();
        let listed = house.listed();
        if AFTER.contains(step) {
            assert_eq!(listed.len(), whole.len() + 1, "killed at {step}");
            whole.insert(0, listed[0].clone());
            house.run(&["verify", &listed[0]]).ok();
        }
        assert_eq!(listed, whole, "killed at {step}");
        whole.insert(0, house.backup());
        assert_eq!(house.listed(), whole, "after {step}");
        let mut files = house.files();
        // What `verify` found is remembered beside the backup.
        let files_before = files.len();
        files.retain(|name| !name.ends_with("-passed"));
        assert_eq!(files.len(), whole.len() * 3, "after {step}: {files:?}");
        let looked = files_before - files.len();
        assert_eq!(second() - looked, files.len(), "after {step}: the second store");
    }
}

#[test]
fn a_signal_cancels_cleanly() {
    let house = House::new();
    for signal in ["INT", "TERM"] {
        let mut child = paused_at(&house, "verify");
        let pid = child.id().to_string();
        assert!(
            std::process::Command::new("kill")
                .args([&format!("-{signal}"), &pid])
                .status()
                .unwrap()
                .success()
        );
        assert_eq!(child.wait().unwrap().code(), Some(130), "{signal}");
        let left = house.files();
        assert!(
            !left
                .iter()
                .any(|name| name.ends_with(".dump") || name.ends_with(".json")),
            "{left:?}"
        );
        assert!(
            !left.iter().any(|name| name.ends_with(".run")),
            "a claim is left: {left:?}"
        );
    }
    house.backup();
    assert_eq!(house.listed().len(), 1);
}

#[test]
fn a_run_that_was_killed_on_this_machine_is_known_as_dead() {
    let house = House::new();
    let mut child = paused_at(&house, "verify");
    let listed = house.run(&["list"]).ok().stdout;
    assert!(listed.contains("is under way, or was killed"), "{listed}");
    child.kill().unwrap();
    child.wait().unwrap();
    let listed = house.run(&["list"]).ok().stdout;
    assert!(listed.contains("was killed: that process is gone"), "{listed}");
    house.backup();
    let listed = house.run(&["list"]).ok().stdout;
    assert!(!listed.contains("killed"), "{listed}");
}
