//! What is in a backup, and what reading does to those who write.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::time::Duration;

use super::{ALL_KINDS, PAIRS, Site, end, shell, wait_until_told};
use crate::support::server::cache_dir;
use crate::support::{Run, snapback};

#[test]
fn a_file_is_backed_up_without_any_configuration_and_gunzip_gives_it_back() {
    let site = Site::with(ALL_KINDS);
    let before = std::fs::read(site.path("app.db")).unwrap();
    let id = site.snapback(&["backup", "app.db"]).ok().stdout.trim().to_owned();
    assert!(
        site.gunzipped() == before,
        "what gunzip gives is the file, byte for byte"
    );
    std::fs::write(site.path("copy.db"), site.gunzipped()).unwrap();
    assert_eq!(site.shell("copy.db", "PRAGMA integrity_check"), "ok");
    assert_eq!(
        site.shell("copy.db", ".sha3sum --schema"),
        site.shell("app.db", ".sha3sum --schema")
    );
    for (source, verb) in [
        ("app.db", "list"),
        ("./app.db", "list"),
        ("sqlite:///app.db", "list"),
        ("file:app.db", "list"),
        ("app.db", "show"),
    ] {
        assert!(
            site.snapback(&[verb, source]).ok().stdout.contains(&id),
            "{verb} {source}"
        );
    }
    let full = site.snapback(&["verify", "app.db", "--full"]).ok().stdout;
    assert!(full.contains("counted and hashed again"), "{full}");
    let manifest = site.manifest();
    let people = manifest["tables"]
        .as_array()
        .unwrap()
        .iter()
        .find(|it| it["name"] == "people")
        .unwrap();
    assert_eq!(
        (people["schema"].as_str(), people["rows"].as_u64()),
        (Some("main"), Some(3))
    );
    assert_eq!(
        (&manifest["source"]["engine"], &manifest["source"]["database"]),
        (&"sqlite".into(), &"app.db".into())
    );
    assert_eq!(
        (
            manifest["format_version"].as_u64(),
            manifest["entries"]["VIEW"].as_u64()
        ),
        (Some(2), Some(1))
    );
    assert_eq!(manifest["sqlite"]["damaged"], false);
    assert_eq!(site.files(), ["app.db", "copy.db"], "nothing is left beside a database");
    assert!(std::fs::read(site.path("app.db")).unwrap() == before);
}

#[test]
fn one_database_url_is_enough_and_the_archive_may_be_packed_otherwise() {
    let site = Site::with(ALL_KINDS);
    let run = |arguments: &[&str], compress: &str| {
        let mut command = snapback();
        command.current_dir(site.dir.path()).args(arguments);
        Run::of(
            command
                .env("DATABASE_URL", "sqlite+aiosqlite:///app.db")
                .env("SNAPBACK__JOBS__APP__DUMP__COMPRESS", compress),
        )
    };
    // Without the variable of a job there is one that is named after the file.
    let plain = Run::of(
        snapback()
            .current_dir(site.dir.path())
            .arg("backup")
            .env("DATABASE_URL", "sqlite:///app.db"),
    );
    plain.ok();
    assert_eq!(site.archives(".db.gz").len(), 1);
    std::fs::write(
        site.path("snapback.toml"),
        "[stores.default]\npath = \"backups\"\n[jobs.app]\nurl = \"sqlite:///app.db\"\n[jobs.app.retention]\nkeep_last = 2\n",
    )
    .unwrap();
    run(&["backup"], "zstd").ok();
    run(&["backup"], "none").ok();
    let zstd = site.archives(".db.zst");
    assert_eq!(zstd.len(), 1, "{:?}", site.files());
    assert_eq!(
        site.archives(".db.gz").len(),
        0,
        "retention deletes them whatever they are called"
    );
    let plain = site.archives(".db").pop().unwrap();
    assert!(std::fs::read(plain).unwrap() == std::fs::read(site.path("app.db")).unwrap());
    run(&["verify", "--all", "--full"], "gzip").ok();
    // Any of them is a file that people have.
    let before = site.shell("app.db", ".dump");
    site.python("app.db", "DELETE FROM tags");
    run(&["restore", "--from", zstd[0].to_str().unwrap(), "-y"], "gzip").ok();
    assert_eq!(site.shell("app.db", ".dump"), before);
    let check = run(&["config", "check"], "gzip").ok().stdout;
    assert!(check.contains("1 job"), "{check}");
}

#[test]
fn an_endless_writer_goes_on_and_the_backup_is_one_state() {
    let site = Site::with(&format!(
        "PRAGMA journal_mode = WAL; {PAIRS}
         CREATE TABLE filler (a); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)
         INSERT INTO filler SELECT hex(randomblob(250)) FROM n;"
    ));
    let writer = site.writer();
    for _ in 0..3 {
        site.snapback(&["backup", "app.db"]).ok();
        std::fs::write(site.path("copy.db"), site.gunzipped()).unwrap();
        assert_eq!(site.shell("copy.db", "PRAGMA integrity_check"), "ok");
        let pairs = "SELECT (SELECT count(*) FROM pair_a) - (SELECT count(*) FROM pair_b)";
        assert_eq!(
            site.shell("copy.db", pairs),
            "0",
            "a transaction is in it as a whole or not at all"
        );
        // It has the header of a database with a log, so the shell makes one.
        for beside in ["copy.db", "copy.db-wal", "copy.db-shm"] {
            let _ = std::fs::remove_file(site.path(beside));
        }
    }
    println!("the writer's longest wait: {} ms", end(writer));
    site.snapback(&["verify", "app.db", "--all", "--full"]).ok();
}

#[test]
fn a_run_gives_way_to_a_writer_with_a_rollback_journal() {
    // Rows that do not compress, into a store that is slow: reading takes far longer than the writer may wait.
    let site = Site::with(&format!(
        "{PAIRS} CREATE TABLE t (a); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 40)
         INSERT INTO t SELECT randomblob(1 << 20) FROM n;"
    ));
    let configure = |more: &str| {
        let text = format!(
            "[stores.default]\npath = \"backups\"\n{more}\n[jobs.app]\nurl = \"sqlite:///app.db\"\ndump.max_lock_wait = \"1s\"\n"
        );
        std::fs::write(site.path("snapback.toml"), text).unwrap();
    };
    configure("max_upload_rate = \"1MiB\"");
    let writer = site.writer();
    let run = site.snapback(&["backup"]).code(1);
    assert!(
        run.stderr.contains("python3") && run.stderr.contains("the backup gave way after 1 s"),
        "{}",
        run.stderr
    );
    println!("the writer's longest wait: {} ms", end(writer));
    let rows: u64 = site.shell("app.db", "SELECT count(*) FROM pair_b").parse().unwrap();
    assert!(rows > 0, "the writer has gone on");
    assert_eq!(site.archives(".db.gz").len(), 0);
    configure("");
    site.snapback(&["backup"]).ok();
    assert_eq!(site.files(), ["app.db", "snapback.toml"]);
}

#[test]
fn locks_of_others_are_waited_for_and_our_own_makes_no_file() {
    let site = Site::with(PAIRS);
    std::fs::write(
        site.path("snapback.toml"),
        "[stores.default]\npath = \"backups\"\n[jobs.app]\nurl = \"sqlite:///app.db\"\ndump.max_lock_wait = \"1s\"\n",
    )
    .unwrap();
    let mut paused = snapback()
        .current_dir(site.dir.path())
        .args(["--log-level", "debug", "backup", "app", "--pause-at", "dump"])
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    wait_until_told(&mut paused, "step=dump");
    // It has the job's lock until it is killed, and leaves no file for that.
    let busy = site.snapback(&["backup", "app"]).code(5);
    assert!(busy.stderr.contains("is under way"), "{}", busy.stderr);
    paused.kill().unwrap();
    paused.wait().unwrap();
    site.snapback(&["backup", "app"]).ok();
    assert_eq!(site.files(), ["app.db", "snapback.toml"]);
    // Somebody else's lock is waited for, and no longer than is configured.
    let locked = site.python_that_locks();
    let run = site.snapback(&["backup", "app"]).code(4);
    assert!(run.stderr.contains("is locked by python3"), "{}", run.stderr);
    end(locked);
    site.snapback(&["backup", "app"]).ok();
}

impl Site {
    /// A process that keeps everybody out of `app.db` until its input ends.
    fn python_that_locks(&self) -> std::process::Child {
        const PROGRAM: &str = "import sqlite3, sys\nc = sqlite3.connect(sys.argv[1], isolation_level=None)\n\
            c.execute('BEGIN EXCLUSIVE')\nprint('ready', flush=True)\nsys.stdin.read()\nc.execute('ROLLBACK')\nprint('done')";
        let mut child = Command::new("python3")
            .args(["-c", PROGRAM])
            .arg(self.path("app.db"))
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut [0; 6]).unwrap();
        child
    }
}

#[test]
fn each_file_that_is_no_database_is_told_for_what_it_is() {
    let site = Site::with(ALL_KINDS);
    let whole = std::fs::read(site.path("app.db")).unwrap();
    std::fs::write(site.path("empty.db"), "").unwrap();
    std::fs::write(site.path("text.db"), "id,name\n1,a\n".repeat(500)).unwrap();
    let noise: Vec<u8> = (0..16384u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8 | 1)
        .collect();
    std::fs::write(site.path("sealed.db"), noise).unwrap();
    std::fs::write(site.path("cut.db"), &whole[..whole.len() - 8192]).unwrap();
    std::fs::create_dir(site.path("folder.db")).unwrap();
    for (name, code, why) in [
        ("none.db", 3, "there is no database none.db"),
        ("empty.db", 2, "is an empty file"),
        ("text.db", 2, "looks like text"),
        ("sealed.db", 2, "it is encrypted (SQLCipher)"),
        ("cut.db", 6, "is cut: it has"),
        ("folder.db", 2, "is no file"),
        ("sqlite://", 2, "is a database in memory"),
    ] {
        let run = site.snapback(&["backup", name]).code(code);
        assert!(run.stderr.contains(why), "{name}: {}", run.stderr);
    }
    assert!(!site.path("none.db").exists());
    // A folder that may not be written to has no room for the -shm file that a log needs.
    site.python("app.db", "PRAGMA journal_mode = WAL");
    let store = tempfile::tempdir().unwrap();
    let nobody = Some(65534);
    std::os::unix::fs::chown(site.dir.path(), nobody, nobody).unwrap();
    std::os::unix::fs::chown(site.path("app.db"), nobody, nobody).unwrap();
    std::fs::set_permissions(site.dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    // Root without its privileges may do no more than anybody else.
    let run = |mode: u32| {
        std::fs::set_permissions(site.path("app.db"), std::fs::Permissions::from_mode(mode)).unwrap();
        let mut command = Command::new("setpriv");
        command.args([
            "--bounding-set=-all",
            "--inh-caps=-all",
            env!("CARGO_BIN_EXE_snapback"),
            "backup",
        ]);
        command
            .arg(site.path("app.db"))
            .env("SNAPBACK__STORES__DEFAULT__PATH", store.path());
        Run::of(&mut command)
    };
    let denied = run(0o600).code(8);
    assert!(denied.stderr.contains("Permission denied"), "{}", denied.stderr);
    let no_log = run(0o644).code(8);
    assert!(no_log.stderr.contains("uses a write-ahead log"), "{}", no_log.stderr);
    assert_eq!(site.files().iter().filter(|name| name.starts_with("app.db")).count(), 1);
}

/// Files that the real SQLCipher wrote: encrypted as a whole, and with a header that stays readable, as iOS wants it.
#[test]
fn an_encrypted_database_is_told_for_what_it_is_and_nothing_is_done_to_it() {
    const PROGRAM: &str = "
import sys
from sqlcipher3 import dbapi2
c = dbapi2.connect(sys.argv[1])
c.execute(\"PRAGMA key = 'tr0ub4dor'\")
c.executescript(sys.argv[2] + \"CREATE TABLE t (a); INSERT INTO t VALUES ('hidden')\")
c.close()";
    let site = Site::new();
    for (name, setting) in [
        ("sealed.db", ""),
        (
            "header.db",
            "PRAGMA cipher_plaintext_header_size = 32; PRAGMA cipher_salt = \"x'0102030405060708090a0b0c0d0e0f10'\";",
        ),
    ] {
        let mut program = Command::new("python3");
        program
            .args(["-c", PROGRAM])
            .arg(site.path(name))
            .arg(setting)
            .env("PYTHONPATH", cache_dir().join("sqlcipher-0.6.0"));
        Run::of(&mut program).ok();
        let before = std::fs::read(site.path(name)).unwrap();
        assert_eq!(before.starts_with(b"SQLite format 3\0"), name == "header.db");
        for arguments in [&["backup", name] as &[&str], &["diff", name, "--from", name]] {
            let run = site.snapback(arguments);
            assert_ne!(run.code, Some(0), "{name}");
            assert!(run.stderr.contains("SQLCipher"), "{name}: {}", run.stderr);
            assert!(
                run.stderr.contains("by the application that has its key"),
                "{}",
                run.stderr
            );
        }
        assert!(std::fs::read(site.path(name)).unwrap() == before);
    }
    assert_eq!(site.files(), ["header.db", "sealed.db"]);
}

#[test]
fn what_was_damaged_before_is_saved_and_never_counts_as_good() {
    let site = Site::with(
        "PRAGMA page_size = 1024; CREATE TABLE t (a); CREATE INDEX i ON t (a);
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000) INSERT INTO t SELECT hex(randomblob(40)) FROM n;",
    );
    site.snapback(&["backup", "app.db"]).ok();
    let mut bytes = std::fs::read(site.path("app.db")).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 3000].fill(0xEE);
    std::fs::write(site.path("app.db"), &bytes).unwrap();
    let run = site.snapback(&["backup", "app.db"]).ok();
    assert!(run.stderr.contains("was damaged before it was saved"), "{}", run.stderr);
    assert!(site.gunzipped() == bytes, "it is saved as it is");
    let list = site.snapback(&["list", "app.db"]).ok().stdout;
    assert_eq!(list.matches("OF A DAMAGED DATABASE").count(), 1, "{list}");
    site.snapback(&["verify", "app.db", "--full"]).ok();
    // What is kept as the newest good one is the one before.
    let verdicts = site.snapback(&["prune", "app.db", "--dry-run"]).ok().stdout;
    assert!(verdicts.contains("newest verified"), "{verdicts}");
}

#[test]
fn modules_and_collations_that_are_not_here_are_told_and_keep_nothing_from_being_saved() {
    let site = Site::new();
    const PROGRAM: &str = "import sqlite3, sys\nc = sqlite3.connect(sys.argv[1])\n\
        c.create_collation('ICU_de', lambda a, b: (a > b) - (a < b))\nc.create_function('norm', 1, str.lower, deterministic=True)\n\
        c.executescript(\"CREATE TABLE t (a TEXT COLLATE ICU_de PRIMARY KEY, b); CREATE INDEX i ON t (norm(b)); \
        INSERT INTO t VALUES ('x', 'Y'); CREATE TABLE plain (a); INSERT INTO plain VALUES (1);\
        PRAGMA writable_schema = ON; INSERT INTO sqlite_schema VALUES ('table', 'v', 'v', 0, 'CREATE VIRTUAL TABLE v USING vec0(a)');\")\nc.close()";
    let made = Command::new("python3")
        .args(["-c", PROGRAM])
        .arg(site.path("app.db"))
        .status()
        .unwrap();
    assert!(made.success());
    let run = site.snapback(&["backup", "app.db"]).ok();
    assert!(
        run.stderr.contains("not provable: v: there is no module vec0 here"),
        "{}",
        run.stderr
    );
    assert!(site.gunzipped() == std::fs::read(site.path("app.db")).unwrap());
    assert_eq!(
        site.manifest()["sqlite"]["damaged"],
        false,
        "{}",
        site.manifest()["sqlite"]
    );
    site.snapback(&["verify", "app.db", "--full"]).ok();
    site.snapback(&["restore", "app.db", "--mode", "new", "--as", "copy.db", "-y"])
        .ok();
    assert_eq!(shell(&site.path("copy.db"), "SELECT a FROM plain"), "1");
}

#[test]
fn rows_that_are_only_in_the_log_of_a_killed_application_are_saved() {
    let site = Site::with(&format!("PRAGMA journal_mode = WAL; {PAIRS}"));
    let mut writer = site.writer();
    std::thread::sleep(Duration::from_millis(300));
    writer.kill().unwrap();
    writer.wait().unwrap();
    assert!(std::fs::metadata(site.path("app.db-wal")).unwrap().len() > 0);
    site.snapback(&["backup", "app.db"]).ok();
    std::fs::write(site.path("copy.db"), site.gunzipped()).unwrap();
    let count = "SELECT count(*) FROM pair_a";
    let rows = site.shell("copy.db", count);
    assert_eq!(rows, site.shell("app.db", count));
    assert_ne!(rows, "0");
}
