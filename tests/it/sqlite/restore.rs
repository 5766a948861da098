//! A backup takes the place of a live database, under readers and writers.

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::process::{Command, Stdio};

use super::{ALL_KINDS, PAIRS, Site, end};
use crate::support::Run;

/// All that can be seen of a database, by SQLite's own means.
fn content(site: &Site, name: &str) -> String {
    let mut all = site.shell(name, ".dump");
    for pragma in [
        "page_size",
        "encoding",
        "auto_vacuum",
        "user_version",
        "application_id",
        "journal_mode",
    ] {
        all += &format!("\n{pragma} {}", site.shell(name, &format!("PRAGMA {pragma}")));
    }
    all
}

#[test]
fn everything_comes_back_and_can_be_taken_back_again() {
    for settings in [
        "",
        "PRAGMA journal_mode = WAL;",
        "PRAGMA page_size = 512; PRAGMA encoding = 'UTF-16le';",
        "PRAGMA page_size = 65536; PRAGMA auto_vacuum = FULL; PRAGMA user_version = 7; PRAGMA application_id = 42;",
    ] {
        let site = Site::with(&format!("{settings} {ALL_KINDS}"));
        let before = content(&site, "app.db");
        site.snapback(&["backup", "app.db"]).ok();
        site.python(
            "app.db",
            "DROP TABLE strict_one; DELETE FROM people; PRAGMA user_version = 99; CREATE TABLE new (a)",
        );
        let damaged = content(&site, "app.db");
        assert_ne!(before, damaged);
        site.snapback(&["restore", "app.db", "latest", "-y"]).ok();
        assert_eq!(content(&site, "app.db"), before, "{settings}");
        assert_eq!(site.shell("app.db", "PRAGMA integrity_check"), "ok");
        site.snapback(&["undo", "app.db", "-y"]).ok();
        assert_eq!(content(&site, "app.db"), damaged, "{settings}");
        site.snapback(&["undo", "app.db", "-y"]).ok();
        assert_eq!(content(&site, "app.db"), before, "{settings}");
        assert_eq!(site.files(), ["app.db"], "nothing is left beside it");
    }
}

#[test]
fn readers_and_writers_go_on_and_see_the_old_or_the_new_state() {
    for mode in ["WAL", "DELETE"] {
        let site = Site::with(&format!("PRAGMA journal_mode = {mode}; {PAIRS}"));
        let writer = site.writer();
        site.snapback(&["backup", "app.db"]).ok();
        const READER: &str = "import sqlite3, sys, select\nc = sqlite3.connect(sys.argv[1], timeout=30, isolation_level=None)\n\
            print('ready', flush=True)\nwhile not select.select([sys.stdin], [], [], 0)[0]:\n    \
            c.execute('BEGIN')\n    a = c.execute('SELECT count(*) FROM pair_a').fetchone()\n    \
            b = c.execute('SELECT count(*) FROM pair_b').fetchone()\n    c.execute('COMMIT')\n    assert a == b, (a, b)\nprint('fine')";
        let mut reader = Command::new("python3")
            .args(["-c", READER])
            .arg(site.path("app.db"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        std::io::Read::read_exact(reader.stdout.as_mut().unwrap(), &mut [0; 6]).unwrap();
        for _ in 0..3 {
            let run = site.snapback(&["restore", "app.db", "latest", "-y"]).ok();
            assert!(run.stderr.contains("Open in: python3"), "{}", run.stderr);
        }
        assert_eq!(end(reader), "fine");
        end(writer);
        let difference = "SELECT (SELECT count(*) FROM pair_a) - (SELECT count(*) FROM pair_b)";
        assert_eq!(site.shell("app.db", difference), "0");
        assert_eq!(site.shell("app.db", "PRAGMA integrity_check"), "ok");
        assert_eq!(site.files(), ["app.db"]);
    }
}

const LABEL: &str = "system_u:object_r:httpd_sys_rw_content_t:s0";

/// The label of `real.db`, as Python reads it.
fn label(site: &Site) -> String {
    const PROGRAM: &str = "import os; print(os.getxattr('real.db', 'security.selinux').decode().rstrip('\\0'), end='')";
    Run::of(
        Command::new("python3")
            .current_dir(site.dir.path())
            .args(["-c", PROGRAM]),
    )
    .ok()
    .stdout
}

#[test]
fn the_file_stays_the_same_file_also_behind_a_link() {
    let site = Site::with(PAIRS);
    std::fs::rename(site.path("app.db"), site.path("real.db")).unwrap();
    symlink("real.db", site.path("app.db")).unwrap();
    std::fs::set_permissions(site.path("real.db"), std::fs::Permissions::from_mode(0o640)).unwrap();
    std::os::unix::fs::chown(site.path("real.db"), Some(65534), Some(65534)).unwrap();
    // The kernel keeps a label also where no SELinux reads it.
    let give = format!("import os; os.setxattr('real.db', 'security.selinux', b'{LABEL}\\0')");
    assert!(
        Command::new("python3")
            .current_dir(site.dir.path())
            .args(["-c", &give])
            .status()
            .unwrap()
            .success()
    );
    site.snapback(&["backup", "app.db"]).ok();
    let before = std::fs::metadata(site.path("real.db")).unwrap();
    site.python("app.db", "INSERT INTO pair_a VALUES (1)");
    site.snapback(&["restore", "app.db", "latest", "-y"]).ok();
    assert_eq!(label(&site), LABEL);
    let after = std::fs::metadata(site.path("real.db")).unwrap();
    let rights = |it: &std::fs::Metadata| (it.ino(), it.mode(), it.uid(), it.gid());
    assert_eq!(rights(&before), rights(&after));
    assert!(std::fs::symlink_metadata(site.path("app.db")).unwrap().is_symlink());
    assert_eq!(site.shell("app.db", "SELECT count(*) FROM pair_a"), "0");
    // One that is gone is made again, with the rights that it had.
    std::fs::remove_file(site.path("real.db")).unwrap();
    site.snapback(&["restore", "app.db", "latest", "-y"]).ok();
    assert_eq!(label(&site), LABEL);
    let made = std::fs::metadata(site.path("real.db")).unwrap();
    assert_eq!(
        (made.mode(), made.uid(), made.gid()),
        (before.mode(), before.uid(), before.gid())
    );
    assert!(std::fs::symlink_metadata(site.path("app.db")).unwrap().is_symlink());
    assert_eq!(site.files(), ["app.db", "real.db"]);
}

#[test]
fn a_log_of_a_database_that_is_gone_is_not_replayed_into_the_new_one() {
    let site = Site::with(&format!("PRAGMA journal_mode = WAL; {PAIRS}"));
    site.snapback(&["backup", "app.db"]).ok();
    let mut writer = site.writer();
    std::thread::sleep(std::time::Duration::from_millis(200));
    writer.kill().unwrap();
    writer.wait().unwrap();
    std::fs::remove_file(site.path("app.db")).unwrap();
    assert!(site.path("app.db-wal").exists());
    site.snapback(&["restore", "app.db", "latest", "-y"]).ok();
    assert_eq!(site.shell("app.db", "SELECT count(*) FROM pair_a"), "0");
}

impl Site {
    /// A process that reads `app.db` in one transaction until its input ends.
    pub fn reader_that_stays(&self) -> std::process::Child {
        const PROGRAM: &str = "import sqlite3, sys\nc = sqlite3.connect(sys.argv[1], isolation_level=None)\nc.execute('BEGIN')\n\
            c.execute('SELECT * FROM sqlite_schema').fetchall()\nprint('ready', flush=True)\nsys.stdin.read()\nprint('done')";
        let mut reader = Command::new("python3")
            .args(["-c", PROGRAM])
            .arg(self.path("app.db"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        std::io::Read::read_exact(reader.stdout.as_mut().unwrap(), &mut [0; 6]).unwrap();
        reader
    }
}

#[test]
fn locks_of_others_are_waited_for_and_then_named() {
    let site = Site::with(PAIRS);
    std::fs::write(
        site.path("snapback.toml"),
        "[stores.default]\npath = \"backups\"\n[jobs.app]\nurl = \"sqlite:///app.db\"\ndump.lock_wait_timeout = \"1s\"\n",
    )
    .unwrap();
    site.snapback(&["backup"]).ok();
    let reader = site.reader_that_stays();
    let run = site.snapback(&["restore", "latest", "-y"]).code(4);
    assert!(run.stderr.contains("is locked by python3"), "{}", run.stderr);
    end(reader);
    site.snapback(&["restore", "latest", "-y"]).ok();
}

#[test]
fn files_that_people_have_are_restored() {
    let site = Site::with(ALL_KINDS);
    let before = site.shell("app.db", ".dump");
    std::fs::write(site.path("dump.sql"), &before).unwrap();
    let pack = |program: &str, from: &str, to: &str| {
        let output = Command::new(program).arg("-c").arg(site.path(from)).output().unwrap();
        std::fs::write(site.path(to), output.stdout).unwrap();
    };
    pack("gzip", "dump.sql", "dump.sql.gz");
    pack("gzip", "app.db", "backup_20250117_143022.db.gz");
    std::fs::copy(site.path("app.db"), site.path("other.sqlite3")).unwrap();
    for file in [
        "dump.sql",
        "dump.sql.gz",
        "backup_20250117_143022.db.gz",
        "other.sqlite3",
    ] {
        site.python("app.db", "DELETE FROM tags; DELETE FROM strict_one");
        site.snapback(&["restore", "app.db", "--from", file, "-y"]).ok();
        assert_eq!(
            site.shell("app.db", "SELECT count(*) FROM strict_one; SELECT count(*) FROM tags"),
            "3\n3",
            "{file}"
        );
        assert_eq!(
            site.shell("app.db", "SELECT body FROM words WHERE words MATCH 'quick'"),
            "the quick brown fox",
            "{file}"
        );
    }
    std::fs::write(site.path("bad.sql"), ".shell touch owned\nCREATE TABLE t (a);\n").unwrap();
    let run = site.snapback(&["restore", "app.db", "--from", "bad.sql", "-y"]).code(2);
    assert!(run.stderr.contains("commands of SQLite's shell"), "{}", run.stderr);
    std::fs::write(
        site.path("half.db.gz"),
        &std::fs::read(site.path("backup_20250117_143022.db.gz")).unwrap()[..900],
    )
    .unwrap();
    site.snapback(&["restore", "app.db", "--from", "half.db.gz", "-y"])
        .code(6);
    assert_eq!(
        site.shell("app.db", "SELECT count(*) FROM strict_one"),
        "3",
        "nothing was changed"
    );
    assert!(
        !site.files().iter().any(|name| name.starts_with('.')),
        "{:?}",
        site.files()
    );
}

#[test]
fn what_is_no_database_any_more_is_set_aside_and_pages_of_another_size_need_it_alone() {
    let site = Site::with(ALL_KINDS);
    site.snapback(&["backup", "app.db"]).ok();
    let before = site.shell("app.db", ".dump");
    std::fs::write(site.path("app.db"), "garbage ".repeat(1000)).unwrap();
    let run = site.snapback(&["restore", "app.db", "latest", "-y"]).ok();
    assert!(run.stdout.contains("what was there is kept as"), "{}", run.stdout);
    assert_eq!(site.shell("app.db", ".dump"), before);
    let aside = site
        .files()
        .into_iter()
        .find(|name| name.starts_with("app.db.before-"))
        .unwrap();
    assert!(std::fs::read(site.path(&aside)).unwrap().starts_with(b"garbage"));
    std::fs::remove_file(site.path("app.db")).unwrap();
    site.python(
        "app.db",
        "PRAGMA page_size = 8192; PRAGMA journal_mode = WAL; CREATE TABLE t (a);",
    );
    site.snapback(&["restore", "app.db", "latest", "-y"]).ok();
    assert_eq!(site.shell("app.db", ".dump"), before);
    assert_eq!(site.shell("app.db", "PRAGMA page_size"), "4096");
    let run = site.snapback(&["restore", "app.db", "latest"]).code(7);
    assert!(
        run.stderr.contains("the restore of \"app.db\" needs to be confirmed"),
        "{}",
        run.stderr
    );
    let plan = site
        .snapback(&["restore", "app.db", "latest", "--dry-run", "--json"])
        .ok();
    let plan: serde_json::Value = serde_json::from_str(&plan.stdout).unwrap();
    assert_eq!(plan["plan"]["mode"], "replace");
    let refused: Run = site.snapback(&["restore", "app.db", "--mode", "new", "--as", "app.db", "-y"]);
    assert!(refused.code(2).stderr.contains("exists already"));
}

/// Writes one number more than the greatest there is, without a pause, until its input ends; prints each that is committed.
const COUNTS: &str = r#"
import sqlite3, sys, select
c = sqlite3.connect("app.db", timeout=60, isolation_level=None)
c.execute(f"PRAGMA journal_mode = {sys.argv[1]}"); c.execute("PRAGMA synchronous = OFF")
n = 0
while not select.select([sys.stdin], [], [], 0)[0]:
    n = c.execute("INSERT INTO t SELECT max(n) + 1, hex(randomblob(40)) FROM t RETURNING n").fetchall()[0][0]
    print(n, flush=True)
"#;

#[test]
fn nothing_that_was_committed_before_a_restore_is_in_neither_state() {
    for (mode, options) in [
        ("WAL", vec![]),
        ("DELETE", vec![]),
        ("WAL", vec!["-t", "t"]),
        ("DELETE", vec!["-t", "t"]),
    ] {
        let site = Site::with(
            "CREATE TABLE t (n INTEGER PRIMARY KEY, v TEXT); CREATE TABLE big (b BLOB);
             WITH RECURSIVE i(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM i WHERE n < 300)
             INSERT INTO big SELECT randomblob(20000) FROM i; INSERT INTO t VALUES (1, 'first');",
        );
        let id = site.snapback(&["backup", "app.db"]).ok().stdout.trim().to_owned();
        let mut writer = Command::new("python3")
            .args(["-c", COUNTS, mode])
            .current_dir(site.dir.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(writer.stdout.take().unwrap()).lines();
        let mut counts: Vec<u64> = Vec::new();
        while counts.len() < 100 {
            counts.push(lines.next().unwrap().unwrap().parse().unwrap());
        }
        // What is printed meanwhile is read meanwhile, so that the writer never waits for us.
        let reading = std::thread::spawn(move || {
            lines
                .map(|line| line.unwrap().parse::<u64>().unwrap())
                .collect::<Vec<_>>()
        });
        let run = site
            .snapback(&[&["restore", "app.db", id.as_str(), "-y"], options.as_slice()].concat())
            .ok();
        drop(writer.stdin.take());
        counts.extend(reading.join().unwrap());
        assert!(writer.wait().unwrap().success());
        let dropped = counts.windows(2).position(|pair| pair[1] <= pair[0]);
        let last = counts[dropped.unwrap_or_else(|| panic!("{mode}: it was not restored: {}", run.stderr))];
        // The newest archive is the last safety snapshot.
        std::fs::write(site.path("safety.db"), site.gunzipped()).unwrap();
        let greatest = site.shell("safety.db", "SELECT max(n) FROM t");
        assert_eq!(greatest.trim().parse::<u64>().unwrap(), last, "{mode} {options:?}");
    }
}
