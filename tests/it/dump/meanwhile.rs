//! What other sessions do to tables while a dump runs: it gives the snapshot's truth, or says which table it was.

use std::process::Stdio;

use super::trouble::wait_until;
use super::{command, dump, stable};
use crate::support::{Relay, Run, Server};

/// A table whose parts are all printed by the server.
const TABLE: &str = "CREATE TABLE t (a int, b text DEFAULT 'x' CHECK (b <> 'y')); CREATE INDEX i ON t (b); \
                     INSERT INTO t VALUES (1, 'one'), (2, 'two'); CREATE TABLE other (a int)";

/// Dumps while `change` happens between the snapshot and the locks.
fn dump_meanwhile(server: &Server, change: &str, options: &[&str]) -> Run {
    let relay = Relay::stopping_at(server, "LOCK TABLE");
    let mut dump = command(server, "app", &["-h", relay.host()]);
    let child = dump
        .args(options)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    relay.meanwhile(|| server.psql("app", change));
    Run::from(child.wait_with_output().unwrap())
}

#[test]
fn a_table_that_changes_before_its_lock_is_named_or_dumped_as_it_was() {
    let server = Server::start(15);
    for (change, says) in [
        ("DROP TABLE t", Some("t")),
        ("ALTER TABLE t RENAME TO u", Some("t")),
        ("ALTER TABLE t SET SCHEMA elsewhere", Some("t")),
        (
            "DROP TABLE t; CREATE TABLE t (a int)",
            Some("public.t was dropped or renamed"),
        ),
        ("TRUNCATE t", Some("truncated or rewritten")),
        ("VACUUM FULL t", Some("truncated or rewritten")),
        ("ALTER TABLE t ALTER a TYPE bigint", Some("truncated or rewritten")),
        (
            "ALTER TABLE t DROP COLUMN a",
            Some("Query was: COPY public.t (a, b) TO stdout"),
        ),
        (
            "ALTER TABLE t RENAME COLUMN a TO z",
            Some("Query was: COPY public.t (a, b) TO stdout"),
        ),
        ("ALTER TABLE t ADD COLUMN c int DEFAULT 7", None),
        ("ALTER TABLE t ALTER a SET NOT NULL", None),
        ("ALTER TABLE t ALTER b SET DEFAULT 'z'", None),
        ("INSERT INTO t VALUES (3, 'three'); DELETE FROM t WHERE a = 1", None),
        ("CREATE TABLE more (a int); DROP TABLE other", Some("public.other")),
    ] {
        server.create_database("app");
        server.psql("app", &format!("CREATE SCHEMA elsewhere; {TABLE}"));
        let before = dump(&server, "app", &[]).ok();
        let run = dump_meanwhile(&server, change, &["-j2"]);
        match says {
            None => assert!(
                stable(run.ok().stdout.as_bytes()) == stable(before.stdout.as_bytes()),
                "{change}"
            ),
            Some(says) => {
                let run = run.code(1);
                assert!(run.stderr.contains(says), "{change}: {}", run.stderr);
            }
        }
        server.psql("postgres", "DROP DATABASE app");
    }
}

#[test]
fn helpers_do_not_wait_behind_those_who_wait_for_the_dump() {
    let server = Server::start_with(15, &["max_locks_per_transaction=512"]);
    server.create_database("app");
    server.psql(
        "app",
        "DO $$ BEGIN FOR i IN 1..600 LOOP \
             EXECUTE format('CREATE TABLE t%s (a int CHECK (a > 0))', i); EXECUTE format('CREATE INDEX ON t%s (a)', i); \
         END LOOP; END $$",
    );
    let before = dump(&server, "app", &["-s"]).ok();
    let relay = Relay::stopping_at(&server, "SAVEPOINT helping");
    let mut dump = command(&server, "app", &["-h", relay.host(), "-s", "-j2"]);
    let child = dump.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // The leader has its locks now, and what the helper reads comes after this.
    let mut altering = relay.meanwhile(|| {
        let altering = server
            .tool("psql")
            .args(["-XAtq"])
            .args(server.connection_args("app"))
            .args([
                "-c",
                "ALTER TABLE t300 ADD COLUMN b int; ALTER TABLE t600 ADD COLUMN b int",
            ])
            .spawn()
            .unwrap();
        wait_until(&server, "EXISTS (SELECT FROM pg_locks WHERE NOT granted)");
        altering
    });
    let run = Run::from(child.wait_with_output().unwrap()).ok();
    assert!(stable(run.stdout.as_bytes()) == stable(before.stdout.as_bytes()));
    assert!(altering.wait().unwrap().success());
}
