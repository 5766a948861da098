//! A hot standby as source: what pg_dump does there, conflicts with recovery, and restores that go to the primary.

use std::time::{Duration, Instant};

use crate::equal::{assert_same, compare_archives, dump, is_text, load, on_all_versions};
use crate::globals::pg_dumpall;
use crate::restore::Site;
use crate::support::{Relay, Run, Server, snapback};

/// Waits until the standby shows all that the primary has committed.
fn catch_up(primary: &Server, standby: &Server) {
    let position = primary.psql("postgres", "SELECT pg_current_wal_lsn()");
    let begun = Instant::now();
    let seen = format!("SELECT pg_last_wal_replay_lsn() >= '{position}'::pg_lsn");
    while standby.psql("postgres", &seen) != "t" {
        assert!(begun.elapsed() < Duration::from_secs(60), "the standby does not follow");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Relations of every kind, some of them unlogged: a standby has nothing of what is in these.
fn fill(primary: &Server, database: &str) {
    primary.create_database(database);
    load(primary, database, "tables");
    primary.psql(
        database,
        "CREATE UNLOGGED TABLE cache (id serial, k text PRIMARY KEY, v jsonb); \
         INSERT INTO cache (k, v) SELECT g, '{}' FROM generate_series(1, 50) g",
    );
    if primary.major < 18 {
        primary.psql(database, "CREATE UNLOGGED TABLE parted (a int) PARTITION BY LIST (a)");
    }
    if primary.major >= 15 {
        primary.psql(database, "CREATE UNLOGGED SEQUENCE loose; SELECT nextval('loose')");
    }
}

on_all_versions!(|major| {
    let primary = Server::start(major);
    fill(&primary, "app");
    let standby = primary.standby();
    catch_up(&primary, &standby);
    for options in [
        &[] as &[&str],
        &["--schema-only"],
        &["--data-only"],
        &["--inserts", "--no-unlogged-table-data"],
        &["--table=cache"],
        &["--table=cache_id_seq"],
    ] {
        assert_same(
            &format!("{options:?} on {major}"),
            &standby.pg_dump("app", options),
            &dump(&standby, "app", options),
            is_text,
        );
    }
    compare_archives(&standby, "app", &[]);
    let ours = Run::of(snapback().args(["dump", "--globals-only", "-d", &standby.url("postgres")])).ok();
    assert_same(
        "globals",
        &pg_dumpall(&standby, &["--globals-only"]),
        ours.stdout.as_bytes(),
        is_text,
    );
});

/// A job that backs up a standby and restores to its primary.
fn pair() -> (Site, Server) {
    let site = Site::new(15, "app");
    site.server.psql(
        "app",
        "CREATE TABLE who AS SELECT 'new' AS am_i; \
         CREATE TABLE victim AS SELECT generate_series(1, 1000) AS g; \
         CREATE UNLOGGED TABLE cache AS SELECT 1 AS a",
    );
    let standby = site.server.standby();
    catch_up(&site.server, &standby);
    (site, standby)
}

#[test]
fn backups_of_a_standby_are_restored_to_the_primary() {
    let (site, standby) = pair();
    site.reconfigure(site.server.host(), standby.host());
    let id = site.backup();
    site.run(&["verify", "app", &id, "--full"]).ok();
    let refused = site.run(&["restore", "app", "--yes"]).code(1);
    for words in ["is a standby", standby.host(), "hint: set restore_url"] {
        assert!(refused.stderr.contains(words), "{words}: {}", refused.stderr);
    }

    site.configure(&format!("restore_url = '{}'", site.server.url("app")));
    site.server.psql("app", "UPDATE who SET am_i = 'old'");
    let plan = site.run(&["restore", "app", "--dry-run"]).ok();
    // It was made of the standby, which nothing else is said of: it is the same database, and not in the way.
    let place = |server: &Server| format!("app on socket {}/.s.PGSQL.5432", server.host());
    let first = format!("made of {}", place(&standby));
    let replaced = format!("in place of the live database {}", place(&site.server));
    assert!(plan.stdout.lines().next().unwrap().contains(&first), "{}", plan.stdout);
    assert!(plan.stdout.contains(&replaced), "{}", plan.stdout);
    assert_eq!(plan.stdout.matches(standby.host()).count(), 1, "{}", plan.stdout);
    site.restore(&[]);
    assert_eq!(site.server.psql("app", "SELECT am_i FROM who"), "new");
    catch_up(&site.server, &standby);
    assert_eq!(standby.psql("app", "SELECT am_i FROM who"), "new");
    // What was never in the backup comes back by undo: the replaced database is kept.
    site.run(&["undo", "app", "--yes"]).ok();
    assert_eq!(site.server.psql("app", "SELECT am_i, a FROM who, cache"), "old|1");
    // The standby has another database under the name since then, and is backed up as before.
    catch_up(&site.server, &standby);
    site.backup();
}

/// The primary drops a table in the middle of an export: the standby ends the session that has it locked.
#[test]
fn a_conflict_with_recovery_is_tried_again() {
    let (site, standby) = pair();
    standby.psql("postgres", "ALTER SYSTEM SET max_standby_streaming_delay = 0");
    standby.psql("postgres", "SELECT pg_reload_conf()");
    let relay = Relay::stopping_at(&standby, "COPY public.victim");
    site.reconfigure(site.server.host(), relay.host());
    let run = std::thread::scope(|scope| {
        let run = scope.spawn(|| site.run(&["backup", "app"]));
        relay.meanwhile(|| {
            site.server.psql("app", "DROP TABLE victim");
            catch_up(&site.server, &standby);
        });
        run.join().unwrap()
    });
    let run = run.ok();
    for words in ["attempt 1 of 3 failed", "conflict with recovery"] {
        assert!(run.stderr.contains(words), "{words}: {}", run.stderr);
    }
    // An attempt that was followed by a good one is no failure.
    let listed = site.run(&["list", "app"]).ok().stdout;
    assert!(!listed.contains("failed"), "{listed}");
    assert_eq!(listed.matches("manual").count(), 1, "{listed}");
}

/// Whoever runs while the standby becomes a primary does not notice.
#[test]
fn a_promotion_in_the_middle_of_a_run_does_not_break_it() {
    let (site, standby) = pair();
    let relay = Relay::stopping_at(&standby, "COPY public.victim");
    site.reconfigure(site.server.host(), relay.host());
    let run = std::thread::scope(|scope| {
        let run = scope.spawn(|| site.run(&["backup", "app"]));
        relay.meanwhile(|| {
            standby.psql("postgres", "SELECT pg_promote()");
            standby.psql("app", "DELETE FROM who");
        });
        run.join().unwrap()
    });
    let id = run.ok().stdout.trim().to_owned();
    site.run(&["verify", "app", &id, "--full"]).ok();
}
