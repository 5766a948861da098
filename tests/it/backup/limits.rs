//! What keeps a run from harming others, or from never ending: lock waits, stalls, rates.

use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use super::House;
use crate::support::{Relay, Run};

/// The job goes through `relay`, with these keys.
fn through(house: &House, relay: &Relay, keys: &str) {
    let text = format!(
        "[stores.default]\npath = \"backups\"\n[jobs.app]\nurl = \"postgresql://postgres@/app?host={}\"\nattempts = 1\n{keys}",
        relay.host()
    );
    fs::write(house.dir.path().join("snapback.toml"), text).unwrap();
}

#[test]
fn a_run_in_which_nothing_moves_is_given_up() {
    let house = House::new();
    let relay = Relay::stopping_at(&house.server, "COPY public.customer");
    through(&house, &relay, "stall_timeout = \"2s\"\n");
    let run = house.run(&["backup"]).code(1);
    assert!(
        run.stderr
            .contains("the run stalled: no byte has moved for 2 s (stall_timeout)"),
        "{}",
        run.stderr
    );
    let listed = house.json(&["list"]);
    assert_eq!(listed[0]["backups"].as_array().unwrap().len(), 0);
    assert!(
        listed[0]["failures"][0]["error"].as_str().unwrap().contains("stalled"),
        "{listed:#}"
    );
    // What moves is left alone, however long it takes: the next run ends well.
    relay.meanwhile(|| ());
    house.run(&["backup"]).ok();
}

#[test]
fn a_backup_never_makes_a_migration_wait_for_long_although_nobody_has_said_so() {
    let house = House::new();
    let relay = Relay::stopping_at(&house.server, "COPY public.customer");
    through(&house, &relay, "");
    let mut backup = house.command(&["backup"]);
    let backup = backup.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (run, mut migration) = relay.meanwhile(|| {
        let mut psql = house.server.tool("psql");
        psql.args(house.server.connection_args("app"))
            .args(["-c", "ALTER TABLE customer ADD COLUMN more int"]);
        let migration = psql.stdout(Stdio::null()).spawn().unwrap();
        (Run::from(backup.wait_with_output().unwrap()), migration)
    });
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    for part in ["gave way", "max_lock_wait (30s)", "ALTER TABLE customer"] {
        assert!(run.stderr.contains(part), "{}", run.stderr);
    }
    assert!(migration.wait().unwrap().success());
}

#[test]
fn a_job_writes_no_faster_than_it_may() {
    let house = House::new();
    house.server.psql(
        "app",
        "CREATE TABLE noise AS SELECT gen_random_uuid() AS id FROM generate_series(1, 60000)",
    );
    house.configure("max_upload_rate = \"512KiB\"\n[jobs.app.dump]\ncompress = \"none\"\n");
    let begun = Instant::now();
    let id = house.backup();
    let bytes = fs::metadata(house.file(&id, "dump")).unwrap().len();
    assert!(bytes > 2 << 20, "{bytes}");
    // A limit of time from below: a quarter of a second's bytes may pass at once.
    assert!(begun.elapsed() > Duration::from_secs(3), "{:?}", begun.elapsed());
}
