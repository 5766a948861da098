//! Parts of backups in a bucket: only what is wanted is read.

use crate::restore::Site;
use crate::s3::noise;
use crate::support::faulty_s3::{Ask, FaultyS3};
use crate::support::{Run, snapback};

/// How many bytes of archives were asked for since the last question.
fn read(bucket: &FaultyS3) -> u64 {
    let seen = bucket.seen();
    let ranges = seen
        .iter()
        .filter(|seen| seen.ask == Ask::Get && seen.key.contains(".dump"));
    let length = |range: &str| {
        let (begin, end) = range.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
        end.parse::<u64>().unwrap() - begin.parse::<u64>().unwrap() + 1
    };
    let sum = ranges.map(|seen| length(seen.headers["range"].to_str().unwrap())).sum();
    bucket.count(Ask::Get);
    sum
}

#[test]
fn only_the_part_that_is_wanted_is_read_from_a_bucket() {
    let bucket = FaultyS3::start();
    let site = Site::new(15, "app");
    site.use_store(&bucket.config(""));
    site.server.psql("app", &noise(40_000));
    site.server.psql(
        "app",
        "CREATE TABLE small (id int PRIMARY KEY, v text); INSERT INTO small VALUES (1, 'one'), (2, 'two')",
    );
    let key = site.folder().join("key");
    let public = Run::of(snapback().arg("keygen").arg("-o").arg(&key)).ok().stdout;
    for sealed in [false, true] {
        if sealed {
            site.configure(&format!("[jobs.app.encryption]\nrecipients = [\"{}\"]", public.trim()));
        }
        let id = site.backup();
        let shown: serde_json::Value =
            serde_json::from_str(&site.run(&["show", "app", &id, "--json"]).ok().stdout).unwrap();
        let size = shown["archive"]["bytes"].as_u64().unwrap();
        assert!(size > 10 << 20, "{size}");
        let extract = |part: &[&str]| {
            read(&bucket);
            let identity: &[&str] = if sealed { &["--identity", "key"] } else { &[] };
            let run = site.run(&[&["extract", "app", &id], part, identity].concat()).ok();
            (run.stdout, read(&bucket))
        };
        // The table of contents at the beginning, and the block of the table.
        for (part, text) in [
            (&["--table", "small"][..], "1\tone\n2\ttwo\n"),
            (&["--table", "small", "--where-key", "2"], "2\ttwo\n"),
        ] {
            let (found, bytes) = extract(part);
            assert_eq!(found, text);
            assert!(
                bytes < 1 << 20,
                "{part:?} read {bytes} of {size} bytes (sealed: {sealed})"
            );
        }
        let (definition, bytes) = extract(&["--definition", "small"]);
        assert!(definition.contains("small_pkey") && bytes < 512 << 10, "{bytes}");
        // A row at the beginning ends the reading; all of them take all.
        let first = site.server.psql("app", "SELECT n FROM t WHERE ctid = '(0,1)'");
        let (row, bytes) = extract(&["--table", "t", "--where-key", &first]);
        assert!(row.starts_with(&format!("{first}\t")) && bytes < 2 << 20, "{bytes}");
        let (rows, bytes) = extract(&["--table", "t"]);
        assert_eq!(rows.lines().count(), 40_000);
        assert!(bytes > 10 << 20 && bytes < size + (2 << 20), "{bytes} of {size}");
    }
}
