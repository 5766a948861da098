//! The round trip: a database of every family of objects comes back from our archive, by stock pg_restore and by
//! `snapback restore`, just as it comes back from pg_dump's own. What says so is pg_dump.

use super::equal::{assert_same, dump, is_text, load, on_all_versions};
use super::equal_options::FIXTURES;
use super::support::{Run, Server, snapback};

fn check(major: u32) {
    let server = Server::start(major);
    server.create_database("first");
    // 14 takes the role "group acl_staff" for the group acl_staff, so its own dumps of that do not restore either.
    for fixture in FIXTURES.iter().filter(|name| major > 14 || **name != "acl") {
        load(&server, "first", fixture);
    }
    // A language that no extension brings cannot be restored; values of an enum are spread over partitions by numbers
    // that each database gives anew.
    server.psql("first", "DROP LANGUAGE speech; TRUNCATE app.hash");

    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (theirs, ours) = (file("pg_dump"), file("snapback"));
    server.pg_dump("first", &["-Fc", "-f", &theirs]);
    dump(&server, "first", &["-Fc", "-f", &ours]);
    for (name, archive) in [("theirs", &theirs), ("stock", &ours)] {
        server.create_database(name);
        let mut pg_restore = server.tool("pg_restore");
        pg_restore.args(server.connection_args(name)).arg("--exit-on-error");
        Run::of(pg_restore.arg(archive)).ok();
    }
    let mut restore = snapback();
    restore.args(["restore", "--from", &ours, "--to", &server.url("first")]);
    restore
        .args(["--mode", "new", "--as", "own", "--yes"])
        .current_dir(folder.path());
    Run::of(&mut restore).ok();

    let expected = server.pg_dump("theirs", &[]);
    for name in ["stock", "own"] {
        assert_same(name, &expected, &server.pg_dump(name, &[]), is_text);
    }
}

on_all_versions!(check);
