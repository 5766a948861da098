//! The version matrix: what Snapback writes of a database is what the pg_dump of its server's version writes.
//!
//! Each fixture holds objects of one family. `NAME.sql` is loaded on all versions, `NAME.15.sql` from 15 on, and
//! so on. Adding a family is adding its files, and its name to the list below.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::support::{Run, Server, snapback};

/// One test per version of a function that takes it.
macro_rules! on_all_versions {
    ($check:expr) => {
        #[test]
        fn on_14() {
            ($check)(14);
        }
        #[test]
        fn on_15() {
            ($check)(15);
        }
        #[test]
        fn on_16() {
            ($check)(16);
        }
        #[test]
        fn on_17() {
            ($check)(17);
        }
        #[test]
        fn on_18() {
            ($check)(18);
        }
    };
}
pub(super) use on_all_versions;

macro_rules! equal {
    ($($fixture:ident)*) => {
        const FIXTURES: &[&str] = &[$(stringify!($fixture)),*];
        $(mod $fixture {
            super::on_all_versions!(|major| super::check(stringify!($fixture), major));
        })*
    };
}

equal! {
    acl constraints extensions foreign functions indexes large_objects loops operators policies publications
    schema_public_changed schema_public_dropped schema_public_made_again tables text_search triggers types
}

#[test]
fn no_fixture_is_forgotten() {
    for entry in fs::read_dir(fixtures()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let family = name.split('.').next().unwrap();
        assert!(
            path.is_dir() || FIXTURES.contains(&family),
            "{name} is in no test of the matrix"
        );
    }
}

/// Loads a fixture and compares plain text, the text of the archive, and the archive's list.
#[track_caller]
fn check(fixture: &str, major: u32) {
    let server = Server::start(major);
    server.create_database(fixture);
    load(&server, fixture, fixture);

    let ours = dump(&server, fixture, &[]);
    assert_same("plain text", &server.pg_dump(fixture, &[]), &ours, is_text);

    compare_archives(&server, fixture, &[]);
    // Where the first two sections are missing, dependencies must not name what is in them.
    compare_archives(&server, fixture, &["--section=post-data", "-Z9"]);
}

/// Compares the lists of two archives, with their dependencies, and the text that pg_restore makes of them.
#[track_caller]
pub fn compare_archives(server: &Server, database: &str, options: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let (theirs, ours) = (folder.path().join("pg_dump"), folder.path().join("snapback"));
    let to = |path: &Path| {
        let path = path.to_str().unwrap().to_owned();
        let options = options.iter().map(|option| (*option).to_owned());
        options
            .chain(["-Fc".to_owned(), "-f".to_owned(), path])
            .collect::<Vec<_>>()
    };
    server.pg_dump(database, &to(&theirs).iter().map(String::as_str).collect::<Vec<_>>());
    dump(
        server,
        database,
        &to(&ours).iter().map(String::as_str).collect::<Vec<_>>(),
    );
    let restore = |path: &Path, options: &[&str]| output(server.tool("pg_restore").args(options).arg(path));
    assert_same(
        "list of the archive",
        &restore(&theirs, &["-l", "-v"]),
        &restore(&ours, &["-l", "-v"]),
        is_list,
    );
    assert_same(
        "text of the archive",
        &restore(&theirs, &["-f", "-"]),
        &restore(&ours, &["-f", "-"]),
        is_text,
    );
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

/// Loads the parts of a fixture that the server's version knows.
#[track_caller]
pub fn load(server: &Server, database: &str, fixture: &str) {
    let mut found = false;
    let versions = (14..=server.major).map(|major| format!("{fixture}.{major}.sql"));
    for name in std::iter::once(format!("{fixture}.sql")).chain(versions) {
        let path = fixtures().join(name);
        if path.exists() {
            server.load(database, &path);
            found = true;
        }
    }
    // A family may begin with a newer version, and then an older server has nothing to compare but itself.
    assert!(found || server.major < 18, "there is no fixture {fixture}");
}

/// What `snapback dump` writes to stdout.
#[track_caller]
pub fn dump(server: &Server, database: &str, options: &[&str]) -> Vec<u8> {
    output(
        snapback()
            .arg("dump")
            .args(server.connection_args(database))
            .args(options),
    )
}

#[track_caller]
fn output(command: &mut Command) -> Vec<u8> {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

/// Lines of a script that are the same whenever and by whatever it was written.
pub fn is_text(line: &[u8]) -> bool {
    const VARYING: [&[u8]; 5] = [
        b"-- Dumped from",
        b"-- Dumped by",
        b"-- Started on",
        b"-- Completed on",
        b"\\restrict ",
    ];
    !VARYING.iter().any(|start| line.starts_with(start)) && !line.starts_with(b"\\unrestrict ")
}

/// Lines of a list that are about entries, with their dependencies.
pub fn is_list(line: &[u8]) -> bool {
    !line.starts_with(b";")
        || line.starts_with(b";\tdepends")
        || line.starts_with(b";     TOC Entries")
        || line.starts_with(b";     Compression")
}

/// Fails with a diff unless the lines that count are the same.
#[track_caller]
pub fn assert_same(what: &str, expected: &[u8], actual: &[u8], counts: fn(&[u8]) -> bool) {
    if let Some(diff) = difference(expected, actual, counts) {
        panic!("{what} is not pg_dump's:\n{diff}");
    }
}

/// The difference in the lines that count, as `diff -u` shows it, the first of it at least.
pub fn difference(expected: &[u8], actual: &[u8], counts: fn(&[u8]) -> bool) -> Option<String> {
    const SHOWN: usize = 120;
    let keep = |text: &[u8]| -> Vec<u8> {
        let lines = text.split_inclusive(|byte| *byte == b'\n');
        lines.filter(|line| counts(line)).flatten().copied().collect()
    };
    let (expected, actual) = (keep(expected), keep(actual));
    if expected == actual {
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("pg_dump"), expected).unwrap();
    fs::write(folder.path().join("snapback"), actual).unwrap();
    let mut diff = Command::new("diff");
    diff.args(["-u", "--text", "pg_dump", "snapback"])
        .current_dir(folder.path());
    let text = Run::of(&mut diff).stdout;
    Some(text.lines().take(SHOWN).map(|line| format!("{line}\n")).collect())
}
