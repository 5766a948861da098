//! A long history in a bucket: no verb asks for more of it than it needs, and for nothing twice.

use std::collections::BTreeMap;
use std::fs;

use serde_json::Value;

use crate::restore::Site;
use crate::support::faulty_s3::{Ask, Fault, FaultyS3};

/// How many backups the history has.
const HISTORY: usize = 40;

/// The job with a history of backups, oldest first: one that was made, and copies of it under other ids.
fn history(bucket: &FaultyS3) -> (Site, Vec<String>) {
    let site = Site::new(15, "app");
    site.use_store(&bucket.config(""));
    site.configure("retention = { keep_last = 1000 }");
    site.server
        .psql("app", "CREATE TABLE t AS SELECT generate_series(1, 3) n");
    let made = site.backup();
    let folder = bucket.bucket().join("app");
    let mut ids: Vec<String> = (1..HISTORY).map(|n| format!("20260101T0000{n:02}Z")).collect();
    for id in &ids {
        for extension in ["dump", "globals.sql"] {
            let file = |id: &str| folder.join(format!("app_{id}.{extension}"));
            fs::copy(file(&made), file(id)).unwrap();
        }
        let manifest = fs::read_to_string(folder.join(format!("app_{made}.json"))).unwrap();
        fs::write(folder.join(format!("app_{id}.json")), manifest.replace(&made, id)).unwrap();
    }
    ids.push(made);
    (site, ids)
}

/// How often each manifest was asked for since the last question, and how many requests there were in all.
fn asked(bucket: &FaultyS3) -> (BTreeMap<String, usize>, usize) {
    let mut manifests = BTreeMap::new();
    for ask in [Ask::Get, Ask::Head] {
        for key in bucket.keys(ask) {
            if let Some(id) = key.strip_prefix("app/app_").and_then(|key| key.strip_suffix(".json")) {
                *manifests.entry(id.to_owned()).or_default() += 1;
            }
        }
    }
    let kinds = [Ask::Put, Ask::Start, Ask::Part, Ask::Complete, Ask::Abort];
    let kinds = kinds
        .into_iter()
        .chain([Ask::Uploads, Ask::Get, Ask::Head, Ask::List, Ask::Delete]);
    (manifests, kinds.map(|kind| bucket.count(kind)).sum())
}

#[test]
fn of_a_long_history_only_what_is_asked_for_is_read_and_that_once() {
    let bucket = FaultyS3::start();
    let (site, ids) = history(&bucket);
    let once = |ids: &[String]| ids.iter().map(|id| (id.clone(), 1)).collect::<BTreeMap<_, _>>();
    let (old, newest) = (ids[3].as_str(), ids[HISTORY - 1].as_str());
    asked(&bucket);
    for (args, about, requests) in [
        (&["list", "app", "--json"][..], &ids[..], HISTORY + 1),
        (&["list", "app"], &ids[..], HISTORY + 1),
        (&["show", "app", old], &ids[3..4], 2),
        (&["show", "app", "latest"], &ids[HISTORY - 1..], 2),
        (&["restore", "app", old, "--dry-run"], &ids[3..4], 12),
        (&["restore", "app", "--dry-run"], &ids[HISTORY - 1..], 12),
        (&["verify", "app", old], &ids[3..4], 12),
        (&["verify", "app", "latest"], &ids[HISTORY - 1..], 12),
    ] {
        site.run(args).ok();
        let (manifests, all) = asked(&bucket);
        assert_eq!(manifests, once(about), "{args:?}");
        assert!(all <= requests, "{args:?}: {all} requests");
    }
    for verb in ["pin", "unpin"] {
        site.run(&[verb, "app", old]).ok();
        let (manifests, all) = asked(&bucket);
        // A pin is put, and then it is looked whether the backup is still there.
        assert!(manifests[old] <= 2 && manifests.len() == 1, "{verb}: {manifests:?}");
        assert!(all <= 8, "{verb}: {all} requests");
    }
    site.run(&["prune", "app"]).ok();
    assert_eq!(asked(&bucket).0, once(&ids), "prune");
    let made = site.backup();
    let (mut manifests, all) = asked(&bucket);
    // Its own is read by the retention that follows; the newest before it once more, to be compared with.
    assert!(manifests.remove(&made).is_some_and(|times| times <= 4));
    assert!(manifests.remove(newest).is_some_and(|times| times <= 3));
    assert_eq!(manifests, once(&ids[..HISTORY - 1]), "backup");
    assert!(all <= HISTORY + 60, "backup: {all} requests");
}

#[test]
fn a_manifest_that_makes_no_sense_hides_no_other() {
    let bucket = FaultyS3::start();
    let (site, ids) = history(&bucket);
    let broken = bucket.bucket().join(format!("app/app_{}.json", ids[HISTORY - 1]));
    let text = fs::read(&broken).unwrap();
    fs::write(&broken, &text[..text.len() / 2]).unwrap();
    let listed: Value = serde_json::from_str(&site.run(&["list", "app", "--json"]).ok().stdout).unwrap();
    assert_eq!(listed[0]["backups"].as_array().unwrap().len(), HISTORY - 1);
    assert_eq!(listed[0]["unreadable"].as_array().unwrap().len(), 1);
    let plan: Value = serde_json::from_str(&site.run(&["restore", "app", "--dry-run", "--json"]).ok().stdout).unwrap();
    assert_eq!(plan["plan"]["backup"]["id"], *ids[HISTORY - 2], "{plan}");
    for verb in ["show", "verify", "restore"] {
        let run = site.run(&[verb, "app", &ids[HISTORY - 1]]).code(6);
        assert!(run.stderr.contains("cannot be understood"), "{}", run.stderr);
    }
}

#[test]
fn a_bucket_that_has_no_room_for_a_record_can_be_emptied() {
    let bucket = FaultyS3::start();
    let site = Site::new(15, "app");
    site.use_store(&bucket.config(""));
    site.backup();
    let newest = site.backup();
    site.configure("retention = { keep_last = 1 }");
    bucket.fail(
        Ask::Put,
        ".removal",
        0,
        usize::MAX,
        Fault::Error(507, "InsufficientStorage"),
    );
    let pruned = site.run(&["prune", "app"]).ok().stdout;
    assert!(pruned.contains("1 of 2 backups deleted"), "{pruned}");
    let left = bucket.objects();
    assert!(left.iter().all(|name| name.contains(&newest)), "{left:?}");
}
