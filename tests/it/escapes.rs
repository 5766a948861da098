//! Names that a terminal would obey: no verb prints one raw, neither in what it says nor in its log.

use crate::backup::House;
use crate::support::Run;

/// A table, a label and a comment that clear the screen and forge a line.
const EVIL: &str = "a\u{1b}[2J\u{9b}31mb\u{202e}\r\nDone.\u{7}";

/// Nothing is left that a terminal obeys but colours of our own.
#[track_caller]
fn harmless(args: &[&str], run: &Run) {
    for text in [&run.stdout, &run.stderr] {
        let bad = text
            .chars()
            .find(|c| (c.is_control() && *c != '\n' && *c != '\t') || *c == '\u{202e}');
        assert_eq!(bad, None, "{args:?}: {text:?}");
        assert!(
            !text.lines().any(|line| line.starts_with("Done.")),
            "{args:?}: {text:?}"
        );
    }
}

#[test]
fn no_name_moves_the_cursor() {
    let house = House::new();
    let quoted = format!("\"{EVIL}\"");
    house.server.psql(
        "app",
        &format!(
            "CREATE ROLE {quoted}; CREATE SCHEMA {quoted}; CREATE TABLE {quoted}.{quoted} (a int);
             ALTER TABLE {quoted}.{quoted} OWNER TO {quoted}; INSERT INTO {quoted}.{quoted} VALUES (1);
             CREATE FUNCTION loud() RETURNS int LANGUAGE plpgsql AS $f$ BEGIN RAISE WARNING '{EVIL}'; RETURN 1; END $f$;
             CREATE VIEW v AS SELECT loud()"
        ),
    );
    let id = house.run(&["backup", "--label", EVIL]).ok().stdout.trim().to_owned();
    house
        .server
        .psql("app", &format!("INSERT INTO {quoted}.{quoted} VALUES (2)"));
    let mut shown = false;
    for args in [
        &["list"][..],
        &["show", &id],
        &["--log-level", "debug", "backup"],
        &["verify", &id, "--full"],
        &["restore", "app", &id, "--dry-run"],
        &["restore", "app", &id, "--mode", "in-place", "--dry-run", "-t", EVIL],
        &["restore", "app", &id, "--yes"],
        &["restore", "app", &id, "--mode", "in-place", "--yes"],
        &["undo", "app", "--yes"],
        &["prune", "--dry-run"],
        &["show", EVIL],
        &["restore", "app", &id, "--mode", "new", "--as", EVIL, "--yes"],
    ] {
        let run = house.run(args);
        harmless(args, &run);
        shown |= run.stdout.contains("a\\x1b[2J");
    }
    assert!(shown, "the name is shown, in a form that does no harm");
    // Programs get it as it is.
    assert!(
        house.json(&["show", &id])["tables"]
            .as_array()
            .unwrap()
            .iter()
            .any(|it| it["name"] == EVIL)
    );
    let failing = format!("CREATE ROLE poor LOGIN; REVOKE ALL ON SCHEMA {quoted} FROM PUBLIC");
    house.server.psql("app", &failing);
    let text = format!(
        "[stores.default]\npath = \"backups\"\n[jobs.app]\nurl = \"{}\"\n",
        house.server.url_as("poor", "app")
    );
    std::fs::write(house.dir.path().join("snapback.toml"), text).unwrap();
    let run = house.run(&["backup"]).code(8);
    harmless(&["backup"], &run);
    assert!(run.stderr.contains("a\\x1b[2J"), "{}", run.stderr);
}
