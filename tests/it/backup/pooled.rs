//! Behind a pooler that hands each transaction to another server session.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;
use std::time::Duration;

use super::House;
use crate::support::{Pooler, Relay, Run, Server, snapback};

fn pooled() -> (House, Pooler) {
    let house = House::new();
    let pooler = Pooler::start(&house.server);
    let direct = fs::read_to_string(house.dir.path().join("snapback.toml")).unwrap();
    let through = direct.replace(&house.server.url("app"), &pooler.url("app"));
    assert_ne!(through, direct);
    fs::write(house.dir.path().join("snapback.toml"), through).unwrap();
    (house, pooler)
}

/// What a session has that the next one to use it should not find.
fn left_in_sessions(server: &Server, url: &str) -> String {
    let sql = "SELECT string_agg(name || '=' || setting, ' ' ORDER BY name) FROM pg_settings WHERE source = 'session'";
    let psql = Run::of(server.tool("psql").args(["-XAtq", "-d", url, "-c", sql])).ok();
    let locks = server.psql("app", "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'");
    format!("{} {locks}", psql.stdout.trim())
}

#[test]
fn backups_through_a_pooler_are_whole_and_leave_nothing_in_its_sessions() {
    let (house, pooler) = pooled();
    let url = pooler.url("app");
    let before = left_in_sessions(&house.server, &url);
    let ids = [house.backup(), house.backup()];
    for id in &ids {
        house.run(&["verify", id]).ok();
    }
    let dump = |url: &str| {
        Run::of(snapback().args(["dump", "--restrict-key=x", "-d", url]))
            .ok()
            .stdout
    };
    assert_eq!(dump(&url), dump(&house.server.url("app")));
    house.run(&["list"]).ok();
    assert_eq!(left_in_sessions(&house.server, &url), before);
}

#[test]
fn a_pooler_that_ends_silent_transactions_ends_no_backup() {
    let house = House::new();
    house.server.psql(
        "app",
        "CREATE TABLE other AS SELECT repeat('x', 100) FROM generate_series(1, 5000)",
    );
    let relay = Relay::stopping_at(&house.server, "COPY public.customer");
    // The pooler runs as another user.
    for path in [relay.host().to_owned(), format!("{}/.s.PGSQL.5432", relay.host())] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
    }
    let pooler = Pooler::before(relay.host(), "idle_transaction_timeout = 8");
    let config = house.dir.path().join("snapback.toml");
    let direct = fs::read_to_string(&config).unwrap();
    fs::write(
        &config,
        direct.replace(&house.server.url("app"), &pooler.url("app")) + "attempts = 1\n",
    )
    .unwrap();
    // While one session reads, the lock's, and the other one when it has nothing left to read, are silent.
    let backup = house
        .command(&["backup"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    relay.meanwhile(|| std::thread::sleep(Duration::from_secs(12)));
    Run::from(backup.wait_with_output().unwrap()).ok();
}

#[test]
fn a_restore_through_a_pooler_is_refused_before_anything_is_touched() {
    let (house, _pooler) = pooled();
    house.backup();
    let databases = house
        .server
        .psql("postgres", "SELECT string_agg(datname, ' ') FROM pg_database");
    let refused = house.run(&["restore", "--yes"]).code(2);
    assert!(
        refused.stderr.contains("pooler") && refused.stderr.contains("hint"),
        "{}",
        refused.stderr
    );
    assert_eq!(
        house
            .server
            .psql("postgres", "SELECT string_agg(datname, ' ') FROM pg_database"),
        databases
    );
}
