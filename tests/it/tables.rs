//! Tables beyond the version matrix: options that change what is written of them, and tables that others hold or
//! replace while the dump begins.

use std::io::Write as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::equal::{assert_same, dump, is_text, load};
use super::support::{Run, Server, VERSIONS, snapback};

#[test]
fn binary_upgrades_are_pg_dumps() {
    for major in VERSIONS {
        let server = with_fixture(major);
        server.psql(
            "tables",
            "ALTER TABLE app.columns ADD added text DEFAULT 'it''s', ADD also int; ALTER TABLE app.columns DROP also;
             ALTER TABLE app.parent DROP c",
        );
        let options = ["-s", "--binary-upgrade"];
        let (theirs, ours) = (server.pg_dump("tables", &options), dump(&server, "tables", &options));
        assert_same(&format!("binary upgrade of {major}"), &theirs, &ours, is_text);
    }
}

#[test]
fn options_change_tables_as_pg_dumps_do() {
    let options: [&[&str]; 9] = [
        &["-a"],
        &["-c", "--if-exists"],
        &["--load-via-partition-root"],
        &["--no-unlogged-table-data"],
        &["--no-toast-compression"],
        &["--no-tablespaces"],
        &["--quote-all-identifiers"],
        &["-t", "app.p*", "--exclude-table-data=app.part_1"],
        &["-T", "app.par*", "--inserts"],
    ];
    for major in [14, 16, 18] {
        let server = with_fixture(major);
        // pg_dump 18 writes the names of inherited NOT NULL constraints bare, whatever the option says.
        server.psql("tables", "DROP TABLE IF EXISTS app.nn CASCADE");
        for options in options {
            let (theirs, ours) = (server.pg_dump("tables", options), dump(&server, "tables", options));
            assert_same(&format!("{options:?} of {major}"), &theirs, &ours, is_text);
        }
    }
}

#[test]
fn a_named_not_null_of_a_child_survives_the_round_trip() {
    let server = Server::start(18);
    for database in ["source", "target"] {
        server.create_database(database);
    }
    server.psql(
        "source",
        "CREATE TABLE parent (a int); CREATE TABLE child (CONSTRAINT \"Needs quotes\" NOT NULL a) INHERITS (parent)",
    );
    let script = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(script.path(), dump(&server, "source", &[])).unwrap();
    server.load("target", script.path());
    let names = "SELECT string_agg(conname, ',') FROM pg_constraint WHERE conrelid = 'child'::regclass";
    assert_eq!(server.psql("target", names), "Needs quotes");
}

#[test]
fn a_table_that_stays_locked_is_named() {
    let server = Server::start(15);
    server.create_database("db");
    server.psql("db", "CREATE TABLE free (a int); CREATE TABLE taken (a int)");
    let mut holder = Holder::new(&server, "BEGIN; LOCK TABLE taken;");
    holder.wait_for(
        &server,
        "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND granted",
    );
    let run = Run::of(
        snapback()
            .arg("dump")
            .args(server.connection_args("db"))
            .arg("--lock-wait-timeout=300"),
    );
    assert_ne!(run.code, Some(0));
    assert!(
        run.stderr.contains("taken") && !run.stderr.contains("free"),
        "{}",
        run.stderr
    );
}

#[test]
fn a_table_that_is_replaced_meanwhile_fails_the_dump() {
    let server = Server::start(15);
    server.create_database("db");
    server.psql(
        "db",
        "CREATE TABLE first (a int); CREATE TABLE second (a int); CREATE TABLE third (a int)",
    );
    let mut holder = Holder::new(&server, "BEGIN; LOCK TABLE first;");
    holder.wait_for(
        &server,
        "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND granted",
    );
    let dump = snapback()
        .arg("dump")
        .args(server.connection_args("db"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    holder.wait_for(&server, "SELECT count(*) FROM pg_locks WHERE NOT granted");
    holder.say("ALTER TABLE second RENAME TO replaced; CREATE TABLE second (b text); COMMIT;");
    let run = Run::from(dump.wait_with_output().unwrap());
    assert_ne!(run.code, Some(0));
    assert!(run.stderr.contains("public.second"), "{}", run.stderr);
}

fn with_fixture(major: u32) -> Server {
    let server = Server::start(major);
    server.create_database("tables");
    load(&server, "tables", "tables");
    server
}

/// A session that stays open and does what it is told.
struct Holder(Child);

impl Holder {
    fn new(server: &Server, sql: &str) -> Holder {
        let mut psql: Command = server.tool("psql");
        psql.arg("-Xq").args(server.connection_args("db")).stdin(Stdio::piped());
        let mut holder = Holder(psql.spawn().unwrap());
        holder.say(sql);
        holder
    }

    fn say(&mut self, sql: &str) {
        writeln!(self.0.stdin.as_mut().unwrap(), "{sql}").unwrap();
    }

    /// Waits until the count that `sql` selects is not zero.
    #[track_caller]
    fn wait_for(&mut self, server: &Server, sql: &str) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while server.psql("db", sql) == "0" {
            assert!(Instant::now() < deadline, "still nothing: {sql}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
