//! The swap, undo and recovery alone, through the library: databases made by hand stand for loaded ones.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use snapback::config::Config;
use snapback::engine::postgres::connect::Dsn;
use snapback::engine::postgres::marker::{Marker, State, VERSION};
use snapback::engine::postgres::recover;
use snapback::engine::postgres::target::Target;
use snapback::replaced;
use snapback::restore::postgres::swap::{Aside, Comment, Swap, Swapped, swap};
use snapback::restore::postgres::watch::{Step, Watch};
use snapback::restore::postgres::{live::Live, undo};

use super::Site;
use crate::support::Server;

fn target(server: &Server) -> Target {
    Target::new(Dsn::parse(&server.url("postgres")).unwrap())
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap()
}

fn marker(state: State, of: &str, at: DateTime<Utc>) -> Marker {
    Marker {
        snapback: VERSION,
        state,
        of: of.to_owned(),
        at,
        job: "job".to_owned(),
        backup: None,
        safety: None,
        comment: None,
    }
}

/// A live database that says `old`, and one marked unfinished that says `new`.
fn prepare(server: &Server, live: &str, incoming: &str) {
    server.create_database(live);
    server.create_database(incoming);
    server.psql(live, "CREATE TABLE who AS SELECT 'old' AS am_i");
    server.psql(incoming, "CREATE TABLE who AS SELECT 'new' AS am_i");
    let quoted = format!("\"{incoming}\"");
    server.psql(
        "postgres",
        &marker(State::Unfinished, live, Utc::now()).statement(&quoted),
    );
}

async fn swap_in(target: &Target, live: &str, incoming: &str, watch: &Watch) -> anyhow::Result<Swapped> {
    let found = Live::read(&target.outside(live).await?, live).await?.unwrap();
    let mut marker = marker(State::Kept, live, Utc::now());
    marker.comment = found.comment;
    let (name, oid) = (format!("{live} before"), found.oid);
    let aside = Aside {
        oid,
        name: &name,
        marker: &marker,
    };
    let request = Swap {
        live,
        incoming,
        comment: Comment::of(live, Some("it's new")),
        aside: Some(aside),
    };
    swap(target, &request, watch).await
}

fn who(server: &Server, database: &str) -> String {
    server.psql(database, "SELECT am_i FROM who")
}

fn comment(server: &Server, database: &str) -> String {
    server.psql(
        database,
        "SELECT pg_catalog.shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = current_database()",
    )
}

/// Clients that connect, ask and connect again, as applications do when they are cut off.
fn storm(target: &Target, database: &str, clients: usize) -> (Arc<AtomicBool>, Arc<AtomicUsize>) {
    let (stop, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    for _ in 0..clients {
        let (target, database) = (target.clone(), database.to_owned());
        let (stop, asked) = (Arc::clone(&stop), Arc::clone(&asked));
        tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let Ok(client) = target.session(&database).await else {
                    continue;
                };
                while client.query("SELECT am_i FROM who", &[]).await.is_ok() && !stop.load(Ordering::Relaxed) {
                    asked.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }
        });
    }
    (stop, asked)
}

#[test]
fn swap_wins_against_a_storm_and_undo_can_be_undone() {
    let server = Server::start_with(15, &["max_connections=200"]);
    let live = "My \"odd\" Ünit";
    server.psql(
        "postgres",
        &format!("CREATE DATABASE \"{}\"", live.replace('"', "\"\"")),
    );
    server.create_database("incoming");
    server.psql(live, "CREATE TABLE who AS SELECT 'old' AS am_i");
    server.psql("incoming", "CREATE TABLE who AS SELECT 'new' AS am_i");
    server.psql(
        live,
        "DO $$ BEGIN EXECUTE format('COMMENT ON DATABASE %I IS %L', current_database(), 'mine'); END $$",
    );
    runtime().block_on(async {
        let target = target(&server);
        let (stop, asked) = storm(&target, live, 50);
        let inside = "SELECT count(*) >= 50 FROM pg_stat_activity WHERE datname LIKE 'My %'";
        while asked.load(Ordering::Relaxed) < 100 || server.psql("postgres", inside) != "t" {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let swapped = swap_in(&target, live, "incoming", &Watch::silent()).await.unwrap();
        // How long depends on what else the machine does; on an idle one it is well under a second.
        println!("away for {:?}", swapped.away);
        assert!(swapped.ended >= 50, "{swapped:?}");
        assert_eq!(who(&server, live), "new");
        assert_eq!(comment(&server, live), "it's new");

        let kept = replaced::list(&target, live).await.unwrap();
        assert_eq!(kept.len(), 1);
        assert_eq!(who(&server, &kept[0].name), "old");
        let undone = undo::undo(&target, live, &kept[0].name, Utc::now(), &Watch::silent())
            .await
            .unwrap();
        assert_eq!(who(&server, live), "old");
        assert_eq!(comment(&server, live), "mine");

        let second = replaced::list(&target, live).await.unwrap().remove(0);
        assert_eq!(Some(second.name), undone.kept);
        undo::undo(&target, live, &undone.kept.unwrap(), Utc::now(), &Watch::silent())
            .await
            .unwrap();
        assert_eq!(who(&server, live), "new");
        assert_eq!(comment(&server, live), "it's new");
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_swap_that_stops_half_way_leaves_the_old_database_open() {
    let server = Server::start(15);
    prepare(&server, "app", "app_restoring_20261120T020000Z");
    runtime().block_on(async {
        for step in [Step::Fence, Step::Rename] {
            let target = target(&server);
            let watch = Watch::silent().pausing_at(Some(step));
            let stuck = swap_in(&target, "app", "app_restoring_20261120T020000Z", &watch);
            // Dropping it cuts its connections, as a kill does.
            assert!(tokio::time::timeout(Duration::from_secs(2), stuck).await.is_err());
            assert_eq!(who(&server, "app"), "old");
        }
        let found = recover::tidy(&target(&server), "app").await.unwrap();
        assert_eq!(found.len(), 1);
        assert!(found[0].removed);
        assert!(recover::tidy(&target(&server), "app").await.unwrap().is_empty());
        assert_eq!(who(&server, "app"), "old");
    });
}

#[test]
fn the_server_itself_opens_the_door_again_when_we_stall() {
    let server = Server::start(15);
    prepare(&server, "app", "incoming");
    runtime().block_on(async {
        let target = target(&server);
        let watch = Watch::silent().pausing_at(Some(Step::Rename));
        let stuck = swap_in(&target, "app", "incoming", &watch);
        let asked = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let client = target.session("app").await.unwrap();
            client
                .query_one("SELECT am_i FROM who", &[])
                .await
                .unwrap()
                .get::<_, String>(0)
        };
        tokio::select! {
            _ = stuck => unreachable!("it was told to pause"),
            answer = tokio::time::timeout(Duration::from_secs(30), asked) => assert_eq!(answer.unwrap(), "old"),
        }
    });
}

#[test]
fn a_swap_gives_up_when_somebody_cannot_be_ended() {
    let server = Server::start(15);
    prepare(&server, "app", "incoming");
    server.psql(
        "app",
        "BEGIN; INSERT INTO who VALUES ('prepared'); PREPARE TRANSACTION 'in the way'",
    );
    runtime().block_on(async {
        let target = target(&server);
        let error = swap_in(&target, "app", "incoming", &Watch::silent()).await.unwrap_err();
        assert!(format!("{error:#}").contains("somebody is still inside"), "{error:#}");
        assert!(format!("{error:#}").contains("prepared transaction"), "{error:#}");
        assert_eq!(who(&server, "app"), "old");
        assert_eq!(who(&server, "incoming"), "new");
    });
}

#[test]
fn a_live_database_that_somebody_replaced_is_not_swapped() {
    let server = Server::start(15);
    prepare(&server, "app", "incoming");
    runtime().block_on(async {
        let target = target(&server);
        let marker = marker(State::Kept, "app", Utc::now());
        let aside = Aside {
            oid: 1,
            name: "app_before",
            marker: &marker,
        };
        let request = Swap {
            live: "app",
            incoming: "incoming",
            comment: None,
            aside: Some(aside),
        };
        let error = swap(&target, &request, &Watch::silent()).await.unwrap_err();
        assert!(format!("{error:#}").contains("replaced by somebody else"), "{error:#}");
        assert_eq!(who(&server, "app"), "old");
    });
}

#[test]
fn what_was_killed_before_it_was_marked_is_found_and_only_removed_when_empty() {
    let server = Server::start(15);
    server.create_database("app");
    server.create_database("app_restoring_20261120T020000Z");
    server.create_database("app_restoring_20261120T020001Z");
    server.create_database("shop_restoring_20261120T020000Z");
    server.psql("app_restoring_20261120T020001Z", "CREATE TABLE somebodys (id int)");
    runtime().block_on(async {
        let found = recover::tidy(&target(&server), "app").await.unwrap();
        let outcome: Vec<_> = found.iter().map(|left| (left.name.as_str(), left.removed)).collect();
        assert_eq!(
            outcome,
            [
                ("app_restoring_20261120T020000Z", true),
                ("app_restoring_20261120T020001Z", false)
            ]
        );
    });
    let left = server.psql(
        "postgres",
        "SELECT count(*) FROM pg_database WHERE datname LIKE '%restoring%'",
    );
    assert_eq!(left, "2");
}

#[test]
fn a_new_database_has_what_the_live_one_has() {
    for major in crate::support::VERSIONS {
        let server = Server::start(major);
        server.psql("postgres", "CREATE ROLE boss; CREATE ROLE app LOGIN; CREATE ROLE guest");
        server.psql(
            "postgres",
            "CREATE DATABASE app OWNER boss TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' \
             CONNECTION LIMIT 7",
        );
        for sql in [
            "ALTER DATABASE app SET search_path TO \"$user\", 'a b', public",
            "ALTER DATABASE app SET work_mem TO '8MB'",
            "ALTER DATABASE app SET app.tenant TO 'it''s \\ one'",
            "ALTER ROLE app IN DATABASE app SET statement_timeout TO '5s'",
            "REVOKE ALL ON DATABASE app FROM PUBLIC",
            "GRANT CONNECT ON DATABASE app TO app WITH GRANT OPTION",
            "SET ROLE app; GRANT CONNECT ON DATABASE app TO guest",
        ] {
            server.psql("postgres", sql);
        }
        runtime().block_on(async {
            let target = target(&server);
            let client = target.outside("app").await.unwrap();
            let live = Live::read(&client, "app").await.unwrap().unwrap();
            client.batch_execute(&live.create_statement("twin")).await.unwrap();
            let properties = live.properties("\"twin\"");
            for statement in properties.settings.iter().chain(&properties.rest) {
                client.batch_execute(statement).await.unwrap();
            }
        });
        let properties = |database: &str| {
            server.psql(
                "postgres",
                &format!(
                    "SELECT datdba::regrole, encoding, datcollate, datctype, datconnlimit, datistemplate, dattablespace, \
                     (SELECT array_agg(a::text ORDER BY a::text) FROM unnest(datacl) a), \
                     (SELECT array_agg((setrole::regrole, setconfig)::text ORDER BY setrole) \
                      FROM pg_db_role_setting WHERE setdatabase = d.oid) \
                     FROM pg_database d WHERE datname = '{database}'"
                ),
            )
        };
        assert_eq!(properties("twin"), properties("app"), "PostgreSQL {major}");
    }
}

#[test]
fn kept_databases_expire_but_never_the_only_copy() {
    let site = Site::new(15, "app");
    let safety = site.backup();
    for name in ["old", "pruned", "only_copy"] {
        site.server.create_database(name);
    }
    let at: DateTime<Utc> = "2026-11-01T00:00:00Z".parse().unwrap();
    let mut old = marker(State::Kept, "app", at);
    site.server.psql("postgres", &old.statement("only_copy"));
    old.safety = Some("20261101T000000Z".parse().unwrap());
    site.server.psql("postgres", &old.statement("pruned"));
    old.safety = Some(safety.parse().unwrap());
    site.server.psql("postgres", &old.statement("old"));
    let file = site.folder().join("snapback.toml");
    let config = Config::load(Some(&file), &Default::default(), at).unwrap();
    runtime().block_on(async {
        let now = at + TimeDelta::days(8);
        let found = replaced::prune(&config.jobs[0], now, replaced::Wishes::default())
            .await
            .unwrap();
        assert_eq!(
            found.dropped.iter().map(|kept| kept.name.as_str()).collect::<Vec<_>>(),
            ["old"]
        );
    });
    assert_eq!(
        site.databases(),
        ["app", "only_copy", "postgres", "pruned", "template0", "template1"]
    );
}
