//! Servers that are far away: what counts is how often a dump waits for an answer.

use super::{dump, stable};
use crate::support::{Relay, Server};

/// Tables enough that several sessions share what is to be read of them.
const TABLES: usize = 520;

fn create(server: &Server) {
    server.create_database("many");
    server.psql(
        "many",
        &format!(
            "DO $$ BEGIN FOR i IN 1..{TABLES} LOOP \
                 EXECUTE format('CREATE TABLE t%s (id int DEFAULT %s PRIMARY KEY, name text NOT NULL DEFAULT ''x'', \
                     up text GENERATED ALWAYS AS (upper(name)) STORED, at timestamptz DEFAULT now(), \
                     CHECK (id < %s), CONSTRAINT a CHECK (name <> ''''), EXCLUDE (id WITH =))', i, i, i + 1000); \
                 EXECUTE format('CREATE INDEX ON t%s (lower(name)) WHERE id > 7', i); \
                 IF i > 1 THEN \
                     EXECUTE format('ALTER TABLE t%s ADD FOREIGN KEY (id) REFERENCES t%s, \
                         ADD CONSTRAINT later CHECK (id > 0) NOT VALID', i, i / 2); \
                 END IF; \
             END LOOP; END $$"
        ),
    );
}

#[test]
fn what_several_sessions_read_of_a_schema_is_pg_dumps_text_after_a_handful_of_answers() {
    // 14 orders what it reads by other rules than all that came after it.
    for major in [14, 18] {
        let server = Server::start_with(major, &["max_locks_per_transaction=512"]);
        create(&server);
        let far = Relay::far(&server);
        for (jobs, most) in [("1", 12), ("3", 24)] {
            // With -v the text has the numbers of all objects, and what they depend on.
            let run = dump(&server, "many", &["-h", far.host(), "-s", "-v", "-j", jobs]).ok();
            let theirs = server.pg_dump("many", &["-s", "-v"]);
            assert!(
                timeless(run.stdout.as_bytes()) == timeless(&theirs),
                "{major} -j {jobs}"
            );
            let turns = far.turns();
            assert!(turns <= most, "{major} -j {jobs}: {turns} answers were waited for");
        }
    }
}

/// Text without what differs from run to run, with `-v` too.
fn timeless(text: &[u8]) -> String {
    let text = String::from_utf8(stable(text)).unwrap();
    let times = ["-- Started on", "-- Completed on"];
    let kept = text
        .lines()
        .filter(|line| !times.iter().any(|time| line.starts_with(time)));
    kept.collect::<Vec<_>>().join("\n")
}

#[test]
fn many_small_tables_cost_an_answer_each() {
    const ROWS: usize = 100;
    let server = Server::start(15);
    server.psql(
        "postgres",
        &format!(
            "DO $$ BEGIN FOR i IN 1..{ROWS} LOOP \
                 EXECUTE format('CREATE TABLE t%s AS SELECT g FROM generate_series(1, %s) g', i, i); \
             END LOOP; END $$"
        ),
    );
    let far = Relay::far(&server);
    for jobs in ["1", "3"] {
        let run = dump(&server, "postgres", &["-h", far.host(), "-j", jobs]).ok();
        assert!(stable(run.stdout.as_bytes()) == stable(&server.pg_dump("postgres", &[])));
        let turns = far.turns();
        assert!(turns <= ROWS + 40, "-j {jobs}: {turns} answers were waited for");
    }
}
