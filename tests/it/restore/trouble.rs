//! Trouble with the server while a restore is under way, and servers that cannot be restored to.

use std::fs;
use std::io::{BufRead as _, BufReader, Lines};
use std::process::{Child, ChildStderr, Stdio};
use std::sync::Arc;

use super::{STEPS, Site};
use crate::support::s3::S3Server;
use crate::support::{Run, Server, own_address};

const FAILURE: i32 = 1;

/// A site whose backup says `new`, while the live database says `old`.
fn site(server: Server) -> Site {
    let site = Site::on(server, "app", "postgres");
    site.server.create_database("app");
    fill(&site);
    site
}

fn fill(site: &Site) {
    site.server.psql(
        "app",
        "CREATE TABLE who (am_i text); INSERT INTO who VALUES ('new'); \
         CREATE TABLE many AS SELECT n, repeat('x', 100) AS t FROM generate_series(1, 20000) n; \
         ALTER TABLE many ADD PRIMARY KEY (n)",
    );
    site.backup();
    site.server.psql("app", "UPDATE who SET am_i = 'old'");
}

fn who(site: &Site) -> String {
    site.server.psql("app", "SELECT am_i FROM who")
}

/// A restore that can be held and let go on.
struct Restore {
    child: Child,
    lines: Lines<BufReader<ChildStderr>>,
    said: String,
}

impl Restore {
    fn start(site: &Site) -> Restore {
        let mut child = site
            .command(&["restore", "app", "--yes", "--no-safety", "--log-level", "debug"])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        Restore {
            child,
            lines,
            said: String::new(),
        }
    }

    /// Waits until it reaches `step` and holds it there, or a little later.
    fn hold_at(&mut self, step: &str) {
        let reached = format!("step={step}");
        while let Some(line) = self.lines.next() {
            let line = line.unwrap();
            self.said.push_str(&line);
            self.said.push('\n');
            if line.contains("reached") && line.contains(&reached) {
                return self.signal("-STOP");
            }
        }
        panic!("it did not reach {step}: {}", self.said);
    }

    fn signal(&self, signal: &str) {
        Run::of(std::process::Command::new("kill").args([signal, &self.child.id().to_string()])).ok();
    }

    /// Lets it go on and waits for its end.
    fn go_on(mut self) -> Run {
        self.signal("-CONT");
        for line in self.lines.by_ref() {
            self.said.push_str(&line.unwrap());
            self.said.push('\n');
        }
        Run {
            code: self.child.wait().unwrap().code(),
            stdout: String::new(),
            stderr: self.said,
        }
    }
}

/// Either all happened or nothing, and the program says which.
#[track_caller]
fn all_or_nothing(site: &Site, ended: &Run, step: &str) {
    let who = who(site);
    if ended.code == Some(0) {
        assert_eq!(who, "new", "{step}: {}", ended.stderr);
        site.server.psql("app", "UPDATE who SET am_i = 'old'");
    } else {
        assert_eq!(who, "old", "{step}: {}", ended.stderr);
        let told = ended.stderr.contains("nothing was changed") || ended.stderr.contains("\"app\" is as it was");
        assert!(told, "{step}: {}", ended.stderr);
    }
    site.run(&["list", "app"]).ok();
    let left = site.databases();
    assert!(
        !left.iter().any(|name| name.contains("_restoring_")),
        "{step}: {left:?}"
    );
}

#[test]
fn the_server_is_restarted_at_any_step() {
    let mut site = site(Server::start(15));
    // Of a safety snapshot the tests of backups tell; it is not taken here.
    for step in STEPS.iter().filter(|step| **step != "safety") {
        let mut restore = Restore::start(&site);
        restore.hold_at(step);
        Arc::get_mut(&mut site.server).unwrap().crash_and_restart();
        let ended = restore.go_on();
        all_or_nothing(&site, &ended, step);
    }
}

#[test]
fn all_connections_are_cut_at_any_step() {
    let site = site(Server::start(15));
    for step in STEPS.iter().filter(|step| **step != "safety") {
        let mut restore = Restore::start(&site);
        restore.hold_at(step);
        site.server.psql(
            "postgres",
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity \
             WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()",
        );
        let ended = restore.go_on();
        all_or_nothing(&site, &ended, step);
    }
}

#[test]
fn a_disk_that_gets_full_is_named_and_nothing_is_changed() {
    let server = Server::start(15);
    let disk = server.small_disk(26);
    server.psql(
        "postgres",
        &format!("CREATE TABLESPACE small LOCATION '{}'", disk.path().display()),
    );
    server.psql("postgres", "CREATE DATABASE app TEMPLATE template0 TABLESPACE small");
    let site = Site::on(server, "app", "postgres");
    fill(&site);
    site.server.psql(
        "app",
        "CREATE TABLE wide AS SELECT n, md5(n::text) || repeat('y', 400) AS t FROM generate_series(1, 20000) n",
    );
    site.backup();
    site.server.psql("app", "UPDATE who SET am_i = 'old'");
    let failed = site.run(&["restore", "app", "--yes"]).code(FAILURE);
    for words in [
        "No space left on device",
        "nothing was changed",
        "hint: ",
        "disk of the server",
    ] {
        assert!(failed.stderr.contains(words), "{words}: {}", failed.stderr);
    }
    assert_eq!(who(&site), "old");
    assert_eq!(site.databases(), ["app", "postgres", "template0", "template1"]);
    // What it took is free again.
    site.server.psql("app", "DROP TABLE wide; DROP TABLE many");
    site.backup();
    site.restore(&[]);
}

#[test]
fn a_store_that_fails_half_way_is_named_and_nothing_is_changed() {
    let site = site(Server::start(15));
    // Each half of the rows is more than is read ahead.
    site.server.psql(
        "app",
        "CREATE TABLE wide AS SELECT n, md5(n::text) || md5((-n)::text) AS t FROM generate_series(1, 60000) n",
    );
    let id = site.backup();
    let archive = site.backups().join(format!("app_{id}.dump"));
    let whole = fs::read(&archive).unwrap();
    let before = site.databases();
    let mut restore = Restore::start(&site);
    restore.hold_at("create");
    fs::write(&archive, &whole[..whole.len() / 2]).unwrap();
    let ended = restore.go_on();
    assert_ne!(ended.code, Some(0), "{}", ended.stderr);
    for words in ["nothing was changed", archive.file_name().unwrap().to_str().unwrap()] {
        assert!(ended.stderr.contains(words), "{words}: {}", ended.stderr);
    }
    assert_eq!(who(&site), "old");
    assert_eq!(site.databases(), before);

    // The server of a bucket goes away.
    let bucket = S3Server::start();
    site.use_store(&(bucket.config("backups") + "attempts = 2\n"));
    site.backup();
    let mut restore = Restore::start(&site);
    restore.hold_at("create");
    let url = bucket.url();
    drop(bucket);
    let ended = restore.go_on();
    assert_eq!(ended.code, Some(FAILURE), "{}", ended.stderr);
    for words in ["nothing was changed", "s3://bucket/backups", "hint: ", &url] {
        assert!(ended.stderr.contains(words), "{words}: {}", ended.stderr);
    }
    assert_eq!(who(&site), "old");
    assert_eq!(site.databases(), before);
}

#[test]
fn a_standby_is_not_restored_to() {
    let site = site(Server::start(15));
    let standby = site.server.standby();
    site.reconfigure(site.server.host(), standby.host());
    let plan = site.run(&["restore", "app", "--dry-run"]).code(FAILURE);
    assert!(plan.stderr.contains("is a standby"), "{}", plan.stderr);
    let failed = site.run(&["restore", "app", "--yes"]).code(FAILURE);
    assert!(
        failed
            .stderr
            .contains("hint: set restore_url of the job to the primary"),
        "{}",
        failed.stderr
    );
    assert_eq!(standby.psql("app", "SELECT am_i FROM who"), "old");
    assert_eq!(site.databases(), ["app", "postgres", "template0", "template1"]);
}

#[test]
fn a_missing_extension_is_named_before_anything_is_done() {
    let extensions = tempfile::Builder::new().prefix("sb").tempdir_in("/tmp").unwrap();
    fs::create_dir(extensions.path().join("extension")).unwrap();
    let file = |name: &str| extensions.path().join("extension").join(name);
    fs::write(file("mine.control"), "default_version = '1'\n").unwrap();
    fs::write(
        file("mine--1.sql"),
        "CREATE FUNCTION mine() RETURNS int LANGUAGE sql AS 'SELECT 1';\n",
    )
    .unwrap();
    Run::of(
        std::process::Command::new("chmod")
            .args(["-R", "a+rX"])
            .arg(extensions.path()),
    )
    .ok();
    // Only from 18 on an extension can be somewhere else than in the server's own folder.
    let setting = format!("extension_control_path=$system:{}", extensions.path().display());
    let server = Server::start_with(18, &[&setting]);
    let site = site(server);
    site.server.psql("app", "CREATE EXTENSION mine");
    site.backup();
    site.server
        .psql("app", "DROP EXTENSION mine; UPDATE who SET am_i = 'old'");
    fs::remove_file(file("mine.control")).unwrap();
    let failed = site.run(&["restore", "app", "--yes"]).code(FAILURE);
    assert!(
        failed.stderr.contains("the server lacks extensions: mine"),
        "{}",
        failed.stderr
    );
    assert!(failed.stderr.contains("hint: install"), "{}", failed.stderr);
    assert_eq!(who(&site), "old");
    assert_eq!(site.databases(), ["app", "postgres", "template0", "template1"]);
}

#[test]
fn names_that_are_taken_are_left_alone() {
    let site = site(Server::start(15));
    // Made by somebody else, with names such as a restore gives.
    for name in ["app_before_20260101T000000Z", "app_restoring_20260101T000000Z"] {
        site.server.create_database(name);
        site.server.psql(name, "CREATE TABLE somebodys (id int)");
    }
    let restored = site.run(&["restore", "app", "--yes"]).ok();
    assert!(restored.stderr.contains("left alone"), "{}", restored.stderr);
    assert_eq!(who(&site), "new");
    for name in ["app_before_20260101T000000Z", "app_restoring_20260101T000000Z"] {
        assert_eq!(site.server.psql(name, "SELECT count(*) FROM somebodys"), "0");
    }
}

#[test]
fn what_a_kill_left_of_a_database_with_a_subscription_is_removed() {
    let site = site(Server::start(15));
    site.server.psql(
        "app",
        "CREATE SUBSCRIPTION \"Odd one\" CONNECTION 'dbname=none' PUBLICATION p WITH (connect = false, slot_name = 'theirs')",
    );
    site.backup();
    let mut child = super::failures::paused(&site, &["restore", "app", "--yes", "--pause-at", "prove"]);
    child.kill().unwrap();
    child.wait().unwrap();
    let listed = site.run(&["list", "app"]).ok().stdout;
    assert!(listed.contains("did not end: removed"), "{listed}");
    // Somebody changes his mind.
    let child = super::failures::paused(&site, &["restore", "app", "--yes", "--pause-at", "prove"]);
    Run::of(std::process::Command::new("kill").arg(child.id().to_string())).ok();
    let ended = Run::from(child.wait_with_output().unwrap());
    assert_eq!(ended.code, Some(130), "{}", ended.stderr);
    assert_eq!(site.databases(), ["app", "postgres", "template0", "template1"]);
    let live =
        "SELECT subname, subslotname FROM pg_subscription JOIN pg_database d ON d.oid = subdbid WHERE datname = 'app'";
    assert_eq!(site.server.psql("app", live), "Odd one|theirs");
}

#[test]
fn a_replaced_database_that_cannot_be_dropped_keeps_no_other() {
    let site = site(Server::start(15));
    site.configure("keep_replaced = \"1s\"");
    site.restore(&[]);
    site.server.psql(
        "app",
        "CREATE SUBSCRIPTION s CONNECTION 'dbname=none' PUBLICATION p WITH (connect = false)",
    );
    let report = site.restore(&[]);
    let subscribed = report["outcome"]["kept"].as_str().unwrap();
    std::thread::sleep(std::time::Duration::from_secs(2));
    let pruned = site.run(&["prune", "app"]).ok();
    assert!(pruned.stdout.contains(" dropped"), "{}", pruned.stdout);
    let line = pruned.stdout.lines().find(|line| line.contains(subscribed));
    let line = line.unwrap_or_else(|| panic!("{}", pruned.stdout));
    assert!(line.contains("stays: ") && line.contains("subscription"), "{line}");
    assert_eq!(
        site.databases(),
        ["app", subscribed, "postgres", "template0", "template1"]
    );
}

/// Load balancers and NAT forget a connection that is silent for some minutes, and during a long load some are.
#[test]
fn a_session_that_waits_is_not_forgotten_on_its_way() {
    let address = own_address();
    let site = site(Server::start_with(15, &[&format!("listen_addresses={address}")]));
    let socket = format!("host={}", site.server.host());
    site.reconfigure(&socket, &format!("host={address}"));
    let within = |range: std::ops::RangeInclusive<u64>, when: &str| {
        let found = sent_keepalives(&site, &address);
        assert!(
            found.len() == 2 && found.iter().all(|seconds| range.contains(seconds)),
            "{when}: {found:?}"
        );
    };
    within(1..=60, "as it is");
    site.reconfigure("port=5432", "port=5432 keepalives_idle=600");
    within(61..=600, "as it was said");
    site.reconfigure("keepalives_idle=600", "keepalives=0");
    within(0..=0, "none");
}

/// After how many seconds the kernel will send a keepalive (0: it sends none) on the connections to `address` that a restore has
/// open while it waits.
fn sent_keepalives(site: &Site, address: &str) -> Vec<u64> {
    let mut restore = super::failures::paused(site, &["restore", "app", "--yes", "--pause-at", "create"]);
    // As the kernel writes it: octets backwards, hexadecimal.
    let octets = address.split('.').rev().map(|octet| octet.parse::<u8>().unwrap());
    let remote: String = octets.map(|octet| format!("{octet:02X}")).collect::<String>() + ":1538";
    // The fields of a timer: which, and hundredths of a second until it fires.
    let timers = || {
        let table = fs::read_to_string("/proc/net/tcp").unwrap();
        let fields = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let open = fields.filter(|fields| fields[2] == remote && fields[3] == "01");
        open.map(|fields| fields[5].to_owned()).collect::<Vec<_>>()
    };
    // What was sent last may not be confirmed yet.
    while timers().iter().any(|timer| timer.starts_with("01:")) {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let found = timers();
    let found = found.iter().map(|timer| match timer.split_once(':').unwrap() {
        ("02", when) => u64::from_str_radix(when, 16).unwrap().div_ceil(100),
        _ => 0,
    });
    let found = found.collect();
    restore.kill().unwrap();
    restore.wait().unwrap();
    found
}
