//! Rows and large objects: read by several workers, in any encoding, into every format.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use super::trouble::wait_until;
use super::{command, dump, same_as_pg_dump, stable};
use crate::support::{Run, Server, VERSIONS};

/// What pg_restore makes of our archive, as text.
fn restored_text(server: &Server, archive: &Path) -> Vec<u8> {
    let output = server
        .tool("pg_restore")
        .args(["-f", "-"])
        .arg(archive)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    stable(&output.stdout)
}

/// A table of more than two segments: its pages are nearly empty, so it is quick to make.
const SPREAD: &str = "CREATE TABLE spread (id int, t text) WITH (fillfactor = 10); \
     INSERT INTO spread SELECT g, md5(g::text) FROM generate_series(1, 150000) g; \
     DELETE FROM spread WHERE id % 7 = 0;";

#[test]
fn a_table_that_several_workers_read_is_one_stream_in_order() {
    let server = Server::start(15);
    server.create_database("big");
    server.psql("big", SPREAD);
    let pages: u32 = server
        .psql("big", "SELECT pg_relation_size('spread') / 8192")
        .parse()
        .unwrap();
    assert!(
        pages > 3 * 4096,
        "the table must have several segments, not {pages} pages"
    );
    let theirs = stable(&server.pg_dump("big", &[]));
    let folder = tempfile::tempdir().unwrap();
    for (jobs, compress) in [("1", "gzip:1"), ("3", "gzip:1"), ("2", "none")] {
        let file = folder.path().join(format!("{jobs}-{compress}.dump"));
        let name = file.to_str().unwrap();
        dump(&server, "big", &["-Fc", "-j", jobs, "-Z", compress, "-f", name]).ok();
        assert!(restored_text(&server, &file) == theirs, "-j {jobs} -Z {compress}");
    }
    let plain = dump(&server, "big", &["-j3"]).ok();
    assert!(stable(plain.stdout.as_bytes()) == theirs);
}

#[test]
fn large_objects_of_any_size_are_dumped() {
    for major in VERSIONS {
        let server = Server::start(major);
        server.create_database("blobs");
        server.psql(
            "blobs",
            "SELECT lo_from_bytea(100, ''); SELECT lo_from_bytea(101, 'small'); \
             SELECT lo_from_bytea(102, decode(repeat('00ff', 262144), 'hex')); \
             SELECT lo_from_bytea(103, decode(repeat('ab', 700001), 'hex')); \
             SELECT lo_create(104); SELECT lo_put(104, 500000, 'after a hole')",
        );
        same_as_pg_dump(&server, "blobs", &[]);
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("blobs.dump");
        dump(&server, "blobs", &["-Fc", "-f", file.to_str().unwrap()]).ok();
        assert!(
            restored_text(&server, &file) == stable(&server.pg_dump("blobs", &[])),
            "{major}"
        );
    }
}

#[test]
fn names_and_rows_of_other_encodings_pass_unchanged() {
    let server = Server::start(15);
    for (encoding, letter) in [("LATIN1", "\\351"), ("SQL_ASCII", "\\377"), ("EUC_JP", "\\306\\374")] {
        let script = format!(
            "CREATE DATABASE enc ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0;\n\\c enc\n\
             SET client_encoding = {encoding};\n\
             CREATE SCHEMA \"s{letter}\"; CREATE TABLE \"s{letter}\".\"t{letter}\" (\"c{letter}\" text DEFAULT '{letter}');\n\
             INSERT INTO \"s{letter}\".\"t{letter}\" VALUES ('{letter}'), (NULL);\n"
        );
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("in.sql");
        let printed = Command::new("printf")
            .arg(script.replace('%', "%%").replace("\\c enc", "\\\\c enc"))
            .output();
        std::fs::write(&file, printed.unwrap().stdout).unwrap();
        server.load("postgres", &file);
        same_as_pg_dump(&server, "enc", &[]);
        same_as_pg_dump(&server, "enc", &["--inserts"]);
        server.psql("postgres", "DROP DATABASE enc");
    }
}

#[test]
fn settings_of_the_role_do_not_change_a_dump() {
    let server = Server::start(15);
    server.create_database("app");
    server.psql(
        "app",
        "CREATE TABLE t (a timestamptz, b float8, c interval); \
         INSERT INTO t SELECT '2024-03-01 12:00+00', random(), g * interval '1 hour' FROM generate_series(1, 2000) g",
    );
    let before = stable(&server.pg_dump("app", &[]));
    server.psql(
        "app",
        "ALTER ROLE postgres SET search_path = nowhere; ALTER ROLE postgres SET datestyle = 'German'; \
         ALTER ROLE postgres SET intervalstyle = 'iso_8601'; ALTER ROLE postgres SET extra_float_digits = 0; \
         ALTER ROLE postgres SET bytea_output = 'escape'",
    );
    let after = dump(&server, "app", &["-j2"]).ok();
    assert!(stable(after.stdout.as_bytes()) == before);
}

#[test]
fn timeouts_of_the_role_do_not_end_a_dump() {
    let server = Server::start(15);
    server.psql(
        "postgres",
        "CREATE TABLE t AS SELECT 1 AS a; CREATE ROLE hasty LOGIN SUPERUSER; \
         ALTER ROLE hasty SET statement_timeout = '1s'; ALTER ROLE hasty SET lock_timeout = '1s'; \
         ALTER ROLE hasty SET idle_in_transaction_session_timeout = '1s'",
    );
    let theirs = stable(&server.pg_dump("postgres", &[]));
    let mut holder = server
        .tool("psql")
        .args(["-XAtq"])
        .args(server.connection_args("postgres"))
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut session = holder.stdin.take().unwrap();
    session.write_all(b"BEGIN; LOCK TABLE t;\n").unwrap();
    wait_until(&server, "EXISTS (SELECT FROM pg_locks WHERE relation = 't'::regclass)");
    let child = command(&server, "postgres", &["-U", "hasty"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Now its statement takes longer than the role's settings allow.
    wait_until(
        &server,
        "EXISTS (SELECT FROM pg_locks WHERE NOT granted AND waitstart < now() - interval '2s')",
    );
    drop(session);
    assert!(holder.wait().unwrap().success());
    let ours = Run::from(child.wait_with_output().unwrap()).ok();
    assert!(stable(ours.stdout.as_bytes()) == theirs);
}
