//! Drills of SQLite: in a temporary file.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::paused_at;
use crate::sqlite::{ALL_KINDS, Site};
use crate::support::{Run, SmallDisk, snapback};

/// A folder for temporary files, in the folder of the site.
fn drill(site: &Site, arguments: &[&str]) -> Command {
    let folder = site.path("temporary");
    fs::create_dir_all(&folder).unwrap();
    let mut command = snapback();
    command
        .current_dir(site.dir.path())
        .env("TMPDIR", folder)
        .args([&["drill", "app.db"], arguments].concat());
    command
}

fn temporary(site: &Site) -> usize {
    fs::read_dir(site.path("temporary")).unwrap().count()
}

#[test]
fn a_file_is_unpacked_proven_looked_at_and_removed() {
    let site = Site::with(ALL_KINDS);
    let id = site.snapback(&["backup", "app.db"]).ok().stdout.trim().to_owned();
    let check = "SELECT count(*) = 3 FROM people";
    let run = Run::of(&mut drill(&site, &["--check", check])).ok();
    assert!(
        run.stdout.contains(&format!("backup {id} of app is restorable")) && run.stdout.contains("1 check true"),
        "{}",
        run.stdout
    );
    assert_eq!(temporary(&site), 0);
    assert!(
        site.snapback(&["list", "app.db"])
            .ok()
            .stdout
            .contains("restorable, shown by a drill")
    );
    for (check, told) in [
        ("SELECT count(*) = 4 FROM people", "gave 0"),
        ("SELECT 'yes'", "gave yes"),
        ("SELECT 1 FROM nosuch", "no such table"),
        ("DELETE FROM people", "readonly"),
    ] {
        let run = Run::of(&mut drill(&site, &["--check", check])).code(12);
        assert!(run.stderr.contains(told), "{check}: {}", run.stderr);
    }
    assert!(
        site.snapback(&["list", "app.db"])
            .ok()
            .stdout
            .contains("FAILED A DRILL")
    );
    let report: Value = serde_json::from_str(&Run::of(&mut drill(&site, &["--json"])).ok().stdout).unwrap();
    assert_eq!((&report["engine"], &report["passed"]), (&"sqlite".into(), &true.into()));
    let plan = Run::of(&mut drill(&site, &["--dry-run"])).ok().stdout;
    assert!(plan.contains("a temporary file in "), "{plan}");
    // One that is damaged does not pass.
    let archive = site.archives(".db.gz").pop().unwrap();
    let bytes = fs::read(&archive).unwrap();
    fs::write(&archive, &bytes[..bytes.len() - 9]).unwrap();
    let run = Run::of(&mut drill(&site, &[&id])).code(6);
    assert!(run.stderr.contains(&id), "{}", run.stderr);
    assert_eq!(temporary(&site), 0);
    assert_eq!(site.files(), ["app.db", "temporary"]);
}

#[test]
fn what_a_killed_drill_left_is_removed_by_the_next_command() {
    let site = Site::with(ALL_KINDS);
    site.snapback(&["backup", "app.db"]).ok();
    for (step, next) in [("checks", "drill"), ("checks", "list"), ("unpack", "drill")] {
        let mut child = paused_at(drill(&site, &[]), step);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(temporary(&site), usize::from(step == "checks"));
        let mut command = match next {
            "drill" => drill(&site, &[]),
            _ => {
                let mut list = snapback();
                list.current_dir(site.dir.path())
                    .env("TMPDIR", site.path("temporary"))
                    .args(["list", "app.db"]);
                list
            }
        };
        Run::of(&mut command).ok();
        assert_eq!(temporary(&site), 0, "{step} {next}");
    }
}

#[test]
fn a_disk_without_room_is_told_before_anything_is_done() {
    let site = Site::with(
        "CREATE TABLE t (n INTEGER PRIMARY KEY, a TEXT);
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000)
         INSERT INTO t SELECT i, printf('%.3000c', 'x') FROM n;",
    );
    site.snapback(&["backup", "app.db"]).ok();
    let folder = site.path("temporary");
    fs::create_dir(&folder).unwrap();
    let disk = SmallDisk::mount(|program| Command::new(program), &folder, 2);
    let mut command = disk.inside(Path::new("env"));
    command.arg(format!("TMPDIR={}", folder.display())).args([
        "sh",
        "-c",
        "cd .. && exec \"$@\"",
        "sh",
        env!("CARGO_BIN_EXE_snapback"),
        "drill",
        "app.db",
    ]);
    let run = Run::of(&mut command).code(1);
    assert!(
        run.stderr.contains("has ") && run.stderr.contains(" free") && run.stderr.contains("TMPDIR"),
        "{}",
        run.stderr
    );
    assert_eq!(fs::read_dir(disk.path()).unwrap().count(), 0);
    assert!(!site.snapback(&["list", "app.db"]).ok().stdout.contains("DRILL"));
}
