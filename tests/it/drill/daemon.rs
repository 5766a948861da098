//! Drills by schedule, and who is told of them.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::backup::House;
use crate::support::Run;

/// `snapback serve`; killed when it is dropped.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn serve(house: &House) -> Daemon {
    let log = fs::File::options()
        .create(true)
        .append(true)
        .open(house.dir.path().join("log"))
        .unwrap();
    Daemon(house.command(&["serve"]).stderr(Stdio::from(log)).spawn().unwrap())
}

/// The lines of a file that the daemon writes, as soon as `enough` of them are there.
fn lines(house: &House, name: &str, enough: impl Fn(&[String]) -> bool) -> Vec<String> {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let text = fs::read_to_string(house.dir.path().join(name)).unwrap_or_default();
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        if enough(&lines) {
            return lines;
        }
        let log = fs::read_to_string(house.dir.path().join("log")).unwrap_or_default();
        assert!(Instant::now() < deadline, "{name} has only {lines:?}:\n{log}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn drills_run_by_their_schedule_and_a_failing_one_is_told() {
    let house = House::new();
    let configure = |check: &str| {
        house.configure(&format!(
            "retention.keep_last = 3\ndrill_schedule = \"*/2 * * * * *\"\ndrill_checks = [\"{check}\"]\n\
             [daemon]\nhistory = \"history\"\n\
             notify = [\"sh\", \"-c\", \"echo \\\"$SNAPBACK_NEWS $SNAPBACK_MESSAGE\\\" >> told; cat > /dev/null\"]\n"
        ));
    };
    configure("SELECT count(*) = 1000 FROM customer");
    let id = house.backup();
    let mut daemon = serve(&house);
    let history = lines(&house, "history", |lines| !lines.is_empty());
    let line: Value = serde_json::from_str(&history[0]).unwrap();
    assert_eq!(
        (&line["drill"], &line["ok"], &line["id"], &line["rows"]),
        (&true.into(), &true.into(), &id.clone().into(), &1000.into())
    );
    assert!(!house.dir.path().join("told").exists(), "good news is no news");
    let reload = |daemon: &Daemon| {
        Run::of(Command::new("kill").args(["-HUP", &daemon.0.id().to_string()])).ok();
    };
    configure("SELECT count(*) = 7 FROM customer");
    reload(&daemon);
    let told = lines(&house, "told", |lines| !lines.is_empty());
    assert!(
        told[0].starts_with("failed app: drill failed: ") && told[0].contains("gave f") && told[0].contains(&id),
        "{told:?}"
    );
    configure("SELECT true");
    reload(&daemon);
    let told = lines(&house, "told", |lines| {
        lines.last().is_some_and(|line| line.starts_with("recovered"))
    });
    assert!(told.last().unwrap().contains("is restorable again"), "{told:?}");
    // Nothing of a drill that is under way is left when the daemon ends.
    Run::of(Command::new("kill").args([daemon.0.id().to_string()])).ok();
    assert_eq!(daemon.0.wait().unwrap().code(), Some(0));
    let databases = house.server.psql(
        "postgres",
        "SELECT datname FROM pg_database WHERE datname LIKE '%drill%'",
    );
    assert_eq!(databases, "");
    let listed = house.json(&["list"]);
    assert_eq!(listed[0]["backups"][0]["drill"]["passed"], true);
}

#[test]
fn drills_wait_for_their_window() {
    let house = House::new();
    let hour = |hours: i64| {
        (chrono::Utc::now() + chrono::TimeDelta::hours(hours))
            .format("%H:%M")
            .to_string()
    };
    let configure = |from: i64, to: i64| {
        house.configure(&format!(
            "retention.keep_last = 3\nschedule = \"* * * * * *\"\ndrill_schedule = \"* * * * * *\"\n\
             drill_window = \"{}-{}\"\n[daemon]\nhistory = \"history\"\n",
            hour(from),
            hour(to)
        ));
    };
    let drills = |lines: &[String]| lines.iter().filter(|line| line.contains("\"drill\":true")).count();
    configure(2, 4);
    let daemon = serve(&house);
    let before = lines(&house, "history", |lines| lines.len() >= 3);
    assert_eq!(drills(&before), 0, "{before:?}");
    configure(-2, 2);
    Run::of(Command::new("kill").args(["-HUP", &daemon.0.id().to_string()])).ok();
    lines(&house, "history", |lines| drills(lines) > 0);

    house.configure("drill_schedule = \"@daily\"\ndrill_window = \"1 to 5\"\ndrill_jitter = \"1d\"");
    let run = house.run(&["config", "check"]).code(2);
    assert!(
        run.stderr.contains("jobs.app.drill_window") && run.stderr.contains("jobs.app.drill_jitter"),
        "{}",
        run.stderr
    );
}
