//! Snapback against PostgreSQL's own tools: one command that makes the databases, runs both sides by turns on one server,
//! and writes the table and the chart of docs/speed.md.
//!
//! `cargo bench --bench compare` takes about an hour on two cores. `SNAPBACK_BENCH_SCALE=0.1` makes the databases smaller,
//! `SNAPBACK_BENCH_PAIRS=1` runs fewer pairs than five, `SNAPBACK_BENCH_ONLY=restore` only what has that in its name, and
//! `SNAPBACK_BENCH_DOCS=FOLDER` writes `speed-table.md`, `speed-chart.svg` and `ratios.txt` there, and `SNAPBACK_BENCH_CHECK=FILE`
//! fails where a ratio is more than a fifth above what such a file says; `benches/compare/ratios.txt` is of a tenth of the databases.
//! Ratios are of medians; seconds only mean something on the machine that they were measured on. `SNAPBACK_PROGRAM` names
//! another build of the program.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs, dead_code, unused_imports)]

#[path = "../common/mod.rs"]
mod common;
mod databases;
mod report;
#[path = "../../tests/it/support/mod.rs"]
mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::Measured;
use databases::DATABASES;
use report::{Row, Side};
use support::{Run, Server, snapback};

/// What is compared, on one of the databases.
struct Comparison {
    /// What the table calls it.
    name: &'static str,
    database: &'static str,
    what: What,
    /// The most that the ratio of wall times may be.
    at_most: f64,
}

enum What {
    /// A whole restore into a new database, with its proof, against `pg_restore -j` alone.
    Restore { jobs: &'static str },
    /// `snapback backup` with its defaults against `pg_dump -Fc`.
    Backup,
    /// `snapback dump` against pg_dump.
    Dump(&'static [&'static str]),
}

const COMPARISONS: [Comparison; 11] = [
    restore("restore, rows with a GIN index", "rows_gin", "2", 0.95),
    restore("restore, rows with btree indexes", "rows", "2", 0.75),
    restore("restore, 2,400 small tables in 40 schemas", "many", "2", 0.50),
    restore("restore, 2,000 partitions, indexed", "partitions", "2", 0.60),
    restore("restore, 30,000 large objects", "large_objects", "2", 0.35),
    restore("restore, one huge table, 4 jobs", "huge", "4", 0.60),
    backup("backup, rows", "rows", 0.35),
    backup("backup, 2,400 small tables", "many", 0.40),
    dump("dump -Fd -j2, rows", "rows", &["-Fd", "-j2"], 0.45),
    dump("dump -s, 2,400 small tables", "many", &["-s"], 0.45),
    dump("dump -s, 400 tables, 1,000 functions", "functions", &["-s"], 0.45),
];

const fn restore(name: &'static str, database: &'static str, jobs: &'static str, at_most: f64) -> Comparison {
    Comparison {
        name,
        database,
        what: What::Restore { jobs },
        at_most,
    }
}

const fn backup(name: &'static str, database: &'static str, at_most: f64) -> Comparison {
    Comparison {
        name,
        database,
        what: What::Backup,
        at_most,
    }
}

const fn dump(
    name: &'static str,
    database: &'static str,
    options: &'static [&'static str],
    at_most: f64,
) -> Comparison {
    Comparison {
        name,
        database,
        what: What::Dump(options),
        at_most,
    }
}

fn main() {
    // `cargo test --benches` only wants to know that it starts.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let only = std::env::var("SNAPBACK_BENCH_ONLY").unwrap_or_default();
    let pairs: usize = std::env::var("SNAPBACK_BENCH_PAIRS").map_or(5, |pairs| pairs.parse().unwrap());
    let major: u32 = std::env::var("SNAPBACK_BENCH_MAJOR").map_or(15, |major| major.parse().unwrap());
    let settings = [
        "shared_buffers=256MB",
        "max_wal_size=4GB",
        "max_locks_per_transaction=1024",
    ];
    let bench = Bench {
        server: Server::start_with(major, &settings),
        folder: tempfile::tempdir().unwrap(),
    };
    let mut rows = Vec::new();
    let mut made = Vec::new();
    for comparison in COMPARISONS.iter().filter(|it| it.name.contains(&only)) {
        if !made.contains(&comparison.database) {
            bench.make(comparison.database);
            made.push(comparison.database);
        }
        let row = bench.compare(comparison, pairs);
        println!("{}", row.line());
        rows.push(row);
    }
    if let Ok(folder) = std::env::var("SNAPBACK_BENCH_DOCS") {
        report::write(Path::new(&folder), &rows);
    }
    if let Ok(file) = std::env::var("SNAPBACK_BENCH_CHECK") {
        let slower = report::slower(&rows, &fs::read_to_string(file).unwrap());
        assert!(slower.is_empty(), "slower than before: {slower:#?}");
    }
}

struct Bench {
    server: Server,
    folder: tempfile::TempDir,
}

impl Bench {
    /// Makes a database, its backup and its archive of pg_dump.
    fn make(&self, name: &str) {
        let database = DATABASES.iter().find(|it| it.name == name).unwrap();
        self.server.create_database(name);
        for sql in (database.sql)(common::scale()) {
            self.server.psql(name, &sql);
        }
        self.server.psql(name, "VACUUM ANALYZE");
        let folder = self.at(name);
        fs::create_dir(&folder).unwrap();
        let config = format!(
            "[stores.default]\npath = \"backups\"\n\n[jobs.{name}]\nurl = \"{}\"\n\n[jobs.{name}.retention]\nkeep_last = 2\n",
            self.server.url(name)
        );
        fs::write(folder.join("snapback.toml"), config).unwrap();
        Run::of(snapback().current_dir(&folder).args(["backup", name])).ok();
        let mut pg_dump = self.server.tool("pg_dump");
        pg_dump.args(self.server.connection_args(name)).args(["-Fc", "-f"]);
        Run::of(pg_dump.arg(folder.join("theirs.dump"))).ok();
    }

    fn at(&self, database: &str) -> PathBuf {
        self.folder.path().join(database)
    }

    /// Runs both sides by turns.
    fn compare(&self, comparison: &Comparison, pairs: usize) -> Row {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..pairs {
            ours.push(self.ours(comparison));
            theirs.push(self.theirs(comparison));
        }
        Row {
            name: comparison.name,
            ours: Side::median(ours),
            theirs: Side::median(theirs),
            at_most: comparison.at_most,
        }
    }

    fn ours(&self, comparison: &Comparison) -> Measured {
        let (name, mut command) = (comparison.database, snapback());
        command.current_dir(self.at(name));
        match comparison.what {
            What::Restore { jobs } => {
                command.args(["restore", name, "--mode", "new", "--as", "copy", "--yes", "-j", jobs]);
            }
            What::Backup => {
                command.args(["backup", name]);
            }
            What::Dump(options) => {
                command
                    .arg("dump")
                    .args(self.server.connection_args(name))
                    .args(options);
                command.arg("-f").arg(self.out());
            }
        }
        self.measure(&mut command, comparison)
    }

    fn theirs(&self, comparison: &Comparison) -> Measured {
        let name = comparison.database;
        let mut command;
        match comparison.what {
            What::Restore { jobs } => {
                self.server.create_database("copy");
                command = self.server.tool("pg_restore");
                command.args(self.server.connection_args("copy"));
                command.args(["--exit-on-error", "-j", jobs]);
                command.arg(self.at(name).join("theirs.dump"));
            }
            What::Backup => {
                command = self.server.tool("pg_dump");
                command.args(self.server.connection_args(name)).arg("-Fc");
                command.arg("-f").arg(self.out());
            }
            What::Dump(options) => {
                command = self.server.tool("pg_dump");
                command.args(self.server.connection_args(name)).args(options);
                command.arg("-f").arg(self.out());
            }
        }
        self.measure(&mut command, comparison)
    }

    /// Where a dump goes; nothing is there before.
    fn out(&self) -> PathBuf {
        let out = self.folder.path().join("out");
        let _ = fs::remove_dir_all(&out).or_else(|_| fs::remove_file(&out));
        out
    }

    fn measure(&self, command: &mut Command, comparison: &Comparison) -> Measured {
        let before = self.server.processor_seconds();
        let mut measured = common::measure(command);
        measured.server_seconds = self.server.processor_seconds() - before;
        if matches!(comparison.what, What::Restore { .. }) {
            self.server.psql("postgres", "DROP DATABASE copy");
        }
        self.server.psql("postgres", "CHECKPOINT");
        measured
    }
}
