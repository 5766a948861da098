//! Where parts go, and parts of encrypted backups.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use serde_json::Value;

use crate::backup::House;
use crate::support::{Run, snapback};

#[test]
fn parts_go_into_files_that_appear_when_they_are_complete() {
    let house = House::new();
    let id = house.backup();
    let report = house.json(&[
        "extract",
        "--table",
        "customer",
        "--format",
        "csv",
        "-o",
        "customers.csv",
    ]);
    assert_eq!(
        (&report["rows"], &report["table"], &report["backup"]),
        (&1000.into(), &"public.customer".into(), &id.clone().into())
    );
    let path = house.dir.path().join("customers.csv");
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!(report["bytes"].as_u64().unwrap(), text.len() as u64);
    assert_eq!(text.lines().count(), 1001);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    // Nothing is overwritten, and what fails leaves nothing.
    let run = house
        .run(&["extract", "--table", "empty", "-o", "customers.csv"])
        .code(2);
    assert!(run.stderr.contains("exists already"), "{}", run.stderr);
    house
        .run(&["extract", "--table", "customer", "--where-key", "5000", "-o", "one"])
        .code(3);
    let mut names: Vec<String> = fs::read_dir(house.dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["backups", "customers.csv", "snapback.toml"]);
    // Globals are those of the file beside the archive, and the archive is the same.
    let globals = house.run(&["extract", "--globals"]).ok().stdout;
    assert_eq!(globals, fs::read_to_string(house.file(&id, "globals.sql")).unwrap());
    house.run(&["extract", "app", "latest", "--archive", "whole.dump"]).ok();
    assert!(fs::read(house.dir.path().join("whole.dump")).unwrap() == fs::read(house.file(&id, "dump")).unwrap());
    let list = house.json(&["extract", "--list"]);
    let customer = list
        .as_array()
        .unwrap()
        .iter()
        .find(|it| it["kind"] == "TABLE" && it["name"] == "customer");
    assert_eq!(customer.unwrap()["schema"], "public");
    // Who stops reading is no failure.
    let mut cut = Command::new("bash");
    cut.current_dir(house.dir.path())
        .env("SNAPBACK", env!("CARGO_BIN_EXE_snapback"))
        .args([
            "-o",
            "pipefail",
            "-c",
            "\"$SNAPBACK\" extract --table customer | head -n 1",
        ]);
    assert_eq!(Run::of(&mut cut).ok().stdout, "1\tcustomer 1\n");
}

#[test]
fn a_damaged_archive_is_told_and_leaves_no_file() {
    let house = House::new();
    let id = house.backup();
    let archive = house.file(&id, "dump");
    let mut bytes = fs::read(&archive).unwrap();
    let at = bytes.len() - 300;
    bytes[at] ^= 1;
    fs::write(&archive, bytes).unwrap();
    house.run(&["extract", "app", &id, "--archive", "whole.dump"]).code(6);
    house
        .run(&["extract", "app", &id, "--table", "customer", "-o", "rows"])
        .code(6);
    assert!(!house.dir.path().join("whole.dump").exists() && !house.dir.path().join("rows").exists());
}

#[test]
fn parts_of_encrypted_backups_need_the_key() {
    let house = House::new();
    let key = house.dir.path().join("key");
    let public = Run::of(snapback().arg("keygen").arg("-o").arg(&key)).ok().stdout;
    let (key, public) = (key.to_str().unwrap(), public.trim());
    house.backup();
    let all = |more: &[&str]| -> Vec<String> {
        [
            &["--table", "customer", "--where-key", "77"][..],
            &["--table", "customer", "--format", "json"],
            &["--definition", "customer"],
            &["--list"],
            &["--globals"],
        ]
        .map(|part| house.run(&[&["extract", "app"], part, more].concat()).ok().stdout)
        .to_vec()
    };
    let open = all(&[]);
    house.configure(&format!(
        "retention.keep_last = 3\n[jobs.app.encryption]\nrecipients = [\"{public}\"]\n"
    ));
    let id = house.backup();
    house.run(&["extract", "--table", "customer"]).code(9);
    let sealed = all(&["--identity", key]);
    // But for times and numbers of what was made anew.
    for (at, (sealed, open)) in sealed.iter().zip(&open).enumerate() {
        let comparable = |text: &str| {
            let lines = text
                .lines()
                .filter(|line| !line.starts_with("\\") && !line.starts_with("; Archive created"));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(comparable(sealed), comparable(open), "{at}");
    }
    house
        .run(&["extract", "--archive", "whole.dump", "--identity", key])
        .ok();
    let opened = Command::new("age")
        .args(["-d", "-i", key])
        .arg(house.file(&id, "dump.age"))
        .output()
        .unwrap();
    assert!(opened.status.success() && opened.stdout == fs::read(house.dir.path().join("whole.dump")).unwrap());
    let rows: Value = serde_json::from_str(&sealed[1]).unwrap();
    assert_eq!(rows.as_array().unwrap().len(), 1000);
}
