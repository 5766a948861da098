//! `-E`: dumps in encodings that only clients have. The bytes of their characters may look like backslashes, which must
//! neither be read as escapes nor be doubled. And without `-E`: in the encoding that the settings say.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::process::Command;

use super::dump::command;
use super::equal::{assert_same, compare_archives, dump, is_text, on_all_versions};
use super::support::{Run, Server, snapback};

/// Encodings with ASCII bytes inside of characters, each with characters that end in a backslash, and others.
const ENCODINGS: &[(&str, &str)] = &[
    ("BIG5", "功許餐"),
    ("GBK", "乗侺俓"),
    ("GB18030", "乗侺ẞ"),
    ("SJIS", "表ソｱ"),
    ("SHIFT_JIS_2004", "表ソｱ"),
    ("UHC", "똠펲"),
];

/// Names, texts and rows with each character before and after what is quoted or escaped.
fn create(server: &Server, database: &str, characters: &str) {
    server.create_database(database);
    server.psql(database, "CREATE TABLE rows (n int, t text)");
    for character in characters.chars() {
        let text = format!("{character}\\{character}''{character}{character}");
        server.psql(
            database,
            &format!(
                "CREATE TABLE \"{character}\\\" (\"{character}\" text DEFAULT '{text}'); \
                 COMMENT ON TABLE \"{character}\\\" IS '{text}'; \
                 CREATE TYPE \"e{character}\" AS ENUM ('{character}', '{text}'); \
                 INSERT INTO rows SELECT n, '{text}' || chr(n) || '{character}' FROM generate_series(1, 127) AS n"
            ),
        );
    }
}

fn check(major: u32) {
    let server = Server::start(major);
    for (encoding, characters) in ENCODINGS {
        let database = &encoding.to_lowercase();
        create(&server, database, characters);
        for conforming in ["on", "off"] {
            let setting = format!("ALTER DATABASE {database} SET standard_conforming_strings = {conforming}");
            server.psql("postgres", &setting);
            for options in [&["-E", encoding] as &[_], &["-E", encoding, "--inserts"]] {
                let what = format!("{options:?} on {major} with standard_conforming_strings {conforming}");
                let theirs = server.pg_dump(database, options);
                assert_same(&what, &theirs, &dump(&server, database, options), is_text);
            }
        }
        comes_back(&server, database, encoding);
    }
}

/// The statements make the rows that they were made of.
fn comes_back(server: &Server, database: &str, encoding: &str) {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("script.sql");
    std::fs::write(&script, dump(server, database, &["-E", encoding, "--inserts"])).unwrap();
    let restored = format!("{database}_restored");
    server.create_database(&restored);
    let mut psql = server.tool("psql");
    psql.args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-f"])
        .arg(&script)
        .args(server.connection_args(&restored));
    Run::of(&mut psql).ok();
    let rows = "SELECT count(*), md5(string_agg(n || t, ',' ORDER BY n, t COLLATE \"C\")) FROM rows";
    assert_eq!(server.psql(&restored, rows), server.psql(database, rows), "{encoding}");
}

#[test]
fn on_14() {
    check(14);
}

#[test]
fn on_18() {
    check(18);
}

/// What `client_encoding` is without `-E`: scripts and archives are in it.
mod settings {
    use super::*;

    on_all_versions!(check);

    /// Where it may be set besides the server's own settings, each place above those before.
    const PLACES: &[(&str, &str)] = &[
        ("ROLE ALL", "UTF8"),
        ("DATABASE utf8", "LATIN1"),
        ("ROLE \"jürgen\"", "UTF8"),
        ("ROLE \"jürgen\" IN DATABASE utf8", "LATIN1"),
    ];

    fn check(major: u32) {
        let server = Server::start_with(major, &["client_encoding=LATIN1"]);
        server.create_database("utf8");
        let latin1 = "CREATE DATABASE latin1 TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'";
        server.psql("postgres", latin1);
        psql(&server, "postgres", "CREATE ROLE \"jürgen\" SUPERUSER LOGIN");
        let table = "CREATE TABLE \"tür\" AS SELECT 'é'::text AS \"größe\"; COMMENT ON TABLE \"tür\" IS 'Tür'";
        psql(&server, "utf8", table);
        psql(&server, "latin1", table);
        same(&server, "LATIN1", &[]);
        for (place, encoding) in PLACES {
            let set = format!("ALTER {place} SET client_encoding = {encoding}");
            psql(&server, "postgres", &set);
            same(&server, encoding, &["-U", "jürgen"]);
        }
        same(&server, "UTF8", &["-U", "jürgen", "-E", "UTF8"]);
        let named = format!("{}&client_encoding=UTF8", server.url("utf8"));
        same(&server, "UTF8", &["-d", &named]);
        let option = format!("{}&options=-cclient_encoding%3DUTF8", server.url("utf8"));
        same(&server, "UTF8", &["-d", &option]);
        assert_same(
            "database in LATIN1",
            &server.pg_dump("latin1", &[]),
            &dump(&server, "latin1", &[]),
            is_text,
        );
        compare_archives(&server, "utf8", &["-U", "jürgen"]);
        lost(&server);
    }

    /// Statements in UTF-8, whatever is set.
    #[track_caller]
    fn psql(server: &Server, database: &str, sql: &str) {
        let mut psql = server.tool("psql");
        psql.env("PGCLIENTENCODING", "UTF8").args(["-Xq", "-c", sql]);
        Run::of(psql.args(server.connection_args(database))).ok();
    }

    /// The dump of the database `utf8` is pg_dump's, and in `encoding`.
    #[track_caller]
    fn same(server: &Server, encoding: &str, options: &[&str]) {
        let ours = dump(server, "utf8", options);
        let what = format!("{options:?} on {}, in {encoding}", server.major);
        assert_same(&what, &server.pg_dump("utf8", options), &ours, is_text);
        let expected = format!("SET client_encoding = '{encoding}';");
        assert!(String::from_utf8_lossy(&ours).contains(&expected), "{what}");
    }

    /// A character that the encoding does not have fails the dump.
    fn lost(server: &Server) {
        psql(server, "utf8", "CREATE TABLE price AS SELECT '5 €'::text AS it");
        let run = Run::of(&mut command(server, "utf8", &[])).code(1);
        let says =
            "character with byte sequence 0xe2 0x82 0xac in encoding \"UTF8\" has no equivalent in encoding \"LATIN1\"";
        assert!(
            run.stderr.contains("Dumping the contents of table \"price\" failed") && run.stderr.contains(says),
            "{}",
            run.stderr
        );
    }
}

#[test]
fn names_may_be_in_any_encoding() {
    let server = Server::start(18);
    let latin1 = "CREATE DATABASE latin1 TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'";
    server.psql("postgres", latin1);
    // What is run in a LATIN1 database names databases and roles in its bytes.
    let psql = |database: &[u8], sql: &[u8]| {
        let mut psql = server.tool("psql");
        psql.args(["-Xq", "-U", "postgres", "-p", "5432", "-h", server.host(), "-d"]);
        psql.arg(OsStr::from_bytes(database))
            .arg("-c")
            .arg(OsStr::from_bytes(sql));
        Run::of(psql.env("PGCLIENTENCODING", "LATIN1")).ok();
    };
    psql(b"latin1", b"CREATE DATABASE \"caf\xe9\" TEMPLATE latin1");
    psql(b"latin1", b"CREATE ROLE \"j\xfcrgen\" SUPERUSER LOGIN");
    psql(
        b"caf\xe9",
        b"CREATE TABLE \"t\xfcr\" AS SELECT '\xe4' AS a; CREATE TABLE other ()",
    );
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join(OsStr::from_bytes(b"\xe9.sql"));
    let dumped = |mut dump: Command, database: &[u8]| {
        dump.args(["-h", server.host(), "-p", "5432", "-d"])
            .arg(OsStr::from_bytes(database));
        dump.args([b"-tt\xfcr".as_slice(), b"-Uj\xfcrgen"].map(OsStr::from_bytes))
            .arg("-f")
            .arg(&script);
        Run::of(&mut dump).ok();
        std::fs::read(&script).unwrap()
    };
    let snapback = || {
        let mut dump = snapback();
        dump.arg("dump");
        dump
    };
    let theirs = dumped(server.tool("pg_dump"), b"caf\xe9");
    let ours = dumped(snapback(), b"caf\xe9");
    let has = |text: &[u8], words: &[u8]| text.windows(words.len()).any(|part| part == words);
    assert!(has(&ours, b"CREATE TABLE public.\"t\xfcr\""));
    assert_same("database with a name in LATIN1", &theirs, &ours, is_text);
    let uri = format!("postgresql://j%FCrgen@/caf%E9?host={}&port=5432", server.host());
    let ours = Run::of(snapback().args(["-d", &uri, "--table=other"])).ok();
    assert!(ours.stdout.contains("CREATE TABLE public.other"), "{}", ours.stdout);
}
