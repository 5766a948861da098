//! What happens to a dump when something goes wrong: a clear error, and nothing left behind.

use std::fs;
use std::io::Read as _;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use super::{command, dump, same_as_pg_dump};
use crate::support::{Run, Server, VERSIONS};

/// Rows that no pipe holds: a dump of them waits until someone reads its output.
const MUCH: &str = "CREATE TABLE much AS SELECT g, repeat(md5(g::text), 30) AS t FROM generate_series(1, 20000) g";

/// Runs SQL in a session of its own that stays open.
fn background(server: &Server, sql: &str) -> Child {
    server
        .tool("psql")
        .args(["-XAtq"])
        .args(server.connection_args("postgres"))
        .args(["-c", sql])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[track_caller]
pub fn wait_until(server: &Server, condition: &str) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while server.psql("postgres", &format!("SELECT {condition}")) != "t" {
        assert!(Instant::now() < deadline, "never became true: {condition}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn output(child: Child) -> Run {
    Run::from(child.wait_with_output().unwrap())
}

#[test]
fn tables_that_may_not_be_read_are_all_named_before_anything_is_written() {
    let server = Server::start(15);
    server.psql(
        "postgres",
        "CREATE ROLE poor LOGIN; CREATE TABLE a (x int); CREATE TABLE b (x int); CREATE TABLE open (x int); \
         GRANT SELECT ON open TO poor",
    );
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("out.dump");
    let run = dump(&server, "postgres", &["-U", "poor", "-f", file.to_str().unwrap()]).code(1);
    assert!(run.stderr.contains("may not read public.a, public.b") || run.stderr.contains("may not read a, b"));
    assert!(
        fs::read_dir(folder.path()).unwrap().next().is_none(),
        "nothing is left behind"
    );
    dump(&server, "postgres", &["-U", "poor", "-t", "open"]).ok();
}

#[test]
fn large_objects_that_may_not_be_read_are_all_named() {
    for major in VERSIONS {
        let server = Server::start(major);
        server.psql(
            "postgres",
            "CREATE ROLE poor LOGIN; CREATE ROLE readers; GRANT readers TO poor; \
             SELECT lo_create(11), lo_create(12), lo_create(13), lo_create(14), lo_create(15); \
             GRANT SELECT ON LARGE OBJECT 11 TO PUBLIC; GRANT SELECT ON LARGE OBJECT 12 TO readers; \
             ALTER LARGE OBJECT 13 OWNER TO poor; GRANT UPDATE ON LARGE OBJECT 14 TO poor",
        );
        let run = dump(&server, "postgres", &["-U", "poor"]).code(1);
        assert!(
            run.stderr.contains("may not read the large objects 14, 15"),
            "{}",
            run.stderr
        );
        assert_eq!(run.stdout, "", "nothing is written before");
        same_as_pg_dump(&server, "postgres", &["-U", "poor", "-B"]);
        server.psql("postgres", "GRANT SELECT ON LARGE OBJECT 14, 15 TO readers");
        same_as_pg_dump(&server, "postgres", &["-U", "poor"]);
    }
}

#[test]
fn row_security_is_named_instead_of_dumping_a_part() {
    let server = Server::start(15);
    server.psql(
        "postgres",
        "CREATE ROLE poor LOGIN; CREATE TABLE secret (x int); INSERT INTO secret VALUES (1), (2); \
         ALTER TABLE secret ENABLE ROW LEVEL SECURITY; CREATE POLICY one ON secret USING (x = 1); \
         GRANT SELECT ON secret TO poor",
    );
    let run = dump(&server, "postgres", &["-U", "poor"]).code(1);
    assert!(run.stderr.contains("row-level security hides rows") && run.stderr.contains("secret"));
    let part = dump(&server, "postgres", &["-U", "poor", "--enable-row-security"]).ok();
    assert!(part.stdout.contains("\n1\n\\.\n"));
    dump(&server, "postgres", &["-U", "poor", "-s"]).ok();
    // Rows that are not dumped are not hidden.
    same_as_pg_dump(&server, "postgres", &["-U", "poor", "--section=post-data"]);
}

#[test]
fn a_table_truncated_before_its_lock_fails_the_dump() {
    let server = Server::start(15);
    server.psql("postgres", "CREATE TABLE t (a int); INSERT INTO t VALUES (1)");
    let mut truncating = background(
        &server,
        "BEGIN; LOCK TABLE t IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(0.5); TRUNCATE t; \
         DO $$ BEGIN FOR i IN 1..100 LOOP \
             EXIT WHEN EXISTS (SELECT FROM pg_locks WHERE NOT granted); PERFORM pg_sleep(0.1); \
         END LOOP; END $$; COMMIT",
    );
    wait_until(
        &server,
        "EXISTS (SELECT FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND relation = 't'::regclass)",
    );
    let run = dump(&server, "postgres", &[]).code(1);
    assert!(run.stderr.contains("truncated or rewritten"), "{}", run.stderr);
    truncating.wait().unwrap();
}

#[test]
fn a_lock_that_does_not_come_in_time_fails_the_dump() {
    let server = Server::start(15);
    server.psql("postgres", "CREATE TABLE t (a int)");
    let mut holding = background(&server, "BEGIN; LOCK TABLE t; SELECT pg_sleep(60)");
    wait_until(
        &server,
        "EXISTS (SELECT FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND relation = 't'::regclass)",
    );
    let run = dump(&server, "postgres", &["--lock-wait-timeout=100"]).code(1);
    for part in [
        "lock timeout",
        "table public.t could not be locked within lock_wait_timeout (100ms)",
        "holds it (role postgres, application \"psql\"",
        "SELECT pg_sleep(60)",
    ] {
        assert!(run.stderr.contains(part), "{part}: {}", run.stderr);
    }
    holding.kill().unwrap();
    holding.wait().unwrap();
}

#[test]
fn a_dump_that_makes_others_wait_gives_way() {
    let server = Server::start(15);
    server.psql("postgres", MUCH);
    let mut stuck = command(&server, "postgres", &["--max-lock-wait=1"]);
    let child = stuck.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    wait_until(
        &server,
        "EXISTS (SELECT FROM pg_locks WHERE relation = 'much'::regclass AND granted AND pid <> pg_backend_pid())",
    );
    let mut altering = background(&server, "ALTER TABLE much ADD COLUMN more int");
    assert!(altering.wait().unwrap().success(), "the other session gets its lock");
    let run = output(child);
    assert_eq!(run.code, Some(1));
    assert!(
        [
            "gave way",
            "ALTER TABLE much",
            "max_lock_wait (1s)",
            "application \"psql\""
        ]
        .iter()
        .all(|it| run.stderr.contains(it)),
        "{}",
        run.stderr
    );
}

#[test]
fn a_terminated_dump_leaves_nothing_behind() {
    let server = Server::start(15);
    server.psql("postgres", MUCH);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("out.sql");
    // The table cannot be locked, so the dump waits with its file open.
    let mut holding = background(&server, "BEGIN; LOCK TABLE much; SELECT pg_sleep(60)");
    wait_until(
        &server,
        "EXISTS (SELECT FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND relation = 'much'::regclass)",
    );
    let mut waiting = command(&server, "postgres", &["-f", file.to_str().unwrap()]);
    let child = waiting.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    wait_until(&server, "EXISTS (SELECT FROM pg_locks WHERE NOT granted)");
    Run::of(std::process::Command::new("kill").arg(child.id().to_string())).ok();
    let run = output(child);
    assert_eq!(run.code, Some(130), "{}", run.stderr);
    assert!(fs::read_dir(folder.path()).unwrap().next().is_none());
    holding.kill().unwrap();
    holding.wait().unwrap();
}

#[test]
fn a_killed_server_process_fails_the_dump() {
    let server = Server::start(15);
    server.psql("postgres", MUCH);
    let mut reading = command(&server, "postgres", &["-j1"]);
    let mut child = reading.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    wait_until(
        &server,
        "EXISTS (SELECT FROM pg_stat_activity WHERE query LIKE 'COPY public.much%' AND state = 'active')",
    );
    server.psql(
        "postgres",
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'snapback dump'",
    );
    let mut text = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut text).unwrap();
    let run = output(child);
    assert_ne!(run.code, Some(0));
    assert!(run.stderr.contains("public.much"), "{}", run.stderr);
}
