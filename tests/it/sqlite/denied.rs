//! What keeps a restore or a backup from being done is told before anything is touched, with the reason.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;
use std::process::Command;

use super::{PAIRS, Site, end};
use crate::support::{Run, SmallDisk};

/// Runs the program as root without its privileges, who may do no more than anybody else.
fn powerless(site: &Site, arguments: &[&str]) -> Run {
    let mut command = Command::new("setpriv");
    command.current_dir(site.dir.path()).args([
        "--bounding-set=-all",
        "--inh-caps=-all",
        env!("CARGO_BIN_EXE_snapback"),
    ]);
    Run::of(command.args(arguments))
}

fn give_away(path: &Path, mode: u32) {
    chown(path, Some(65534), Some(65534)).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn files_and_folders_that_may_only_be_read_are_named_and_backups_of_them_work() {
    let site = Site::with(PAIRS);
    site.snapback(&["backup", "app.db"]).ok();
    site.python("app.db", "INSERT INTO pair_a VALUES (1)");
    // A file of somebody else in our folder.
    give_away(&site.path("app.db"), 0o644);
    let run = powerless(&site, &["restore", "app.db", "latest", "-y"]).code(8);
    assert!(run.stderr.contains("app.db may not be written to"), "{}", run.stderr);
    powerless(&site, &["backup", "app.db"]).ok();
    // Our file in a folder of somebody else: there is no place for a journal, nor for what is unpacked.
    let locked = site.path("locked");
    fs::create_dir(&locked).unwrap();
    fs::copy(site.path("app.db"), locked.join("other.db")).unwrap();
    give_away(&locked, 0o755);
    let run = powerless(
        &site,
        &[
            "restore",
            "app.db",
            "latest",
            "-y",
            "--to",
            "locked/other.db",
            "--from-other",
            "app.db",
        ],
    );
    assert_eq!(run.code, Some(8), "{}", run.stderr);
    assert!(run.stderr.contains("locked may not be written to"), "{}", run.stderr);
    powerless(&site, &["backup", "locked/other.db"]).ok();
    assert_eq!(fs::read_dir(&locked).unwrap().count(), 1);
    assert_eq!(site.shell("app.db", "SELECT count(*) FROM pair_a"), "1");
}

#[test]
fn a_file_system_that_may_only_be_read_gives_up_what_is_whole_and_no_more() {
    let site = Site::new();
    let folder = site.path("frozen");
    fs::create_dir(&folder).unwrap();
    let disk = SmallDisk::mount(|program| Command::new(program), &folder, 4);
    let inside = |program: &str, arguments: &[&str]| Run::of(disk.inside(Path::new(program)).args(arguments));
    inside("sqlite3", &["plain.db", PAIRS]).ok();
    inside("sqlite3", &["log.db", &format!("PRAGMA journal_mode = WAL; {PAIRS}")]).ok();
    inside("mount", &["-o", "remount,ro", folder.to_str().unwrap()]).ok();
    let store = format!("SNAPBACK__STORES__DEFAULT__PATH={}", site.path("store").display());
    let program = env!("CARGO_BIN_EXE_snapback");
    inside("env", &[&store, program, "backup", "plain.db"]).ok();
    // Nobody knows whether others write to it through another mount, so it is not taken for one that nobody changes.
    let log = inside("env", &[&store, program, "backup", "log.db"]).code(8);
    assert!(log.stderr.contains("uses a write-ahead log"), "{}", log.stderr);
    assert!(log.stderr.contains("-shm"), "{}", log.stderr);
    let restore = inside("env", &[&store, program, "restore", "plain.db", "latest", "-y"]).code(8);
    assert!(restore.stderr.contains("may not be written to"), "{}", restore.stderr);
}

#[test]
fn pages_of_another_size_wait_for_those_who_have_a_log_open() {
    let site = Site::with(PAIRS);
    fs::write(
        site.path("snapback.toml"),
        "[stores.default]\npath = \"backups\"\n[jobs.app]\nurl = \"sqlite:///app.db\"\ndump.lock_wait_timeout = \"1s\"\n",
    )
    .unwrap();
    site.snapback(&["backup"]).ok();
    site.python(
        "app.db",
        "PRAGMA journal_mode = DELETE; PRAGMA page_size = 1024; VACUUM; PRAGMA journal_mode = WAL; INSERT INTO pair_a VALUES (1)",
    );
    let reader = site.reader_that_stays();
    let run = site.snapback(&["restore", "latest", "-y"]).code(4);
    assert!(
        run.stderr
            .contains("has pages of 1024 bytes and a write-ahead log, and the backup has pages of 4096"),
        "{}",
        run.stderr
    );
    assert!(run.stderr.contains("python3"), "{}", run.stderr);
    assert_eq!(
        site.shell("app.db", "SELECT count(*) FROM pair_a; PRAGMA page_size"),
        "1\n1024"
    );
    end(reader);
    site.snapback(&["restore", "latest", "-y"]).ok();
    assert_eq!(
        site.shell("app.db", "SELECT count(*) FROM pair_a; PRAGMA page_size"),
        "0\n4096"
    );
}
