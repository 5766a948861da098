//! How costs grow with the work: each kind of work from little to much, beside PostgreSQL's own tools where they do the same.
//! A cost that stays flat grows as its work does: its line is straight in the chart.
//!
//! `cargo bench --bench growth` takes about an hour on two cores. `SNAPBACK_BENCH_SCALE=0.1` goes a tenth as far,
//! `SNAPBACK_BENCH_ONLY=tables` measures one kind, and `SNAPBACK_BENCH_DOCS=FOLDER` writes a table and a chart of each there.
//! `SNAPBACK_PROGRAM` names another build of the program. Each figure is of one run; seconds only mean something beside each other.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs, dead_code, unused_imports)]

mod chart;
#[path = "../common/mod.rs"]
mod common;
mod kinds;
#[path = "../../tests/it/support/mod.rs"]
mod support;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use chart::Kind;
use common::{Measured, measure};
use support::{Run, Server, snapback};

fn main() {
    // `cargo test --benches` only wants to know that it starts.
    if env::args().any(|argument| argument == "--test") {
        return;
    }
    let only = env::var("SNAPBACK_BENCH_ONLY").unwrap_or_default();
    let kinds: [(&str, Measure); 7] = [
        ("size", kinds::size),
        ("jobs", kinds::jobs),
        ("tables", kinds::tables),
        ("rows", kinds::rows),
        ("network", kinds::network),
        ("backups", kinds::backups),
        ("daemon", kinds::daemon),
    ];
    for (name, kind) in kinds.iter().filter(|(name, _)| name.contains(&only)) {
        let measured = kind(&Bench::start());
        println!("{name}: {}\n{}", measured.name, measured.table());
        if let Ok(folder) = env::var("SNAPBACK_BENCH_DOCS") {
            fs::write(Path::new(&folder).join(format!("{name}.md")), measured.table()).unwrap();
            fs::write(Path::new(&folder).join(format!("{name}.svg")), measured.chart()).unwrap();
        }
    }
}

/// Measures one kind.
type Measure = fn(&Bench) -> Kind;

/// A server with one database at a time, and a folder with its job.
struct Bench {
    server: Server,
    folder: tempfile::TempDir,
}

impl Bench {
    fn start() -> Bench {
        let settings = [
            "shared_buffers=256MB",
            "max_wal_size=4GB",
            "max_locks_per_transaction=4096",
        ];
        Bench {
            server: Server::start_with(15, &settings),
            folder: tempfile::tempdir().unwrap(),
        }
    }

    /// Makes the database anew, by these statements.
    fn make(&self, sql: &[String]) {
        self.server.psql("postgres", "DROP DATABASE IF EXISTS app");
        self.server.create_database("app");
        for sql in sql {
            self.server.psql("app", sql);
        }
        self.server.psql("app", "ANALYZE");
        self.server.psql("postgres", "CHECKPOINT");
        let _ = fs::remove_dir_all(self.at("backups"));
        self.configure(&self.server.url("app"));
    }

    /// The job that backs up what `url` names.
    fn configure(&self, url: &str) {
        let config = format!("[stores.default]\npath = \"backups\"\n\n[jobs.app]\nurl = \"{url}\"\n");
        fs::write(self.at("snapback.toml"), config).unwrap();
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn snapback(&self, arguments: &[&str]) -> Measured {
        let mut command = snapback();
        command.current_dir(self.folder.path()).args(arguments);
        let measured = measure(command.stderr(std::process::Stdio::null()));
        self.server.psql("postgres", "CHECKPOINT");
        measured
    }

    /// `tool` against the database, or against a copy of it that is made before and dropped afterwards.
    fn stock(&self, tool: &str, database: &str, arguments: &[&str]) -> Measured {
        let mut command = self.server.tool(tool);
        command.args(self.server.connection_args(database)).args(arguments);
        let measured = measure(command.current_dir(self.folder.path()));
        self.server.psql("postgres", "CHECKPOINT");
        measured
    }

    /// `pg_dump -Fc`, in place of the one before.
    fn pg_dump(&self) -> Measured {
        self.stock("pg_dump", "app", &["-Fc", "-f", "theirs.dump"])
    }

    /// A whole restore with its proof.
    fn restore(&self, jobs: &str) -> Measured {
        let measured = self.snapback(&["restore", "app", "--mode", "new", "--as", "copy", "--yes", "-j", jobs]);
        self.server.psql("postgres", "DROP DATABASE copy");
        measured
    }

    /// What pg_dump wrote.
    fn pg_restore(&self, jobs: &str) -> Measured {
        self.server.create_database("copy");
        let measured = self.stock("pg_restore", "copy", &["-j", jobs, "theirs.dump"]);
        self.server.psql("postgres", "DROP DATABASE copy");
        measured
    }
}
