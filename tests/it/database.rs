//! The database itself: what `--create` writes of it, and selections, compared with pg_dump.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::equal::{assert_same, compare_archives, dump, is_text, load};
use super::support::{Run, Server, VERSIONS, snapback};

const DATABASE: &str = "Strange \"Db\"";

fn create(server: &Server) {
    for role in ["\"Odd Owner\"", "bob", "\"group staff\""] {
        server.psql("postgres", &format!("CREATE ROLE {role}"));
    }
    let name = "\"Strange \"\"Db\"\"\"";
    server.psql(
        "postgres",
        &format!("CREATE DATABASE {name} TEMPLATE template0 OWNER \"Odd Owner\""),
    );
    for statement in [
        "COMMENT ON DATABASE $ IS 'it''s a \\ database'",
        "ALTER DATABASE $ CONNECTION LIMIT 7",
        "ALTER DATABASE $ IS_TEMPLATE true",
        "ALTER DATABASE $ SET search_path = 'a b', \"C\", pg_catalog",
        "ALTER DATABASE $ SET my.setting = 'a\\b''c'",
        "ALTER DATABASE $ SET DateStyle = 'ISO, DMY'",
        "ALTER ROLE bob IN DATABASE $ SET search_path = ''",
        "GRANT CONNECT ON DATABASE $ TO bob WITH GRANT OPTION",
        "REVOKE TEMPORARY ON DATABASE $ FROM PUBLIC",
        "GRANT CREATE ON DATABASE $ TO \"group staff\"",
    ] {
        server.psql("postgres", &statement.replace('$', name));
    }
}

#[test]
fn its_properties_are_pg_dumps_on_all_versions() {
    for major in VERSIONS {
        let server = Server::start(major);
        create(&server);
        for options in [
            &["-C"] as &[_],
            &["-C", "-c", "--if-exists"],
            &["-C", "--binary-upgrade", "-s"],
            &["-C", "-x", "-O", "--no-comments"],
            &[],
        ] {
            let what = format!("{options:?} on {major}");
            let theirs = server.pg_dump(DATABASE, options);
            assert_same(&what, &theirs, &dump(&server, DATABASE, options), is_text);
        }
    }
}

#[test]
fn other_locale_providers_and_encodings() {
    let server = Server::start(15);
    for (name, options) in [
        ("icu", "LOCALE_PROVIDER icu ICU_LOCALE 'de-DE' LOCALE 'C'"),
        ("latin1", "ENCODING 'LATIN1' LOCALE 'C'"),
        ("ascii", "ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'POSIX'"),
    ] {
        server.psql(
            "postgres",
            &format!("CREATE DATABASE {name} TEMPLATE template0 {options}"),
        );
        let theirs = server.pg_dump(name, &["-C"]);
        assert_same(name, &theirs, &dump(&server, name, &["-C"]), is_text);
    }
    let server = Server::start(17);
    let options = "LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8' LOCALE 'C'";
    server.psql(
        "postgres",
        &format!("CREATE DATABASE builtin TEMPLATE template0 {options}"),
    );
    let theirs = server.pg_dump("builtin", &["-C"]);
    assert_same("builtin", &theirs, &dump(&server, "builtin", &["-C"]), is_text);
}

#[test]
fn selections_take_what_pg_dump_takes() {
    for major in [14, 18] {
        let server = Server::start(major);
        for fixture in ["acl", "extensions", "large_objects"] {
            server.create_database(fixture);
            load(&server, fixture, fixture);
        }
        for (database, options) in [
            ("acl", &["-t", "acl.t"] as &[_]),
            ("acl", &["-t", "ACL.[tv]", "--strict-names"]),
            ("acl", &["-n", "acl"]),
            ("acl", &["-n", "\"Acl ?chema\"", "-n", "acl*"]),
            ("acl", &["-N", "acl"]),
            ("acl", &["-T", "acl.*"]),
            ("acl", &["-e", "plpgsql"]),
            ("acl", &["--exclude-table-data", "acl.t*"]),
            ("acl", &["--quote-all-identifiers"]),
            ("acl", &["--binary-upgrade", "-s"]),
            ("extensions", &["-e", "hstore"]),
            ("extensions", &["-e", "hstore", "-n", "public"]),
            ("extensions", &["-s"]),
            ("extensions", &["-t", "settings"]),
            ("extensions", &["--binary-upgrade", "-s"]),
            ("large_objects", &["-b", "-s"]),
            ("large_objects", &["-B"]),
            ("large_objects", &["-b", "-B"]),
            ("large_objects", &["-n", "public"]),
            ("large_objects", &["-b", "-n", "public"]),
            ("large_objects", &["-a"]),
            ("large_objects", &["-c", "--if-exists"]),
        ] {
            let theirs = server.pg_dump(database, options);
            let what = format!("{options:?} of {database} on {major}");
            assert_same(&what, &theirs, &dump(&server, database, options), is_text);
        }
    }
}

#[test]
fn a_database_that_quotes_all_names_is_dumped_so() {
    for major in [14, 18] {
        let server = Server::start(major);
        server.create_database("quoting");
        load(&server, "quoting", "tables");
        server.psql("quoting", "ALTER DATABASE quoting SET quote_all_identifiers = on");
        for options in [&[] as &[_], &["--quote-all-identifiers"], &["--create", "--inserts"]] {
            let theirs = server.pg_dump("quoting", options);
            let what = format!("{options:?} on {major}");
            assert_same(&what, &theirs, &dump(&server, "quoting", options), is_text);
        }
    }
}

#[test]
fn rows_of_foreign_tables_come_along_when_asked() {
    let file = tempfile::Builder::new()
        .permissions(PermissionsExt::from_mode(0o644))
        .tempfile_in("/tmp")
        .unwrap();
    fs::write(&file, "1\tit's\n2\t\\N\n3\ta\\\\b\\tc\n").unwrap();
    for major in VERSIONS {
        let server = Server::start(major);
        server.create_database("foreign");
        let table = |name: &str, server: &str| {
            let path = file.path().display();
            format!("CREATE FOREIGN TABLE {name} (\"a b\" int, t text) SERVER {server} OPTIONS (filename '{path}');")
        };
        let setup = [
            "CREATE EXTENSION file_fdw; CREATE SERVER near FOREIGN DATA WRAPPER file_fdw;".to_owned(),
            "CREATE SERVER far FOREIGN DATA WRAPPER file_fdw; CREATE TABLE own AS SELECT 1 AS a;".to_owned(),
            table("one", "near"),
            table("two", "far"),
        ];
        server.psql("foreign", &setup.concat());
        for options in [
            &["--include-foreign-data=near"] as &[_],
            &["--include-foreign-data=*", "--inserts"],
            &["--include-foreign-data=far", "--column-inserts", "-a"],
            &["--include-foreign-data=near", "--include-foreign-data=far", "-T", "one"],
            &[],
        ] {
            let theirs = server.pg_dump("foreign", options);
            let what = format!("{options:?} on {major}");
            assert_same(&what, &theirs, &dump(&server, "foreign", options), is_text);
        }
        compare_archives(&server, "foreign", &["--include-foreign-data=*"]);
    }
}

#[test]
fn patterns_fail_in_pg_dumps_words() {
    let server = Server::start(15);
    for options in [
        &["-t", "nothing"] as &[_],
        &["-n", "nothing"],
        &["-e", "nothing"],
        &["--include-foreign-data", "nothing"],
        &["-t", "a.b.c.d"],
        &["-n", "a.b.c"],
        &["-e", "a.b"],
        &["-t", "other.public.t"],
        &["-n", "public", "-n", "nothing", "--strict-names"],
        &["-n", "nothing", "-n", "a.b.c", "--strict-names"],
    ] {
        let args = server.connection_args("postgres");
        let theirs = Run::of(server.tool("pg_dump").args(&args).args(options)).code(1);
        let ours = Run::of(snapback().arg("dump").args(&args).args(options));
        assert_ne!(ours.code, Some(0));
        assert_eq!(ours.stderr, theirs.stderr, "{options:?}");
    }
}
