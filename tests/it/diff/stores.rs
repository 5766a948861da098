//! Backups that are encrypted, or in a bucket, tell the same as those in a folder.

use serde_json::Value;

use super::{json, objects, rows};
use crate::restore::Site;
use crate::s3::noise;
use crate::sqlite::Site as Files;
use crate::support::faulty_s3::{Ask, FaultyS3};
use crate::support::s3::S3Server;
use crate::support::{Run, snapback};

/// What is compared, without when and by whom.
fn found(text: &str) -> Value {
    let mut found = json(text);
    for side in ["before", "after"] {
        found[side] = Value::Null;
    }
    assert_eq!(found["differ"], true);
    assert!(!objects(&found).is_empty() && !rows(&found).is_empty(), "{found}");
    found
}

/// A new key in the folder; returns who it is for.
fn keygen(folder: &std::path::Path) -> String {
    let run = Run::of(snapback().arg("keygen").arg("-o").arg(folder.join("key"))).ok();
    run.stdout.trim().to_owned()
}

const BEFORE: &str = "CREATE TABLE kept (id int PRIMARY KEY, v text); INSERT INTO kept VALUES (1, 'one'), (2, 'two');
    CREATE TABLE narrow (id int PRIMARY KEY, gone text, v text); INSERT INTO narrow VALUES (1, 'x', 'y'), (2, 'x', 'z')";
const CHANGE: &str = "UPDATE kept SET v = 'TWO' WHERE id = 2; INSERT INTO kept VALUES (3, 'three');
    ALTER TABLE narrow DROP COLUMN gone; DELETE FROM narrow WHERE id = 1; CREATE VIEW fresh AS SELECT v FROM kept";

#[test]
fn what_is_sealed_or_in_a_bucket_tells_the_same_of_postgresql() {
    let (site, bucket) = (Site::new(16, "app"), S3Server::start());
    let public = keygen(site.folder());
    let mut told = Vec::new();
    for sealed in [false, true] {
        if sealed {
            site.configure(&format!("[jobs.app.encryption]\nrecipients = [\"{public}\"]"));
        }
        for far in [false, true] {
            let folder = "[stores.default]\npath = \"backups\"\n";
            let section = bucket.config("");
            if far {
                site.reconfigure(folder, &section);
            }
            site.server.psql(
                "app",
                &format!("DROP SCHEMA public CASCADE; CREATE SCHEMA public; {BEFORE}"),
            );
            let id = site.backup();
            let key: &[&str] = if sealed { &["--identity", "key"] } else { &[] };
            let same = site.run(&[&["diff", "app", &id, "--exit-code"], key].concat()).ok();
            assert!(same.stdout.contains("no difference"), "{}", same.stdout);
            site.server.psql("app", CHANGE);
            let options = ["diff", "app", &id, "--rows", "--show", "9", "--json"];
            if sealed {
                // Definitions and rows are what is encrypted.
                let run = site.run(&options);
                assert_ne!(run.code, Some(0), "it was read without its key");
                assert!(run.stderr.contains("key"), "{}", run.stderr);
            }
            told.push(found(&site.run(&[&options[..], key].concat()).ok().stdout));
            if far {
                site.reconfigure(&section, folder);
            }
        }
    }
    assert!(told.iter().all(|it| *it == told[0]), "{told:#?}");
    assert_eq!(rows(&told[0])["kept"], [1, 0, 1]);
    assert_eq!(rows(&told[0])["narrow"], [0, 1, 0]);
}

#[test]
fn and_of_sqlite() {
    let bucket = S3Server::start();
    let mut told = Vec::new();
    for (sealed, far) in [(false, false), (true, false), (false, true), (true, true)] {
        let site = Files::with(BEFORE);
        let mut config = match far {
            true => bucket.config(if sealed { "sealed" } else { "plain" }),
            false => "[stores.default]\npath = 'backups'\n".to_owned(),
        };
        config += "[jobs.app]\nurl = 'sqlite:///app.db'\n";
        if sealed {
            let public = keygen(site.dir.path());
            config += &format!("[jobs.app.encryption]\nrecipients = ['{public}']\n");
        }
        std::fs::write(site.path("snapback.toml"), config).unwrap();
        let id = site.snapback(&["backup", "app"]).ok().stdout.trim().to_owned();
        site.python("app.db", CHANGE);
        let options = ["diff", "app", &id, "--rows", "--show", "9", "--json"];
        let key: &[&str] = if sealed { &["--identity", "key"] } else { &[] };
        told.push(found(&site.snapback(&[&options[..], key].concat()).ok().stdout));
    }
    assert!(told.iter().all(|it| *it == told[0]), "{told:#?}");
    assert_eq!(rows(&told[0])["kept"], [1, 0, 1]);
}

#[test]
fn of_a_bucket_only_the_rows_that_are_compared_are_read() {
    let (site, bucket) = (Site::new(15, "app"), FaultyS3::start());
    site.use_store(&bucket.config(""));
    site.server.psql("app", &noise(40_000));
    site.server.psql("app", BEFORE);
    let id = site.backup();
    site.server.psql("app", CHANGE);
    bucket.count(Ask::Get);
    let run = site.run(&["diff", "app", &id, "--rows", "--json"]).ok();
    assert_eq!(rows(&json(&run.stdout))["narrow"], [0, 1, 0]);
    let seen = bucket.seen();
    let length = |range: &str| {
        let (begin, end) = range.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
        end.parse::<u64>().unwrap() - begin.parse::<u64>().unwrap() + 1
    };
    let ranges = seen
        .iter()
        .filter(|seen| seen.ask == Ask::Get && seen.key.contains(".dump"));
    let read: u64 = ranges.map(|seen| length(seen.headers["range"].to_str().unwrap())).sum();
    // Its other table has more than 10 MiB.
    assert!(read > 0 && read < 1 << 20, "{read}");
}
