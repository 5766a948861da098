//! Every verb takes a file in the place of a job, without any configuration, and hints name what works.

use super::Site;

#[test]
fn every_verb_takes_a_file() {
    let site = Site::with("CREATE TABLE t (id INTEGER PRIMARY KEY, v); INSERT INTO t VALUES (1, 'a'), (2, 'b')");
    let id = site.snapback(&["backup", "app.db"]).ok().stdout.trim().to_owned();
    for verb in ["list", "status", "doctor", "drill", "diff"] {
        site.snapback(&[verb, "app.db"]).ok();
    }
    for verb in ["show", "verify", "pin", "unpin"] {
        site.snapback(&[verb, "app.db", "latest"]).ok();
    }
    let rows = site
        .snapback(&["extract", "app.db", "--table", "t", "--where-key", "2"])
        .ok()
        .stdout;
    assert!(rows.contains('b') && !rows.contains('a'), "{rows}");
    let history = site.snapback(&["history", "app.db"]).ok().stdout;
    assert!(history.contains(&id) && history.contains("drill"), "{history}");
}

#[test]
fn what_a_guard_hints_at_works_as_it_stands() {
    let site = Site::with("CREATE TABLE t (id INTEGER PRIMARY KEY, v); INSERT INTO t VALUES (1, 'a'), (2, 'b')");
    let guard = [
        "guard",
        "app.db",
        "--expect-rows-kept",
        "--",
        "sqlite3",
        "app.db",
        "DELETE FROM t WHERE id = 1",
    ];
    let said = site.snapback(&guard).code(12).stdout;
    assert_eq!(site.shell("app.db", "SELECT count(*) FROM t"), "1");
    let hint = said
        .lines()
        .find_map(|line| line.split_once("to take it back: snapback "))
        .unwrap()
        .1;
    let words: Vec<&str> = hint.split(' ').chain(["--yes"]).collect();
    site.snapback(&words).ok();
    assert_eq!(site.shell("app.db", "SELECT count(*) FROM t"), "2");
}

#[test]
fn where_nothing_is_configured_nothing_is_fine() {
    let site = Site::new();
    for verb in [&["status"][..], &["doctor"], &["report", "--html", "report.html"]] {
        let said = site.snapback(verb).code(2).stderr;
        assert!(said.contains("no job is configured"), "{verb:?}: {said}");
    }
}
