//! Rows of many megabytes: what is done with them against pg_dump and pg_restore in the same run on the same server, and
//! the memory that it takes.
//!
//! `cargo bench --bench huge_rows` makes one row of 40 MB of text as the archive has it; `SNAPBACK_BENCH_SCALE=8` makes it
//! 320 MB. What grows with the square of that shows: each figure is also told per MB.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs, unused_imports)]

mod common;
#[path = "../tests/it/support/mod.rs"]
mod support;

use std::fs;
use std::path::Path;
use std::process::Command;

use common::{Measured, measure, scale};
use support::{Run, Server, snapback};

/// Bytes of the row's COPY text at scale 1.
const ROW: f64 = 40e6;

fn main() {
    // `cargo test --benches` only wants to know that it starts.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let server = Server::start_with(15, &["shared_buffers=256MB", "max_wal_size=4GB"]);
    let bytes = ROW * scale();
    for (kind, create) in [
        (
            "text",
            format!("SELECT 1 AS id, repeat(t, ({bytes} / length(t))::int) AS v FROM noise"),
        ),
        (
            "bytea",
            format!("SELECT 1 AS id, decode(repeat(md5(t), ({bytes} / 64)::int * 2), 'hex') AS v FROM noise"),
        ),
    ] {
        server.create_database(kind);
        server.psql(
            kind,
            &format!(
                "CREATE TABLE noise AS SELECT string_agg(md5(g::text), '') AS t FROM generate_series(1, 30000) g; \
                 CREATE TABLE huge AS {create} WITH NO DATA; ALTER TABLE huge ALTER v SET STORAGE external; \
                 INSERT INTO huge {create}; DROP TABLE noise; CHECKPOINT"
            ),
        );
        compare(&server, kind, bytes / 1e6);
        server.psql("postgres", &format!("DROP DATABASE {kind}"));
    }
}

fn compare(server: &Server, kind: &str, megabytes: f64) {
    let folder = tempfile::tempdir().unwrap();
    let config = format!(
        "[stores.default]\npath = \"backups\"\n\n[jobs.app]\nurl = \"{}\"\n",
        server.url(kind)
    );
    fs::write(folder.path().join("snapback.toml"), config).unwrap();
    let ours = |args: &[&str]| measure(snapback().current_dir(folder.path()).args(args));
    println!("one row of {megabytes:.0} MB of {kind}:");
    let file = |name: &str| folder.path().join(name);

    let theirs = pg_dump(server, kind, &["-Fc"], &file("theirs.dump"));
    tell("backup", &ours(&["backup", "app"]), Some(&theirs), megabytes);
    tell("verify --full", &ours(&["verify", "app", "--full"]), None, megabytes);
    let theirs = pg_restore(server, &file("theirs.dump"));
    let restored = ours(&["restore", "app", "--mode", "new", "--as", "copy", "--yes"]);
    drop_copy(server);
    tell("restore with its proof", &restored, Some(&theirs), megabytes);

    for (name, options) in [
        ("inserts.dump", ["--inserts", "-Fc"]),
        ("inserts.sql", ["--inserts", "-Fp"]),
    ] {
        let theirs = pg_dump(server, kind, &options, &file(name));
        let mut command = snapback();
        command.arg("dump").args(server.connection_args(kind)).args(options);
        let dumped = measure(command.arg("-f").arg(file("ours")));
        tell(
            &format!("dump {}", options.join(" ")),
            &dumped,
            Some(&theirs),
            megabytes,
        );
    }
    let theirs = pg_restore(server, &file("inserts.dump"));
    for (name, theirs) in [("inserts.dump", Some(&theirs)), ("inserts.sql", None)] {
        let from = file(name);
        let from = from.to_str().unwrap();
        let restored = ours(&[
            "restore", "app", "--from", from, "--mode", "new", "--as", "copy", "--yes",
        ]);
        drop_copy(server);
        tell(&format!("restore --from {name}"), &restored, theirs, megabytes);
    }
}

fn pg_dump(server: &Server, database: &str, options: &[&str], to: &Path) -> Measured {
    let mut command = server.tool("pg_dump");
    command.args(server.connection_args(database)).args(options);
    measure(command.arg("-f").arg(to))
}

fn pg_restore(server: &Server, archive: &Path) -> Measured {
    server.create_database("copy");
    let mut command = server.tool("pg_restore");
    command.args(server.connection_args("copy")).arg("--exit-on-error");
    let measured = measure(command.arg(archive));
    drop_copy(server);
    measured
}

fn drop_copy(server: &Server) {
    server.psql("postgres", "DROP DATABASE copy");
    server.psql("postgres", "CHECKPOINT");
}

fn tell(what: &str, ours: &Measured, theirs: Option<&Measured>, megabytes: f64) {
    let seconds = ours.wall.as_secs_f64();
    let milliseconds = seconds * 1000.0 / megabytes;
    let mut line = format!(
        "  {what}: {seconds:.2} s ({milliseconds:.1} ms per MB), peak {} MiB",
        ours.peak_kib / 1024
    );
    if let Some(theirs) = theirs {
        let their_seconds = theirs.wall.as_secs_f64();
        line += &format!(
            "; stock tool {their_seconds:.2} s, peak {} MiB: {:.2} times its time",
            theirs.peak_kib / 1024,
            seconds / their_seconds
        );
    }
    println!("{line}");
}
