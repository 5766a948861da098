//! The RPM's scripts, in a root with a shell and systemd's tools: users, folders, and what stays.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::debian;
use crate::release::stand_in;
use crate::restore::project;
use crate::support::Run;

/// `/proc` in a root, which the tools of systemd want to see, and which dnf and rpm-ostree mount there too.
struct Proc(PathBuf);

impl Proc {
    fn mount(root: &Path) -> Proc {
        let proc = Proc(root.join("proc"));
        Run::of(Command::new("mount").args(["-t", "proc", "proc"]).arg(&proc.0)).ok();
        proc
    }
}

impl Drop for Proc {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[test]
#[ignore = "makes a root file system: tests/run --full"]
fn the_rpm_makes_its_user_and_leaves_what_is_not_its_own() {
    let dir = tempfile::Builder::new().prefix("sb").tempdir_in("/var/tmp").unwrap();
    let root = debian(dir.path());
    let mut make = Command::new(project("deploy/rpm/package"));
    make.arg(stand_in(dir.path()))
        .arg(dir.path())
        .env("SOURCE_DATE_EPOCH", "1764400000");
    let package = Run::of(&mut make).ok().stdout;
    let rpm = |words: &[&str]| {
        let mut rpm = Command::new("rpm");
        // That the root has what the package needs is known to dpkg.
        rpm.arg(format!("--root={}", root.display())).args(words);
        Run::of(&mut rpm).ok()
    };
    let _proc = Proc::mount(&root);
    rpm(&["--initdb"]);
    rpm(&["--install", "--nodeps", package.trim()]);
    let users = fs::read_to_string(root.join("etc/passwd")).unwrap();
    let user: Vec<&str> = users
        .lines()
        .find(|line| line.starts_with("snapback:"))
        .unwrap()
        .split(':')
        .collect();
    let state = root.join("var/lib/snapback");
    assert_eq!(fs::metadata(&state).unwrap().uid().to_string(), user[2]);
    let config = root.join("etc/snapback/config.toml");
    let met = fs::metadata(&config).unwrap();
    assert_eq!(
        (
            met.uid(),
            met.gid().to_string().as_str(),
            met.permissions().mode() & 0o7777
        ),
        (0, user[3], 0o640)
    );

    // What an admin has written and what was backed up stays, through another version and to the end.
    fs::write(&config, "# mine\n").unwrap();
    fs::create_dir_all(state.join("backups/app")).unwrap();
    fs::write(state.join("backups/app/a.dump"), "a backup").unwrap();
    rpm(&["--upgrade", "--force", "--nodeps", package.trim()]);
    assert_eq!(fs::read_to_string(&config).unwrap(), "# mine\n");
    assert_eq!(fs::metadata(&config).unwrap().gid().to_string(), user[3]);
    rpm(&["--erase", "snapback"]);
    assert!(!root.join("usr/bin/snapback").exists());
    assert_eq!(
        fs::read_to_string(state.join("backups/app/a.dump")).unwrap(),
        "a backup"
    );
}
