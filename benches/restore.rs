//! A restore against `pg_restore -j` with the same number of jobs, in the same run on the same server.
//!
//! `cargo bench --bench restore` makes a database of 1.1 GB, which takes a few minutes;
//! `SNAPBACK_BENCH_SCALE=0.1` makes it smaller. What is compared is the loading: Snapback also gathers statistics
//! and proves what it loaded, which is told apart.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs, unused_imports)]

mod common;
#[path = "../tests/it/support/mod.rs"]
mod support;

use std::fs;
use std::path::Path;

use common::{Measured, create_rows, measure, scale};
use support::{Run, Server, snapback};

/// Runs of each program; the best one counts, because what disturbs a run only ever makes it slower.
const RUNS: usize = 3;
/// The steps that do what pg_restore does.
const LOADING: [&str; 4] = ["create", "pre-data", "data", "privileges"];

fn main() {
    // `cargo test --benches` only wants to know that it starts.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let server = Server::start_with(15, &["shared_buffers=256MB", "max_wal_size=4GB"]);
    let size = create_rows(&server, "rows", scale());
    let folder = tempfile::tempdir().unwrap();
    fs::write(
        folder.path().join("snapback.toml"),
        format!(
            "[stores.default]\npath = \"backups\"\n\n[jobs.rows]\nurl = \"{}\"\n",
            server.url("rows")
        ),
    )
    .unwrap();
    Run::of(snapback().current_dir(folder.path()).args(["backup", "rows"])).ok();
    let archive = folder.path().join("rows.dump");
    Run::of(
        server
            .tool("pg_dump")
            .args(server.connection_args("rows"))
            .args(["-Fc", "-f"])
            .arg(&archive),
    )
    .ok();
    for jobs in ["2", "4"] {
        compare(&server, folder.path(), &archive, &size, jobs);
    }
}

fn compare(server: &Server, folder: &Path, archive: &Path, size: &str, jobs: &str) {
    let (mut ours, mut theirs): (Option<Ours>, Option<Measured>) = (None, None);
    for _ in 0..RUNS {
        let restored = restore(server, folder, jobs);
        if ours.as_ref().is_none_or(|best| restored.loading < best.loading) {
            ours = Some(restored);
        }
        let restored = pg_restore(server, archive, jobs);
        if theirs.as_ref().is_none_or(|best| restored.wall < best.wall) {
            theirs = Some(restored);
        }
    }
    let (Some(ours), Some(theirs)) = (ours, theirs) else {
        return;
    };
    let pg_restore = theirs.wall.as_secs_f64();
    println!(
        "restore of {size}, {jobs} jobs: loading {:.2} s, pg_restore {pg_restore:.2} s: {:.2} times as fast; \
         with check, statistics and proof {:.2} s; peak {} MiB",
        ours.loading,
        pg_restore / ours.loading,
        ours.measured.wall.as_secs_f64(),
        ours.measured.peak_kib / 1024,
    );
}

struct Ours {
    measured: Measured,
    /// Seconds of the steps that load.
    loading: f64,
}

fn restore(server: &Server, folder: &Path, jobs: &str) -> Ours {
    let mut command = snapback();
    command.current_dir(folder).args([
        "restore", "rows", "--mode", "new", "--as", "copy", "--yes", "--json", "-j", jobs,
    ]);
    let measured = measure(&mut command);
    server.psql("postgres", "DROP DATABASE copy");
    server.psql("postgres", "CHECKPOINT");
    let report: serde_json::Value = serde_json::from_str(&measured.stdout).unwrap();
    let steps = report["outcome"]["steps"].as_array().unwrap();
    let loading = steps
        .iter()
        .filter(|step| LOADING.contains(&step["step"].as_str().unwrap()))
        .map(|step| step["seconds"].as_f64().unwrap());
    Ours {
        loading: loading.sum(),
        measured,
    }
}

fn pg_restore(server: &Server, archive: &Path, jobs: &str) -> Measured {
    server.create_database("copy");
    let mut command = server.tool("pg_restore");
    command
        .args(server.connection_args("copy"))
        .args(["--exit-on-error", "-j", jobs])
        .arg(archive);
    let measured = measure(&mut command);
    server.psql("postgres", "DROP DATABASE copy");
    server.psql("postgres", "CHECKPOINT");
    measured
}
