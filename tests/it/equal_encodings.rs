//! `-E`: dumps in encodings that only clients have. The bytes of their characters may look like backslashes, which must
//! neither be read as escapes nor be doubled.

use super::equal::{assert_same, dump, is_text};
use super::support::{Run, Server};

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
