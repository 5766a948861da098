//! Backups with the built program on a real PostgreSQL 15: what is there afterwards, what a failure leaves, and
//! what a person is told.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use crate::equal::{assert_same, is_list};
use crate::support::{Run, Server, snapback};

mod bad_input;
mod full_disk;
pub mod killed;
mod limits;
mod pooled;
mod room;
mod verified;

/// A server with a small database, a configuration with one job for it, and a folder for its backups.
pub struct House {
    pub server: Server,
    pub dir: TempDir,
}

impl House {
    pub fn new() -> House {
        House::of(15)
    }

    /// The same with a server of another major version.
    pub fn of(major: u32) -> House {
        let server = Server::start(major);
        server.create_database("app");
        server.psql(
            "app",
            "CREATE TABLE customer (id int PRIMARY KEY, name text);
             INSERT INTO customer SELECT i, 'customer ' || i FROM generate_series(1, 1000) i;
             CREATE TABLE empty ();",
        );
        let house = House {
            server,
            dir: tempfile::tempdir().unwrap(),
        };
        house.configure("retention.keep_last = 3\n");
        house
    }

    /// Writes the configuration anew, with `more` keys of the job.
    pub fn configure(&self, more: &str) {
        let text = format!(
            "[stores.default]\npath = \"backups\"\n[jobs.app]\nurl = \"{}\"\n{more}",
            self.server.url("app")
        );
        fs::write(self.dir.path().join("snapback.toml"), text).unwrap();
    }

    /// The program with this house's configuration.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = snapback();
        command.current_dir(self.dir.path()).args(args);
        command
    }

    pub fn run(&self, args: &[&str]) -> Run {
        Run::of(&mut self.command(args))
    }

    /// Runs a backup and returns its id.
    pub fn backup(&self) -> String {
        self.run(&["backup"]).ok().stdout.trim().to_owned()
    }

    pub fn json(&self, args: &[&str]) -> Value {
        let mut all = vec!["--json"];
        all.extend(args);
        serde_json::from_str(&self.run(&all).ok().stdout).unwrap()
    }

    pub fn folder(&self) -> PathBuf {
        self.dir.path().join("backups/app")
    }

    /// The names of all files in the job's folder, hidden ones too.
    pub fn files(&self) -> Vec<String> {
        self.files_in("backups")
    }

    /// The same of another store, which is the folder of that name.
    pub fn files_in(&self, store: &str) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.dir.path().join(store).join("app")) else {
            return Vec::new();
        };
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// The ids that `snapback list` shows, newest first.
    pub fn listed(&self) -> Vec<String> {
        let listed = self.json(&["list"]);
        let backups = listed[0]["backups"].as_array().unwrap().iter();
        backups
            .map(|backup| backup["id"].as_str().unwrap().to_owned())
            .collect()
    }

    /// The file of a backup.
    pub fn file(&self, id: &str, extension: &str) -> PathBuf {
        self.folder().join(format!("app_{id}.{extension}"))
    }
}

#[test]
fn what_nobody_chose_is_compressed_as_pg_restore_of_the_servers_major_reads_it() {
    for (major, compression) in [(14, "gzip"), (15, "gzip"), (16, "zstd"), (18, "zstd")] {
        let house = House::of(major);
        let id = house.backup();
        assert_eq!(house.json(&["show", &id])["compression"], compression, "{major}");
        let mut stock = house.server.tool("pg_restore");
        let text = Run::of(stock.args(["-f", "-"]).arg(house.file(&id, "dump")))
            .ok()
            .stdout;
        assert!(text.contains("customer 1000"), "{major}");
        house.configure("dump.compress = \"gzip:1\"\n");
        let id = house.backup();
        assert_eq!(house.json(&["show", &id])["compression"], "gzip", "{major}");
    }
}

#[test]
fn a_backup_is_an_archive_that_stock_pg_restore_reads_with_its_manifest_and_globals() {
    let house = House::new();
    let id = house.backup();
    assert_eq!(
        house.files(),
        [
            format!("app_{id}.dump"),
            format!("app_{id}.globals.sql"),
            format!("app_{id}.json")
        ]
    );
    let archive = house.file(&id, "dump");
    let pg_restore = |args: &[&str]| Run::of(house.server.tool("pg_restore").args(args).arg(&archive)).ok();
    let restored = pg_restore(&["-f", "-"]);
    assert!(restored.stdout.contains("customer 1000"));
    let (theirs, ours) = (pg_restore(&["-l"]), house.run(&["show", &id, "--list"]).ok());
    assert_same("list", theirs.stdout.as_bytes(), ours.stdout.as_bytes(), is_list);
    let globals = fs::read_to_string(house.file(&id, "globals.sql")).unwrap();
    assert!(globals.contains("CREATE ROLE postgres;"), "{globals}");

    let manifest = house.json(&["show", &id]);
    assert_eq!(manifest["source"]["database"], "app");
    assert_eq!(manifest["kind"], "manual");
    assert_eq!(manifest["verified"][0]["how"], "written");
    let customer = manifest["tables"]
        .as_array()
        .unwrap()
        .iter()
        .find(|table| table["name"] == "customer");
    assert_eq!(customer.unwrap()["rows"], 1000);
    let size = fs::metadata(house.file(&id, "dump")).unwrap().len();
    assert_eq!(manifest["archive"]["bytes"], size);
    let digest = Run::of(Command::new("sha256sum").arg(house.file(&id, "dump"))).ok();
    assert!(
        digest
            .stdout
            .starts_with(manifest["archive"]["sha256"].as_str().unwrap())
    );
}

#[test]
fn backups_are_listed_rotated_and_pruned() {
    let house = House::new();
    let mut ids: Vec<String> = (0..4).map(|_| house.backup()).collect();
    ids.reverse();
    // keep_last = 3 was applied by the fourth run.
    assert_eq!(house.listed(), ids[..3]);
    assert_eq!(house.files().len(), 9);

    house.configure("retention.keep_last = 1\n");
    let plan = house.run(&["prune", "--dry-run"]).ok().stdout;
    assert!(plan.contains("keep_last, newest verified"), "{plan}");
    assert_eq!(plan.matches("no rule keeps it").count(), 2, "{plan}");
    assert_eq!(house.listed().len(), 3, "--dry-run deletes nothing");
    house.run(&["prune"]).ok();
    assert_eq!(house.listed(), ids[..1]);
    assert_eq!(house.files().len(), 3);
}

#[test]
fn pinned_and_labelled_backups_stay() {
    let house = House::new();
    house.configure("retention.keep_last = 1\n");
    let pinned = house
        .run(&["backup", "--pin", "--label", "before the move"])
        .ok()
        .stdout
        .trim()
        .to_owned();
    house.backup();
    let newest = house.backup();
    assert_eq!(house.listed(), [newest, pinned.clone()]);
    let table = house.run(&["list"]).ok().stdout;
    let line = table.lines().find(|line| line.starts_with(&pinned)).unwrap();
    assert!(line.contains("pinned") && line.contains("before the move"), "{table}");
}

#[test]
fn several_runs_in_one_second_have_ids_of_their_own() {
    let house = House::new();
    house.configure("retention.keep_last = 100\n");
    let ids: std::collections::BTreeSet<String> = (0..5).map(|_| house.backup()).collect();
    assert_eq!(ids.len(), 5);
    assert_eq!(house.listed().len(), 5);
    // Where retention has freed the ids of this second, the newest is still the highest.
    house.configure("retention.keep_last = 1\n");
    let mut last = ids.last().unwrap().clone();
    for _ in 0..3 {
        let id = house.backup();
        assert!(id > last, "{id} after {last}");
        assert_eq!(house.listed(), std::slice::from_ref(&id));
        last = id;
    }
}

#[test]
fn database_url_alone_is_enough() {
    let house = House::new();
    let dir = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| {
        let mut command = house.command(args);
        Run::of(
            command
                .current_dir(dir.path())
                .env("DATABASE_URL", house.server.url("app")),
        )
    };
    let id = run(&["backup"]).ok().stdout.trim().to_owned();
    assert!(run(&["list"]).ok().stdout.contains(&id));
    assert!(Path::new(&dir.path().join(format!("backups/app/app_{id}.dump"))).is_file());
}

#[test]
fn a_password_comes_from_its_file_and_a_wrong_one_is_told() {
    let mut house = House::new();
    house.server.psql(
        "postgres",
        "CREATE ROLE guarded LOGIN SUPERUSER PASSWORD 'hush';
         DO $$ BEGIN EXECUTE format('COPY (VALUES (''local all postgres trust''), (''local all all scram-sha-256'')) TO %L',
                                    current_setting('hba_file')); END $$",
    );
    house.server.crash_and_restart();
    let house = house;
    house.configure("password_file = \"secret\"\n");
    let run = |args: &[&str]| {
        let url = house.server.url_as("guarded", "app");
        Run::of(house.command(args).env("SNAPBACK__JOBS__APP__URL", url))
    };
    let secret = house.dir.path().join("secret");
    fs::write(&secret, "tell-nobody\n").unwrap();
    let refused = run(&["backup"]).code(4);
    assert!(
        refused
            .stderr
            .contains("password authentication failed for user \"guarded\""),
        "{}",
        refused.stderr
    );
    let listed = run(&["list"]).ok().stdout;
    assert!(listed.contains("password authentication failed"), "{listed}");
    fs::write(&secret, "hush\n").unwrap();
    run(&["backup"]).ok();
    assert_eq!(house.listed().len(), 1);
    fs::remove_file(&secret).unwrap();
    let unreadable = run(&["backup"]).code(2);
    assert!(
        unreadable.stderr.contains("cannot read the password file"),
        "{}",
        unreadable.stderr
    );
    let shown = run(&["config", "show"]).ok().stdout;
    assert!(shown.contains("password_file"), "{shown}");
    for text in [shown, refused.stderr, listed] {
        assert!(!text.contains("hush") && !text.contains("tell-nobody"), "{text}");
    }
}
