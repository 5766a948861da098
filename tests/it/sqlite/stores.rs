//! What all jobs have, with a database file as their source: buckets, encryption, several stores, schedules, retention, pins.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::{ALL_KINDS, PAIRS, Site, shell};
use crate::support::s3::S3Server;
use crate::support::{Run, snapback};

/// Rows that are many enough for a collapse to be one.
const MANY: &str = "CREATE TABLE t (a); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000)
    INSERT INTO t SELECT hex(randomblob(20)) FROM n;";

impl Site {
    fn configure(&self, stores: &str, job: &str) {
        let text = format!("{stores}\n[jobs.app]\nurl = \"sqlite:///app.db\"\n{job}\n");
        fs::write(self.path("snapback.toml"), text).unwrap();
    }

    /// Backs up, and returns the id.
    fn backup(&self) -> String {
        self.snapback(&["backup"]).ok().stdout.trim().to_owned()
    }

    /// The ids of all backups, the newest first.
    fn ids(&self) -> Vec<String> {
        let list = self.snapback(&["list", "--json"]).ok().stdout;
        let list: serde_json::Value = serde_json::from_str(&list).unwrap();
        let backups = list[0]["backups"].as_array().unwrap();
        backups.iter().map(|it| it["id"].as_str().unwrap().to_owned()).collect()
    }
}

#[test]
fn encrypted_backups_lie_in_a_bucket_and_give_nothing_away() {
    let (site, server) = (Site::with(ALL_KINDS), S3Server::start());
    let key = site.path("key");
    let public = Run::of(snapback().arg("keygen").arg("-o").arg(&key)).ok().stdout;
    site.configure(
        &server.config("some/prefix"),
        &format!(
            "encryption.recipients = [{:?}]\nencryption.identity_file = {:?}",
            public.trim(),
            key.display().to_string()
        ),
    );
    let before = site.shell("app.db", ".dump");
    let id = site.backup();
    let folder = server.bucket().join("some/prefix/app");
    let manifest = fs::read_to_string(folder.join(format!("app_{id}.json"))).unwrap();
    assert!(
        !manifest.contains("people") && !manifest.contains("words"),
        "{manifest}"
    );
    // The stock tools open it.
    let sealed = folder.join(format!("app_{id}.db.gz.age"));
    let opened = Command::new("sh")
        .args(["-c", "age -d -i \"$1\" \"$2\" | gunzip -c", "sh"])
        .args([&key, &sealed])
        .output()
        .unwrap();
    assert!(opened.stdout == fs::read(site.path("app.db")).unwrap());
    site.snapback(&["verify", "--full"]).ok();
    site.python("app.db", "DROP TABLE people; DELETE FROM tags");
    let damaged = site.shell("app.db", ".dump");
    site.snapback(&["restore", "app", "latest", "-y"]).ok();
    assert_eq!(site.shell("app.db", ".dump"), before);
    site.snapback(&["undo", "app", "-y"]).ok();
    assert_eq!(site.shell("app.db", ".dump"), damaged);
    // A table alone, and back: its name is told by no manifest in clear.
    site.snapback(&["restore", "app", "-t", "people", "latest", "-y"]).ok();
    assert_eq!(site.shell("app.db", "SELECT count(*) FROM people"), "3");
    site.snapback(&["undo", "app", "-y"]).ok();
    assert_eq!(site.shell("app.db", ".dump"), damaged);
    for entry in fs::read_dir(&folder).unwrap() {
        let bytes = fs::read(entry.unwrap().path()).unwrap();
        assert!(!bytes.windows(6).any(|part| part == b"people"), "a name is told");
    }
    assert_eq!(server.unfinished(), Vec::<String>::new());
    let without = site.snapback(&["restore", "app", "latest", "--dry-run"]).ok();
    assert!(without.stdout.contains("rows"), "{}", without.stdout);
    assert_eq!(site.files(), ["app.db", "key", "snapback.toml"]);
}

#[test]
fn each_store_has_a_copy_and_one_that_is_damaged_is_passed_over() {
    let site = Site::with(ALL_KINDS);
    let stores = "[stores.near]\npath = \"near\"\n[stores.far]\npath = \"far\"";
    site.configure(stores, "stores = [\"near\", \"far\"]");
    let id = site.backup();
    let archive = |store: &str| site.path(&format!("{store}/app/app_{id}.db.gz"));
    assert!(fs::read(archive("near")).unwrap() == fs::read(archive("far")).unwrap());
    // A copy that was lost is made again.
    fs::remove_dir_all(site.path("far")).unwrap();
    site.snapback(&["copy", "app", &id, "--to", "far"]).ok();
    assert!(fs::read(archive("near")).unwrap() == fs::read(archive("far")).unwrap());
    let mut bytes = fs::read(archive("near")).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x55;
    fs::write(archive("near"), bytes).unwrap();
    let before = site.shell("app.db", ".dump");
    site.python("app.db", "DELETE FROM people");
    let run = site.snapback(&["restore", "app", &id, "-y"]).ok();
    assert!(run.stderr.contains("is passed over"), "{}", run.stderr);
    assert_eq!(site.shell("app.db", ".dump"), before);
    let verify = site.snapback(&["verify", "app", &id, "--full"]).code(6);
    assert!(
        verify.stdout.contains("near") || verify.stderr.contains("near"),
        "{}",
        verify.stdout
    );
}

#[test]
fn a_schedule_makes_backups_and_keeps_the_newest() {
    let site = Site::with(&format!("PRAGMA journal_mode = WAL; {PAIRS}"));
    site.configure(
        "[stores.default]\npath = \"backups\"",
        "schedule = \"*/2 * * * * *\"\nretention.keep_last = 2\n[daemon]\nhistory = \"history\"",
    );
    let writer = site.writer();
    let mut serve = snapback()
        .current_dir(site.dir.path())
        .arg("serve")
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    let history = || fs::read_to_string(site.path("history")).unwrap_or_default();
    while history()
        .matches("\"backed_up\"")
        .count()
        .max(history().lines().count())
        < 4
    {
        assert!(Instant::now() < deadline, "no four runs: {}", history());
        std::thread::sleep(Duration::from_millis(100));
    }
    super::end(writer);
    // The daemon still runs, and keeps nobody from emptying the log.
    while site.shell("app.db", "PRAGMA wal_checkpoint(TRUNCATE)") != "0|0|0" {
        assert!(Instant::now() < deadline, "the log cannot be checkpointed");
    }
    Run::of(Command::new("kill").arg(serve.id().to_string())).ok();
    assert!(serve.wait().unwrap().success());
    assert_eq!(site.ids().len(), 2, "{}", history());
    site.snapback(&["verify", "app", "--all", "--full"]).ok();
    assert_eq!(site.files(), ["app.db", "history", "snapback.toml"]);
}

#[test]
fn another_file_under_the_same_path_is_another_database() {
    let site = Site::with(MANY);
    site.configure(
        "[stores.default]\npath = \"backups\"",
        "retention.keep_last = 1\nprune = false",
    );
    let old = [site.backup(), site.backup()];
    // Somebody deletes the file, and the application makes a new one. The old inode may be given again only when it is free.
    fs::rename(site.path("app.db"), site.path("old.db")).unwrap();
    site.python("app.db", MANY);
    let new = [site.backup(), site.backup()];
    let pruned = site.snapback(&["prune"]).ok();
    let mut left = site.ids();
    left.sort();
    let wanted = [&old[0], &old[1], &new[1]].map(String::clone);
    assert_eq!(left, wanted, "{}", pruned.stdout);
    let verdicts = site.snapback(&["prune", "--dry-run"]).ok().stdout;
    assert!(verdicts.contains("another database"), "{verdicts}");
    // What was taken of the other one is nothing that an undo goes back to.
    let undo = site.snapback(&["undo", "app", "-y"]).code(3);
    assert!(undo.stderr.contains("no restore of"), "{}", undo.stderr);
}

#[test]
fn a_collapse_is_told_and_pins_keep_what_they_should() {
    let site = Site::with(MANY);
    site.configure("[stores.default]\npath = \"backups\"", "retention.keep_last = 1");
    let full = site.backup();
    site.snapback(&["pin", "app", &full, "--reason", "before the clean-up"])
        .ok();
    site.python("app.db", "DELETE FROM t");
    let run = site.snapback(&["backup", "--json"]).ok();
    assert!(run.stdout.contains("\"collapsed\""), "{}", run.stdout);
    let report: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    let signs = report[0]["collapsed"].to_string() + &report["collapsed"].to_string();
    assert!(signs.contains("empty") || signs.contains("fewer"), "{}", run.stdout);
    site.backup();
    assert_eq!(site.ids().len(), 2);
    assert!(site.ids().contains(&full), "what is pinned stays");
    let list = site.snapback(&["list"]).ok().stdout;
    assert!(list.contains("pinned"), "{list}");
    site.snapback(&["unpin", "app", &full]).ok();
    site.backup();
    assert!(!site.ids().contains(&full));
}

#[test]
fn a_file_in_a_bucket_is_restored_from_there() {
    let (site, server) = (Site::with(ALL_KINDS), S3Server::start());
    site.configure(&server.config("some/prefix"), "");
    let before = site.shell("app.db", ".dump");
    let folder = server.bucket().join("from elsewhere");
    fs::create_dir_all(&folder).unwrap();
    site.snapback(&["backup"]).ok();
    fs::copy(site.path("app.db"), folder.join("plain.db")).unwrap();
    fs::write(folder.join("dump.sql"), &before).unwrap();
    let packed = Command::new("gzip")
        .arg("-c")
        .arg(site.path("app.db"))
        .output()
        .unwrap();
    fs::write(folder.join("app.db.gz"), packed.stdout).unwrap();
    for name in ["plain.db", "app.db.gz", "dump.sql"] {
        site.shell("app.db", "DROP TABLE people");
        let file = format!("s3://bucket/from elsewhere/{name}");
        site.snapback(&["restore", "app", "--from", &file, "-y"]).ok();
        // The shell's text has ANALYZE once more each time.
        let text = site
            .shell("app.db", ".dump")
            .replacen("ANALYZE sqlite_schema;\n", "", 2);
        assert!(text == before.replacen("ANALYZE sqlite_schema;\n", "", 2), "{name}");
    }
    let missing = site.snapback(&["restore", "app", "--from", "s3://bucket/nothing.db", "--dry-run"]);
    let error = missing.code(3).stderr;
    assert!(
        error.contains("cannot read s3://bucket/nothing.db: there is no such object"),
        "{error}"
    );
}

#[test]
fn two_runs_at_once_are_one_and_a_refusal_and_vacuum_or_ddl_do_no_harm() {
    let site = Site::with(&format!("PRAGMA journal_mode = WAL; {MANY}"));
    site.configure("[stores.default]\npath = \"backups\"", "");
    let mut first = snapback()
        .current_dir(site.dir.path())
        .args(["backup", "--pause-at", "verify"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    let is_claim =
        |entry: std::io::Result<fs::DirEntry>| entry.unwrap().path().extension().is_some_and(|it| it == "run");
    // It has the lock when it has announced itself; who comes before that would take the lock from it.
    while !fs::read_dir(site.path("backups/app")).is_ok_and(|mut entries| entries.any(is_claim)) {
        assert!(Instant::now() < deadline, "the first run never began");
    }
    let refused = loop {
        let run = site.snapback(&["backup", "--json"]);
        if run.code == Some(5) {
            break run;
        }
        assert!(Instant::now() < deadline, "two runs overlapped");
    };
    assert!(refused.stderr.contains("is under way"), "{}", refused.stderr);
    // Another job of the same file, by another path, is kept out as well.
    std::os::unix::fs::symlink("app.db", site.path("link.db")).unwrap();
    let other = Run::of(
        snapback()
            .current_dir(site.dir.path())
            .env("SNAPBACK_CONFIG", "/dev/null")
            .env("SNAPBACK__STORES__DEFAULT__PATH", site.path("elsewhere"))
            .args(["backup", "link.db"]),
    );
    assert_eq!(other.code, Some(5), "{}", other.stderr);
    // A restore waits for its turn, up to --wait.
    let packed = Command::new("sh")
        .args(["-c", "sqlite3 app.db '.backup copy.db'"])
        .current_dir(site.dir.path())
        .status();
    assert!(packed.unwrap().success());
    let restore = ["restore", "app", "--from", "copy.db", "-y", "--wait"];
    let refused = site.snapback(&[&restore[..], &["1s"]].concat()).code(5).stderr;
    assert!(
        refused.contains("waiting until it has ended, for 1s at most"),
        "{refused}"
    );
    let waiting = snapback()
        .current_dir(site.dir.path())
        .args(restore)
        .arg("1h")
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    first.kill().unwrap();
    first.wait().unwrap();
    let waited = waiting.wait_with_output().unwrap();
    assert!(waited.status.success(), "{}", String::from_utf8_lossy(&waited.stderr));
    // Changes of all kinds while backups are taken.
    let changing = r#"
import sqlite3, sys, select
c = sqlite3.connect(sys.argv[1], timeout=30, isolation_level=None)
n = 0
while not select.select([sys.stdin], [], [], 0)[0]:
    n += 1
    c.execute(f"CREATE TABLE made_{n} AS SELECT a FROM t LIMIT 100")
    c.execute("VACUUM")
    c.execute(f"ALTER TABLE made_{n} ADD COLUMN b DEFAULT 7")
    if n > 3: c.execute(f"DROP TABLE made_{n - 3}")
print(n)
"#;
    let child = Command::new("python3")
        .args(["-c", changing])
        .arg(site.path("app.db"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let made = "PRAGMA busy_timeout = 30000; SELECT count(*) FROM sqlite_schema WHERE name LIKE 'made%'";
    while shell(&site.path("app.db"), made).ends_with('0') {
        assert!(Instant::now() < deadline, "nothing changes");
    }
    for _ in 0..4 {
        site.backup();
    }
    assert_ne!(super::end(child), "0");
    site.snapback(&["verify", "--all", "--full"]).ok();
    fs::write(site.path("copy.db"), site.gunzipped()).unwrap();
    assert_eq!(shell(&site.path("copy.db"), "PRAGMA integrity_check"), "ok");
}
