//! A backup to an S3 server on the same machine against one to a folder, in the same run on the same database.
//!
//! `cargo bench --bench s3` makes a database of 1.1 GB, which takes a few minutes; `SNAPBACK_BENCH_SCALE=0.1` makes it
//! smaller. The S3 server (rclone) shares the processors with the backup, so what it needs itself is told too.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs, unused_imports)]

mod common;
#[path = "../tests/it/support/mod.rs"]
mod support;

use std::fs;

use common::{Measured, create_rows, measure, scale};
use support::s3::S3Server;
use support::{Server, snapback};

/// Runs of each kind, by turns; the best one counts, because what disturbs a run only ever makes it slower.
const RUNS: usize = 3;

fn main() {
    // `cargo test --benches` only wants to know that it starts.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let server = Server::start_with(15, &["shared_buffers=256MB"]);
    let size = create_rows(&server, "rows", scale());
    let bucket = S3Server::start();
    let folder = tempfile::tempdir().unwrap();
    let url = server.url("rows");
    fs::write(
        folder.path().join("snapback.toml"),
        format!(
            "{}\n[stores.folder]\npath = 'backups'\n\n[jobs.remote]\nurl = '{url}'\n\n[jobs.local]\nurl = '{url}'\nstore = 'folder'\n",
            bucket.config("bench")
        ),
    )
    .unwrap();
    let backup = |job: &str| {
        let before = bucket.cpu_seconds();
        let measured = measure(snapback().current_dir(folder.path()).args(["backup", job]));
        (measured, bucket.cpu_seconds() - before)
    };
    let mut best: [Option<(Measured, f64)>; 2] = [None, None];
    for _ in 0..RUNS {
        for (best, job) in best.iter_mut().zip(["local", "remote"]) {
            let run = backup(job);
            if best.as_ref().is_none_or(|(best, _)| run.0.wall < best.wall) {
                *best = Some(run);
            }
        }
    }
    let [Some((local, _)), Some((remote, served))] = best else {
        return;
    };
    println!("rows, {size}, a backup to S3 against one to a folder");
    println!(
        "  wall  {:.2} / {:.2} s: {:.2}; the S3 server itself used {served:.1} s of processor",
        remote.wall.as_secs_f64(),
        local.wall.as_secs_f64(),
        remote.wall.as_secs_f64() / local.wall.as_secs_f64(),
    );
    println!("  peak  {} / {} MiB", remote.peak_kib >> 10, local.peak_kib >> 10);
}
