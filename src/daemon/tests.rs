use std::sync::Mutex;

use super::*;

/// A daemon of one job with this schedule, and its clock.
async fn daemon(schedule: &str) -> (Daemon, Arc<Mutex<DateTime<Utc>>>) {
    let time: Arc<Mutex<DateTime<Utc>>> = Arc::new(Mutex::new("2031-05-05T12:00:00.5Z".parse().unwrap()));
    let clock = Clock::new({
        let time = Arc::clone(&time);
        move || *time.lock().unwrap()
    });
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("snapback.toml");
    let text = format!("[stores.default]\npath = 'b'\n[jobs.app]\nurl = 'host=/nowhere'\nschedule = '{schedule}'\n");
    std::fs::write(&file, text).unwrap();
    let config = Config::load(Some(&file), &BTreeMap::new(), clock.now()).unwrap();
    let mut daemon = Daemon::new(config, clock, Timer::start().await.unwrap().0);
    daemon.schedule_all();
    (daemon, time)
}

fn next(daemon: &Daemon) -> String {
    daemon.jobs["app"].next.unwrap().to_rfc3339()
}

#[tokio::test]
async fn a_clock_that_is_set_back_delays_nothing() {
    let (mut daemon, time) = daemon("30 3 * * *").await;
    assert_eq!(next(&daemon), "2031-05-06T03:30:00+00:00");
    // It was five years ahead when the machine started.
    *time.lock().unwrap() = "2026-05-05T12:00:00Z".parse().unwrap();
    daemon.follow_clock();
    assert_eq!(next(&daemon), "2026-05-06T03:30:00+00:00");
    // The timer that was armed for then is the old one's.
    daemon.fire(&Firing {
        job: "app".into(),
        due: "2031-05-06T03:30:00Z".parse().unwrap(),
    });
    assert!(daemon.runs.is_empty());
}

#[tokio::test]
async fn a_clock_that_goes_on_fires_once() {
    let (mut daemon, time) = daemon("30 3 * * *").await;
    let set = |text: &str| *time.lock().unwrap() = text.parse().unwrap();
    // The timer looks from time to time, also before.
    let firing = Firing {
        job: "app".into(),
        due: "2031-05-06T03:30:00Z".parse().unwrap(),
    };
    set("2031-05-06T03:00:00Z");
    daemon.fire(&firing);
    assert!(daemon.runs.is_empty());
    // The machine slept over its time.
    set("2031-05-09T06:00:00Z");
    daemon.follow_clock();
    daemon.fire_overdue();
    daemon.fire(&firing);
    assert_eq!(daemon.runs.len(), 1);
    assert_eq!(next(&daemon), "2031-05-10T03:30:00+00:00");
}
