//! Kill -9 at random moments, under a client that writes all the time.

use std::collections::BTreeSet;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use snapback::engine::postgres::connect::{Dsn, connect};

use super::Site;
use crate::support::Server;

/// Databases that are restored at the same time, each with its own client.
const DATABASES: u64 = 4;
/// Kills in all, unless `SNAPBACK_TEST_KILLS` says how many: each takes about a second.
const KILLS: u64 = 40;

/// What the live database of this site is when nothing was restored, and when everything was.
const OLD: &str = "old 300 1";
const NEW: &str = "new 1000 2";

#[test]
fn killed_at_random_moments_no_write_is_lost() {
    let kills = std::env::var("SNAPBACK_TEST_KILLS").map_or(KILLS, |kills| kills.parse().unwrap());
    let server = Arc::new(Server::start(15));
    let seed: u64 = fastrand::u64(..);
    println!("seed {seed}");
    std::thread::scope(|scope| {
        for number in 0..DATABASES {
            let server = Arc::clone(&server);
            scope.spawn(move || {
                let name = format!("app{number}");
                let outcomes = kill_often(
                    &server,
                    &name,
                    kills / DATABASES,
                    &mut fastrand::Rng::with_seed(seed + number),
                );
                println!("{name}: {outcomes:?}");
            });
        }
    });
    let left = server.psql(
        "postgres",
        "SELECT datname FROM pg_database WHERE datname LIKE '%restoring%'",
    );
    assert_eq!(left, "");
}

/// How the restores ended.
#[derive(Debug, Default)]
struct Outcomes {
    old: u64,
    new: u64,
}

fn kill_often(server: &Arc<Server>, name: &str, kills: u64, random: &mut fastrand::Rng) -> Outcomes {
    server.create_database(name);
    let site = Site::on(Arc::clone(server), name, "postgres");
    site.server.psql(
        name,
        "CREATE TABLE who AS SELECT 'new' AS am_i; CREATE TABLE log (n bigint); \
         CREATE TABLE many (n int PRIMARY KEY, t text); CREATE INDEX many_t ON many (t); \
         INSERT INTO many SELECT n, repeat('x', 100) FROM generate_series(1, 1000) n",
    );
    site.backup();
    make_old(&site, name);
    let whole = Instant::now();
    site.restore(&["--no-safety"]);
    let whole = whole.elapsed();
    let writer = Writer::start(site.server.url(name));
    let mut expected = BTreeSet::new();
    let mut outcomes = Outcomes::default();
    make_old(&site, name);
    for _ in 0..kills {
        let safety: &[&str] = if random.u8(..4) == 0 { &[] } else { &["--no-safety"] };
        let mut child = site
            .command(&[&["restore", "app", "--yes"], safety].concat())
            .env("PGAPPNAME", format!("restore of {name}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(whole.mul_f64(random.f64() * 1.1));
        child.kill().unwrap();
        child.wait().unwrap();
        wait_until_its_sessions_are_gone(&site, name);
        match what_it_is(&site, name).as_str() {
            OLD => outcomes.old += 1,
            NEW => {
                outcomes.new += 1;
                make_old(&site, name);
            }
            other => panic!("{name} is neither wholly old nor wholly new: {other}"),
        }
        expected.extend(writer.committed());
        let live = written(&site, name);
        let kept = databases(&site, &format!("{name}\\_before\\_"));
        let mut present = live.clone();
        for kept in &kept {
            present.extend(written(&site, kept));
        }
        let lost: Vec<_> = expected.difference(&present).collect();
        assert!(lost.is_empty(), "{name}: committed, but lost: {lost:?}");
        // What was kept goes, and what was only in there is no longer looked for.
        for kept in kept {
            site.server
                .psql("postgres", &format!("DROP DATABASE \"{kept}\" WITH (FORCE)"));
        }
        expected.retain(|n| live.contains(n));
        assert!(databases(&site, &format!("{name}\\_restoring\\_")).len() <= 1);
    }
    site.run(&["list", "app"]).ok();
    assert!(databases(&site, &format!("{name}\\_restoring\\_")).is_empty());
    assert!(writer.stop() > 0);
    outcomes
}

fn make_old(site: &Site, name: &str) {
    site.server.psql(
        name,
        "BEGIN; UPDATE who SET am_i = 'old'; DELETE FROM many WHERE n > 300; DROP INDEX many_t; COMMIT",
    );
}

fn what_it_is(site: &Site, name: &str) -> String {
    site.server.psql(
        name,
        "SELECT am_i || ' ' || (SELECT count(*) FROM many) || ' ' || \
         (SELECT count(*) FROM pg_index WHERE indrelid = 'many'::regclass AND indisvalid) FROM who",
    )
}

fn written(site: &Site, database: &str) -> BTreeSet<i64> {
    let all = site.server.psql(database, "SELECT n FROM log");
    all.lines().map(|line| line.parse().unwrap()).collect()
}

fn databases(site: &Site, like: &str) -> Vec<String> {
    let query = format!("SELECT datname FROM pg_database WHERE datname LIKE '{like}%' ORDER BY 1");
    let names = site.server.psql("postgres", &query);
    names.lines().map(str::to_owned).collect()
}

/// A COMMIT that was sent before the kill may still be under way.
fn wait_until_its_sessions_are_gone(site: &Site, name: &str) {
    let count = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'restore of {name}' OR datname LIKE '{name}\\_restoring\\_%'"
    );
    while site.server.psql("postgres", &count) != "0" {}
}

/// A client that writes one number after the other, each in a transaction of its own, and connects again whenever
/// it is cut off.
struct Writer {
    committed: Arc<Mutex<Vec<i64>>>,
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<i64>,
}

impl Writer {
    fn start(url: String) -> Writer {
        let (committed, stop) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let thread = std::thread::spawn({
            let (committed, stop) = (Arc::clone(&committed), Arc::clone(&stop));
            move || write(&url, &committed, &stop)
        });
        Writer {
            committed,
            stop,
            thread,
        }
    }

    /// What the server said is committed since the last call.
    fn committed(&self) -> Vec<i64> {
        std::mem::take(&mut self.committed.lock().unwrap())
    }

    /// Stops, and says how many writes there were.
    fn stop(self) -> i64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

fn write(url: &str, committed: &Mutex<Vec<i64>>, stop: &AtomicBool) -> i64 {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let dsn = Dsn::parse(url).unwrap();
    let mut next = 0;
    runtime.block_on(async {
        while !stop.load(Ordering::Relaxed) {
            let Ok(session) = connect(&dsn).await else { continue };
            let client = session.into_client();
            while !stop.load(Ordering::Relaxed) {
                next += 1;
                if client.execute("INSERT INTO log VALUES ($1)", &[&next]).await.is_err() {
                    break;
                }
                committed.lock().unwrap().push(next);
                // Not so many that looking through them takes longer than the restores.
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    });
    next
}
