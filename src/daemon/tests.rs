use std::sync::Mutex;

use super::*;

/// A daemon of one job with this schedule, and its clock.
async fn daemon(schedule: &str) -> (Daemon, Arc<Mutex<DateTime<Utc>>>) {
    daemon_of(&format!("[jobs.app]\nurl = 'host=/nowhere'\nschedule = '{schedule}'\n")).await
}

/// A daemon of these jobs, and its clock.
async fn daemon_of(jobs: &str) -> (Daemon, Arc<Mutex<DateTime<Utc>>>) {
    let time: Arc<Mutex<DateTime<Utc>>> = Arc::new(Mutex::new("2031-05-05T12:00:00.5Z".parse().unwrap()));
    let clock = Clock::new({
        let time = Arc::clone(&time);
        move || *time.lock().unwrap()
    });
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("snapback.toml");
    std::fs::write(&file, format!("[stores.default]\npath = 'b'\n{jobs}")).unwrap();
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

#[tokio::test]
async fn a_drill_begins_within_its_jitter_and_each_job_has_a_moment_of_its_own() {
    let keys = "drill_schedule = '0 5 * * *'\ndrill_jitter = '1h'";
    let jobs = ["app", "crm", "shop", "wiki"];
    let text: String = jobs
        .map(|job| format!("[jobs.{job}]\nurl = 'host=/nowhere'\n{keys}\n"))
        .concat();
    let (mut daemon, time) = daemon_of(&text).await;
    let due = |daemon: &Daemon| jobs.map(|job| daemon.drills.due(job).unwrap());
    let first = due(&daemon);
    let at = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
    let (from, to) = (at("2031-05-06T05:00:00Z"), at("2031-05-06T06:00:00Z"));
    assert!(first.iter().all(|due| (from..=to).contains(due)), "{first:?}");
    assert!(first.iter().any(|due| *due != first[0]), "all begin at once: {first:?}");
    // Another daemon, or this one after a restart, finds the same moments.
    assert_eq!(due(&daemon_of(&text).await.0), first);
    // Nothing begins at the time in the schedule, and the first drill at its own moment.
    let (due_first, job) = first.iter().copied().zip(jobs).min().unwrap();
    let firing = Firing {
        job: format!("drill {job}"),
        due: due_first,
    };
    *time.lock().unwrap() = due_first - TimeDelta::seconds(1);
    daemon.fire(&firing);
    daemon.look_after_drills();
    assert_eq!((daemon.drills.runs.len(), due(&daemon)), (0, first));
    *time.lock().unwrap() = due_first;
    daemon.fire(&firing);
    assert_eq!(daemon.drills.runs.len(), 1);
    let tomorrow = daemon.drills.due(job).unwrap();
    let day = TimeDelta::days(1);
    assert!((from + day..=to + day).contains(&tomorrow), "{tomorrow}");
}

#[tokio::test]
async fn a_time_that_has_come_is_not_missed_because_something_is_scheduled_anew() {
    let keys = "drill_schedule = '30 3 * * *'";
    let (mut daemon, time) = daemon_of(&format!(
        "[jobs.app]\nurl = 'host=/nowhere'\nschedule = '30 3 * * *'\n{keys}\n"
    ))
    .await;
    let due = "2031-05-06T03:30:00Z".parse().unwrap();
    // Before the timers fire, the configuration is read again.
    *time.lock().unwrap() = due + TimeDelta::milliseconds(300);
    daemon.schedule_all();
    let fire = |daemon: &mut Daemon, job: &str| {
        let job = job.to_owned();
        daemon.fire(&Firing { job, due });
    };
    fire(&mut daemon, "app");
    fire(&mut daemon, "drill app");
    assert_eq!((daemon.runs.len(), daemon.drills.runs.len()), (1, 1));
    assert_eq!(next(&daemon), "2031-05-07T03:30:00+00:00");
    // Neither comes twice.
    daemon.schedule_all();
    fire(&mut daemon, "app");
    fire(&mut daemon, "drill app");
    daemon.fire_overdue();
    assert_eq!((daemon.runs.len(), daemon.drills.runs.len()), (1, 1));
}

#[tokio::test]
async fn a_database_whose_timer_fires_after_the_server_has_answered_is_saved() {
    let (mut daemon, time) =
        daemon_of("[jobs.main]\nserver_url = 'host=/nowhere dbname=postgres'\nschedule = '30 3 * * *'\n").await;
    let answer = || {
        let databases = ["a", "b", "c"].map(str::to_owned).to_vec();
        let known = crate::job::KnownDatabases {
            databases,
            ..Default::default()
        };
        Ok(("main".to_owned(), known))
    };
    daemon.looked_at_server(answer());
    assert!(daemon.runs.is_empty());
    let due = "2031-05-06T03:30:00Z".parse().unwrap();
    *time.lock().unwrap() = due + TimeDelta::milliseconds(300);
    let fire = |daemon: &mut Daemon, job: &str| {
        let job = job.to_owned();
        daemon.fire(&Firing { job, due });
    };
    // The first one waits for the server, which answers before the others' timers fire.
    fire(&mut daemon, "main.a");
    assert!(daemon.runs.is_empty());
    daemon.looked_at_server(answer());
    assert_eq!(daemon.runs.len(), 1);
    fire(&mut daemon, "main.b");
    fire(&mut daemon, "main.c");
    assert_eq!(daemon.runs.len(), 3);
}
