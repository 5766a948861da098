//! What the benches share: the database that they are run on, and measuring a program.
#![allow(clippy::unwrap_used, missing_docs, dead_code)]

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{self, Server, high_water};

/// How large the databases are: 1 by default.
pub fn scale() -> f64 {
    std::env::var("SNAPBACK_BENCH_SCALE").map_or(1.0, |scale| scale.parse().unwrap())
}

/// A database of rows: a wide table of 3 million, a narrow one of 4 million, and 200 small ones. Returns its size
/// for people.
pub fn create_rows(server: &Server, database: &str, scale: f64) -> String {
    server.create_database(database);
    let (wide, narrow) = ((3e6 * scale) as u64, (4e6 * scale) as u64);
    server.psql(
        database,
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
    server.psql(database, "VACUUM ANALYZE");
    server.psql(
        database,
        &format!("SELECT pg_size_pretty(pg_database_size('{database}'))"),
    )
}

/// What one run of a program needed.
pub struct Measured {
    pub wall: Duration,
    /// The most memory that it had, in KiB.
    pub peak_kib: u64,
    /// Seconds of processor that it took, all its threads together.
    pub processor_seconds: f64,
    /// And the server meanwhile, where that was asked for.
    pub server_seconds: f64,
    pub stdout: String,
}

/// Runs a program to its end, which must be a good one.
pub fn measure(command: &mut Command) -> Measured {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("stdout");
    let start = Instant::now();
    let mut child = command.stdout(fs::File::create(&file).unwrap()).spawn().unwrap();
    let (mut peak_kib, mut processor_seconds) = (0, 0.0f64);
    let status = loop {
        peak_kib = peak_kib.max(high_water(child.id()));
        processor_seconds = processor_seconds.max(support::processor_seconds(child.id(), false));
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let wall = start.elapsed();
    assert!(status.success(), "{command:?}");
    Measured {
        wall,
        peak_kib,
        processor_seconds,
        server_seconds: 0.0,
        stdout: fs::read_to_string(&file).unwrap(),
    }
}
