//! Rows of many megabytes: whatever is done with them, it looks at each byte a few times only, and needs little memory.
//!
//! What would look again and again at all that it has (one row of 320 MB: `verify --full` 242 s instead of 1) would take
//! longer here than a test may.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::restore::Site;
use crate::support::{Run, measured};

/// Bytes of the COPY text of each huge row.
const ROW: u64 = 48 << 20;
/// The same where it is read as statements many times.
const STATEMENT: u64 = 12 << 20;
const MIB: u64 = 1 << 20;
/// What the program needs without any rows, with some room.
const BASE: u64 = 96 * MIB;

/// Rows whose text is hard to compress, hard to quote, and between small ones; a definition that is as large.
fn fill(site: &Site, row: u64) {
    let half = row / 2;
    site.server.psql(
        "app",
        &format!(
            "CREATE TABLE huge (id int, t text, y bytea, j jsonb);
             ALTER TABLE huge ALTER t SET STORAGE external, ALTER y SET STORAGE external, ALTER j SET STORAGE external;
             CREATE TABLE noise AS SELECT string_agg(sha512(g::text::bytea)::text, '') AS t FROM generate_series(1, 8000) g;
             INSERT INTO huge (id, t) SELECT 1, repeat(t, {row} / length(t)) FROM noise;
             INSERT INTO huge (id, t) VALUES (2, 'small');
             INSERT INTO huge (id, t) SELECT 3, repeat(E'it''s \\\\ a\\ttab;\\n', {half} / 17);
             INSERT INTO huge (id, y) SELECT 4, convert_to(repeat(t, {half} / length(t)), 'UTF8') FROM noise;
             INSERT INTO huge (id, j) SELECT 5, to_jsonb(repeat(t, {half} / length(t))) FROM noise;
             INSERT INTO huge (id, t) VALUES (6, 'small');
             DROP TABLE noise;"
        ),
    );
}

fn contents(site: &Site, database: &str) -> String {
    let sql = "SELECT id, md5(t), md5(y), md5(j::text) FROM huge ORDER BY id";
    site.server.psql(database, sql)
}

/// Runs a program; it must succeed with less than `most` bytes of memory.
#[track_caller]
fn within(command: &mut Command, most: u64) -> Run {
    let (run, peak) = measured(command);
    let run = run.ok();
    let peak = peak * 1024;
    assert!(
        peak < most,
        "{:?}: {} MiB instead of at most {} MiB",
        command.get_args().collect::<Vec<_>>(),
        peak / MIB,
        most / MIB
    );
    run
}

#[test]
fn huge_rows_are_backed_up_verified_and_restored() {
    let site = Site::new(15, "app");
    fill(&site, ROW);
    let before = contents(&site, "app");
    // The driver takes a row in as a whole, while another one may be on its way to the archive.
    within(&mut site.command(&["backup", "app"]), BASE + 3 * ROW);
    within(&mut site.command(&["verify", "app", "--full"]), BASE);
    let restore = ["restore", "app", "--mode", "new", "--as", "copy", "--yes"];
    within(&mut site.command(&restore), BASE + 3 * ROW);
    assert_eq!(contents(&site, "copy"), before);
}

#[test]
fn huge_rows_as_statements_are_written_and_read() {
    let site = Site::new(15, "app");
    fill(&site, STATEMENT);
    let before = contents(&site, "app");
    let file = |name: &str| site.folder().join(name);
    let dump = |name: &str, options: &[&str]| {
        let mut command = site.command(&["dump"]);
        command.args(site.server.connection_args("app")).args(options);
        within(command.arg("-f").arg(file(name)), BASE + 3 * STATEMENT);
    };
    dump("inserts.sql", &["--inserts"]);
    dump("inserts.dump", &["--inserts", "-Fc", "-Z1"]);
    dump("copy.sql", &[]);
    for (name, options) in [("inserts.sql", ["--inserts"].as_slice()), ("copy.sql", &[])] {
        let theirs = site.server.pg_dump("app", options);
        let ours = fs::read(file(name)).unwrap();
        assert!(super::dump::stable(&ours) == super::dump::stable(&theirs), "{name}");
    }
    for (name, most) in [("copy.sql", 3), ("inserts.sql", 5), ("inserts.dump", 5)] {
        restore(&site, &file(name), most);
        assert_eq!(contents(&site, "copy"), before, "{name}");
        site.server.psql("postgres", "DROP DATABASE copy");
    }
}

fn restore(site: &Site, file: &Path, rows: u64) {
    let mut command = site.command(&["restore", "app", "--mode", "new", "--as", "copy", "--yes", "--from"]);
    within(command.arg(file), BASE + rows * STATEMENT);
}
