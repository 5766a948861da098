//! Snapback against pg_dump, in the same run on the same server: wall time, size, memory, as ratios.
//!
//! `cargo bench --bench dump` makes a database of 1.1 GB and one of 10,000 tables, which takes a few minutes;
//! `SNAPBACK_BENCH_SCALE=0.1` makes them smaller.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs, unused_imports)]

mod common;
#[path = "../tests/it/support/mod.rs"]
mod support;

use std::fs;
use std::path::Path;
use std::process::Command;

use common::{create_rows, scale};
use support::{Server, snapback};

/// Runs of each program; the best one counts, because what disturbs a run only ever makes it slower.
const RUNS: usize = 3;

fn main() {
    // `cargo test --benches` only wants to know that it starts.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let scale = scale();
    let server = Server::start_with(15, &["shared_buffers=256MB", "max_locks_per_transaction=256"]);
    let size = create_rows(&server, "rows", scale);
    for options in [&["-Fc"][..], &["-Fd", "-j2"]] {
        compare(
            &server,
            "rows",
            &format!("rows, {size}, {}", options.join(" ")),
            options,
        );
    }
    schema(&server, "10,000 tables", (10_000.0 * scale) as u32, 0);
    schema(
        &server,
        "2,400 objects",
        (400.0 * scale) as u32,
        (1_000.0 * scale) as u32,
    );
}

fn schema(server: &Server, what: &str, tables: u32, functions: u32) {
    let database = format!("schema_{tables}");
    server.create_database(&database);
    // In pieces: each table takes locks until the end of its transaction.
    for start in (1..=tables).step_by(1000) {
        let end = tables.min(start + 999);
        server.psql(
            &database,
            &format!(
                "DO $$ BEGIN FOR i IN {start}..{end} LOOP \
                     EXECUTE format('CREATE TABLE t%s (id bigserial PRIMARY KEY, name text NOT NULL DEFAULT ''x'', \
                                     amount numeric CHECK (amount > 0), at timestamptz DEFAULT now())', i); \
                     EXECUTE format('CREATE INDEX ON t%s (at)', i); \
                 END LOOP; END $$"
            ),
        );
    }
    server.psql(
        &database,
        &format!(
            "DO $$ BEGIN FOR i IN 1..{functions} LOOP \
                 EXECUTE format('CREATE FUNCTION f%s(a int) RETURNS int LANGUAGE sql AS ''SELECT $1 + %s''', i, i); \
             END LOOP; END $$"
        ),
    );
    server.psql(&database, "VACUUM ANALYZE");
    compare(server, &database, &format!("{what}, -s"), &["-s"]);
}

/// What one program needed and wrote.
struct Measured {
    run: common::Measured,
    bytes: u64,
}

fn compare(server: &Server, database: &str, what: &str, options: &[&str]) {
    let mut best: [Option<Measured>; 2] = [None, None];
    for _ in 0..RUNS {
        let mut ours = snapback();
        ours.arg("dump");
        for (slot, mut command) in best.iter_mut().zip([ours, server.tool("pg_dump")]) {
            command.args(server.connection_args(database)).args(options);
            let measured = measure(&mut command);
            if slot.as_ref().is_none_or(|best| measured.run.wall < best.run.wall) {
                *slot = Some(measured);
            }
        }
    }
    let [Some(ours), Some(theirs)] = best else { return };
    let wall = |it: &Measured| it.run.wall.as_secs_f64();
    println!(
        "{what}: wall {:.2} s / {:.2} s = {:.2}, size {} / {} = {:.3}, peak {} MiB / {} MiB",
        wall(&ours),
        wall(&theirs),
        wall(&ours) / wall(&theirs),
        ours.bytes,
        theirs.bytes,
        ours.bytes as f64 / theirs.bytes as f64,
        ours.run.peak_kib / 1024,
        theirs.run.peak_kib / 1024,
    );
}

fn measure(command: &mut Command) -> Measured {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let run = common::measure(command.arg("-f").arg(&out));
    Measured { run, bytes: size(&out) }
}

/// Of a file, or of the files in a folder.
fn size(path: &Path) -> u64 {
    if path.is_file() {
        return fs::metadata(path).unwrap().len();
    }
    let files = fs::read_dir(path).unwrap();
    files.map(|file| file.unwrap().metadata().unwrap().len()).sum()
}
