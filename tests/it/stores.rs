//! Jobs with several stores, and databases that collapse.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::backup::House;

/// A house whose job has the stores `near` and `far`, both folders.
fn two_stores() -> House {
    let house = House::new();
    configure(&house, "");
    house
}

fn configure(house: &House, more: &str) {
    house.configure(&format!(
        "stores = [\"near\", \"far\"]\n{more}\n[stores.near]\npath = \"near\"\n[stores.far]\npath = \"far\"\n"
    ));
}

fn file(house: &House, store: &str, id: &str, extension: &str) -> PathBuf {
    house
        .dir
        .path()
        .join(store)
        .join("app")
        .join(format!("app_{id}.{extension}"))
}

/// Turns over one bit in the middle of a file.
fn flip(file: &Path) {
    let mut bytes = fs::read(file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(file, bytes).unwrap();
}

/// The names of the stores that `list` shows a backup in.
fn places(house: &House, id: &str) -> Vec<String> {
    let listed = house.json(&["list"]);
    let backups = listed[0]["backups"].as_array().unwrap();
    let Some(backup) = backups.iter().find(|backup| backup["id"] == id) else {
        return Vec::new();
    };
    let copies = backup["copies"].as_array().unwrap().iter();
    copies.map(|copy| copy["store"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_store_that_fails_spoils_no_other_and_copy_fills_the_gap() {
    let house = two_stores();
    // A file where the folder should be: nothing can be written there.
    let far = house.dir.path().join("far");
    fs::write(&far, "").unwrap();
    let run = house.run(&["backup", "--pin"]).code(10);
    let id = run.stdout.trim().to_owned();
    assert!(
        run.stderr.contains(&format!("snapback copy app {id} --to far")),
        "{}",
        run.stderr
    );
    let warned = |words| run.stderr.contains(words);
    assert!(
        warned("there will be no copy in far") && warned("the folder must be writable"),
        "{}",
        run.stderr
    );
    house.run(&["copy", "app", &id, "--to", "far"]).code(1);
    fs::remove_file(&far).unwrap();
    assert_eq!(places(&house, &id), ["near"]);

    let copied = house.json(&["copy", "app", &id, "--to", "far"]);
    assert_eq!((&copied["from"], &copied["replaced"]), (&"near".into(), &false.into()));
    assert_eq!(house.files_in("far"), house.files_in("near"));
    for extension in ["dump", "globals.sql", "json", "pin"] {
        let [near, far] = ["near", "far"].map(|store| fs::read(file(&house, store, &id, extension)).unwrap());
        assert!(near == far || extension == "pin", "{extension} differs");
    }
    let again = house.run(&["copy", "app", "latest", "--to", "far"]).ok();
    assert!(again.stdout.contains("in far already"), "{}", again.stdout);
    house.run(&["copy", "app", &id, "--to", "nowhere"]).code(3);

    // A copy that a check found damaged is replaced, once there is something to replace it.
    flip(&file(&house, "far", &id, "dump"));
    house.run(&["verify", "--store", "far"]).code(6);
    let copied = house.json(&["copy", "app", &id, "--to", "far"]);
    assert_eq!((&copied["from"], &copied["replaced"]), (&"near".into(), &true.into()));
    assert!(house.files_in("far").contains(&format!("app_{id}.pin")));
    house.run(&["verify", "--all", "--full"]).ok();
}

#[test]
fn a_damaged_source_makes_no_copy_and_a_killed_copy_is_taken_over() {
    let house = two_stores();
    let id = house.backup();
    let drop_far = || fs::remove_dir_all(house.dir.path().join("far")).unwrap();
    drop_far();
    let claim = |by: &str| {
        let manifest: Value = serde_json::from_slice(&fs::read(file(&house, "near", &id, "json")).unwrap()).unwrap();
        let claim = serde_json::json!({
            "id": id, "source": manifest["source"], "started": chrono::Utc::now(), "by": by, "copied": true
        });
        fs::create_dir_all(house.dir.path().join("far/app")).unwrap();
        fs::write(file(&house, "far", &id, "run"), claim.to_string()).unwrap();
        fs::write(file(&house, "far", &id, "globals.sql"), "half").unwrap();
    };
    // Another machine may be at it; a run of the job leaves it alone as well.
    claim("process 1 on another-machine");
    house.run(&["copy", "app", &id, "--to", "far"]).code(5);
    house.backup();
    assert!(file(&house, "far", &id, "run").exists());
    // This machine's process is gone: numbers end at 2^22.
    let node = rustix::system::uname().nodename().to_string_lossy().into_owned();
    claim(&format!("process 4294967295 on {node}"));
    house.run(&["copy", "app", &id, "--to", "far"]).ok();
    assert_eq!(places(&house, &id), ["near", "far"]);
    house.run(&["verify", "app", &id, "--store", "far"]).ok();

    drop_far();
    flip(&file(&house, "near", &id, "dump"));
    let run = house.run(&["copy", "app", &id, "--to", "far"]).code(6);
    assert!(
        run.stderr.contains("near") && run.stderr.contains("SHA-256"),
        "{}",
        run.stderr
    );
    let left = house.files_in("far");
    assert!(!left.iter().any(|name| name.contains(&id)), "{left:?}");
}

#[test]
fn a_restore_takes_the_nearest_copy_that_verifies() {
    let house = two_stores();
    let id = house.backup();
    house.server.psql("app", "DELETE FROM customer");
    flip(&file(&house, "near", &id, "dump"));
    let run = house.run(&["restore", "app", &id, "--yes", "--json"]).ok();
    assert!(run.stderr.contains("passing over the copy in near"), "{}", run.stderr);
    assert_eq!(house.server.psql("app", "SELECT count(*) FROM customer"), "1000");
    // What was found is remembered.
    assert!(house.run(&["list"]).ok().stdout.contains("DAMAGED in near"));
}

#[test]
fn a_sample_comes_round_to_every_copy() {
    let house = two_stores();
    let ids = [house.backup(), house.backup()];
    for _ in 0..4 {
        let looked = house.json(&["verify", "--sample", "20%"]);
        assert_eq!(
            looked.as_array().unwrap().len(),
            1,
            "a fifth of four copies, rounded up"
        );
    }
    let checked = |store: &str, id: &str| {
        let names = house.files_in(store);
        names
            .iter()
            .any(|name| name.contains(id) && name.ends_with("quick-passed"))
    };
    for id in &ids {
        assert!(checked("near", id) && checked("far", id), "{id} was passed over");
    }
    let listed = house.run(&["list"]).ok().stdout;
    assert_eq!(listed.matches("verified (quick, ").count(), 2, "{listed}");
    house.run(&["verify", "--sample", "0%"]).code(2);
}

#[test]
fn a_database_that_collapsed_is_told_of_everywhere() {
    let house = House::new();
    house.run(&["backup", "--strict"]).ok();
    house
        .server
        .psql("app", "DELETE FROM customer WHERE id > 400; DROP TABLE empty");
    let run = house.run(&["backup", "--strict", "--json"]).code(10);
    assert!(
        run.stderr.contains("only 400 rows, 40 % of the 1000") && run.stderr.contains("missing: public.empty"),
        "{}",
        run.stderr
    );
    let report: Value = serde_json::from_str(&run.stdout).unwrap();
    let signs = report[0]["collapsed"].as_array().unwrap();
    assert_eq!(signs.len(), 2);
    assert_eq!(report[0]["manifest"]["warnings"].as_array().unwrap()[..], signs[..]);

    // The one before is what it is compared with, so it is steady now; emptied, it collapses again.
    house.run(&["backup", "--strict"]).ok();
    house.server.psql("app", "TRUNCATE customer");
    let run = house.run(&["backup"]).ok();
    assert!(run.stderr.contains("warning: all tables are empty"), "{}", run.stderr);
    assert!(house.run(&["show"]).ok().stdout.contains("all tables are empty"));
}

#[test]
fn a_table_that_was_emptied_is_named_and_partitions_that_go_are_not() {
    let house = House::new();
    house.server.psql(
        "app",
        "CREATE TABLE orders AS SELECT i FROM generate_series(1, 2000) i;
         CREATE TABLE large AS SELECT i FROM generate_series(1, 50000) i;
         CREATE TABLE event (day int) PARTITION BY RANGE (day);
         CREATE TABLE event_1 PARTITION OF event FOR VALUES FROM (1) TO (2) PARTITION BY RANGE (day);
         CREATE TABLE event_1_all PARTITION OF event_1 DEFAULT;
         CREATE TABLE event_2 PARTITION OF event FOR VALUES FROM (2) TO (3);
         INSERT INTO event SELECT 1 + i % 2 FROM generate_series(1, 4000) i",
    );
    house.run(&["backup", "--strict"]).ok();
    house.server.psql(
        "app",
        "DROP TABLE event_1; CREATE TABLE event_3 PARTITION OF event DEFAULT",
    );
    house.run(&["backup", "--strict"]).ok();
    house
        .server
        .psql("app", "DELETE FROM orders WHERE i > 7; DROP TABLE event");
    let run = house.run(&["backup", "--strict"]).code(10);
    assert!(
        run.stderr.contains("are gone from public.orders (7 of 2000)")
            && run.stderr.contains("missing: public.event\n"),
        "{}",
        run.stderr
    );
}
