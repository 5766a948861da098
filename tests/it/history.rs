//! A long history of a database of many tables: reading it takes no more memory than one of few.

use std::fmt::Write as _;
use std::fs;

use chrono::{DateTime, TimeDelta, Utc};
use snapback::config::Config;
use snapback::shelf::{Shelf, Stock};

use crate::support::{Run, Server};

/// Backups, and the tables of each: some 100 MB of manifests.
const BACKUPS: usize = 80;
const TABLES: usize = 8_000;

/// How much more memory it may take to read all of that, in KiB.
const BOUND: u64 = 64 << 10;

/// The most memory that this process ever had, in KiB; each test is a process of its own.
fn peak_memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// The text of a manifest, as this program writes it.
fn manifest(id: &str, tables: usize) -> String {
    let head = serde_json::json!({
        "format_version": 1, "id": id, "job": "a", "kind": "scheduled",
        "source": { "host": "db", "port": 5432, "database": "a", "system_identifier": 7, "database_oid": 16384,
                    "server_version_num": 180_001, "server_version": "18.1" },
        "started": "2026-11-20T02:00:00Z", "finished": "2026-11-20T02:00:08Z", "snapback": "0",
        "archive": { "name": format!("a_{id}.dump"), "bytes": 1, "sha256": "" },
        "compression": "gzip", "entries": {}, "schema_hash": "",
        "verified": [{ "how": "written", "at": "2026-11-20T02:00:09Z" }],
    });
    let mut text = serde_json::to_string_pretty(&head).unwrap();
    text.truncate(text.rfind('}').unwrap());
    text.push_str(",\n  \"tables\": [\n");
    for table in 0..tables {
        let end = if table + 1 < tables { "," } else { "" };
        writeln!(
            text,
            "    {{\n      \"schema\": \"public\",\n      \"name\": \"a_table_with_a_name_{table}\",\n      \"rows\": 3,\n      \
             \"bytes\": 30,\n      \"hash\": \"0123456789abcdef0123456789abcdef\"\n    }}{end}"
        )
        .unwrap();
    }
    text.push_str("  ]\n}\n");
    text
}

#[tokio::test]
async fn the_memory_for_a_long_history_is_bounded_whatever_its_manifests_hold() {
    let folder = tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .unwrap();
    let file = folder.path().join("snapback.toml");
    fs::write(
        &file,
        "[stores.default]\npath = \"near\"\n[jobs.a]\nurl = \"postgresql://db/a\"\n",
    )
    .unwrap();
    let job = Config::load(Some(&file), &Default::default(), chrono::Utc::now())
        .unwrap()
        .jobs
        .remove(0);
    let shelf = folder.path().join("near/a");
    fs::create_dir_all(&shelf).unwrap();
    for n in 0..BACKUPS {
        let id = format!("20261120T02{:02}{:02}Z", n / 60, n % 60);
        // One is larger than what is read at a time.
        let tables = if n == 7 { 5 * TABLES } else { TABLES };
        fs::write(shelf.join(format!("a_{id}.json")), manifest(&id, tables)).unwrap();
        fs::write(shelf.join(format!("a_{id}.dump")), "x").unwrap();
    }
    let before = peak_memory();
    let inventory = Shelf::new(&job, &job.destinations[0]).inventory().await.unwrap();
    let after = peak_memory();
    assert_eq!(inventory.unreadable, Vec::<String>::new());
    assert_eq!(inventory.backups.len(), BACKUPS);
    for backup in &inventory.backups {
        let large = backup.summary.id.to_string().ends_with("0007Z");
        let tables = if large { 5 * TABLES as u64 } else { TABLES as u64 };
        assert!(backup.is_good());
        assert_eq!(
            (backup.summary.table_count(), backup.summary.rows()),
            (tables, 3 * tables)
        );
    }
    assert!(after - before < BOUND, "{} KiB more", after - before);
    // Also who opens one after the other needs no more.
    let stock = Stock::names(&job).await.unwrap();
    for spot in stock.spots() {
        let copy = stock.open(&spot).await.unwrap().unwrap();
        assert_eq!(copy.manifest.table_count(), copy.backup.summary.table_count());
    }
    assert!(peak_memory() - before < BOUND, "{} KiB more", peak_memory() - before);
}

/// Runs a program and tells the most memory that it had, in KiB.
fn peak_of(folder: &std::path::Path, arguments: &[&str]) -> u64 {
    const PROGRAM: &str = "import resource, subprocess, sys\n\
        subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)\n\
        print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)";
    let mut python = std::process::Command::new("python3");
    let run = Run::of(
        python
            .current_dir(folder)
            .args(["-c", PROGRAM, env!("CARGO_BIN_EXE_snapback")])
            .args(arguments),
    )
    .ok();
    run.stdout.trim().parse().unwrap()
}

/// The sizes that were promised: each verb may take [`BOUND`] more than with a history of one.
#[test]
#[ignore = "writes 3 GB: tests/run --full"]
fn two_thousand_backups_of_ten_thousand_tables_take_no_more_than_the_bound() {
    let server = Server::start(18);
    server.create_database("app");
    for part in 0..5 {
        let create = format!(
            "DO $$ BEGIN FOR i IN {part} * 2000 + 1 .. {part} * 2000 + 2000 LOOP \
                 EXECUTE format('CREATE TABLE a_table_with_a_name_%s (id int)', i); END LOOP; END $$"
        );
        server.psql("app", &create);
    }
    let folder = tempfile::tempdir().unwrap();
    fs::write(
        folder.path().join("snapback.toml"),
        format!(
            "[stores.default]\npath = \"backups\"\n[jobs.app]\nurl = \"host={} user=postgres dbname=app\"\n\
             [jobs.app.retention]\nkeep_last = 3000\n",
            server.host()
        ),
    )
    .unwrap();
    let verbs: [&[&str]; 4] = [
        &["list", "app"],
        &["prune", "app", "--dry-run"],
        &["status"],
        &["backup", "app"],
    ];
    // The first one is what the others are copies of.
    peak_of(folder.path(), &["backup", "app"]);
    let alone = verbs.map(|verb| peak_of(folder.path(), verb));

    let shelf = folder.path().join("backups/app");
    let names = fs::read_dir(&shelf).unwrap().map(|entry| entry.unwrap().file_name());
    let manifest = names
        .map(|name| name.into_string().unwrap())
        .find(|name| name.ends_with(".json"))
        .unwrap();
    let id = manifest
        .strip_prefix("app_")
        .and_then(|rest| rest.strip_suffix(".json"))
        .unwrap();
    let text = fs::read_to_string(shelf.join(&manifest)).unwrap();
    let time = |key: &str| {
        text.split(&format!("\"{key}\": \""))
            .nth(1)
            .unwrap()
            .split('"')
            .next()
            .unwrap()
    };
    let begun: DateTime<Utc> = "2026-01-01T00:00:00Z".parse().unwrap();
    for hour in 0..2_000 {
        let at = begun + TimeDelta::hours(hour);
        let copy = at.format("%Y%m%dT%H%M%SZ").to_string();
        let of_copy = text
            .replace(id, &copy)
            .replace(time("started"), &at.to_rfc3339())
            .replace(time("finished"), &at.to_rfc3339());
        fs::write(shelf.join(format!("app_{copy}.json")), of_copy).unwrap();
        for end in ["dump", "globals.sql"] {
            fs::hard_link(
                shelf.join(format!("app_{id}.{end}")),
                shelf.join(format!("app_{copy}.{end}")),
            )
            .unwrap();
        }
    }
    for (verb, alone) in verbs.iter().zip(alone) {
        let peak = peak_of(folder.path(), verb);
        assert!(
            peak < alone + BOUND,
            "{verb:?}: {peak} KiB, {alone} KiB with a history of two"
        );
    }
}
