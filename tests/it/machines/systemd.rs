//! The package under a real systemd, from its installation to its end.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Machine, until};
use crate::package::{binary, package};
use crate::support::Run;

const BACKUPS: &str = "/var/lib/snapback/backups/app";

/// The same package as one of the version before.
fn older(deb: &Path, folder: &Path) -> PathBuf {
    let tree = folder.join("tree");
    Run::of(Command::new("dpkg-deb").arg("-R").arg(deb).arg(&tree)).ok();
    let control = tree.join("DEBIAN/control");
    let text = fs::read_to_string(&control).unwrap();
    let version = format!("Version: {}\n", env!("CARGO_PKG_VERSION"));
    assert!(text.contains(&version));
    fs::write(&control, text.replace(&version, "Version: 0.0.1\n")).unwrap();
    let old = folder.join("old.deb");
    Run::of(
        Command::new("dpkg-deb")
            .args(["-Zgzip", "-z1", "-b"])
            .arg(&tree)
            .arg(&old),
    )
    .ok();
    old
}

/// A job whose password is a credential of systemd.
fn configure(machine: &Machine, schedule: &str) {
    machine.write(
        "/etc/snapback/config.toml",
        &format!(
            "[daemon]\nshutdown_timeout = '2s'\n\
             [stores.default]\npath = '/var/lib/snapback/backups'\n\
             [jobs.app]\nurl = 'postgresql://backup@127.0.0.1/app'\npassword_credential = 'app-password'\nnice = 3\nschedule = '{schedule}'\n"
        ),
    );
}

const NIGHTLY: &str = "0 3 * * *";
const ALL_THE_TIME: &str = "*/5 * * * * *";

/// The names of what is in the job's folder that end so.
fn files(machine: &Machine, end: &str) -> Vec<String> {
    let Ok(entries) = fs::read_dir(machine.path(BACKUPS)) else {
        return Vec::new();
    };
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| name.ends_with(end)).collect();
    names.sort();
    names
}

#[track_caller]
fn psql(machine: &Machine, database: &str, sql: &str) -> String {
    let run = machine.run(&[
        "runuser",
        "-u",
        "postgres",
        "--",
        "psql",
        "-XAtq",
        "-v",
        "ON_ERROR_STOP=1",
        "-d",
        database,
        "-c",
        sql,
    ]);
    run.ok().stdout.trim_end().to_owned()
}

/// Everything in the store belongs to the service, whoever made it.
#[track_caller]
fn all_is_the_services(machine: &Machine) {
    let folder = machine.path("/var/lib/snapback");
    let owner = fs::metadata(&folder).unwrap().uid();
    assert_ne!(owner, 0);
    let found = Run::of(
        Command::new("find")
            .arg(&folder)
            .args(["!", "-uid", &owner.to_string()]),
    )
    .ok();
    assert_eq!(found.stdout, "");
}

#[test]
#[ignore = "boots a machine: tests/run --full"]
fn the_package_lives_and_ends_under_systemd() {
    let dir = tempfile::tempdir().unwrap();
    let new = package(&binary(dir.path()), dir.path());
    let old = older(&new, dir.path());
    let machine = Machine::boot();
    fs::copy(&new, machine.path("/root/new.deb")).unwrap();
    fs::copy(&old, machine.path("/root/old.deb")).unwrap();

    // Installing starts nothing.
    machine.run(&["apt-get", "install", "-qy", "/root/old.deb"]).ok();
    assert_eq!(
        machine.run(&["systemctl", "is-enabled", "snapback"]).stdout,
        "disabled\n"
    );
    assert_eq!(
        machine.run(&["systemctl", "is-active", "snapback"]).stdout,
        "inactive\n"
    );
    let safe = machine.run(&[
        "systemd-analyze",
        "security",
        "--no-pager",
        "--threshold=12",
        "snapback.service",
    ]);
    safe.ok();

    psql(
        &machine,
        "postgres",
        "CREATE ROLE backup LOGIN CREATEDB PASSWORD 'open sesame'",
    );
    psql(&machine, "postgres", "GRANT pg_read_all_data TO backup");
    psql(&machine, "postgres", "CREATE DATABASE app OWNER backup");
    psql(
        &machine,
        "app",
        "CREATE TABLE orders AS SELECT g AS id FROM generate_series(1, 1000) g",
    );
    psql(&machine, "app", "ALTER TABLE orders OWNER TO backup");
    machine.write("/etc/snapback/app-password", "open sesame");
    machine.shell("chmod 600 /etc/snapback/app-password").ok();
    let credential = "[Service]\nLoadCredential=app-password:/etc/snapback/app-password\n";
    machine.write("/etc/systemd/system/snapback-backup@.service.d/test.conf", credential);
    machine.write(
        "/etc/systemd/system/snapback.service.d/test.conf",
        &format!("{credential}WatchdogSec=5s\nRestartSec=1s\n"),
    );

    // Enabled and started: systemd waits until it is ready, and hears how it stands.
    configure(&machine, ALL_THE_TIME);
    machine.run(&["systemctl", "daemon-reload"]).ok();
    machine.run(&["systemctl", "enable", "--now", "snapback"]).ok();
    assert_eq!(machine.shows("snapback", "SubState"), "running");
    let first = machine.shows("snapback", "StatusText");
    assert!(first.starts_with("1 job, 0 running, next: app at "), "{first}");
    // Backups by the schedule, with the password that only the service can read.
    until("a second scheduled backup", || {
        (files(&machine, ".json").len() >= 2).then_some(())
    });
    let later = machine.shows("snapback", "StatusText");
    assert_ne!(first, later, "systemd is not told what comes next");
    all_is_the_services(&machine);
    // What the unit forbids leaves `nice` of a job its effect: it counts from the unit's own.
    let own = machine.shows("snapback", "MainPID");
    let threads = machine.run(&["ps", "-L", "-o", "ni=,comm=", "-p", &own]).ok().stdout;
    assert!(
        threads.contains("  8 snapback-nice3") && threads.contains("  5 snapback\n"),
        "{threads}"
    );
    assert!(!machine.journal("snapback").contains("nice has no effect"));

    // Another configuration, and one that is none.
    configure(&machine, NIGHTLY);
    machine.run(&["systemctl", "reload", "snapback"]).ok();
    until("the nightly schedule", || {
        machine
            .shows("snapback", "StatusText")
            .contains(" 03:00:00 ")
            .then_some(())
    });
    machine.write("/etc/snapback/config.toml", "nonsense");
    machine.run(&["systemctl", "reload", "snapback"]).ok();
    until("a refusal", || {
        machine
            .journal("snapback")
            .contains("the old one goes on")
            .then_some(())
    });
    assert!(machine.shows("snapback", "StatusText").contains(" 03:00:00 "));
    configure(&machine, NIGHTLY);

    // A process that stands still is ended and started anew.
    let before = machine.shows("snapback", "MainPID");
    machine.run(&["kill", "-STOP", &before]).ok();
    until("another process", || {
        (machine.shows("snapback", "NRestarts") == "1" && machine.shows("snapback", "SubState") == "running")
            .then_some(())
    });
    assert_ne!(machine.shows("snapback", "MainPID"), before);

    a_stop_ends_a_backup_that_waits(&machine);
    a_timer_makes_up_for_a_night(&machine);
    root_and_others_restore(&machine);

    // An upgrade leaves the running service alone, and the next start is one of the new version.
    let before = machine.shows("snapback", "MainPID");
    let said = machine.run(&["apt-get", "install", "-qy", "/root/new.deb"]).ok().stdout;
    assert!(said.contains("goes on with the version before (0.0.1)"), "{said}");
    assert_eq!(machine.shows("snapback", "MainPID"), before);
    machine.run(&["systemctl", "restart", "snapback"]).ok();
    assert_ne!(machine.shows("snapback", "MainPID"), before);

    // The end: no process, no link to a unit, and all backups.
    let kept = files(&machine, "");
    machine.run(&["apt-get", "purge", "-qy", "snapback"]).ok();
    assert_eq!(
        machine.run(&["systemctl", "is-active", "snapback"]).stdout,
        "inactive\n"
    );
    let links = machine.run(&["find", "/etc/systemd/system", "-name", "snapback*", "-type", "l"]);
    assert_eq!(links.ok().stdout, "");
    assert_eq!(files(&machine, ""), kept);
}

/// A backup that waits for a lock is cancelled by a stop, and leaves nothing that counts.
fn a_stop_ends_a_backup_that_waits(machine: &Machine) {
    let kept = files(machine, ".dump");
    machine
        .shell(
            "runuser -u postgres -- psql -q app -c 'BEGIN; LOCK TABLE orders; SELECT pg_sleep(600)' >/dev/null 2>&1 &",
        )
        .ok();
    until("a lock", || {
        (psql(
            machine,
            "app",
            "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock'",
        ) != "0")
            .then_some(())
    });
    configure(machine, ALL_THE_TIME);
    machine.run(&["systemctl", "reload", "snapback"]).ok();
    until("a backup that waits", || {
        let waits = "SELECT count(*) FROM pg_locks WHERE NOT granted";
        (machine.shows("snapback", "StatusText").contains("1 running") && psql(machine, "app", waits) != "0")
            .then_some(())
    });
    machine.run(&["systemctl", "stop", "snapback"]).ok();
    assert_eq!(machine.shows("snapback", "Result"), "success");
    assert!(machine.journal("snapback").contains("the run was cancelled"));
    assert_eq!(files(machine, ".dump"), kept);
    assert_eq!(files(machine, ".run"), [] as [String; 0]);
    psql(
        machine,
        "app",
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'BEGIN; LOCK%'",
    );
    configure(machine, NIGHTLY);
    machine.run(&["systemctl", "start", "snapback"]).ok();
}

/// The machine was off at night: the timer's run comes as soon as it is there.
fn a_timer_makes_up_for_a_night(machine: &Machine) {
    let kept = files(machine, ".json").len();
    machine.write(
        "/etc/systemd/system/snapback-backup@.timer.d/test.conf",
        "[Timer]\nRandomizedDelaySec=0\n",
    );
    let stamp = "/var/lib/systemd/timers/stamp-snapback-backup@app.timer";
    machine.run(&["touch", "-d", "3 days ago", stamp]).ok();
    machine.run(&["systemctl", "daemon-reload"]).ok();
    machine
        .run(&["systemctl", "enable", "--now", "snapback-backup@app.timer"])
        .ok();
    until("the backup of the timer", || {
        (files(machine, ".json").len() == kept + 1).then_some(())
    });
    until("the end of the timer's run", || {
        (machine.shows("snapback-backup@app.service", "ActiveState") == "inactive").then_some(())
    });
    assert_eq!(machine.shows("snapback-backup@app.service", "Result"), "success");
}

/// Restores by root and by the service's own user; who has no right is told so. The service goes on with what they leave.
fn root_and_others_restore(machine: &Machine) {
    let restore = "CREDENTIALS_DIRECTORY=/run/credentials/snapback.service snapback --config /etc/snapback/config.toml";
    psql(machine, "app", "DELETE FROM orders");
    let said = machine
        .shell(&format!("cd / && {restore} restore app latest --yes"))
        .ok();
    assert_eq!(
        psql(machine, "app", "SELECT count(*) FROM orders"),
        "1000",
        "{}",
        said.stdout
    );
    all_is_the_services(machine);
    machine
        .shell(&format!("cd / && runuser -u snapback -- env {restore} undo app --yes"))
        .ok();
    assert_eq!(psql(machine, "app", "SELECT count(*) FROM orders"), "0");

    machine.run(&["useradd", "ada"]).ok();
    let refused = machine.shell(&format!("cd / && runuser -u ada -- env {restore} list app"));
    assert!(refused.stderr.contains("Permission denied"), "{}", refused.stderr);
    refused.code(2);

    let kept = files(machine, ".json").len();
    machine.run(&["systemctl", "start", "snapback-backup@app.service"]).ok();
    assert_eq!(files(machine, ".json").len(), kept + 1);
    all_is_the_services(machine);
}
