//! Backups to an S3 server on the same machine and to a folder, both also encrypted, in the same run on the same database.
//!
//! `cargo bench --bench s3` makes a database of 1.1 GB, which takes a few minutes; `SNAPBACK_BENCH_SCALE=0.1` makes it
//! smaller. The S3 servers (rclone, and Garage where it is installed) share the processors with the backup, so what they
//! need themselves is told too.
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

/// The jobs and their stores; the first is what the others are compared with.
const JOBS: [(&str, &str); 4] = [
    ("folder", "folder"),
    ("sealed-folder", "folder"),
    ("bucket", "default"),
    ("sealed-bucket", "default"),
];

/// A public key, whose secret key nobody needs.
const RECIPIENT: &str = "age1t7rxyev2z3rw82stdlrrepyc39nvn86l5078zqkf5uasdy86jp6svpy7pa";

fn main() {
    // `cargo test --benches` only wants to know that it starts.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let server = Server::start_with(15, &["shared_buffers=256MB"]);
    let size = create_rows(&server, "rows", scale());
    println!("rows, {size}, backups against one to a folder");
    compare("rclone", &server, &S3Server::start());
    match S3Server::garage_if_installed() {
        Some(bucket) => compare("Garage", &server, &bucket),
        None => println!("Garage is not installed: tests/servers --full"),
    }
}

/// All jobs, by turns.
fn compare(name: &str, server: &Server, bucket: &S3Server) {
    let folder = tempfile::tempdir().unwrap();
    let mut config = bucket.config("bench") + "[stores.folder]\npath = 'backups'\n";
    for (job, store) in JOBS {
        config += &format!("[jobs.{job}]\nurl = '{}'\nstore = '{store}'\n", server.url("rows"));
        if job.starts_with("sealed") {
            config += &format!("[jobs.{job}.encryption]\nrecipients = '{RECIPIENT}'\n");
        }
    }
    fs::write(folder.path().join("snapback.toml"), config).unwrap();
    let mut best: [Option<(Measured, f64)>; JOBS.len()] = [const { None }; JOBS.len()];
    for _ in 0..RUNS {
        for (best, (job, _)) in best.iter_mut().zip(JOBS) {
            let before = bucket.cpu_seconds();
            let run = measure(snapback().current_dir(folder.path()).args(["backup", job]));
            if best.as_ref().is_none_or(|(best, _)| run.wall < best.wall) {
                *best = Some((run, bucket.cpu_seconds() - before));
            }
        }
    }
    let first = best[0].as_ref().unwrap().0.wall.as_secs_f64();
    for (best, (job, _)) in best.iter().zip(JOBS) {
        let (run, served) = best.as_ref().unwrap();
        let wall = run.wall.as_secs_f64();
        println!(
            "  {job:13}  {wall:.2} s: {:.2}  peak {} MiB; {name} itself used {served:.1} s of processor",
            wall / first,
            run.peak_kib >> 10
        );
    }
}
