//! A week in a minute: the clock is an argument. Seven nights across the end of summer time, with a store that goes away, two daemons,
//! two days of downtime and a database that is not there; what is run, made up for, deleted, told and shown is exactly what it should be.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use snapback::clock::Clock;
use snapback::config::Config;
use snapback::daemon::{self, Surroundings};
use snapback::watch::history::{History, Outcome, Query, Run, Verb};
use snapback::watch::status::{Asked, DayState, status};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::backup::House;

/// What daemons go by.
type Time = Arc<Mutex<DateTime<Utc>>>;

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

/// A machine: a configuration with its own state.
struct Machine {
    file: PathBuf,
    history: PathBuf,
    /// The daemon writes a line into it when it is done with a run.
    lines: PathBuf,
    time: Time,
}

impl Machine {
    fn new(house: &House, name: &str, time: &Time) -> Machine {
        let folder = house.dir.path();
        let (file, told) = (folder.join(format!("{name}.toml")), folder.join(format!("told-{name}")));
        let text = format!(
            "[daemon]\nstate = \"{name}\"\nhistory = \"{name}.lines\"\n[stores.default]\npath = \"backups\"\n\
             [jobs.app]\nurl = \"{}\"\nschedule = \"30 2 * * *\"\ntime_zone = \"Europe/Berlin\"\nattempts = 1\nretention.keep_last = 3\n\
             [notify.us]\ntype = \"command\"\non = [\"failed\", \"recovered\"]\n\
             command = [\"sh\", \"-c\", \"echo $SNAPBACK_TITLE >> {}\"]\n",
            house.server.url("app"),
            told.display(),
        );
        fs::write(&file, text).unwrap();
        let history = Machine::config_of(&file, at("2026-10-22T12:00:00Z")).history.unwrap();
        Machine {
            file,
            history,
            lines: folder.join(format!("{name}.lines")),
            time: Arc::clone(time),
        }
    }

    fn config_of(file: &Path, now: DateTime<Utc>) -> Config {
        Config::load(Some(file), &BTreeMap::new(), now).unwrap()
    }

    fn clock(&self) -> Clock {
        let time = Arc::clone(&self.time);
        Clock::new(move || *time.lock().unwrap())
    }

    fn start(&self) -> Daemon {
        let shutdown = CancellationToken::new();
        let (reload, asked) = mpsc::channel(1);
        let surroundings = Surroundings {
            clock: self.clock(),
            shutdown: shutdown.clone(),
            reload: asked,
            heartbeat: Some(Duration::from_millis(50)),
            load: Box::new(|| anyhow::bail!("nobody asks")),
        };
        let config = Machine::config_of(&self.file, self.clock().now());
        let task = tokio::spawn(async move { daemon::run(config, surroundings).await.unwrap() });
        Daemon {
            shutdown,
            task,
            _reload: reload,
        }
    }

    /// All backups that were begun and have ended, the oldest first.
    fn runs(&self) -> Vec<Run> {
        let history = History::open(&self.history).unwrap();
        let mut runs = history.runs(&Query::default()).unwrap();
        runs.retain(|run| run.verb == Verb::Backup && run.outcome != Outcome::Running);
        runs.reverse();
        runs
    }

    /// How many runs the daemon has done with.
    fn done(&self) -> usize {
        fs::read_to_string(&self.lines).unwrap_or_default().lines().count()
    }

    /// Sets the clock, and waits until there are so many runs.
    async fn until(&self, now: &str, runs: usize) {
        *self.time.lock().unwrap() = at(now);
        let begun = Instant::now();
        while self.done() < runs {
            assert!(begun.elapsed() < Duration::from_secs(60), "{now}: {:#?}", self.runs());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

struct Daemon {
    shutdown: CancellationToken,
    task: JoinHandle<()>,
    _reload: mpsc::Sender<()>,
}

impl Daemon {
    async fn end(self) {
        self.shutdown.cancel();
        self.task.await.unwrap();
    }
}

/// Lets a daemon look at the clock a few times. What it does then and should not is in the history at the end.
async fn some_heartbeats() {
    tokio::time::sleep(Duration::from_millis(500)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_week_goes_as_it_should() {
    let house = House::new();
    let time: Time = Arc::new(Mutex::new(at("2026-10-22T12:00:00Z")));
    let (one, two) = (Machine::new(&house, "one", &time), Machine::new(&house, "two", &time));
    let backups = house.dir.path().join("backups");
    let daemon = one.start();
    some_heartbeats().await;
    assert!(one.runs().is_empty(), "what never ran has missed nothing");

    // Friday: 02:30 in summer time.
    one.until("2026-10-23T00:29:50Z", 0).await;
    some_heartbeats().await;
    one.until("2026-10-23T00:30:06Z", 1).await;
    // Saturday: the store is away.
    let away = house.dir.path().join("away");
    fs::rename(&backups, &away).unwrap();
    fs::write(&backups, "no folder").unwrap();
    one.until("2026-10-24T00:30:06Z", 2).await;
    fs::remove_file(&backups).unwrap();
    fs::rename(&away, &backups).unwrap();
    // Sunday: 02:30 comes twice, and the run once.
    one.until("2026-10-25T00:30:06Z", 3).await;
    *time.lock().unwrap() = at("2026-10-25T01:30:06Z");
    some_heartbeats().await;
    // Monday: another machine has the same job.
    let other = two.start();
    some_heartbeats().await;
    one.until("2026-10-26T01:30:06Z", 4).await;
    two.until("2026-10-26T01:30:06Z", 1).await;
    other.end().await;
    daemon.end().await;
    // Tuesday and Wednesday night nobody is there; one run makes up for both.
    *time.lock().unwrap() = at("2026-10-28T12:00:00Z");
    let daemon = one.start();
    one.until("2026-10-28T12:00:00Z", 5).await;
    // Thursday: the database is not there.
    house.server.psql("postgres", "ALTER DATABASE app RENAME TO lost");
    one.until("2026-10-29T01:30:06Z", 6).await;
    house.server.psql("postgres", "ALTER DATABASE lost RENAME TO app");
    // Friday: all is well.
    one.until("2026-10-30T01:30:06Z", 7).await;
    *time.lock().unwrap() = at("2026-10-30T12:00:00Z");
    some_heartbeats().await;
    daemon.end().await;

    let runs = one.runs();
    let said: Vec<String> = runs
        .iter()
        .map(|run| format!("{} {}", run.started.format("%a %H:%M"), run.outcome.name()))
        .collect();
    let of_two = two.runs();
    // On Monday either was first; the other found it at work, or came after it.
    let monday = runs[3].outcome.name();
    assert_eq!(
        said,
        [
            "Fri 00:30 ok",
            "Sat 00:30 failed",
            "Sun 00:30 ok",
            &format!("Mon 01:30 {monday}"),
            "Wed 12:00 ok",
            "Thu 01:30 failed",
            "Fri 01:30 ok",
        ]
    );
    let of_monday = [runs[3].outcome, of_two[0].outcome];
    assert!(
        of_two.len() == 1
            && of_monday.contains(&Outcome::Ok)
            && of_monday.iter().all(|it| matches!(it, Outcome::Ok | Outcome::Skipped)),
        "{of_monday:?}"
    );

    // Three backups stay, the newest ones.
    let days: Vec<String> = house_ids(&backups).iter().rev().map(|id| id[..8].to_owned()).collect();
    assert_eq!(days, ["20261030", "20261028", "20261026"]);
    let deleted: u64 = runs.iter().chain(&of_two).filter_map(|run| run.facts.backups).sum();
    let good = runs
        .iter()
        .chain(&of_two)
        .filter(|run| run.outcome == Outcome::Ok)
        .count() as u64;
    assert_eq!(deleted, good - 3);

    let told = fs::read_to_string(house.dir.path().join("told-one")).unwrap();
    // When nothing could be read, and after two days without a backup, the job was not fresh for a while.
    let (fresh, of_runs): (Vec<&str>, Vec<&str>) = told.lines().partition(|title| title.ends_with("fresh again"));
    let (bad, good) = ("app: no backup", "app: backed up again");
    assert_eq!(of_runs, [bad, good, bad, good]);
    assert!(!fresh.is_empty(), "{told}");
    assert!(!house.dir.path().join("told-two").exists());

    // The strip of the page: what happened, day by day in Berlin.
    let config = Machine::config_of(&one.file, one.clock().now());
    let history = History::open(&one.history).unwrap();
    let asked = Asked {
        history: Some(&history),
        now: one.clock().now(),
        servers: false,
        sections: &[],
    };
    let status = status(&config.jobs.iter().collect::<Vec<_>>(), asked).await;
    let job = &status.jobs[0];
    let strip: Vec<(String, DayState)> = job
        .days
        .iter()
        .skip(job.days.len() - 9)
        .map(|day| (day.date.format("%a %d").to_string(), day.state))
        .collect();
    let expected = [
        ("Thu 22", DayState::None),
        ("Fri 23", DayState::Good),
        ("Sat 24", DayState::Failed),
        ("Sun 25", DayState::Good),
        ("Mon 26", DayState::Good),
        ("Tue 27", DayState::Missed),
        ("Wed 28", DayState::Good),
        ("Thu 29", DayState::Failed),
        ("Fri 30", DayState::Good),
    ];
    assert_eq!(strip, expected.map(|(day, state)| (day.to_owned(), state)));
    assert!(job.fresh && job.problems.is_empty(), "{:?}", job.problems);
    assert_eq!(job.next_run, Some(at("2026-10-31T01:30:00Z")));
}

/// The ids of all backups in a store, the oldest first.
fn house_ids(backups: &Path) -> Vec<String> {
    let mut ids: Vec<String> = fs::read_dir(backups.join("app"))
        .unwrap()
        .filter_map(|entry| {
            let name = entry.unwrap().file_name().into_string().unwrap();
            name.strip_suffix(".json")?.strip_prefix("app_").map(str::to_owned)
        })
        .collect();
    ids.sort();
    ids
}
