//! Roles and tablespaces: what `snapback dump --globals-only` writes is what pg_dumpall writes.

use super::equal::{assert_same, is_text};
use super::support::{Run, Server, VERSIONS, snapback};

pub fn pg_dumpall(server: &Server, options: &[&str]) -> Vec<u8> {
    let output = server
        .tool("pg_dumpall")
        .args(["-h", server.host(), "-p", "5432", "-U", "postgres"])
        .args(options)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn ours(server: &Server, user: &str, options: &[&str]) -> Run {
    Run::of(
        snapback()
            .args(["dump", "-d", &server.url_as(user, "postgres")])
            .args(options),
    )
}

fn load(server: &Server) {
    for name in ["globals.sql", "globals.15.sql", "globals.16.sql"] {
        let since = name.split('.').nth(1).and_then(|part| part.parse().ok()).unwrap_or(14);
        if server.major >= since {
            let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/globals");
            server.load("postgres", &folder.join(name));
        }
    }
}

#[test]
fn equal_pg_dumpalls_on_all_versions() {
    for major in VERSIONS {
        let server = Server::start(major);
        let compare = |options: &[&str]| {
            let what = format!("{options:?} on {major}");
            let ours = ours(&server, "postgres", options).ok().stdout;
            assert_same(&what, &pg_dumpall(&server, options), ours.as_bytes(), is_text);
        };
        // A fresh cluster first: parts without content have their own form.
        compare(&["--globals-only"]);
        load(&server);
        for options in [
            &["--globals-only"] as &[_],
            &["--globals-only", "--clean"],
            &["--globals-only", "--clean", "--if-exists", "--no-role-passwords"],
            &[
                "--globals-only",
                "--no-privileges",
                "--no-comments",
                "--quote-all-identifiers",
            ],
            &["--globals-only", "--no-tablespaces"],
            &["--roles-only"],
            &["--tablespaces-only"],
        ] {
            compare(options);
        }
    }
}

#[test]
fn without_the_right_to_read_passwords_they_are_left_out_with_a_warning() {
    let server = Server::start(15);
    load(&server);
    server.psql("postgres", "CREATE ROLE modest LOGIN");
    let run = ours(&server, "modest", &["--globals-only"]).ok();
    let expected = pg_dumpall(&server, &["--globals-only", "--no-role-passwords"]);
    assert_same("without passwords", &expected, run.stdout.as_bytes(), is_text);
    assert!(run.stderr.contains("without their passwords"), "{}", run.stderr);
    assert!(!run.stdout.contains("SCRAM"));
}

#[test]
fn a_fresh_cluster_takes_them_back() {
    let (from, to) = (Server::start(17), Server::start(17));
    load(&from);
    let written = ours(&from, "postgres", &["--globals-only"]).ok().stdout;
    let file = tempfile::NamedTempFile::new().unwrap();
    // The role that every cluster has, and a tablespace that only this file's reader may place, stay out.
    let text = written
        .lines()
        .filter(|line| *line != "CREATE ROLE postgres;")
        .map(|line| match line.starts_with("CREATE TABLESPACE") {
            true => format!("SET allow_in_place_tablespaces = on;\n{line}\n"),
            false => format!("{line}\n"),
        })
        .collect::<String>();
    std::fs::write(file.path(), text).unwrap();
    to.load("postgres", file.path());
    let again = ours(&to, "postgres", &["--globals-only"]).ok().stdout;
    assert_same("after a round trip", written.as_bytes(), again.as_bytes(), is_text);
}
