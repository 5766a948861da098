//! A store on a disk that is full: what nobody needs goes all the same, and then there is room.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;

use super::House;
use crate::support::SmallDisk;

/// A job whose store is on a disk of its own with 2 MiB, with three backups.
fn on_small_disk() -> (House, SmallDisk) {
    let house = House::new();
    house.configure("retention.keep_last = 10\n");
    let folder = house.dir.path().join("small");
    fs::create_dir(&folder).unwrap();
    let disk = SmallDisk::mount(|program| Command::new(program), &folder, 2);
    std::os::unix::fs::symlink(disk.path(), house.dir.path().join("backups")).unwrap();
    for _ in 0..3 {
        house.backup();
    }
    house.configure("retention.keep_last = 1\n");
    (house, disk)
}

/// Somebody else's file, which takes all the room there is.
fn fill(disk: &SmallDisk) -> PathBuf {
    let path = disk.path().join("filling");
    let mut file = File::create(&path).unwrap();
    for size in [4096, 1] {
        while file.write_all(&vec![b'x'; size]).is_ok() {}
    }
    let probe = fs::write(disk.path().join("probe"), "x");
    assert!(probe.is_err(), "the disk is not full");
    let _ = fs::remove_file(disk.path().join("probe"));
    path
}

#[test]
fn a_full_store_can_be_emptied_by_prune() {
    let (house, disk) = on_small_disk();
    let newest = house.listed()[0].clone();
    fill(&disk);
    let pruned = house.run(&["prune"]).ok().stdout;
    assert!(pruned.contains("2 of 3 backups deleted"), "{pruned}");
    let left = house.files();
    assert!(left.iter().all(|name| name.contains(&newest)), "{left:?}");
    assert_eq!(house.listed().len(), 1);
    house.run(&["verify", "app", "latest", "--full"]).ok();
}

#[test]
fn a_run_that_finds_no_room_makes_some_for_the_next() {
    let (house, disk) = on_small_disk();
    fill(&disk);
    let failed = house.run(&["backup"]).code(1);
    assert!(failed.stderr.contains("No space left"), "{}", failed.stderr);
    assert!(
        failed.stderr.contains("2 backups that no rule keeps were deleted"),
        "{}",
        failed.stderr
    );
    assert_eq!(house.listed().len(), 1);
    house.backup();
    assert_eq!(house.listed().len(), 1);
}

#[test]
fn a_failure_for_want_of_room_keeps_nothing_and_any_other_says_so_until_it_is_forced() {
    let (house, disk) = on_small_disk();
    house.configure("retention.keep_last = 1\nprune = false\n");
    let filling = fill(&disk);
    house.run(&["backup"]).code(1);
    fs::remove_file(filling).unwrap();
    // Recorded when there is room, but a reason for nothing.
    house.run(&["backup"]).ok();
    fill(&disk);
    house.run(&["backup"]).code(1);
    let planned = house.run(&["prune", "--dry-run"]).ok().stdout;
    assert!(planned.contains("3 of 4 backups would be deleted"), "{planned}");

    fs::remove_file(disk.path().join("filling")).unwrap();
    let file = house.dir.path().join("snapback.toml");
    let good = fs::read_to_string(&file).unwrap();
    fs::write(&file, good.replace("/app?", "/nosuch?")).unwrap();
    house.run(&["backup"]).code(3);
    fs::write(&file, good).unwrap();
    let said = house.run(&["prune"]).ok().stdout;
    assert!(
        said.contains("0 of 4 backups deleted") && said.contains("failed: ") && said.contains("--force"),
        "{said}"
    );
    let refused = house.run(&["prune", "--force"]).code(7);
    assert!(
        refused.stdout.contains("3 of 4 backups would be deleted"),
        "{refused:?}"
    );
    assert_eq!(house.listed().len(), 4);
    house.run(&["prune", "--force", "--yes"]).ok();
    assert_eq!(house.listed().len(), 1);
}
