//! What goes wrong outside of us: each a clear error, its exit code, and nothing touched.

use std::fs;
use std::process::Command;

use super::House;
use crate::support::{Run, SmallDisk};

/// The run failed with `code`, said `words`, and there is no backup.
#[track_caller]
fn refused(house: &House, run: Run, code: i32, words: &[&str]) {
    let run = run.code(code);
    for word in words {
        assert!(run.stderr.contains(word), "{word:?} is not in: {}", run.stderr);
    }
    assert!(
        !house
            .files()
            .iter()
            .any(|name| name.ends_with(".dump") || name.ends_with(".json")),
        "{:?}",
        house.files()
    );
}

#[test]
fn an_unreachable_server_is_named_and_recorded() {
    let house = House::new();
    fs::write(
        house.dir.path().join("snapback.toml"),
        "[stores.default]\npath = \"backups\"\n[jobs.app]\nurl = \"host=/nonexistent port=4711 user=me dbname=app\"\n",
    )
    .unwrap();
    refused(&house, house.run(&["backup"]), 4, &["/nonexistent", "4711"]);
    let listed = house.run(&["list"]).ok().stdout;
    assert!(
        listed.contains("failed:") && listed.contains("/nonexistent"),
        "{listed}"
    );
}

#[test]
fn an_unknown_database_role_job_or_backup_is_named() {
    let house = House::new();
    let text = fs::read_to_string(house.dir.path().join("snapback.toml")).unwrap();
    fs::write(
        house.dir.path().join("snapback.toml"),
        text.replace("/app?", "/nosuch?"),
    )
    .unwrap();
    refused(&house, house.run(&["backup"]), 3, &["nosuch"]);
    house.configure("");
    refused(
        &house,
        house.run(&["backup", "nojob"]),
        3,
        &["nojob", "hint: the jobs are app"],
    );
    refused(
        &house,
        house.run(&["show", "20200101T000000Z"]),
        3,
        &["20200101T000000Z"],
    );
    refused(
        &house,
        house.run(&["show", "app", "yesterday"]),
        3,
        &["yesterday", "20261120T020000Z"],
    );
    refused(&house, house.run(&["show"]), 3, &["no backup that is whole"]);
}

#[test]
fn a_wrong_configuration_stops_every_verb() {
    let house = House::new();
    for (more, word) in [
        ("shcedule = \"@daily\"\n", "shcedule"),
        ("schedule = \"0 0 30 2 *\"\n", "never fires"),
        ("retention = {}\n", "jobs.app.retention"),
    ] {
        house.configure(more);
        for verb in [&["backup"][..], &["list"], &["prune"], &["config", "check"], &["serve"]] {
            refused(&house, house.run(verb), 2, &[word]);
        }
    }
}

#[test]
fn an_unreadable_table_and_row_security_are_named_before_anything_is_dumped() {
    let house = House::new();
    house.server.psql(
        "app",
        "CREATE ROLE limited LOGIN; GRANT SELECT ON customer TO limited; CREATE TABLE secret_plans (id int);",
    );
    let as_limited = |house: &House| {
        let text = format!(
            "[stores.default]\npath = \"backups\"\n[jobs.app]\nurl = \"{}\"\n",
            house.server.url_as("limited", "app")
        );
        fs::write(house.dir.path().join("snapback.toml"), text).unwrap();
    };
    as_limited(&house);
    refused(&house, house.run(&["backup"]), 8, &["secret_plans"]);
    house.server.psql(
        "app",
        "GRANT SELECT ON ALL TABLES IN SCHEMA public TO limited; ALTER TABLE secret_plans ENABLE ROW LEVEL SECURITY;",
    );
    refused(&house, house.run(&["backup"]), 8, &["secret_plans", "row"]);
}

#[test]
fn a_second_run_of_the_job_is_refused_and_harmless() {
    let house = House::new();
    // Holds the job's lock as another run would.
    let mut first = house.command(&["backup", "--pause-at", "claim"]).spawn().unwrap();
    while !house.files().iter().any(|name| name.ends_with(".run")) {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    refused(
        &house,
        house.run(&["backup"]),
        5,
        &["a run of job app is under way", "server process"],
    );
    first.kill().unwrap();
    first.wait().unwrap();
    let listed = house.json(&["list"]);
    assert_eq!(
        listed[0]["failures"].as_array().unwrap().len(),
        0,
        "being second is no failure"
    );
}

#[test]
fn a_folder_that_cannot_be_written_to_is_named() {
    let house = House::new();
    fs::write(house.dir.path().join("backups"), "a file where the folder should be").unwrap();
    let run = house.run(&["backup"]).code(1);
    assert!(
        run.stderr.contains("backups") && run.stderr.contains("hint:"),
        "{}",
        run.stderr
    );
}

#[test]
fn a_full_disk_fails_the_run_and_leaves_room() {
    let house = House::new();
    house.server.psql(
        "app",
        "CREATE TABLE noise AS SELECT md5(i::text) || md5((i + 1)::text) AS t FROM generate_series(1, 60000) i",
    );
    let folder = house.dir.path().join("small");
    fs::create_dir(&folder).unwrap();
    let disk = SmallDisk::mount(|program| Command::new(program), &folder, 1);
    std::os::unix::fs::symlink(disk.path(), house.dir.path().join("backups")).unwrap();
    refused(&house, house.run(&["backup"]), 1, &["No space left", "free space"]);
    let left = house.files();
    assert!(left.iter().all(|name| name.ends_with(".failed")), "{left:?}");
    // What fitted before fits again.
    house.server.psql("app", "DROP TABLE noise");
    house.backup();
    assert_eq!(house.listed().len(), 1);
}

#[test]
fn nothing_is_deleted_while_the_last_run_failed() {
    let house = House::new();
    let ids = [house.backup(), house.backup()];
    let good = fs::read_to_string(house.dir.path().join("snapback.toml")).unwrap();
    fs::write(
        house.dir.path().join("snapback.toml"),
        good.replace("/app?", "/nosuch?"),
    )
    .unwrap();
    house.run(&["backup"]).code(3);
    house.configure("retention.keep_last = 1\n");
    let plan = house.run(&["prune", "--dry-run"]).ok().stdout;
    assert!(plan.contains("the last run failed"), "{plan}");
    house.run(&["prune"]).ok();
    assert_eq!(house.listed().len(), ids.len());
}

/// A session that locks the table `customer` until it is killed.
fn locked(house: &House) -> std::process::Child {
    let holding = house
        .server
        .tool("psql")
        .args(["-XAtq"])
        .args(house.server.connection_args("app"))
        .args(["-c", "BEGIN; LOCK TABLE customer; SELECT pg_sleep(60)"])
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    until(house, "mode = 'AccessExclusiveLock' AND granted");
    holding
}

/// Waits until there is such a lock on a table of `app`.
fn until(house: &House, lock: &str) {
    let query = format!("SELECT count(*) FROM pg_locks WHERE relation = 'customer'::regclass AND {lock}");
    while house.server.psql("app", &query) == "0" {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

#[test]
fn a_lock_and_a_server_that_goes_away_are_named() {
    let house = House::new();
    let mut holding = locked(&house);
    house.configure("dump.lock_wait_timeout = \"1s\"\n");
    let names = [
        "public.customer",
        "lock_wait_timeout (1s)",
        "role postgres",
        "application \"psql\"",
        "pg_sleep",
    ];
    refused(&house, house.run(&["backup"]), 1, &names);

    house.configure("");
    let run = house
        .command(&["backup"])
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    until(&house, "NOT granted");
    let end = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE relation = 'customer'::regclass AND NOT granted";
    house.server.psql("app", end);
    let run = Run::from(run.wait_with_output().unwrap());
    let names = [
        "the connection to database \"app\" on socket ",
        "was lost while the database was read",
        "terminating connection",
        "hint: the connection to the server broke",
    ];
    refused(&house, run, 4, &names);
    let listed = house.run(&["list"]).ok().stdout;
    assert!(listed.contains("was lost while the database was read"), "{listed}");
    holding.kill().unwrap();
    holding.wait().unwrap();
}

#[test]
fn large_objects_that_the_role_may_not_read_can_be_left_out() {
    let house = House::new();
    house.server.psql(
        "app",
        "CREATE ROLE backup LOGIN; GRANT pg_read_all_data TO backup; SELECT lo_from_bytea(4711, 'x')",
    );
    let configure = |more: &str| {
        let text = format!(
            "[stores.default]\npath = \"backups\"\n[jobs.app]\nurl = \"{}\"\n{more}",
            house.server.url_as("backup", "app")
        );
        fs::write(house.dir.path().join("snapback.toml"), text).unwrap();
    };
    configure("");
    refused(&house, house.run(&["backup"]), 8, &["4711", "large_objects = false"]);
    configure("dump.large_objects = false\n");
    let id = house.backup();
    house.run(&["verify", &id, "--full"]).ok();
    let archive = house.file(&id, "dump");
    let list = Run::of(house.server.tool("pg_restore").arg("-l").arg(&archive))
        .ok()
        .stdout;
    assert!(list.contains("customer") && !list.contains("BLOB"), "{list}");
    // What a restore would lose is told.
    house.configure("dump.large_objects = false\n");
    let plan = house.run(&["restore", "app", &id, "--dry-run"]).ok().stdout;
    assert!(plan.contains("only a part of the database"), "{plan}");
}
