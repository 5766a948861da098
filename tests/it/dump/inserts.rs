//! Rows as INSERT statements, of every type and every kind of table: pg_dump's text.

use super::same_as_pg_dump;
use crate::restore::project;
use crate::support::{Server, VERSIONS};

/// A server with the fixture: columns of every type, arrays and domains of them, their extreme values; tables without columns,
/// with generated ones only, with dropped ones, with identities; partitions, children, foreign tables.
fn server(major: u32) -> Server {
    let server = Server::start(major);
    server.create_database("inserts");
    server.load("inserts", &project("tests/fixtures/inserts.sql"));
    if major >= 18 {
        server.psql(
            "inserts",
            "CREATE TABLE virtual (a int, v int GENERATED ALWAYS AS (a * 2) VIRTUAL, w int GENERATED ALWAYS AS (a) STORED); \
             INSERT INTO virtual (a) VALUES (1), (NULL); \
             CREATE TABLE all_virtual (v int GENERATED ALWAYS AS (1) VIRTUAL); INSERT INTO all_virtual DEFAULT VALUES",
        );
    }
    server
}

#[test]
fn rows_of_every_type_and_table_are_inserted_as_pg_dump_does() {
    for major in VERSIONS {
        let server = server(major);
        for options in [
            "--inserts",
            "--column-inserts",
            "--rows-per-insert=3",
            "--column-inserts --rows-per-insert=2 --on-conflict-do-nothing",
            "--inserts --quote-all-identifiers --load-via-partition-root",
            "-a --inserts --include-foreign-data=fs --extra-float-digits=0",
        ] {
            let options: Vec<_> = options.split(' ').collect();
            same_as_pg_dump(&server, "inserts", &options);
        }
    }
}
