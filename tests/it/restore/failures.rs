//! What can happen to a restore: whatever it is, the live name is wholly the old or wholly the new database.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};

use super::{STEPS, Site};
use crate::support::{Run, Server};

const OK: i32 = 0;
const FAILURE: i32 = 1;
const NOT_FOUND: i32 = 3;
const BUSY: i32 = 5;
const DAMAGED: i32 = 6;
const REFUSED: i32 = 7;
const PERMISSION: i32 = 8;
const INTERRUPTED: i32 = 130;

/// A site whose backup says `new`, while the live database says `old`: names as a restore sees them.
fn site() -> Site {
    let site = Site::new(15, "app");
    fill(&site);
    site
}

fn fill(site: &Site) {
    site.server.psql(
        "app",
        "CREATE TABLE who (am_i text); INSERT INTO who VALUES ('new'); \
         CREATE TABLE many AS SELECT n, repeat('x', 100) AS t FROM generate_series(1, 20000) n; \
         ALTER TABLE many ADD PRIMARY KEY (n)",
    );
    site.backup();
    site.server.psql("app", "UPDATE who SET am_i = 'old'");
}

fn who(site: &Site) -> String {
    site.server.psql("app", "SELECT am_i FROM who")
}

/// Starts the program and waits until it pauses where it was told to.
#[allow(clippy::zombie_processes)] // who asked for it kills it and waits; a test that fails ends anyway
pub fn paused(site: &Site, args: &[&str]) -> Child {
    let mut child = site
        .command(args)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut said = Vec::new();
    while let Some(line) = lines.next() {
        let line = line.unwrap();
        if line.contains("paused at") {
            // Whatever else it has to say must go somewhere.
            std::thread::spawn(move || lines.count());
            return child;
        }
        said.push(line);
    }
    panic!("it ended before it paused: {said:#?}");
}

fn unfinished(site: &Site) -> usize {
    site.databases()
        .iter()
        .filter(|name| name.contains("_restoring_"))
        .count()
}

#[test]
fn killed_at_any_step_the_live_database_is_whole_and_the_next_command_cleans_up() {
    let site = site();
    for step in STEPS {
        let mut child = paused(&site, &["restore", "app", "--yes", "--pause-at", step]);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(who(&site), "old", "killed at {step}");
        assert!(unfinished(&site) <= 1, "killed at {step}: {:?}", site.databases());
    }
    let listed = site.run(&["list", "app"]).ok().stdout;
    assert!(
        listed.contains("was left by a restore that did not end: removed"),
        "{listed}"
    );
    assert_eq!(unfinished(&site), 0);
    let mut child = paused(&site, &["restore", "app", "--yes", "--pause-at", "done"]);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(who(&site), "new", "killed when it was done");
    site.run(&["undo", "app", "--yes"]).ok();
    assert_eq!(who(&site), "old");
    assert_eq!(unfinished(&site), 0, "{:?}", site.databases());
}

#[test]
fn the_daemon_cleans_up_behind_a_killed_restore() {
    let site = site();
    site.configure("schedule = \"@yearly\"");
    let mut child = paused(&site, &["restore", "app", "--yes", "--pause-at", "data"]);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(unfinished(&site), 1);
    let mut daemon = site.command(&["serve"]).stderr(Stdio::null()).spawn().unwrap();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while unfinished(&site) > 0 && std::time::Instant::now() < deadline {
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    daemon.kill().unwrap();
    daemon.wait().unwrap();
    assert_eq!(unfinished(&site), 0);
    assert_eq!(who(&site), "old");
}

#[test]
fn only_one_restore_at_a_time() {
    let site = site();
    let mut first = paused(&site, &["restore", "app", "--yes", "--pause-at", "data"]);
    let second = site.run(&["restore", "app", "--yes"]).code(BUSY);
    assert!(second.stderr.contains("is under way"), "{}", second.stderr);
    assert_eq!(unfinished(&site), 1);
    first.kill().unwrap();
    first.wait().unwrap();
    site.run(&["restore", "app", "--yes"]).ok();
    assert_eq!(who(&site), "new");
}

/// A backup looks for what killed restores left; a session outlives its client by a moment.
#[test]
fn who_holds_the_lock_for_a_moment_is_waited_for() {
    let site = site();
    let mut first = paused(&site, &["restore", "app", "--yes", "--pause-at", "data"]);
    let second = site
        .command(&["restore", "app", "--yes"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    std::thread::sleep(std::time::Duration::from_secs(1));
    assert_eq!(who(&site), "old");
    first.kill().unwrap();
    first.wait().unwrap();
    Run::from(second.wait_with_output().unwrap()).ok();
    assert_eq!(who(&site), "new");
}

#[test]
fn a_signal_before_the_swap_takes_everything_back() {
    let site = site();
    let child = paused(&site, &["restore", "app", "--yes", "--pause-at", "prove"]);
    Run::of(std::process::Command::new("kill").arg(child.id().to_string())).ok();
    let ended = Run::from(child.wait_with_output().unwrap());
    assert_eq!(ended.code, Some(INTERRUPTED));
    assert_eq!(who(&site), "old");
    assert_eq!(unfinished(&site), 0, "{:?}", site.databases());
}

#[test]
fn nothing_happens_without_a_yes() {
    let site = site();
    let before = site.databases();
    let plan = site.run(&["restore", "app", "--dry-run"]).ok().stdout;
    for part in [
        "in place of the live database app",
        "taking the safety snapshot",
        "swapping the names",
        "20,001 rows",
    ] {
        assert!(plan.contains(part), "{part} is missing in:\n{plan}");
    }
    let refused = site.run(&["restore", "app"]).code(REFUSED);
    assert!(refused.stderr.contains("--yes"), "{}", refused.stderr);
    assert_eq!(site.databases(), before);
    assert_eq!(who(&site), "old");
}

#[test]
fn a_load_that_fails_leaves_nothing_behind() {
    let site = Site::new(15, "app");
    // Only in a database of this name do the rows satisfy the constraint, so they cannot be loaded beside it.
    site.server.psql(
        "app",
        "CREATE TABLE who (am_i text CHECK (current_database() = 'app')); INSERT INTO who VALUES ('new')",
    );
    site.backup();
    site.server.psql("app", "UPDATE who SET am_i = 'old'");
    let failed = site.run(&["restore", "app", "--yes"]).code(FAILURE);
    assert!(failed.stderr.contains("nothing was changed"), "{}", failed.stderr);
    assert!(failed.stderr.contains("TABLE DATA public.who"), "{}", failed.stderr);
    assert!(failed.stderr.contains("violates check constraint"), "{}", failed.stderr);
    assert_eq!(who(&site), "old");
    assert_eq!(site.databases(), ["app", "postgres", "template0", "template1"]);
}

#[test]
fn a_damaged_archive_is_refused_before_anything_is_done() {
    let site = site();
    let archive = fs::read_dir(site.backups())
        .unwrap()
        .map(|file| file.unwrap().path())
        .find(|path| path.extension().is_some_and(|extension| extension == "dump"))
        .unwrap();
    let mut bytes = fs::read(&archive).unwrap();
    let last = bytes.len() - 100;
    bytes[last] ^= 1;
    fs::write(&archive, &bytes).unwrap();
    let failed = site.run(&["restore", "app", "--yes"]).code(DAMAGED);
    assert!(failed.stderr.contains("SHA-256"), "{}", failed.stderr);
    assert_eq!(who(&site), "old");
    assert_eq!(site.databases(), ["app", "postgres", "template0", "template1"]);
    fs::write(&archive, &bytes[..last]).unwrap();
    site.run(&["restore", "app", "--yes"]).code(NOT_FOUND);
    site.run(&["restore", "app", "20200101T000000Z", "--yes"])
        .code(NOT_FOUND);
}

#[test]
fn no_restore_starts_without_its_safety_snapshot() {
    let site = site();
    let mut backup = site.command(&["backup", "app", "--pause-at", "claim"]).spawn().unwrap();
    while !site
        .backups()
        .read_dir()
        .unwrap()
        .any(|file| file.unwrap().path().extension().is_some_and(|e| e == "run"))
    {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let failed = site.run(&["restore", "app", "--yes", "--wait", "0"]).code(BUSY);
    assert!(
        failed.stderr.contains("the safety snapshot failed"),
        "{}",
        failed.stderr
    );
    assert_eq!(who(&site), "old");
    let report = site.restore(&["--no-safety"]);
    assert!(report["outcome"]["safety"].is_null());
    assert_eq!(who(&site), "new");
    backup.kill().unwrap();
    backup.wait().unwrap();
}

#[test]
fn what_the_server_lacks_is_named_with_what_would_create_it() {
    let site = Site::new(15, "app");
    site.server.psql(
        "postgres",
        "CREATE ROLE gone LOGIN PASSWORD 'secret' CONNECTION LIMIT 5",
    );
    fill(&site);
    site.server.psql("app", "ALTER TABLE who OWNER TO gone");
    let id = site.backup();
    site.server
        .psql("app", "ALTER TABLE who OWNER TO postgres; DROP ROLE gone");
    let shown = site.run(&["restore", "app", &id, "--dry-run"]).code(FAILURE);
    assert!(
        shown.stderr.contains("the server lacks roles: gone"),
        "{}",
        shown.stderr
    );
    assert!(shown.stdout.contains("CREATE ROLE gone;"), "{}", shown.stdout);
    assert!(shown.stdout.contains("CONNECTION LIMIT 5"), "{}", shown.stdout);
    assert!(!shown.stdout.contains("SCRAM"), "{}", shown.stdout);
    site.run(&["restore", "app", &id, "--yes"]).code(FAILURE);
    assert_eq!(site.databases(), ["app", "postgres", "template0", "template1"]);
    site.server.psql("postgres", "CREATE ROLE gone");
    site.run(&["restore", "app", &id, "--yes"]).ok();
}

#[test]
fn a_role_that_owns_the_database_needs_no_more_than_to_create_databases() {
    let server = Server::start(15);
    server.psql("postgres", "CREATE ROLE tenant LOGIN");
    server.psql("postgres", "CREATE DATABASE app OWNER tenant");
    server.psql(
        "app",
        "SET ROLE tenant; CREATE SCHEMA own; CREATE TABLE own.who AS SELECT 'new' AS am_i",
    );
    let site = Site::on(server, "app", "tenant");
    site.backup();
    site.server.psql("app", "UPDATE own.who SET am_i = 'old'");
    let refused = site.run(&["restore", "app", "--yes"]).code(PERMISSION);
    assert!(
        refused.stderr.contains("may not create databases"),
        "{}",
        refused.stderr
    );
    site.server.psql("postgres", "ALTER ROLE tenant CREATEDB");
    site.restore(&[]);
    assert_eq!(site.server.psql("app", "SELECT am_i FROM own.who"), "new");
    let owner = "SELECT datdba::regrole FROM pg_database WHERE datname = 'app'";
    assert_eq!(site.server.psql("postgres", owner), "tenant");
}

#[test]
fn who_cannot_be_ended_is_named() {
    let server = Server::start(15);
    server.psql("postgres", "CREATE ROLE tenant LOGIN CREATEDB");
    server.psql("postgres", "CREATE DATABASE app OWNER tenant");
    server.psql(
        "app",
        "SET ROLE tenant; CREATE SCHEMA own; CREATE TABLE own.who AS SELECT 'new' AS am_i",
    );
    let site = Site::on(server, "app", "tenant");
    site.backup();
    let mut boss = site.server.tool("psql");
    boss.args(site.server.connection_args("app"))
        .args(["-c", "SELECT pg_sleep(600)"]);
    let mut boss = boss
        .env("PGAPPNAME", "the boss")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    while site.server.psql(
        "postgres",
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'the boss'",
    ) != "1"
    {
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let failed = site.run(&["restore", "app", "--yes"]).code(PERMISSION);
    assert!(failed.stderr.contains("postgres (the boss)"), "{}", failed.stderr);
    assert!(failed.stderr.contains("nothing was changed"), "{}", failed.stderr);
    assert_eq!(site.databases(), ["app", "postgres", "template0", "template1"]);
    boss.kill().unwrap();
    boss.wait().unwrap();
}

#[test]
fn a_dropped_database_comes_back_as_it_was() {
    let site = site();
    site.server.psql("postgres", "CREATE ROLE boss");
    for sql in [
        "ALTER DATABASE app OWNER TO boss",
        "ALTER DATABASE app SET work_mem TO '7MB'",
        "ALTER ROLE boss IN DATABASE app SET work_mem TO '9MB'",
        "COMMENT ON DATABASE app IS 'ours'",
        "REVOKE CONNECT ON DATABASE app FROM PUBLIC",
    ] {
        site.server.psql("postgres", sql);
    }
    let properties = "SELECT datdba::regrole, (SELECT array_agg(a::text ORDER BY a::text) FROM unnest(datacl) a), datcollate, shobj_description(oid, 'pg_database'), \
         (SELECT array_agg((setrole, setconfig)::text ORDER BY setrole) FROM pg_db_role_setting WHERE setdatabase = d.oid) \
         FROM pg_database d WHERE datname = 'app'";
    let before = site.server.psql("postgres", properties);
    site.backup();
    site.server.psql("postgres", "DROP DATABASE app");
    let report = site.restore(&[]);
    assert!(report["outcome"]["kept"].is_null());
    assert_eq!(site.server.psql("postgres", properties), before);
    assert_eq!(who(&site), "old");
}

#[test]
fn a_new_database_beside_the_live_one() {
    let site = site();
    let code = site
        .run(&["restore", "app", "--mode", "new", "--as", "Copy 1", "--yes"])
        .ok()
        .code;
    assert_eq!(code, Some(OK));
    assert_eq!(site.server.psql("Copy 1", "SELECT am_i FROM who"), "new");
    assert_eq!(who(&site), "old");
    let again = site
        .run(&["restore", "app", "--mode", "new", "--as", "Copy 1", "--yes"])
        .code(FAILURE);
    assert!(again.stderr.contains("exists already"), "{}", again.stderr);
    assert_eq!(
        site.databases(),
        ["Copy 1", "app", "postgres", "template0", "template1"]
    );
}

#[test]
fn a_database_that_lets_nobody_in_is_replaced_without_a_snapshot() {
    let site = Site::new(15, "app");
    site.server.psql("app", "CREATE TABLE t AS SELECT 1 AS a");
    site.backup();
    site.server
        .psql("postgres", "ALTER DATABASE app ALLOW_CONNECTIONS false");
    let refused = site.run(&["restore", "app", "--yes"]).code(1);
    for words in ["no safety snapshot can be taken", "hint: ALTER DATABASE", "--no-safety"] {
        assert!(refused.stderr.contains(words), "{words}: {}", refused.stderr);
    }
    let report = site.restore(&["--no-safety"]);
    assert_eq!(site.server.psql("app", "SELECT a FROM t"), "1");
    assert!(report["outcome"]["kept"].is_string(), "{report:#}");
}
