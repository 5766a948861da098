//! `snapback serve` on a real PostgreSQL: schedules, rotation, signals, systemd's protocol.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::backup::House;

/// A running daemon; killed when it is dropped.
struct Daemon {
    child: Child,
    /// What systemd was told. A thread reads it all the time, as systemd does: the daemon waits for nobody.
    told: mpsc::Receiver<String>,
    log: std::path::PathBuf,
}

impl Daemon {
    /// Starts `snapback serve` and waits until systemd would hear that it is ready.
    fn start(house: &House) -> Daemon {
        let path = house.dir.path().join("notify");
        let _ = fs::remove_file(&path);
        let socket = UnixDatagram::bind(&path).unwrap();
        let (tell, told) = mpsc::channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 1024];
            while let Ok(n) = socket.recv(&mut buffer) {
                if tell.send(String::from_utf8_lossy(&buffer[..n]).into_owned()).is_err() {
                    return;
                }
            }
        });
        let log = house.dir.path().join("log");
        let child = house
            .command(&["serve"])
            .env("NOTIFY_SOCKET", &path)
            .env("WATCHDOG_USEC", "1000000")
            .stderr(Stdio::from(fs::File::create(&log).unwrap()))
            .spawn()
            .unwrap();
        let daemon = Daemon { child, told, log };
        daemon.hears("READY=1");
        daemon
    }

    /// Waits until the daemon tells systemd `word`.
    #[track_caller]
    fn hears(&self, word: &str) {
        loop {
            let told = self.told.recv_timeout(Duration::from_secs(30));
            let told = told.unwrap_or_else(|_| panic!("never heard {word}: {}", self.log()));
            if told.lines().any(|line| line.starts_with(word)) {
                return;
            }
        }
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args([&format!("-{name}"), &pid])
                .status()
                .unwrap()
                .success()
        );
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    #[track_caller]
    fn wait_for(&self, what: &str, done: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(40);
        while !done() {
            assert!(Instant::now() < deadline, "{what} never came:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    #[track_caller]
    fn wait_for_log(&self, word: &str) {
        self.wait_for(word, || self.log().contains(word));
    }

    /// Ends the daemon and returns its exit code.
    fn terminate(mut self) -> (Option<i32>, String) {
        self.signal("TERM");
        self.hears("STOPPING=1");
        let code = self.child.wait().unwrap().code();
        (code, self.log())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_schedule_of_seconds_rotates_and_sigterm_ends_cleanly() {
    let house = House::new();
    house.configure("schedule = \"*/2 * * * * *\"\nretention.keep_last = 2\n[daemon]\nhistory = \"history\"\n");
    let daemon = Daemon::start(&house);
    daemon.hears("WATCHDOG=1");
    daemon.wait_for("rotation", || {
        let history = fs::read_to_string(house.dir.path().join("history")).unwrap_or_default();
        history.lines().filter(|line| line.contains("\"ok\":true")).count() >= 4
    });
    let (code, log) = daemon.terminate();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("backed up") && log.contains("pruned=1"), "{log}");
    let listed = house.json(&["list"]);
    let backups = listed[0]["backups"].as_array().unwrap();
    assert_eq!(backups.len(), 2);
    assert!(backups.iter().all(|backup| backup["kind"] == "scheduled"));
    assert!(listed[0]["claims"].as_array().unwrap().is_empty());
}

#[test]
fn a_run_that_is_in_the_way_is_no_failure() {
    let house = House::new();
    house.configure("schedule = \"* * * * * *\"\n[daemon]\nhistory = \"history\"\n");
    let mut other = house.command(&["backup", "app", "--pause-at", "dump"]).spawn().unwrap();
    let history = || fs::read_to_string(house.dir.path().join("history")).unwrap_or_default();
    let claims = || house.json(&["list"])[0]["claims"].as_array().unwrap().len();
    let deadline = Instant::now() + Duration::from_secs(30);
    while claims() == 0 {
        assert!(Instant::now() < deadline, "it never began");
        std::thread::sleep(Duration::from_millis(20));
    }
    let daemon = Daemon::start(&house);
    daemon.wait_for("skipped runs", || history().matches("\"skipped\":").count() >= 2);
    assert!(!history().contains("\"ok\""), "{}", history());
    other.kill().unwrap();
    other.wait().unwrap();
    daemon.wait_for("a run of its own", || history().contains("\"ok\":true"));
    let (code, log) = daemon.terminate();
    assert_eq!(code, Some(0), "{log}");
    assert!(
        log.contains("skipped: a run of job app is under way (server process"),
        "{log}"
    );
    assert!(
        !log.contains("ERROR") && !history().contains("\"ok\":false"),
        "{log}{}",
        history()
    );
    assert!(house.json(&["list"])[0]["failures"].as_array().unwrap().is_empty());
}

#[test]
fn a_failed_run_is_logged_with_its_hint_and_the_next_one_is_tried() {
    let house = House::new();
    house.configure("schedule = \"* * * * * *\"\n[log]\nformat = \"json\"\n");
    let file = house.dir.path().join("snapback.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("/app?", "/nosuch?")).unwrap();
    let daemon = Daemon::start(&house);
    daemon.wait_for("a second failure", || daemon.log().matches("failed: ").count() >= 2);
    let (code, log) = daemon.terminate();
    assert_eq!(code, Some(0));
    let failure = log.lines().find(|line| line.contains("failed: ")).unwrap();
    let failure: serde_json::Value = serde_json::from_str(failure).unwrap();
    assert_eq!(
        (failure["job"].as_str(), failure["level"].as_str()),
        (Some("app"), Some("ERROR"))
    );
    assert_eq!(failure["exit"], 3);
}

#[test]
fn sighup_rereads_and_a_broken_configuration_changes_nothing() {
    let house = House::new();
    house.configure("schedule = \"0 0 1 1 *\"\n");
    let daemon = Daemon::start(&house);
    let file = house.dir.path().join("snapback.toml");
    let good = fs::read_to_string(&file).unwrap();
    fs::write(&file, "[jobs.app]\nshcedule = \"@daily\"\n").unwrap();
    daemon.signal("HUP");
    daemon.hears("RELOADING=1");
    daemon.hears("READY=1");
    daemon.wait_for_log("the old one goes on");
    assert!(daemon.log().contains("shcedule"));
    fs::write(&file, good.replace("0 0 1 1 *", "* * * * * *")).unwrap();
    daemon.signal("HUP");
    daemon.hears("READY=1");
    daemon.wait_for_log("backed up");
    assert_eq!(daemon.terminate().0, Some(0));
}

/// A house whose only backup is years old, as if the machine had been off.
fn long_ago() -> House {
    let house = House::new();
    house.backup();
    // It gets an old id, everywhere it stands.
    let id = house.listed()[0].clone();
    for name in house.files() {
        let file = house.folder().join(&name);
        if name.ends_with(".json") {
            let text = fs::read_to_string(&file).unwrap();
            fs::write(&file, text.replace(&id, "20200101T000000Z")).unwrap();
        }
        fs::rename(&file, house.folder().join(name.replace(&id, "20200101T000000Z"))).unwrap();
    }
    house
}

#[test]
fn a_missed_run_is_made_up_for_unless_it_is_unwanted() {
    let house = long_ago();
    house.configure("schedule = \"0 0 1 1 *\"\nrun_missed = false\n");
    let daemon = Daemon::start(&house);
    assert_eq!(daemon.terminate().0, Some(0));
    assert_eq!(house.listed().len(), 1);
    house.configure("schedule = \"0 0 1 1 *\"\n");
    let daemon = Daemon::start(&house);
    daemon.wait_for_log("backed up");
    assert!(daemon.log().contains("making up for a missed run"));
    daemon.terminate();
    assert_eq!(house.listed().len(), 2);
}

#[test]
fn a_store_that_is_away_at_the_start_holds_nobody_up_and_what_was_missed_is_made_up_for_later() {
    let house = long_ago();
    let [there, away] = ["backups", "away"].map(|name| house.dir.path().join(name));
    fs::rename(&there, &away).unwrap();
    fs::write(&there, "no folder").unwrap();
    // It takes connections and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    fs::write(house.dir.path().join("key"), "key").unwrap();
    house.configure(&format!(
        "schedule = '0 0 1 1 *'
         [stores.silent.s3]\nbucket = 'b'\naccess_key_file = 'key'\nsecret_key_file = 'key'\nendpoint_url = 'http://{}'
         [stores.near]\npath = 'near'
         [jobs.far]\nurl = 'host=/nowhere'\nstore = 'silent'\nschedule = '0 0 1 1 *'
         [jobs.busy]\nurl = '{}'\nstore = 'near'\nschedule = '* * * * * *'\n",
        silent.local_addr().unwrap(),
        house.server.url("app")
    ));
    let daemon = Daemon::start(&house);
    daemon.wait_for("a backup of another job", || {
        daemon
            .log()
            .lines()
            .any(|line| line.contains("backed up") && line.contains("job=\"busy\""))
    });
    daemon.wait_for_log("will look again");
    fs::remove_file(&there).unwrap();
    fs::rename(&away, &there).unwrap();
    daemon.wait_for("the missed run", || {
        daemon
            .log()
            .lines()
            .any(|line| line.contains("backed up") && line.contains("job=\"app\""))
    });
    assert_eq!(daemon.terminate().0, Some(0));
}

#[test]
fn somebody_is_told_of_trouble_and_of_its_end() {
    let house = House::new();
    house.configure(
        "schedule = '* * * * * *'
         [daemon]
         notify = ['sh', '-c', 'read line; echo \"$0 $SNAPBACK_JOB $SNAPBACK_NEWS: $SNAPBACK_MESSAGE $line\" >> told', 'by']\n",
    );
    let psql = |sql: &str| house.server.psql("postgres", sql);
    let daemon = Daemon::start(&house);
    let told = || fs::read_to_string(house.dir.path().join("told")).unwrap_or_default();
    let is_told = |what: &str| daemon.wait_for(what, || told().contains(what));
    let backups = || daemon.log().matches("backed up").count();
    daemon.wait_for("two backups", || backups() >= 2);
    assert_eq!(told(), "");
    // A run that meets a TRUNCATE fails, and what is told then is another story.
    house.server.psql("app", "DELETE FROM customer");
    is_told("by app collapsed: app: backed up as ");
    let line = told();
    assert!(
        line.contains("but all tables are empty: ") && line.contains("\"collapsed\":[\"all"),
        "{line}"
    );

    let away = || psql("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = 'app'");
    psql("ALTER DATABASE app ALLOW_CONNECTIONS false");
    away();
    is_told("by app failed: app: no backup: ");
    psql("ALTER DATABASE app ALLOW_CONNECTIONS true");
    is_told("by app recovered: app: backed up again as ");
    let before = backups();
    daemon.wait_for("two more backups", || backups() >= before + 2);
    assert_eq!(told().matches("recovered").count(), 1, "{}", told());
    assert!(!told().contains(" fine"), "{}", told());

    // Nothing depends on who is told.
    house.configure(
        "schedule = '* * * * * *'\n[daemon]\nnotify = ['sh', '-c', 'echo no mail today >&2; exit 3']\nnotify_on = 'all'\n",
    );
    daemon.signal("HUP");
    daemon.wait_for_log("exit status: 3 no mail today");
    assert_eq!(daemon.terminate().0, Some(0));
}

#[test]
fn runs_that_do_not_end_in_time_are_cancelled_cleanly() {
    let house = House::new();
    house.server.psql("app", "CREATE TABLE slow AS SELECT 1 AS id");
    house.configure("schedule = \"* * * * * *\"\n[daemon]\nshutdown_timeout = \"1s\"\n");
    // A dump waits for this lock for as long as the other session lives.
    let mut locker = house.server.tool("psql");
    locker
        .args(house.server.connection_args("app"))
        .args(["-c", "BEGIN; LOCK TABLE slow; SELECT pg_sleep(60)"])
        .stdout(Stdio::null());
    let mut locker = locker.spawn().unwrap();
    let locked = "SELECT count(*) FROM pg_locks WHERE relation = 'slow'::regclass AND granted";
    while house.server.psql("app", locked) != "1" {
        std::thread::sleep(Duration::from_millis(20));
    }
    let daemon = Daemon::start(&house);
    daemon.wait_for("a run", || house.files().iter().any(|name| name.ends_with(".run")));
    let begun = Instant::now();
    let (code, log) = daemon.terminate();
    assert_eq!(code, Some(0), "{log}");
    assert!(begun.elapsed() < Duration::from_secs(15), "{log}");
    assert!(log.contains("the run was cancelled"), "{log}");
    house.server.psql(
        "app",
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep'",
    );
    locker.wait().unwrap();
    let waiting =
        "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'snapback%' OR wait_event_type = 'Lock'";
    let deadline = Instant::now() + Duration::from_secs(20);
    while house.server.psql("app", waiting) != "0" {
        assert!(Instant::now() < deadline, "the server still works for us");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(house.listed().is_empty());
    let list = house.run(&["list"]).ok().stdout;
    assert!(
        list.contains("failed: the run was cancelled") && !list.contains("under way"),
        "{list}"
    );
    // The claim of the cancelled run is taken away by the next one.
    house.configure("");
    house.backup();
    assert!(!house.files().iter().any(|name| name.ends_with(".run")));
}
