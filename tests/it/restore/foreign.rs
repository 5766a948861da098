//! Scripts that are no dumps of pg_dump: what they may do on the server, commands of psql in them, COPY with options, and text in
//! another encoding than they say.

use std::fs;
use std::path::{Path, PathBuf};

use super::Site;
use crate::support::Run;

const USAGE: i32 = 2;
const DAMAGED: i32 = 6;

fn write(site: &Site, name: &str, bytes: &[u8]) -> PathBuf {
    let file = site.folder().join(name);
    fs::write(&file, bytes).unwrap();
    file
}

fn restore(site: &Site, file: &Path, more: &[&str]) -> Run {
    let file = file.to_str().unwrap();
    site.run(&[&["restore", "app", "--from", file, "--yes"], more].concat())
}

/// Databases and safety snapshots: what a restore that began leaves.
fn traces(site: &Site) -> (String, usize) {
    let databases = site.server.psql(
        "postgres",
        "SELECT string_agg(datname, ' ' ORDER BY datname) FROM pg_database",
    );
    let backups = fs::read_dir(site.folder().join("store/app")).map_or(0, |dir| dir.count());
    (databases, backups)
}

#[test]
fn what_reaches_the_server_is_refused_before_anything_is_touched() {
    let site = Site::new(15, "app");
    let server = &site.server;
    server.psql("app", "CREATE TABLE live AS SELECT 1 AS a");
    let mark = site.folder().join("mark");
    let before = traces(&site);
    for (sql, why) in [
        (
            format!(
                "CREATE TABLE t (a text);\nCOPY t FROM PROGRAM 'id > {}';\n",
                mark.display()
            ),
            "line 2: COPY … FROM PROGRAM runs a program on the server",
        ),
        (
            "COPY (SELECT 1) TO '/tmp/x';\n".to_owned(),
            "line 1: COPY … TO writes a file on the server",
        ),
        (
            "SELECT 1;\nSELECT lo_import('/etc/passwd');\n".to_owned(),
            "line 2: lo_import",
        ),
        (
            "ALTER SYSTEM SET work_mem = '1GB';\nSELECT 1;\n".to_owned(),
            "line 1: ALTER SYSTEM",
        ),
        (
            "CREATE LANGUAGE plperlu;\n".to_owned(),
            "line 1: CREATE LANGUAGE plperlu",
        ),
        ("LOAD 'auto_explain';\n".to_owned(), "line 1: LOAD"),
        (
            format!(
                "DO $$ BEGIN\n EXECUTE 'COPY (SELECT 1) TO PROGRAM ''tee {}'''; END $$;\n",
                mark.display()
            ),
            "line 1: COPY … TO PROGRAM",
        ),
    ] {
        let file = write(&site, "bad.sql", sql.as_bytes());
        let failed = restore(&site, &file, &[]).code(USAGE);
        assert!(failed.stderr.contains(why), "{why}: {}", failed.stderr);
        assert!(failed.stderr.contains("--allow-server-programs"), "{}", failed.stderr);
        assert_eq!(traces(&site), before);
    }
    let shell = write(&site, "shell.sql", b"SELECT 1;\n\\! id\n");
    let failed = restore(&site, &shell, &["--allow-server-programs"]).code(USAGE);
    assert!(
        failed.stderr.contains("line 2: there is the command \\!"),
        "{}",
        failed.stderr
    );
    assert!(!mark.exists());
    assert_eq!(server.psql("app", "SELECT a FROM live"), "1");
}

#[test]
fn a_definition_in_an_archive_that_reaches_the_server_is_refused() {
    let site = Site::new(15, "app");
    site.server.psql(
        "app",
        "CREATE TABLE x_ (a int); COMMENT ON TABLE x_ IS 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa'",
    );
    let archive = site.server.pg_dump("app", &["-Fc"]);
    // The comment's statement becomes one of as many bytes.
    let old = b"COMMENT ON TABLE public.x_ IS 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa';";
    let new = format!(
        "{:<width$}",
        "SELECT 1; COPY public.x_ TO PROGRAM 'cat > /tmp/x';",
        width = old.len()
    );
    let at = archive.windows(old.len()).position(|part| part == old).unwrap();
    let bad = [&archive[..at], new.as_bytes(), &archive[at + old.len()..]].concat();
    let file = write(&site, "bad.dump", &bad);
    let failed = restore(&site, &file, &[]).code(USAGE);
    assert!(
        failed.stderr.contains("COMMENT public.TABLE x_: COPY … TO PROGRAM"),
        "{}",
        failed.stderr
    );
}

#[test]
fn who_means_it_lets_a_script_run_programs() {
    let site = Site::new(15, "app");
    let (file, made) = (
        site.folder().join("out.sql"),
        Path::new(site.server.host()).join("made"),
    );
    fs::write(
        &file,
        format!(
            "CREATE TABLE t AS SELECT 7 AS a;\nCOPY t TO PROGRAM 'cat > {}';\n",
            made.display()
        ),
    )
    .unwrap();
    let done = restore(&site, &file, &["--allow-server-programs"]).ok();
    assert!(
        done.stderr.contains("allowed, and run with the rights"),
        "{}",
        done.stderr
    );
    assert_eq!(fs::read_to_string(&made).unwrap(), "7\n");
    assert_eq!(site.server.psql("app", "SELECT a FROM t"), "7");
}

#[test]
fn what_psql_only_prints_is_left_out_and_told() {
    let site = Site::new(15, "app");
    let file = write(
        &site,
        "people.sql",
        b"\\x on\n\\echo hello\nCREATE ROLE never;\nCREATE TABLE t (a int, b text);\n\\d t\n\
          INSERT INTO t VALUES (1, 'one')\\; INSERT INTO t VALUES (2, 'two')\n\\g /dev/null\n\
          SELECT * FROM t \\gx\n\\if true\nINSERT INTO t VALUES (3, 'three');\n\\else\nSELECT nonsense;\n\\endif\n\
          COPY t TO stdout;\n\
          COPY t (b, a) FROM stdin WITH (FORMAT csv, HEADER);\nb,a\n\"fo,ur\nand more\",4\n\"\",5\n\\.\n\
          COPY t FROM stdin DELIMITER '|' NULL 'nil' WHERE a > 5;\n5|no\n6|nil\n\\.\n\
          CREATE FUNCTION f() RETURNS int LANGUAGE internal AS 'pg_backend_pid';\n\
          CREATE FOREIGN DATA WRAPPER none;\nCREATE SERVER away FOREIGN DATA WRAPPER none;\n",
    );
    let done = restore(&site, &file, &[]).ok();
    for told in [
        "it only prints: \\x (line 1), \\echo (line 2), \\d (line 5), COPY … TO stdout",
        "it is about the whole server: CREATE ROLE never (line 3)",
        "it brings a foreign server: line",
    ] {
        assert!(done.stderr.contains(told), "{told}: {}", done.stderr);
    }
    assert_eq!(
        site.server
            .psql("app", "SELECT a, replace(b, E'\\n', '/') FROM t ORDER BY a"),
        "1|one\n2|two\n3|three\n4|fo,ur/and more\n5|\n6|"
    );
    assert_eq!(site.server.psql("app", "SELECT a FROM t WHERE b IS NULL"), "6");
    assert_eq!(
        site.server
            .psql("postgres", "SELECT 1 FROM pg_roles WHERE rolname = 'never'"),
        ""
    );
}

#[test]
fn text_in_another_encoding_than_it_says_is_found_and_can_be_named() {
    let site = Site::new(15, "app");
    let before = traces(&site);
    let script = b"SET client_encoding = 'UTF8';\nCREATE TABLE t (a text);\nCOPY t FROM stdin;\nplain\ncaf\xe9\n\\.\n\
                   COPY t FROM stdin (FORMAT csv);\n\"na\xefve\"\n\\.\nINSERT INTO t VALUES ('\xfcber');\n";
    let file = write(&site, "latin.sql", script);
    let failed = restore(&site, &file, &[]).code(DAMAGED);
    assert!(
        failed.stderr.contains("line 5 has the byte 0xe9 after \"caf\""),
        "{}",
        failed.stderr
    );
    assert!(failed.stderr.contains("--encoding LATIN1"), "{}", failed.stderr);
    let unknown = restore(&site, &file, &["--encoding", "LATIN11"]).code(USAGE);
    assert!(unknown.stderr.contains("did you mean LATIN1"), "{}", unknown.stderr);
    assert_eq!(traces(&site), before);
    restore(&site, &file, &["--encoding", "iso-8859-1"]).ok();
    assert_eq!(
        site.server
            .psql("app", "SELECT string_agg(a, ' ' ORDER BY a COLLATE \"C\") FROM t"),
        "café naïve plain über"
    );
    let archive = site.folder().join("a.dump");
    site.server.pg_dump("app", &["-Fc", "-f", archive.to_str().unwrap()]);
    let refused = restore(&site, &archive, &["--encoding", "LATIN1"]).code(USAGE);
    assert!(
        refused.stderr.contains("an archive knows its own encoding"),
        "{}",
        refused.stderr
    );
}
