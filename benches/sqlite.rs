//! Snapback against SQLite's shell and gzip, in the same run on the same file: wall time, size, memory, as ratios; and how long
//! a writer waits that never stops while the file is backed up.
//!
//! `cargo bench --bench sqlite` makes a file of 1 GB; `SNAPBACK_BENCH_SCALE=0.1` makes it smaller.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs, unused_imports)]

mod common;
#[path = "../tests/it/support/mod.rs"]
mod support;

use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use common::{Measured, measure, scale};
use support::snapback;

/// Runs of each program; the best one counts, because what disturbs a run only ever makes it slower.
const RUNS: usize = 2;

fn main() {
    // `cargo test --benches` only wants to know that it starts.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let size = create(dir, scale());
    println!("a file of {} MiB", size >> 20);
    for (method, pack, limit) in [("gzip", "gzip -6", 0.30), ("zstd", "gzip -6", 0.15)] {
        compare_backup(dir, method, pack, limit);
    }
    compare_restore(dir);
    for (mode, limit) in [("WAL", "100 ms"), ("DELETE", "max_lock_wait, 2 s")] {
        writer(dir, mode, limit);
    }
}

/// Rows of people and of numbers, with an index; returns the size of the file.
fn create(dir: &Path, scale: f64) -> u64 {
    let (wide, narrow) = ((3.2e6 * scale) as u64, (8e6 * scale) as u64);
    let sql = format!(
        "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;
         CREATE TABLE wide (id INTEGER PRIMARY KEY, name TEXT, email TEXT, note TEXT, amount REAL, created TEXT, flag INT, code TEXT);
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {wide})
         INSERT INTO wide SELECT i, 'Person ' || lower(hex(randomblob(8))), lower(hex(randomblob(10))) || '@example.com',
             replace(printf('%.6c', '.'), '.', printf('%012x ', i % 1000 * 281474976)), (i % 100000) / 7.0,
             datetime(1704067200 + i * 13, 'unixepoch'), i % 3 = 0, lower(hex(randomblob(16))) FROM n;
         CREATE TABLE narrow (a INT, b INT, c REAL);
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {narrow})
         INSERT INTO narrow SELECT i, i * 7919 % 100003, i / 3.0 FROM n;
         CREATE INDEX by_email ON wide (email); CREATE INDEX by_b ON narrow (b);
         CREATE TABLE pair_a (n INTEGER PRIMARY KEY); CREATE TABLE pair_b (n INTEGER PRIMARY KEY);"
    );
    let made = Command::new("sqlite3")
        .arg(dir.join("app.db"))
        .arg(sql)
        .status()
        .unwrap();
    assert!(made.success());
    fs::metadata(dir.join("app.db")).unwrap().len()
}

fn configure(dir: &Path, job: &str) {
    let text = format!(
        "[stores.default]\npath = \"backups\"\n[jobs.app]\nurl = \"sqlite:///app.db\"\nretention.keep_last = 1\n{job}\n"
    );
    fs::write(dir.join("snapback.toml"), text).unwrap();
}

fn ours(dir: &Path, arguments: &[&str]) -> Command {
    let mut command = snapback();
    command.current_dir(dir).args(arguments).stderr(Stdio::null());
    command
}

fn sh(dir: &Path, script: &str) -> Command {
    let mut command = Command::new("sh");
    command.current_dir(dir).args(["-ec", script]);
    command
}

fn best(runs: impl Iterator<Item = Measured>) -> Measured {
    runs.min_by_key(|run| run.wall).unwrap()
}

/// The newest archive.
fn archive(dir: &Path) -> std::path::PathBuf {
    let entries = fs::read_dir(dir.join("backups/app")).unwrap();
    let names = entries.map(|entry| entry.unwrap().path());
    names
        .filter(|path| path.to_str().unwrap().contains(".db"))
        .max()
        .unwrap()
}

fn compare_backup(dir: &Path, method: &str, pack: &str, limit: f64) {
    configure(dir, &format!("dump.compress = \"{method}\""));
    let theirs = best((0..RUNS).map(|_| {
        let _ = fs::remove_file(dir.join("copy.db.gz"));
        measure(&mut sh(
            dir,
            &format!("sqlite3 app.db '.backup copy.db' && {pack} copy.db"),
        ))
    }));
    let mine = best((0..RUNS).map(|_| measure(&mut ours(dir, &["backup"]))));
    let (wall, size) = (
        mine.wall.as_secs_f64() / theirs.wall.as_secs_f64(),
        fs::metadata(archive(dir)).unwrap().len() as f64 / fs::metadata(dir.join("copy.db.gz")).unwrap().len() as f64,
    );
    println!(
        "backup, {method}: wall {:.2} s / {:.2} s = {wall:.2} (at most {limit}), size {size:.3}, peak {} MiB",
        mine.wall.as_secs_f64(),
        theirs.wall.as_secs_f64(),
        mine.peak_kib / 1024
    );
}

fn compare_restore(dir: &Path) {
    configure(dir, "dump.compress = \"gzip\"");
    measure(&mut ours(dir, &["backup"]));
    let packed = archive(dir);
    let script = format!("gunzip -c '{}' > unpacked.db && sync unpacked.db", packed.display());
    let theirs = best((0..RUNS).map(|_| measure(&mut sh(dir, &script))));
    let new = best((0..RUNS).map(|_| {
        let _ = fs::remove_file(dir.join("new.db"));
        measure(&mut ours(
            dir,
            &["restore", "app", "latest", "--mode", "new", "--as", "new.db", "-y"],
        ))
    }));
    let live = best((0..RUNS).map(|_| measure(&mut ours(dir, &["restore", "app", "latest", "-y", "--no-safety"]))));
    for (what, mine) in [("into a new file", new), ("into the live file", live)] {
        println!(
            "restore {what}: wall {:.2} s / {:.2} s = {:.2} (at most 1.3), peak {} MiB",
            mine.wall.as_secs_f64(),
            theirs.wall.as_secs_f64(),
            mine.wall.as_secs_f64() / theirs.wall.as_secs_f64(),
            mine.peak_kib / 1024
        );
    }
    for name in ["new.db", "unpacked.db", "copy.db.gz"] {
        let _ = fs::remove_file(dir.join(name));
    }
}

/// A process that writes without end, and says how long its slowest transaction took: before the backup, and during it.
fn writer(dir: &Path, mode: &str, limit: &str) {
    const PROGRAM: &str = r#"
import sqlite3, sys, time, select
c = sqlite3.connect("app.db", timeout=60, isolation_level=None)
c.execute(f"PRAGMA journal_mode = {sys.argv[1]}"); c.execute("PRAGMA synchronous = NORMAL")
def run(until):
    longest = count = 0
    while not until():
        begun = time.monotonic()
        c.execute("BEGIN IMMEDIATE")
        for table in "pair_a", "pair_b": c.execute(f"INSERT INTO {table} SELECT coalesce(max(n), 0) + 1 FROM {table}")
        c.execute("COMMIT")
        longest = max(longest, time.monotonic() - begun); count += 1
    return f"{longest * 1000:.1f} ms in {count} transactions"
end = time.monotonic() + 3
alone = run(lambda: time.monotonic() > end)
print("ready", flush=True)
print(f"alone {alone}; meanwhile {run(lambda: select.select([sys.stdin], [], [], 0)[0])}")
"#;
    configure(dir, "dump.max_lock_wait = \"2s\"");
    let mut child: Child = Command::new("python3")
        .current_dir(dir)
        .args(["-c", PROGRAM, mode])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdout.as_mut().unwrap().read_exact(&mut [0; 6]).unwrap();
    let begun = std::time::Instant::now();
    let status = ours(dir, &["backup"]).stdout(Stdio::null()).status().unwrap();
    let took = begun.elapsed().as_secs_f64();
    drop(child.stdin.take());
    let waited = child.wait_with_output().unwrap();
    let outcome = if status.success() { "ended" } else { "gave way" };
    println!(
        "{mode}: the backup {outcome} after {took:.2} s; the writer's longest wait: {} (at most {limit})",
        String::from_utf8_lossy(&waited.stdout).trim()
    );
}
