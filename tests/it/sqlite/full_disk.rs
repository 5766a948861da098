//! Disks that are full, at whatever step of a backup or a restore: the database is whole, and nothing is left behind.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Site;
use crate::support::{Run, SmallDisk};

/// About 1 MiB that compresses to next to nothing, so that no plan knows how much room it takes.
const FLAT: &str = "CREATE TABLE t (n INTEGER PRIMARY KEY, a TEXT);
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300)
    INSERT INTO t SELECT i, printf('%.3000c', 'x') FROM n;";

/// A disk on which no more than so many KiB are free.
fn fill(folder: &Path, free: u64) {
    let path = folder.join("filling");
    let mut file = File::create(&path).unwrap();
    while file.write_all(&[b'x'; 4096]).is_ok() {}
    let size = file.metadata().unwrap().len();
    file.set_len(size.saturating_sub(free << 10)).unwrap();
}

/// Runs something on the disk.
fn run(disk: &SmallDisk, program: &str, arguments: &[&str]) -> Run {
    Run::of(disk.inside(Path::new(program)).args(arguments))
}

/// What is on the disk, but for what fills it.
fn files(disk: &SmallDisk) -> Vec<String> {
    let entries = fs::read_dir(disk.path()).unwrap();
    let mut names: Vec<String> = entries
        .map(|it| it.unwrap().file_name().into_string().unwrap())
        .collect();
    names.retain(|name| name != "filling");
    names.sort();
    names
}

#[test]
fn a_restore_onto_a_full_disk_leaves_the_old_database_or_the_new_one() {
    let program = env!("CARGO_BIN_EXE_snapback");
    for mode in ["WAL", "DELETE"] {
        let site = Site::with(&format!("PRAGMA journal_mode = {mode}; {FLAT}"));
        let packed = Command::new("gzip")
            .arg("-c")
            .arg(site.path("app.db"))
            .output()
            .unwrap()
            .stdout;
        fs::write(site.path("whole.db.gz"), packed).unwrap();
        site.python("app.db", "DELETE FROM t WHERE n > 250; UPDATE t SET a = a || 'y'");
        let old = fs::read(site.path("app.db")).unwrap();
        let folder = site.path("small");
        fs::create_dir(&folder).unwrap();
        let (mut failed, mut restored) = (0, 0);
        // Not even the new name; unpacking; the log or the journal; all of it.
        for free in [0, 4, 300, 900, 1200, 1800, 4000] {
            let disk = SmallDisk::mount(|program| Command::new(program), &folder, 6);
            fs::write(disk.path().join("app.db"), &old).unwrap();
            fill(disk.path(), free);
            let from = site.path("whole.db.gz");
            let arguments = [
                "restore",
                "app.db",
                "--from",
                from.to_str().unwrap(),
                "-y",
                "--no-safety",
            ];
            let done = run(&disk, program, &arguments);
            let size = match done.code {
                Some(0) => {
                    restored += 1;
                    "300\n3000"
                }
                _ => {
                    failed += 1;
                    let told = ["is full", "No space left", "bytes are needed"];
                    assert!(
                        told.iter().any(|told| done.stderr.contains(told)),
                        "{mode} {free}: {}",
                        done.stderr
                    );
                    "250\n3001"
                }
            };
            fs::remove_file(disk.path().join("filling")).unwrap();
            let asked = "PRAGMA integrity_check; SELECT count(*) FROM t; SELECT max(length(a)) FROM t";
            let state = run(&disk, "sqlite3", &["app.db", asked]).ok().stdout;
            assert_eq!(state.trim(), format!("ok\n{size}"), "{mode}, {free} KiB free");
            assert_eq!(files(&disk), ["app.db"], "{mode}, {free} KiB free");
        }
        assert!(
            failed >= 3 && restored >= 1,
            "{mode}: {failed} failed, {restored} were done"
        );
    }
}

#[test]
fn a_backup_into_a_full_store_fails_and_leaves_no_half_one() {
    let site = Site::with(
        "CREATE TABLE t (a); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000)
         INSERT INTO t SELECT randomblob(500) FROM n;",
    );
    let before = fs::read(site.path("app.db")).unwrap();
    let folder: PathBuf = site.path("small");
    fs::create_dir(&folder).unwrap();
    let (mut failed, mut done) = (0, 0);
    for free in [0, 4, 12, 100, 500, 700, 2000] {
        let disk = SmallDisk::mount(|program| Command::new(program), &folder, 4);
        let store = site.path("backups");
        let _ = fs::remove_file(&store);
        std::os::unix::fs::symlink(disk.path(), &store).unwrap();
        fill(disk.path(), free);
        let run = site.snapback(&["backup", "app.db"]);
        match run.code {
            Some(0) => done += 1,
            _ => {
                failed += 1;
                assert!(run.stderr.contains("No space left"), "{free}: {}", run.stderr);
                let list = site.snapback(&["list", "app.db", "--json"]).ok().stdout;
                let list: serde_json::Value = serde_json::from_str(&list).unwrap();
                assert_eq!(list[0]["backups"], serde_json::json!([]), "{free}");
            }
        }
        assert!(fs::read(site.path("app.db")).unwrap() == before, "{free}");
        fs::remove_file(disk.path().join("filling")).unwrap();
        // The next run has room, and takes away what the failed one has left.
        std::thread::sleep(std::time::Duration::from_millis(1100));
        site.snapback(&["backup", "app.db"]).ok();
        site.snapback(&["verify", "app.db", "--all", "--full"]).ok();
        let archives = site.archives(".db.gz").len();
        assert_eq!(archives, site.archives(".json").len(), "{free}");
        assert_eq!(site.archives(".run").len(), 0, "{free}");
        let beside = site.files();
        assert_eq!(beside, ["app.db", "small"], "{free}");
    }
    assert!(failed >= 3 && done >= 1, "{failed} failed, {done} were done");
}
