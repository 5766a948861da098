//! Snapback against pg_dump, in the same run on the same server: wall time, size, memory, as ratios.
//!
//! `cargo bench --bench dump` makes a database of 1.1 GB and one of 10,000 tables, which takes a few minutes;
//! `SNAPBACK_BENCH_SCALE=0.1` makes them smaller.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs, unused_imports)]

#[path = "../tests/it/support/mod.rs"]
mod support;

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use support::{Server, snapback};

/// Runs of each program; the best one counts, because what disturbs a run only ever makes it slower.
const RUNS: usize = 3;

fn main() {
    // `cargo test --benches` only wants to know that it starts.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let scale = std::env::var("SNAPBACK_BENCH_SCALE").map_or(1.0, |scale| scale.parse().unwrap());
    let server = Server::start_with(15, &["shared_buffers=256MB", "max_locks_per_transaction=256"]);
    rows(&server, scale);
    schema(&server, "10,000 tables", (10_000.0 * scale) as u32, 0);
    schema(
        &server,
        "2,400 objects",
        (400.0 * scale) as u32,
        (1_000.0 * scale) as u32,
    );
}

/// What one program needed.
struct Measured {
    wall: Duration,
    bytes: u64,
    peak_kib: u64,
}

fn rows(server: &Server, scale: f64) {
    server.create_database("rows");
    let (wide, narrow) = ((3e6 * scale) as u64, (4e6 * scale) as u64);
    server.psql(
        "rows",
        &format!(
            "CREATE TABLE wide (id int PRIMARY KEY, name text, email text, note text, amount numeric(12,2), \
                                created timestamptz, flag bool, code uuid); \
             INSERT INTO wide SELECT g, 'Person ' || md5(g::text), md5((g * 7 % 9999991)::text) || '@example.com', \
                 repeat(substr(md5((g % 1000)::text), 1, 12) || ' ', 8), (g % 100000) / 7.0, \
                 '2024-01-01'::timestamptz + g * interval '13 s', g % 3 = 0, md5((g % 7777777)::text)::uuid \
             FROM generate_series(1, {wide}) g; \
             CREATE TABLE narrow (a int, b int, c float8); \
             INSERT INTO narrow SELECT g, ((g::int8 * 7919) % 100003)::int, g / 3.0 FROM generate_series(1, {narrow}) g; \
             DO $$ BEGIN FOR i IN 1..200 LOOP \
                 EXECUTE format('CREATE TABLE small_%s AS SELECT g AS id, md5(g::text) AS t \
                                 FROM generate_series(1, 200) g', i); \
             END LOOP; END $$"
        ),
    );
    server.psql("rows", "VACUUM ANALYZE");
    let size = server.psql("rows", "SELECT pg_size_pretty(pg_database_size('rows'))");
    compare(server, "rows", &format!("rows, {size}, -Fc"), &["-Fc"]);
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

fn compare(server: &Server, database: &str, what: &str, options: &[&str]) {
    let mut best: [Option<Measured>; 2] = [None, None];
    for _ in 0..RUNS {
        let mut ours = snapback();
        ours.arg("dump");
        for (slot, mut command) in best.iter_mut().zip([ours, server.tool("pg_dump")]) {
            command.args(server.connection_args(database)).args(options);
            let measured = measure(&mut command);
            if slot.as_ref().is_none_or(|best| measured.wall < best.wall) {
                *slot = Some(measured);
            }
        }
    }
    let [Some(ours), Some(theirs)] = best else { return };
    println!(
        "{what}: wall {:.2} s / {:.2} s = {:.2}, size {} / {} = {:.3}, peak {} MiB / {} MiB",
        ours.wall.as_secs_f64(),
        theirs.wall.as_secs_f64(),
        ours.wall.as_secs_f64() / theirs.wall.as_secs_f64(),
        ours.bytes,
        theirs.bytes,
        ours.bytes as f64 / theirs.bytes as f64,
        ours.peak_kib / 1024,
        theirs.peak_kib / 1024,
    );
}

fn measure(command: &mut Command) -> Measured {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("out");
    let start = Instant::now();
    let mut child = command.arg("-f").arg(&file).stdout(Stdio::null()).spawn().unwrap();
    let mut peak_kib = 0;
    let status = loop {
        peak_kib = peak_kib.max(high_water(child.id()));
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let wall = start.elapsed();
    assert!(status.success(), "{command:?}");
    Measured {
        wall,
        bytes: fs::metadata(&file).unwrap().len(),
        peak_kib,
    }
}

/// The most memory that a process has had so far, in KiB.
fn high_water(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().split(' ').next()?.parse().ok())
        .unwrap_or(0)
}
