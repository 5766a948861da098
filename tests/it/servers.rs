//! One section for a whole server: which databases it is about, what their jobs are called, and what becomes of them when they come
//! and go.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::sqlite::Site;
use crate::support::{Run, Server, snapback};
use crate::watch::{Served, wait_for};

/// A server with some databases, and a section for it. The way to the server can be cut.
struct Fleet {
    server: Server,
    site: Site,
    /// Short, because a socket's name is.
    way: TempDir,
}

impl Fleet {
    fn new(databases: &[&str]) -> Fleet {
        let server = Server::start(16);
        for (number, database) in databases.iter().enumerate() {
            server.create_database(database);
            server.psql(
                database,
                &format!(
                    "CREATE TABLE t AS SELECT i AS id FROM generate_series(1, {}) i",
                    number + 1
                ),
            );
        }
        let fleet = Fleet {
            server,
            site: Site::new(),
            way: tempfile::Builder::new().prefix("sbway").tempdir_in("/tmp").unwrap(),
        };
        fleet.open();
        fleet.configure("", "");
        fleet
    }

    fn socket(&self) -> PathBuf {
        self.way.path().join("s")
    }

    fn open(&self) {
        symlink(self.server.host(), self.socket()).unwrap();
    }

    fn cut(&self) {
        fs::remove_file(self.socket()).unwrap();
    }

    /// Writes the configuration: `keys` are of the section, `more` comes after it.
    fn configure(&self, keys: &str, more: &str) {
        let text = format!(
            "[stores.default]\npath = \"backups\"\n\
             [jobs.main]\nserver_url = \"postgresql://postgres@/?host={}\"\n{keys}\n\
             [daemon]\nstate = \"state\"\n{more}\n",
            self.socket().display()
        );
        fs::write(self.site.path("snapback.toml"), text).unwrap();
    }

    fn run(&self, arguments: &[&str]) -> Run {
        self.site.snapback(arguments)
    }

    /// The answer of `--json`, whatever the exit code is.
    fn json(&self, arguments: &[&str]) -> Value {
        crate::watch::json(&self.site, arguments).1
    }

    /// The names of all jobs.
    fn jobs(&self) -> Vec<String> {
        let checked = self.json(&["config", "check"]);
        let jobs = checked["jobs"].as_array().unwrap().iter();
        jobs.map(|job| job["job"].as_str().unwrap().to_owned()).collect()
    }
}

#[test]
fn every_database_is_a_job_but_for_templates_and_those_that_nobody_can_enter() {
    let fleet = Fleet::new(&["shop", "Shop DE", "shop-1a2b3c4d", "übung", "crm_test"]);
    fleet
        .server
        .psql("postgres", "CREATE DATABASE closed TEMPLATE template0");
    fleet
        .server
        .psql("postgres", "ALTER DATABASE closed ALLOW_CONNECTIONS false");
    fleet.server.psql(
        "postgres",
        "CREATE DATABASE pattern TEMPLATE template0 IS_TEMPLATE true",
    );
    let jobs = fleet.jobs();
    let has = |name: &str| jobs.iter().any(|job| job == name);
    assert!(
        has("main.shop") && has("main.crm_test") && has("main.postgres"),
        "{jobs:?}"
    );
    // Names that a job cannot have, and one that looks like a name of those, end in a hash of their own.
    for beginning in ["main.shop-de-", "main.shop-1a2b3c4d-", "main.-bung-"] {
        assert_eq!(
            jobs.iter().filter(|job| job.starts_with(beginning)).count(),
            1,
            "{jobs:?}"
        );
    }
    assert_eq!(jobs.len(), 6, "{jobs:?}");

    fleet.configure("databases = [\"*\"]\nexclude = [\"*_test\", \"postgres\", \"S*\"]", "");
    assert_eq!(fleet.jobs().len(), 3);
    fleet.configure("databases = [\"shop\", \"nowhere\"]", "");
    assert_eq!(fleet.jobs(), ["main.nowhere", "main.shop"]);
    // What is named and not there is a failure, and keeps no other from being saved.
    let run = fleet.run(&["backup", "main"]).code(3);
    assert!(
        run.stderr.contains("job main.nowhere") && run.stderr.contains("does not exist"),
        "{}",
        run.stderr
    );
    assert_eq!(
        fleet.json(&["list", "main.shop"])[0]["backups"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[test]
fn a_section_is_no_job_and_what_cannot_be_in_it_is_told() {
    let fleet = Fleet::new(&["shop", "crm"]);
    fleet.configure("exclude = [\"postgres\"]", "");
    let run = fleet.run(&["restore", "main", "latest"]).code(2);
    assert!(run.stderr.contains("main.crm, main.shop"), "{}", run.stderr);
    fleet.run(&["backup", "main.other"]).code(3);
    for (keys, why) in [
        (
            "url = \"postgresql:///shop\"",
            "jobs.main.server_url: set only one of url and server_url",
        ),
        ("databases = []", "jobs.main.databases: names none"),
        (
            "[notify.team]\ntype = \"command\"\ncommand = [\"true\"]\njobs = [\"mein.shop\"]",
            "there is no job \"mein.shop\"",
        ),
    ] {
        fleet.configure(keys, "");
        let run = fleet.run(&["config", "check"]).code(2);
        assert!(run.stderr.contains(why), "{}", run.stderr);
    }
    fleet.configure("", "max_connections_per_server = 3");
    let run = fleet.run(&["config", "check"]).code(2);
    assert!(run.stderr.contains("must be at least 4"), "{}", run.stderr);
}

#[test]
fn fifty_databases_of_every_size_are_saved_and_each_can_be_had_back() {
    let server = Server::start(16);
    let names: Vec<String> = (0..50).map(|number| format!("db_{number:02}")).collect();
    let all: String = names
        .iter()
        .map(|name| format!("CREATE DATABASE {name} TEMPLATE template0;\n"))
        .collect();
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), all).unwrap();
    fs::set_permissions(file.path(), std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    server.load("postgres", file.path());
    // From nothing at all to 200,000 rows.
    let rows = |number: usize| match number {
        0 => 0,
        49 => 200_000,
        number => 10_usize.pow((number % 5) as u32),
    };
    for (number, name) in names.iter().enumerate().skip(1) {
        let sql = format!(
            "CREATE TABLE t AS SELECT i AS id, md5(i::text) AS text FROM generate_series(1, {}) i",
            rows(number)
        );
        server.psql(name, &sql);
    }
    // The server itself counts: one connection more than there may be, and a run fails.
    server.psql(
        "postgres",
        "CREATE ROLE saver LOGIN CONNECTION LIMIT 9; GRANT pg_read_all_data TO saver",
    );
    let site = Site::new();
    let configure = |schedule: &str| {
        let text = format!(
            "[stores.default]\npath = \"backups\"\n[daemon]\nstate = \"state\"\nmax_concurrent_jobs = 6\n\
             max_connections_per_server = 8\n[jobs.main]\nserver_url = \"postgresql://saver@/postgres?host={}\"\n\
             exclude = [\"postgres\"]\nattempts = 1\nmax_age = \"1d\"\nschedule = \"{schedule}\"\n",
            server.host()
        );
        fs::write(site.path("snapback.toml"), text).unwrap();
    };
    // Once, when the daemon is there: it knows of no database when it starts.
    let soon = chrono::Utc::now() + chrono::TimeDelta::seconds(20);
    configure(&soon.format("%S %M %H %d %m *").to_string());
    let served = Served::start(&site);
    // Asking the server would take a connection from the daemon, so the folders tell.
    let saved = |name: &String| {
        let folder = site.path(&format!("backups/main.{name}"));
        let files = fs::read_dir(folder).into_iter().flatten().flatten();
        files
            .filter(|file| file.file_name().to_string_lossy().ends_with(".json"))
            .count()
            > 0
    };
    let begun = Instant::now();
    while !names.iter().all(saved) {
        let log = || fs::read_to_string(site.path("log")).unwrap();
        assert!(begun.elapsed() < Duration::from_secs(240), "{}", log());
        std::thread::sleep(Duration::from_millis(500));
    }
    served.end();
    let status = crate::watch::json(&site, &["status"]).1;
    assert_eq!(status["sentence"], "all 50 databases have a fresh, proven backup");
    assert_eq!(status["servers"][0]["databases"], 50);
    let failed = site.snapback(&["--json", "history", "--failed"]).ok().stdout;
    assert_eq!(failed, "", "no run had too many connections");
    for (number, name) in names.iter().enumerate() {
        let listed = crate::watch::json(&site, &["list", &format!("main.{name}")]).1;
        assert_eq!(listed[0]["backups"][0]["rows"], rows(number), "{name}");
    }
    site.snapback(&["verify", "main.db_48", "--full"]).ok();
    // Back into a server that has lost the rows.
    server.psql("db_48", "DROP TABLE t");
    let text = fs::read_to_string(site.path("snapback.toml")).unwrap();
    fs::write(site.path("snapback.toml"), text.replace("saver@", "postgres@")).unwrap();
    site.snapback(&["restore", "main.db_48", "--yes"]).ok();
    assert_eq!(server.psql("db_48", "SELECT count(*) FROM t"), rows(48).to_string());
    site.snapback(&["drill", "main.db_04"]).ok();
    // What the restore has set aside is no database to be saved.
    let jobs = crate::watch::json(&site, &["config", "check"]).1;
    assert_eq!(jobs["jobs"].as_array().unwrap().len(), 50);
    let doctor = crate::watch::json(&site, &["doctor", "main"]).1;
    assert_eq!(doctor.as_array().unwrap().len(), 51);
    assert!(
        doctor[0]["findings"][0]["message"]
            .as_str()
            .unwrap()
            .starts_with("50 are backed up")
    );
}

#[test]
fn the_daemon_finds_new_ones_and_tells_of_those_that_are_gone() {
    let fleet = Fleet::new(&["shop", "crm"]);
    fleet.configure(
        "exclude = [\"postgres\"]\nschedule = \"*/2 * * * * *\"\nmax_age = \"1d\"\nretention.keep_last = 2",
        "",
    );
    let served = Served::start(&fleet.site);
    let saved = || -> BTreeSet<String> {
        let status = fleet.json(&["status"]);
        let jobs = status["jobs"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|job| !job["newest"].is_null());
        jobs.map(|job| job["job"].as_str().unwrap().to_owned()).collect()
    };
    let names = |names: &[&str]| -> BTreeSet<String> { names.iter().map(|name| format!("main.{name}")).collect() };
    wait_for("backups of both", || (saved() == names(&["crm", "shop"])).then_some(()));
    fleet.server.create_database("fresh");
    wait_for("a backup of the new one", || {
        (saved() == names(&["crm", "fresh", "shop"])).then_some(())
    });

    fleet.server.psql("postgres", "DROP DATABASE crm WITH (FORCE)");
    let status = wait_for("that it is gone", || {
        let status = fleet.json(&["status"]);
        (status["servers"][0]["gone"] == serde_json::json!(["main.crm"])).then_some(status)
    });
    assert!(
        status["sentence"]
            .as_str()
            .unwrap()
            .ends_with("main.crm is gone from its server"),
        "{status:#}"
    );
    assert_eq!(status["fresh"], true, "nobody can take a younger one of what is gone");
    let log = || fs::read_to_string(fleet.site.path("log")).unwrap();
    wait_for("the daemon's word", || {
        log().contains("the database crm is gone from the server").then_some(())
    });
    let begun = |job: &str| {
        let run = fleet.run(&["--json", "history", job]).ok();
        run.stdout.lines().filter(|line| line.contains("\"backup\"")).count()
    };
    // The others go on, and it does not.
    let (gone, shop) = (begun("main.crm"), begun("main.shop"));
    wait_for("further runs", || (begun("main.shop") > shop + 2).then_some(()));
    assert!(begun("main.crm") <= gone + 1, "{}", log());
    // Its backups stay through retention, and can be restored under another name.
    fleet.run(&["prune", "main.crm"]).ok();
    let kept = fleet.json(&["list", "main.crm"]);
    assert!(!kept[0]["backups"].as_array().unwrap().is_empty());
    served.end();
    fleet
        .run(&["restore", "main.crm", "--mode", "new", "--as", "crm_again", "--yes"])
        .ok();
    assert_eq!(fleet.server.psql("crm_again", "SELECT count(*) FROM t"), "2");
}

#[test]
fn a_server_that_does_not_answer_hides_nothing_that_is_known() {
    let fleet = Fleet::new(&["shop", "Odd Name"]);
    let told = "[notify.us]\ntype = \"command\"\ncommand = [\"sh\", \"-c\", \"echo $SNAPBACK_TITLE $SNAPBACK_MESSAGE >> told\"]\njobs = [\"main\"]";
    fleet.configure("exclude = [\"postgres\"]", told);
    fleet.run(&["backup", "main"]).ok();
    let known = fleet.jobs();
    assert_eq!(known.len(), 2);
    fleet.cut();

    let run = fleet.run(&["status"]).code(13);
    assert!(
        run.stdout.contains("main did not tell which databases it has"),
        "{}",
        run.stdout
    );
    let status = fleet.json(&["status"]);
    let shown: Vec<&str> = status["jobs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|job| job["job"].as_str().unwrap())
        .collect();
    assert_eq!(shown, known, "also the one whose name only its backup tells");
    assert_eq!(status["jobs"][0]["fresh"], true);
    // A run of all is no success when nobody knows what all are.
    fleet.run(&["backup", "main"]).code(4);
    let doctor = fleet.json(&["doctor", "main"]);
    assert_eq!(
        (&doctor[0]["job"], &doctor[0]["severity"]),
        (&"main".into(), &"error".into())
    );
    assert!(
        fleet
            .run(&["config", "check"])
            .ok()
            .stderr
            .contains("which databases there are is not known")
    );

    fleet.configure("exclude = [\"postgres\"]\nschedule = \"*/2 * * * * *\"", told);
    let served = Served::start(&fleet.site);
    let told = || fs::read_to_string(fleet.site.path("told")).unwrap_or_default();
    wait_for("word of the server", || {
        told()
            .contains("main: the server does not tell which databases it has")
            .then_some(())
    });
    fleet.server.create_database("later");
    fleet.open();
    wait_for("a backup of what came meanwhile", || {
        let listed = fleet.json(&["list", "main.later"]);
        listed[0]["backups"]
            .as_array()
            .is_some_and(|backups| !backups.is_empty())
            .then_some(())
    });
    wait_for("good news", || {
        told().contains("the server answers again").then_some(())
    });
    served.end();
}

#[test]
fn a_bucket_has_the_same_jobs_as_a_folder() {
    let fleet = Fleet::new(&["shop", "crm"]);
    let s3 = crate::support::s3::S3Server::start();
    let text = format!(
        "{}[jobs.main]\nserver_url = \"postgresql://postgres@/?host={}\"\nexclude = [\"postgres\"]\n",
        s3.config("deep/prefix"),
        fleet.socket().display()
    );
    fs::write(fleet.site.path("snapback.toml"), text).unwrap();
    let snapback = |arguments: &[&str]| Run::of(snapback().current_dir(fleet.site.dir.path()).args(arguments));
    snapback(&["backup", "main"]).ok();
    fleet.cut();
    let run = snapback(&["status"]).code(13);
    assert!(
        run.stdout.contains("main.shop") && run.stdout.contains("main.crm"),
        "{}",
        run.stdout
    );
}
