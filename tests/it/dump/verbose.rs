//! What a dump says on stderr, compared with pg_dump of the server's version line by line.

use std::path::Path;
use std::process::Command;

use super::command;
use crate::support::{Run, Server, VERSIONS};

/// Something of many types, foreign keys in a circle, and names with spaces.
const SCHEMA: &str = "\
    CREATE TABLE t (id serial PRIMARY KEY, a text DEFAULT 'x' CHECK (a <> ''), b int); CREATE INDEX ON t (a); \
    INSERT INTO t (a) VALUES ('q'); COMMENT ON TABLE t IS 'c'; GRANT SELECT ON t TO PUBLIC; \
    CREATE TABLE p (a int) PARTITION BY RANGE (a); CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (1) TO (10); \
    CREATE VIEW v AS SELECT * FROM t; CREATE MATERIALIZED VIEW mv AS SELECT id FROM t; \
    CREATE FUNCTION f(int) RETURNS int LANGUAGE sql AS 'SELECT $1'; CREATE SCHEMA \"other one\"; \
    CREATE TABLE \"other one\".\"a b\" (i int); CREATE STATISTICS st ON a, b FROM t; \
    CREATE TRIGGER tg AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger(); \
    CREATE TABLE u (id int REFERENCES t); ALTER TABLE u ENABLE ROW LEVEL SECURITY; \
    CREATE POLICY pol ON u USING (true); CREATE RULE r AS ON INSERT TO u DO ALSO NOTHING; \
    CREATE PUBLICATION pub FOR TABLE t; CREATE TYPE e AS ENUM ('a'); CREATE DOMAIN d AS int CHECK (value > 0); \
    SELECT lo_create(4711); \
    CREATE TABLE fa (id int PRIMARY KEY, x int); CREATE TABLE fb (id int PRIMARY KEY, y int REFERENCES fa); \
    ALTER TABLE fa ADD FOREIGN KEY (x) REFERENCES fb; \
    CREATE TABLE own (id int PRIMARY KEY, parent int REFERENCES own);";

#[test]
fn verbose_dumps_and_warnings_are_told_as_pg_dump_does() {
    for major in VERSIONS {
        let server = Server::start(major);
        server.create_database("app");
        server.psql("app", SCHEMA);
        server.create_database("empty");
        for (database, options) in [
            ("app", "-v"),
            ("app", "-v -s"),
            ("app", "-v -c --if-exists -C"),
            ("app", "-v -t t -t fa"),
            ("app", "-v -Fc"),
            ("app", "-v -Fc -s"),
            ("app", "-v -Ft"),
            ("app", "-v -Ft -s --inserts"),
            ("app", "-v --inserts"),
            ("app", "-v -j2 -Fd"),
            ("empty", "-v -j3 -Fd"),
            ("app", "-v -j1 -Fd"),
            ("app", "-a --disable-triggers -S boss"),
            ("app", "-Fc"),
            ("empty", "-v"),
            ("empty", "-v -B -x"),
            ("empty", "-v -s -n pg_catalog"),
            ("empty", "-v -a -Fc"),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let options: Vec<_> = options.split(' ').collect();
            let said = |mut dump: Command, folder: &Path| {
                if options.contains(&"-Fd") {
                    dump.arg("-f").arg(folder);
                }
                Run::of(&mut dump).ok().stderr
            };
            let ours = said(command(&server, database, &options), &folder.path().join("ours"));
            let mut pg_dump = server.tool("pg_dump");
            pg_dump.args(server.connection_args(database)).args(&options);
            let theirs = said(pg_dump, &folder.path().join("theirs"));
            // Processes that work at the same time speak in any order, and into each other before the message.
            let parallel = options.iter().any(|option| option.starts_with("-j"));
            let lines = |text: &str| {
                if !parallel {
                    return text.to_owned();
                }
                let messages = text.replace("pg_dump:", "\n");
                let mut messages: Vec<_> = messages.lines().map(str::trim).filter(|it| !it.is_empty()).collect();
                messages.sort_unstable();
                messages.join("\n")
            };
            assert_eq!(lines(&ours), lines(&theirs), "{major}: {options:?}");
        }
    }
}
