//! Security labels on everything that can have one, compared with pg_dump's and pg_dumpall's.
//!
//! Servers bring no provider of labels, so a tiny one is compiled against their headers; Debian's 15 has none.

use std::fs;
use std::process::Command;

use super::equal::{assert_same, compare_archives, dump, is_text, load};
use super::globals::pg_dumpall;
use super::support::{Run, Server, snapback};

const FIXTURES: &[&str] = &[
    "foreign",
    "functions",
    "large_objects",
    "publications",
    "tables",
    "triggers",
    "types",
];

#[test]
fn labels_are_pg_dumps_on_everything() {
    for major in [14, 16, 17, 18] {
        let server = Server::start(major);
        server.create_database("labels");
        for fixture in FIXTURES {
            load(&server, "labels", fixture);
        }
        label_everything(&server);

        let options = ["--create", "--clean"];
        let (theirs, ours) = (server.pg_dump("labels", &options), dump(&server, "labels", &options));
        assert_same(&format!("text on {major}"), &theirs, &ours, is_text);
        compare_archives(&server, "labels", &[]);
        let globals = Run::of(snapback().args(["dump", "-d", &server.url("labels"), "--globals-only"])).ok();
        let globals = globals.stdout.into_bytes();
        let expected = pg_dumpall(&server, &["--globals-only"]);
        assert_same(&format!("globals on {major}"), &expected, &globals, is_text);
        for (what, text) in [("EVENT TRIGGER", &ours), ("LARGE OBJECT", &ours), ("ROLE", &globals)] {
            let label = format!("SECURITY LABEL FOR test ON {what} ");
            assert!(String::from_utf8_lossy(text).contains(&label), "{what} on {major}");
        }
    }
}

fn label_everything(server: &Server) {
    let fixtures = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/labels");
    let module = format!("{}/provider.so", server.host());
    let include = server.bin("../include/server");
    let mut compile = Command::new("cc");
    compile.args(["-shared", "-fPIC", "-w", "-I"]).arg(include);
    compile.args([&format!("{fixtures}/provider.c"), "-o", &module]);
    Run::of(&mut compile).ok();
    let labels = fs::read_to_string(format!("{fixtures}/everything.sql")).unwrap();
    server.psql("labels", &format!("LOAD '{module}'; {labels}"));
}
