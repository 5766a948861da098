//! Replaced databases over the days: each goes when it has served, and its safety snapshot not before it, whoever prunes.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use snapback::backup;
use snapback::clock::Clock;
use snapback::config::Config;
use snapback::daemon::{self, Surroundings};
use snapback::job::Job;
use snapback::manifest::Kind;
use snapback::prune::{Known, Pruning};

use super::Site;

/// A site with a replaced database, when its restore began, and the id of its safety snapshot.
struct Replaced {
    site: Site,
    kept: String,
    safety: String,
    at: DateTime<Utc>,
}

impl Replaced {
    fn new(configuration: &str) -> Replaced {
        let site = Site::new(15, "app");
        site.configure(configuration);
        site.server.psql("app", "CREATE TABLE t AS SELECT 1 AS n");
        site.backup();
        let at = Utc::now();
        let report = site.restore(&[]);
        let said = |name: &str| report["outcome"][name].as_str().unwrap().to_owned();
        Replaced {
            kept: said("kept"),
            safety: said("safety"),
            at,
            site,
        }
    }

    fn config(&self) -> Config {
        let file = self.site.folder().join("snapback.toml");
        Config::load(Some(&file), &Default::default(), self.at).unwrap()
    }

    fn job(&self) -> Job {
        self.config().jobs.remove(0)
    }

    fn has_database(&self) -> bool {
        self.site.databases().contains(&self.kept)
    }

    fn has_snapshot(&self) -> bool {
        self.site.backups().join(format!("app_{}.json", self.safety)).exists()
    }

    /// What there must be `days` after the restore.
    #[track_caller]
    fn check(&self, days: i64) {
        assert_eq!(self.has_database(), days <= 7, "the database after {days} days");
        // It goes with the database, or later, but never before.
        assert!(self.has_snapshot() || days > 7, "the snapshot after {days} days");
        if days == 10 {
            assert!(!self.has_snapshot(), "the snapshot stays for ever");
        }
    }

    fn after(&self, days: i64) -> Clock {
        let now = self.at + TimeDelta::days(days);
        Clock::new(move || now)
    }
}

/// By default both are kept for a week.
const CONFIGURATION: &str = "retention = { keep_last = 2 }";

#[tokio::test]
async fn backups_drop_replaced_databases_and_then_their_snapshots() {
    let replaced = Replaced::new(CONFIGURATION);
    let job = replaced.job();
    for days in 1..=10 {
        let request = backup::Request {
            clock: replaced.after(days),
            ..backup::Request::new(&job, Kind::Scheduled)
        };
        let report = backup::run(&request).await.unwrap();
        assert_eq!(report.afterwards, Vec::<String>::new());
        assert_eq!(report.dropped.len(), usize::from(days == 8), "after {days} days");
        replaced.check(days);
    }
}

#[tokio::test]
async fn prune_drops_replaced_databases_and_then_their_snapshots() {
    let replaced = Replaced::new(CONFIGURATION);
    let mut job = replaced.job();
    job.prune = false;
    for days in 1..=10 {
        let clock = replaced.after(days);
        let request = backup::Request {
            clock: clock.clone(),
            ..backup::Request::new(&job, Kind::Scheduled)
        };
        backup::run(&request).await.unwrap();
        let outcome = Pruning::new(&job, &clock).run(Known::new()).await;
        assert!(outcome.server.is_none() && outcome.stores.iter().all(|store| store.failed.is_none()));
        replaced.check(days);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_daemon_drops_replaced_databases_and_then_their_snapshots() {
    let replaced = Replaced::new(&format!("schedule = '* * * * * *'\n{CONFIGURATION}"));
    let days = Arc::new(AtomicI64::new(0));
    let clock = Clock::new({
        let days = Arc::clone(&days);
        move || Utc::now() + TimeDelta::days(days.load(Ordering::SeqCst))
    });
    let (_hangs_up, reload) = tokio::sync::mpsc::channel(1);
    let surroundings = Surroundings {
        clock,
        shutdown: tokio_util::sync::CancellationToken::new(),
        reload,
        heartbeat: None,
        load: Box::new(|| anyhow::bail!("nobody asks for that")),
    };
    let shutdown = surroundings.shutdown.clone();
    let serving = tokio::spawn(daemon::run(replaced.config(), surroundings));
    for day in 1..=10 {
        days.store(day, Ordering::SeqCst);
        // Two new ones: the first may have begun the day before.
        let before = backups(&replaced);
        wait("backups", || backups(&replaced).difference(&before).count() >= 2).await;
        assert!(replaced.has_snapshot() || !replaced.has_database());
        assert!(replaced.has_database() || day >= 7, "gone after {day} days");
    }
    wait("the database to go", || !replaced.has_database()).await;
    wait("the snapshot to go", || !replaced.has_snapshot()).await;
    shutdown.cancel();
    serving.await.unwrap().unwrap();
}

fn backups(replaced: &Replaced) -> BTreeSet<String> {
    let names = std::fs::read_dir(replaced.site.backups()).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.ends_with(".json")).collect()
}

async fn wait(what: &str, done: impl Fn() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < Duration::from_secs(60), "waited for {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[test]
fn what_may_be_the_only_copy_is_said_with_its_size_and_goes_when_that_is_wanted() {
    let replaced = Replaced::new("keep_replaced = '1s'");
    for extension in ["json", "dump", "globals.sql"] {
        let file = format!("app_{}.{extension}", replaced.safety);
        std::fs::remove_file(replaced.site.backups().join(file)).unwrap();
    }
    std::thread::sleep(Duration::from_secs(2));
    let listed = replaced.site.run(&["list", "app"]).ok().stdout;
    assert!(
        listed.contains(&format!("{} is gone: the only copy", replaced.safety)),
        "{listed}"
    );
    let pruned = replaced.site.run(&["prune", "app"]).ok().stdout;
    let line = pruned.lines().find(|line| line.contains(&replaced.kept));
    let line = line.unwrap_or_else(|| panic!("{pruned}"));
    assert!(
        line.contains("MiB) stays") && line.contains("--drop-only-copies"),
        "{line}"
    );
    let refused = replaced.site.run(&["prune", "app", "--drop-only-copies"]).code(7);
    assert!(
        refused.stdout.contains(&format!("{} would be dropped", replaced.kept)) && refused.stderr.contains("--yes"),
        "{refused:?}"
    );
    assert!(replaced.has_database());
    replaced.site.run(&["prune", "app", "--drop-only-copies", "--yes"]).ok();
    assert!(!replaced.has_database());
}
