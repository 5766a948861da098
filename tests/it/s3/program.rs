//! The program on an S3 server that misbehaves: a backup either succeeds or leaves no manifest.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::noise;
use crate::restore::Site;
use crate::support::faulty_s3::{Ask, Fault, FaultyS3};

fn site(bucket: &FaultyS3, more: &str) -> Site {
    let site = Site::new(15, "app");
    site.use_store(&bucket.config(more));
    site
}

#[test]
fn backups_and_restores_get_through_temporary_trouble() {
    let bucket = FaultyS3::start();
    let site = site(&bucket, "");
    site.server.psql("app", &noise(32_000));
    let digest = || {
        site.server
            .psql("app", "SELECT count(*), sum(hashtext(t::text)::bigint) FROM t")
    };
    let before = digest();
    for (ask, skip, fault) in [
        (Ask::List, 0, Fault::Error(503, "SlowDown")),
        (Ask::Put, 0, Fault::LostAnswer),
        (Ask::Start, 0, Fault::Error(500, "InternalError")),
        (Ask::Part, 0, Fault::Reset),
        (Ask::Part, 1, Fault::Error(503, "SlowDown")),
        (Ask::Complete, 0, Fault::LostAnswer),
        (Ask::Get, 2, Fault::CutAnswer(1_000)),
        (Ask::Delete, 0, Fault::Error(500, "InternalError")),
    ] {
        bucket.fail(ask, "", skip, 1, fault);
    }
    let id = site.backup();
    assert_eq!(bucket.leaked(), Vec::<String>::new());
    bucket.heal();
    site.server.psql("app", "DELETE FROM t WHERE n % 2 = 0");
    bucket.fail(Ask::Get, "dump", 1, 3, Fault::CutAnswer(2_000));
    bucket.fail(Ask::Get, "dump", 2, 1, Fault::Error(500, "InternalError"));
    site.restore(&[&id]);
    assert_eq!(digest(), before);
}

#[test]
fn a_backup_that_fails_leaves_no_manifest_and_no_parts() {
    let bucket = FaultyS3::start();
    let site = site(&bucket, "");
    site.server.psql("app", &noise(32_000));
    // The request that fails, whose key has this in it, and the exit code.
    let bad_days = [
        (Ask::Start, "dump", 0, Fault::Error(403, "AccessDenied"), 8),
        (Ask::Part, "dump", 1, Fault::Error(400, "ExpiredToken"), 1),
        (Ask::Part, "dump", 0, Fault::Error(503, "SlowDown"), 1),
        (Ask::Complete, "dump", 0, Fault::Error(403, "RequestTimeTooSkewed"), 8),
        (Ask::Part, "dump", 1, Fault::Garbled, 6),
        (Ask::Put, "globals", 0, Fault::Error(404, "NoSuchBucket"), 3),
        (Ask::Put, "json", 0, Fault::Error(403, "AccessDenied"), 8),
        // How many requests come before the claim depends on how many failures are recorded, and that on how fast they come.
        (Ask::Any, ".run", 0, Fault::Error(404, "NoSuchBucket"), 3),
    ];
    for (ask, key, skip, fault, code) in bad_days {
        bucket.fail(ask, key, skip, usize::MAX, fault.clone());
        let run = site.run(&["backup", "app"]);
        bucket.heal();
        assert_eq!(run.code, Some(code), "{ask:?} {fault:?}: {}", run.stderr);
        let objects = bucket.objects();
        let whole = objects.iter().find(|name| name.ends_with(".json"));
        assert_eq!(whole, None, "{ask:?} {fault:?}");
        assert_eq!(bucket.leaked(), Vec::<String>::new(), "{ask:?} {fault:?}");
    }
    // What could not be cleaned up then is cleaned up now.
    site.backup();
    let dumps = bucket.objects().into_iter().filter(|name| name.ends_with(".dump"));
    assert_eq!(dumps.count(), 1);
}

#[test]
fn parts_are_as_large_as_the_size_of_the_database_wants() {
    let bucket = FaultyS3::start();
    let site = site(&bucket, "");
    site.server.psql("app", &noise(70_000));
    site.server.psql("app", "VACUUM t");
    let parts_of = |mib: u64| {
        bucket.count(Ask::Part);
        let id = site.backup();
        let size = bucket
            .bucket()
            .join(format!("app/app_{id}.dump"))
            .metadata()
            .unwrap()
            .len();
        assert_eq!(
            bucket.count(Ask::Part) as u64,
            size.div_ceil(mib << 20),
            "{size} bytes in parts of {mib} MiB"
        );
    };
    parts_of(8);
    // What lies in TOAST counts as well: here 80 GB, which are no bytes on the disk.
    let toast = "(SELECT reltoastrelid FROM pg_class WHERE oid = 't'::regclass)";
    let file = site
        .server
        .psql("app", &format!("SELECT pg_relation_filepath({toast})"));
    let toasted = Path::new(site.server.host()).join("data").join(file);
    for segment in 0..80 {
        let name = match segment {
            0 => toasted.clone(),
            _ => PathBuf::from(format!("{}.{segment}", toasted.display())),
        };
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(name)
            .unwrap();
        file.set_len(1 << 30).unwrap();
    }
    assert_eq!(
        site.server.psql("app", &format!("SELECT pg_relation_size({toast})")),
        (80u64 << 30).to_string()
    );
    // Twice that, for what compressed values are as text, in nine thousand parts.
    parts_of(19);
}

#[test]
fn what_a_store_shows_is_not_read_and_what_it_does_not_show_is() {
    let bucket = FaultyS3::start();
    let site = site(&bucket, "");
    site.server.psql("app", &noise(32_000));
    bucket.count(Ask::Get);
    site.backup();
    assert!(!bucket.keys(Ask::Get).iter().any(|key| key.ends_with(".dump")));
    let verify = |args: &[&str]| site.run(&[&["verify", "app", "--json"][..], args].concat());
    let bytes_read = |args: &[&str]| {
        let looked: Value = serde_json::from_str(&verify(args).ok().stdout).unwrap();
        looked[0]["bytes_read"].as_u64().unwrap()
    };
    assert_eq!(bytes_read(&[]), 0);
    assert!(bytes_read(&["--full"]) > 9 << 20);
    // The store's word is all that the quick look asks for.
    bucket.fail(Ask::Get, "dump", 0, usize::MAX, Fault::WrongByte);
    assert_eq!(bytes_read(&[]), 0);
    verify(&["--full"]).code(6);
    bucket.heal();
    // It says another thing than it did: nothing but reading tells, and that is remembered.
    bucket.fail(Ask::Head, "dump", 0, usize::MAX, Fault::OpaqueETag);
    bucket.fail(Ask::Get, "dump", 0, 1, Fault::WrongByte);
    verify(&[]).code(6);
    assert!(bytes_read(&[]) > 9 << 20);
    assert_eq!(bytes_read(&[]), 0);
    bucket.heal();

    // It never showed that it has the parts: they are read back, and found to be others.
    bucket.fail(Ask::Part, "dump", 0, usize::MAX, Fault::OpaqueETag);
    let id = site.backup();
    assert!(
        bucket
            .keys(Ask::Get)
            .iter()
            .any(|key| key.ends_with(&format!("{id}.dump")))
    );
    bucket.fail(Ask::Get, "dump", 0, usize::MAX, Fault::WrongByte);
    let run = site.run(&["backup", "app"]).code(6);
    assert!(run.stderr.contains("reading back what was written"), "{}", run.stderr);
}

#[test]
fn retention_goes_on_where_an_object_lock_holds_a_backup() {
    let bucket = FaultyS3::start();
    let site = site(&bucket, "lock_mode = 'governance'\nlock_days = 30");
    site.configure("retention.keep_last = 1");
    site.configure("prune = false");
    let ids = [site.backup(), site.backup(), site.backup()];
    let locks = bucket.locks();
    assert_eq!(locks.len(), 9, "archive, globals and manifest of each: {locks:?}");
    assert!(locks.iter().all(|(_, mode)| mode == "GOVERNANCE"), "{locks:?}");

    let prune = || serde_json::from_str::<Value>(&site.run(&["prune", "app", "--json"]).ok().stdout).unwrap();
    let pruned = |report: &Value, what: &str| report[0]["stores"][0][what].as_array().unwrap().len();
    let report = prune();
    assert_eq!(
        (pruned(&report, "locked"), pruned(&report, "deleted")),
        (2, 0),
        "{report}"
    );
    assert!(report.to_string().contains("until"), "{report}");
    let said = site.run(&["prune", "app"]).ok().stdout;
    assert!(
        said.contains(&format!("{} is locked in its store until ", ids[0])),
        "{said}"
    );
    assert_eq!(
        site.run(&["list", "app"])
            .ok()
            .stdout
            .matches("verified (written)")
            .count(),
        3
    );

    // Not allowed to delete, without a lock, is an error.
    bucket.unlock();
    bucket.fail(Ask::Delete, "json", 0, 1, Fault::Error(403, "AccessDenied"));
    let run = site.run(&["prune", "app"]).code(8);
    assert!(run.stderr.contains("DeleteObject"), "{}", run.stderr);
    assert_eq!(pruned(&prune(), "deleted"), 2);
    let left = bucket.objects();
    assert!(left.iter().all(|name| name.contains(&ids[2])), "{left:?}");
}
