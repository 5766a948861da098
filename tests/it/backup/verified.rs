//! `snapback verify` on good backups and on damaged ones.

use std::fs;

use super::House;

/// Turns over one bit in the middle of a file.
fn flip(file: &std::path::Path, at: usize) {
    let mut bytes = fs::read(file).unwrap();
    bytes[at] ^= 1;
    fs::write(file, bytes).unwrap();
}

#[test]
fn good_backups_verify_quickly_and_in_full() {
    let house = House::new();
    house.server.psql(
        "app",
        r"CREATE TABLE odd (t text);
          INSERT INTO odd VALUES (NULL), (''), (E'a\nb'), (E'\\.'), (repeat('x', 3000000));
          CREATE TABLE parts (id int) PARTITION BY RANGE (id);
          CREATE TABLE part_1 PARTITION OF parts FOR VALUES FROM (0) TO (10);
          INSERT INTO parts VALUES (1), (2);
          SELECT lo_from_bytea(0, decode(repeat('00ff', 5000), 'hex'))",
    );
    house.backup();
    house.backup();
    let run = house.run(&["verify", "--full"]).ok();
    assert!(run.stdout.contains("all 1,007 rows of 4 tables"), "{}", run.stdout);
    assert_eq!(house.run(&["verify", "--all"]).ok().stdout.lines().count(), 2);
    let found = house.json(&["verify", "--full"]);
    assert_eq!((&found[0]["rows"], &found[0]["depth"]), (&1007.into(), &"full".into()));
}

#[test]
fn damage_is_found_named_and_touches_nothing() {
    let house = House::new();
    let id = house.backup();
    let archive = house.file(&id, "dump");
    let good = fs::read(&archive).unwrap();

    flip(&archive, good.len() / 2);
    for args in [&["verify"][..], &["verify", "--full"]] {
        let run = house.run(args).code(6);
        assert!(
            run.stderr.contains(&id) && run.stderr.contains("SHA-256"),
            "{}",
            run.stderr
        );
    }
    fs::write(&archive, &good[..good.len() - 10]).unwrap();
    assert!(house.run(&["verify"]).code(6).stderr.contains("bytes instead of"));
    assert!(house.run(&["list"]).ok().stdout.contains("DAMAGED"));

    fs::write(&archive, "this is no archive").unwrap();
    house.run(&["verify", &id, "--full"]).code(6);

    fs::remove_file(&archive).unwrap();
    assert!(house.run(&["verify", &id]).code(6).stderr.contains("it is missing"));
    assert!(
        house.run(&["show"]).code(3).stderr.contains("no backup that is whole"),
        "latest is the newest that is there"
    );

    fs::write(&archive, &good).unwrap();
    house.run(&["verify", "--full"]).ok();
    flip(&house.file(&id, "globals.sql"), 20);
    assert!(house.run(&["verify"]).code(6).stderr.contains("globals.sql"));
}

#[test]
fn a_manifest_that_lies_is_found_out() {
    let house = House::new();
    let id = house.backup();
    let manifest = house.file(&id, "json");
    let good = fs::read_to_string(&manifest).unwrap();
    for (from, to, word) in [
        ("\"rows\": 1000", "\"rows\": 999", "public.customer has 1000 rows"),
        (
            "\"name\": \"customer\"",
            "\"name\": \"costumer\"",
            "public.costumer are not in the archive",
        ),
        ("\"schema_hash\": \"", "\"schema_hash\": \"0", "its definitions"),
        ("\"TABLE DATA\": 2", "\"TABLE DATA\": 3", "other entries"),
    ] {
        assert!(good.contains(from), "{from} in {good}");
        fs::write(&manifest, good.replace(from, to)).unwrap();
        let run = house.run(&["verify", "--full"]).code(6);
        assert!(run.stderr.contains(word), "{}", run.stderr);
    }
    // One that cannot be read hides no other backup.
    let other = house.backup();
    fs::write(&manifest, "{").unwrap();
    let listed = house.run(&["list"]).ok().stdout;
    assert!(
        listed.contains(&other) && listed.contains("damaged: the manifest"),
        "{listed}"
    );
    house.run(&["verify", "--all"]).code(6);
    fs::write(
        &manifest,
        good.replace("\"format_version\": 1", "\"format_version\": 99"),
    )
    .unwrap();
    assert!(house.run(&["show", &id]).code(6).stderr.contains("newer Snapback"));
}
