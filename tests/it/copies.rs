//! Bad days of copies and of what goes on beside them: kill -9, servers that die, full disks, prunings and restores.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::backup::House;
use crate::s3::noise;
use crate::support::disk::SmallDisk;
use crate::support::faulty_s3::{Ask, Fault, FaultyS3};
use crate::support::s3::S3Server;

/// So slow that whatever copies more than a few rows is not done before somebody comes along.
const SLOW: &str = "16KiB";

/// A house with about 2.5 MB of rows that do not compress, and the stores `near` and `far`.
fn house(near: &str, far: &str) -> House {
    let house = House::new();
    house.server.psql(
        "app",
        "CREATE TABLE noise AS SELECT md5(i::text) || md5((i + 1)::text) AS t FROM generate_series(1, 60000) i",
    );
    configure(&house, near, far, "");
    house
}

/// Each store as the text of its section, and more keys of the job.
fn configure(house: &House, near: &str, far: &str, more: &str) {
    house.configure(&format!(
        "stores = [\"near\", \"far\"]\n{more}\n[stores.near]\n{near}\n[stores.far]\n{far}\n"
    ));
}

const NEAR: &str = "path = \"near\"";
const FAR: &str = "path = \"far\"";

/// A backup that is in `near` only, whose copy in `far` is taken away.
fn only_near(house: &House) -> String {
    let id = house.backup();
    let far = house.dir.path().join("far");
    fs::remove_dir_all(&far).unwrap();
    id
}

/// The section of `store` in a bucket.
fn bucket(config: &str) -> String {
    config.replace("[stores.default.s3]", "[stores.far.s3]")
}

fn start(house: &House, args: &[&str]) -> Child {
    let mut command = house.command(args);
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// Waits for what has to come.
fn until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < deadline, "it never came that {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn kill(mut child: Child) {
    assert_eq!(child.try_wait().unwrap(), None, "it came to its end too soon");
    child.kill().unwrap();
    child.wait().unwrap();
}

fn is_partial(name: &str) -> bool {
    name.contains(".dump.") && name.ends_with(".partial")
}

/// The stores that have the backup.
fn places(house: &House, id: &str) -> Vec<String> {
    let listed = house.json(&["list"]);
    let backups = listed[0]["backups"].as_array().unwrap().iter();
    let copies = backups
        .filter(|backup| backup["id"] == id)
        .flat_map(|backup| backup["copies"].as_array().unwrap().clone());
    copies.map(|copy| copy["store"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_copy_that_is_killed_leaves_nothing_that_counts_and_the_next_one_sweeps() {
    let house = house(NEAR, FAR);
    let id = only_near(&house);
    configure(&house, NEAR, &format!("{FAR}\nmax_upload_rate = \"{SLOW}\""), "");
    let copy = start(&house, &["copy", "app", &id, "--to", "far"]);
    until("the archive is on its way", || {
        house.files_in("far").iter().any(|name| is_partial(name))
    });
    kill(copy);
    assert_eq!(places(&house, &id), ["near"]);
    assert!(house.files_in("far").iter().any(|name| is_partial(name)));
    // Without any database: that may be what the copy is for.
    configure(&house, NEAR, FAR, "");
    house.server.psql("postgres", "DROP DATABASE app");
    house.run(&["copy", "app", &id, "--to", "far"]).ok();
    assert_eq!(places(&house, &id), ["near", "far"]);
    let left = house.files_in("far");
    assert_eq!(left.len(), 3, "archive, globals, manifest: {left:?}");
    house.run(&["verify", "--all", "--full"]).ok();
}

#[test]
fn a_backup_or_a_copy_that_is_killed_in_an_upload_leaves_nothing_that_counts() {
    let server = FaultyS3::start();
    let far = bucket(&server.config(""));
    let house = house(NEAR, &far);
    // More than one part, so that there is something to be in the middle of.
    house
        .server
        .psql("app", &format!("DROP TABLE noise; {}", noise(32_000)));
    let in_near = format!("store = \"near\"\n[stores.near]\n{NEAR}\n");
    let in_far = format!("store = \"far\"\n[stores.far]\n{far}\n");
    let manifests = || {
        let objects = server.objects().into_iter();
        objects.filter(|name| name.ends_with(".json")).count()
    };
    let killed = |args: &[&str]| {
        server.count(Ask::Part);
        server.fail(Ask::Part, "dump", 0, usize::MAX, Fault::Silence);
        let run = start(&house, args);
        until("a part is on its way", || !server.keys(Ask::Part).is_empty());
        kill(run);
        server.heal();
    };
    house.configure(&in_far);
    killed(&["backup"]);
    assert_eq!((manifests(), house.listed().len()), (0, 0));
    // This server does not say which parts it has; others are asked in the tests of S3.
    house.backup();
    assert_eq!((manifests(), server.objects().len()), (1, 3));

    house.configure(&in_near);
    let id = house.backup();
    configure(&house, NEAR, &far, "");
    killed(&["copy", "app", &id, "--to", "far"]);
    assert_eq!((manifests(), places(&house, &id)), (1, vec!["near".to_owned()]));
    house.run(&["copy", "app", &id, "--to", "far"]).ok();
    // With the record of what the bucket says of the copy.
    assert_eq!((manifests(), server.objects().len()), (2, 7));
    house.run(&["verify", "--all", "--full"]).ok();
    let read = || house.json(&["verify", "app", &id, "--store", "far"])[0]["bytes_read"].clone();
    assert_eq!((read(), read()), (0.into(), 0.into()));
}

#[test]
fn a_server_that_dies_under_a_copy_leaves_no_copy() {
    let server = S3Server::start();
    // Three pieces of 4 MiB are read at once; the fourth is asked for when the first has passed, after eight seconds.
    let far = format!(
        "max_download_rate = \"512KiB\"\n{}attempts = 2\n",
        bucket(&server.config(""))
    );
    let house = house(NEAR, &far);
    house
        .server
        .psql("app", &format!("DROP TABLE noise; {}", noise(60_000)));
    let id = house.backup();
    fs::remove_dir_all(house.dir.path().join("near")).unwrap();
    let mut command = house.command(&["copy", "app", &id, "--to", "near"]);
    let copy = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    until("the archive is on its way", || {
        house.files_in("near").iter().any(|name| is_partial(name))
    });
    drop(server);
    let output = copy.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("s3://bucket") && said.contains("endpoint_url"), "{said}");
    assert_eq!(house.files_in("near"), Vec::<String>::new());
}

/// A disk of 1 MiB in the place of the folder `name`.
fn small_disk(house: &House, name: &str) -> SmallDisk {
    let folder = house.dir.path().join("small");
    fs::create_dir_all(&folder).unwrap();
    let disk = SmallDisk::mount(|program: &Path| Command::new(program), &folder, 1);
    std::os::unix::fs::symlink(disk.path(), house.dir.path().join(name)).unwrap();
    disk
}

#[test]
fn a_full_disk_or_a_folder_that_cannot_be_written_to_fails_a_copy_and_a_sealed_backup() {
    let house = house(NEAR, FAR);
    let id = only_near(&house);
    let far = house.dir.path().join("far");
    fs::write(&far, "a file where the folder should be").unwrap();
    let run = house.run(&["copy", "app", &id, "--to", "far"]).code(1);
    assert!(
        run.stderr.contains("far") && run.stderr.contains("must be writable"),
        "{}",
        run.stderr
    );
    fs::remove_file(&far).unwrap();

    let _disk = small_disk(&house, "far");
    let run = house.run(&["copy", "app", &id, "--to", "far"]).code(1);
    assert!(
        run.stderr.contains("No space left") && run.stderr.contains("free space"),
        "{}",
        run.stderr
    );
    assert_eq!(house.files_in("far"), Vec::<String>::new());
    assert!(!house.files_in("near").iter().any(|name| name.ends_with(".hold")));

    let sealed =
        "[jobs.app.encryption]\nrecipients = \"age1t7rxyev2z3rw82stdlrrepyc39nvn86l5078zqkf5uasdy86jp6svpy7pa\"";
    house.configure(&format!("store = \"far\"\n{sealed}\n[stores.far]\n{FAR}\n"));
    let run = house.run(&["backup"]).code(1);
    assert!(
        run.stderr.contains("No space left") && run.stderr.contains("free space"),
        "{}",
        run.stderr
    );
    let left = house.files_in("far");
    assert!(left.iter().all(|name| name.ends_with(".failed")), "{left:?}");
}

#[test]
fn what_is_being_copied_is_neither_pruned_nor_lost_to_a_restore_beside_it() {
    let house = house(NEAR, FAR);
    let id = only_near(&house);
    let slow = |more: &str| configure(&house, NEAR, &format!("{FAR}\nmax_upload_rate = \"{SLOW}\""), more);
    slow("");
    let copy = start(&house, &["copy", "app", &id, "--to", "far"]);
    until("the archive is on its way", || {
        house.files_in("far").iter().any(|name| is_partial(name))
    });
    // Another copy of the same is told of the first.
    house.run(&["copy", "app", &id, "--to", "far"]).code(5);
    // Newer backups, in the near store only, and none of the old ones wanted.
    house.configure(&format!(
        "store = \"near\"\nprune = false\nretention.keep_last = 1\n[stores.near]\n{NEAR}\n"
    ));
    house.backup();
    house.backup();
    let plan = house.run(&["prune", "--dry-run"]).ok().stdout;
    assert!(plan.contains(&id), "{plan}");
    house.run(&["prune"]).ok();
    assert!(house.listed().contains(&id), "it is held by the copy");
    // A restore of it goes on beside the copy.
    house.server.psql("app", "DELETE FROM customer");
    house.run(&["restore", "app", &id, "--yes"]).ok();
    assert_eq!(house.server.psql("app", "SELECT count(*) FROM customer"), "1000");
    // Until that ends, one way or another.
    kill(copy);
    configure(&house, NEAR, FAR, "");
    house.run(&["copy", "app", &id, "--to", "far"]).ok();
    assert_eq!(places(&house, &id), ["near", "far"]);
    house.run(&["verify", "app", &id, "--full"]).ok();
    house.run(&["undo", "app", "--yes"]).ok();
}
