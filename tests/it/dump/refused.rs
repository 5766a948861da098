//! What a dump says when the server refuses a statement: pg_dump's words, with the statement.

use std::process::{Command, Output};

use super::{command, options};
use crate::support::{Server, VERSIONS};

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// What pg_dump and we say, each with how it ended.
fn both(server: &Server, options: &[&str]) -> [(Option<i32>, String); 2] {
    let mut pg_dump = server.tool("pg_dump");
    pg_dump.args(server.connection_args("refused")).args(options);
    [pg_dump, command(server, "refused", options)].map(|mut command| {
        let output = command.output().unwrap();
        let program = command.get_program().to_str().unwrap();
        (output.status.code(), stderr(&output).replace(program, "pg_dump"))
    })
}

#[test]
fn a_refused_statement_is_told_with_its_text() {
    for major in VERSIONS {
        let server = Server::start(major);
        server.create_database("refused");
        server.psql(
            "refused",
            "CREATE TABLE words (a text); INSERT INTO words VALUES ('a'), ('日')",
        );

        // In the middle of the rows: all that is said is the same.
        let [theirs, ours] = both(&server, &["-E", "LATIN1"]);
        assert_eq!(ours, theirs, "{major}");
        assert!(ours.1.contains("COPY public.words (a) TO stdout;"), "{}", ours.1);

        // The statements are our own here.
        for options in [&["-t", "("] as &[_], &["--role=nobody"]] {
            let [theirs, ours] = both(&server, options);
            assert_eq!(ours.0, theirs.0, "{major} {options:?}");
            let marks = ["query was: ", "Query was: "];
            let until_statement = |said: &str| {
                let at = marks.iter().find_map(|mark| Some(said.find(mark)? + mark.len()));
                said[..at.unwrap_or_else(|| panic!("{said}"))].to_owned()
            };
            assert_eq!(
                until_statement(&ours.1),
                until_statement(&theirs.1),
                "{major} {options:?}"
            );
        }
        // What we explain ourselves keeps its own words; the statement follows.
        let [theirs, ours] = both(&server, &["--snapshot=none"]);
        assert!(
            ours.1.contains("cannot use the snapshot \"none\"") && ours.1.contains("uery was: "),
            "{}",
            ours.1
        );
        assert!(theirs.1.contains("invalid snapshot identifier") && ours.1.contains("invalid snapshot identifier"));
    }
}

#[test]
fn a_level_of_compression_means_what_it_means_to_pg_dump_of_the_server() {
    let (folder, link) = options::link();
    let told = |mut command: Command, program: &str, major: u32, value: &str| {
        let file = folder.path().join("out");
        let output = command
            .args(["-s", "-f", file.to_str().unwrap(), value])
            .output()
            .unwrap();
        let compressed = std::fs::read(&file).ok().map(|bytes| bytes.starts_with(b"\x1f\x8b"));
        let _ = std::fs::remove_file(&file);
        (
            major,
            value.to_owned(),
            output.status.code(),
            stderr(&output).replace(program, "pg_dump"),
            compressed,
        )
    };
    for major in [14, 15] {
        let server = Server::start(major);
        for value in [
            "-Z-1",
            "--compress=-1",
            "-Z10",
            "-Z=3",
            "-Zgzip:1",
            "-Znone",
            "-Z3x",
            "-Zfoo",
            "-Zlz4",
            "-Z05",
            "--compress=",
        ] {
            let mut theirs = server.tool("pg_dump");
            theirs.args(server.connection_args("postgres"));
            let name = theirs.get_program().to_str().unwrap().to_owned();
            let mut ours = Command::new(&link);
            ours.args(server.connection_args("postgres"));
            assert_eq!(
                told(ours, link.to_str().unwrap(), major, value),
                told(theirs, &name, major, value)
            );
        }
        let tar = |program: &std::path::Path| {
            let mut command = Command::new(program);
            let output = command
                .args(server.connection_args("postgres"))
                .args(["-Ft", "-Z-1"])
                .output()
                .unwrap();
            stderr(&output).replace(program.to_str().unwrap(), "pg_dump")
        };
        assert_eq!(tar(&link), tar(&server.bin("pg_dump")), "{major}");
    }
}
