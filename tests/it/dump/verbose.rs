//! What a dump says on stderr, compared with pg_dump of the server's version line by line.

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

fn said(run: &mut Command) -> String {
    Run::of(run).ok().stderr
}

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
            ("app", "-a --disable-triggers -S boss"),
            ("app", "-Fc"),
            ("empty", "-v"),
            ("empty", "-v -B -x"),
            ("empty", "-v -a -Fc"),
        ] {
            let options: Vec<_> = options.split(' ').collect();
            let ours = said(&mut command(&server, database, &options));
            let mut pg_dump = server.tool("pg_dump");
            let theirs = said(pg_dump.args(server.connection_args(database)).args(&options));
            assert_eq!(ours, theirs, "{major}: {options:?}");
        }
    }
}
