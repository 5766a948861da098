//! A restore that is cut while the server takes in rows in COPY's binary format.

use std::process::Stdio;
use std::sync::Arc;

use super::Site;
use crate::support::Run;
use crate::support::relay::Relay;

const UNREACHABLE: i32 = 4;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Cut {
    /// `kill -9` of the restore.
    Killed,
    /// Its session is ended.
    Terminated,
    /// The server is stopped as by a crash, and starts again.
    Crashed,
}

/// More rows than it takes to prepare for them, in a table of which only types are that have a binary form.
const TABLE: &str = "CREATE TABLE who AS SELECT 'new' AS am_i; \
    CREATE TABLE many AS SELECT n, md5(n::text) || repeat('x', 100) AS t, n / 7.0 AS f FROM generate_series(1, 12000) n";
const WHAT: &str = "SELECT am_i, (SELECT count(*) FROM many) FROM who";

#[test]
fn a_restore_that_is_cut_while_rows_arrive_has_changed_nothing() {
    for mode in ["swap", "in-place"] {
        let mut site = Site::new(15, "app");
        site.server.psql("app", TABLE);
        site.backup();
        site.server
            .psql("app", "UPDATE who SET am_i = 'old'; DELETE FROM many WHERE n % 2 = 0");
        for cut in [Cut::Killed, Cut::Terminated, Cut::Crashed] {
            let ended = cut_short(&mut site, mode, cut);
            let case = format!("{mode}, {cut:?}: {}", ended.stderr);
            assert_eq!(site.server.psql("app", WHAT), "old|6000", "{case}");
            let unfinished = site
                .databases()
                .iter()
                .filter(|name| name.contains("_restoring_"))
                .count();
            if cut == Cut::Killed {
                assert_eq!(unfinished, usize::from(mode == "swap"), "{case}");
            } else {
                assert_eq!(ended.code, Some(UNREACHABLE), "{case}");
                assert!(ended.stderr.contains("the restore failed"), "{case}");
                // Whether the server's farewell arrives before the end of the connection, nobody decides.
                let hints = [
                    "hint: the connection to the server broke",
                    "hint: the server ended the session",
                ];
                assert!(hints.iter().any(|hint| ended.stderr.contains(hint)), "{case}");
                // What could not be removed is named.
                assert!(
                    unfinished == 0 || ended.stderr.contains("the next restore will"),
                    "{case}"
                );
            }
            let listed = site.run(&["list", "app"]).ok().stdout;
            assert_eq!(
                listed.matches("did not end: removed").count(),
                unfinished,
                "{case}: {listed}"
            );
            assert!(
                !site.databases().iter().any(|name| name.contains("_restoring_")),
                "{case}"
            );
        }
        site.restore(&["--mode", mode, "--no-safety"]);
        assert_eq!(site.server.psql("app", WHAT), "new|12000", "{mode}");
    }
}

/// Runs a restore and cuts it over the first rows that it sends in binary.
fn cut_short(site: &mut Site, mode: &str, cut: Cut) -> Run {
    let relay = Relay::stopping_at(&site.server, "PGCOPY\n");
    let direct = site.server.host().to_owned();
    site.reconfigure(&direct, relay.host());
    let mut child = site
        .command(&["restore", "app", "--yes", "--no-safety", "--from-other", "--mode", mode])
        .env("PGAPPNAME", "restore")
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    relay.meanwhile(|| {
        let end = "SELECT count(*), count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                   WHERE state = 'active' AND query LIKE 'COPY public.many %FORMAT binary)'";
        let look = end.replace("pg_terminate_backend(pid)", "NULL");
        assert_eq!(site.server.psql("postgres", &look), "1|0", "{mode}, {cut:?}");
        match cut {
            Cut::Killed => child.kill().unwrap(),
            Cut::Terminated => assert_eq!(site.server.psql("postgres", end), "1|1"),
            Cut::Crashed => Arc::get_mut(&mut site.server).unwrap().crash_and_restart(),
        }
    });
    let ended = Run::from(child.wait_with_output().unwrap());
    site.reconfigure(relay.host(), &direct);
    let sessions = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'restore'";
    while site.server.psql("postgres", sessions) != "0" {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    ended
}
