//! pg_dump's options: what they change, and which do not go together.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{dump, same_as_pg_dump};
use crate::support::{Run, Server, VERSIONS, bin_dir, snapback};

#[test]
fn conflicts_are_refused_in_pg_dumps_words() {
    for (options, says) in [
        (
            "-s -a",
            "options -s/--schema-only and -a/--data-only cannot be used together",
        ),
        (
            "-s --statistics-only",
            "options -s/--schema-only and --statistics-only cannot be used together",
        ),
        (
            "-a --no-data",
            "options -a/--data-only and --no-data cannot be used together",
        ),
        ("-c -a", "options -c/--clean and -a/--data-only cannot be used together"),
        ("--if-exists", "option --if-exists requires option -c/--clean"),
        (
            "--on-conflict-do-nothing",
            "option --on-conflict-do-nothing requires option --inserts, --rows-per-insert, or --column-inserts",
        ),
        (
            "-s --include-foreign-data=x",
            "options -s/--schema-only and --include-foreign-data cannot be used together",
        ),
        (
            "-j2 --include-foreign-data=x",
            "option --include-foreign-data is not supported with parallel backup",
        ),
        ("-j x", "invalid value \"x\" for option -j/--jobs"),
        ("-j 0", "-j/--jobs must be in range 1..2147483647"),
        ("-j -1", "-j/--jobs must be in range 1..2147483647"),
        (
            "--rows-per-insert 99999999999",
            "--rows-per-insert must be in range 1..2147483647",
        ),
        (
            "-Z gzip:10",
            "expects a compression level between 1 and 9 (default at -1)",
        ),
        (
            "-Fd -f /nowhere/at/all",
            "could not create directory \"/nowhere/at/all\"",
        ),
        ("--extra-float-digits=9", "--extra-float-digits must be in range -15..3"),
        (
            "--rows-per-insert=0",
            "--rows-per-insert must be in range 1..2147483647",
        ),
        ("-F q", "invalid output format \"q\" specified"),
        ("-Fd", "no output directory specified"),
        ("-Ft -Z 3", "compression is not supported by tar archive format"),
        ("-Z foo", "unrecognized compression algorithm: \"foo\""),
        ("--section=x", "unrecognized section name: \"x\""),
        ("--sync-method=x", "unrecognized sync method: x"),
        ("--restrict-key=a-b", "invalid restrict key"),
        ("a b", "too many command-line arguments (first is \"b\")"),
        ("--filter=/nowhere", "could not open filter file \"/nowhere\""),
    ] {
        let run = Run::of(snapback().arg("dump").args(options.split(' '))).code(1);
        assert!(run.stderr.contains(says), "{options}: {}", run.stderr);
    }
}

#[test]
fn options_change_the_text_as_pg_dumps_do() {
    for major in VERSIONS {
        let server = Server::start(major);
        server.create_database("shop");
        server.psql(
            "shop",
            "CREATE ROLE ann; CREATE SCHEMA extra; \
             CREATE TABLE items (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, price numeric, ok boolean, \
                                 bits bit(3), note text, twice numeric GENERATED ALWAYS AS (price * 2) STORED); \
             INSERT INTO items (price, ok, bits, note) VALUES \
                 (1.5, true, B'101', E'it''s\\ta \\\\ tab'), ('NaN', false, NULL, NULL), (-2, NULL, B'000', E'a\\nb'); \
             CREATE TABLE nothing (); INSERT INTO nothing DEFAULT VALUES; \
             CREATE TABLE extra.more (f float8); INSERT INTO extra.more VALUES (1.1), ('Infinity'), (1e100); \
             ALTER TABLE items OWNER TO ann; GRANT SELECT ON items TO ann; COMMENT ON TABLE items IS 'things'; \
             CREATE UNLOGGED TABLE quick (a int); INSERT INTO quick VALUES (1); \
             SELECT lo_from_bytea(42, 'bytes');",
        );
        let mut runs = vec![
            "",
            "-s",
            "-a",
            "-a --disable-triggers -S boss",
            "-c --if-exists -C",
            "-O -x",
            "--no-comments --no-unlogged-table-data",
            "-t items",
            "-T items",
            "-n extra",
            "-N extra",
            "--exclude-table-data=it*",
            "--inserts",
            "--column-inserts --on-conflict-do-nothing",
            "--rows-per-insert=2",
            "--quote-all-identifiers",
            "--section=pre-data",
            "--section=data --section=post-data",
            "--extra-float-digits=0",
            "-B",
            "-E LATIN1",
            "--use-set-session-authorization",
            "--serializable-deferrable",
        ];
        if major >= 18 {
            runs.extend(["--no-data", "--no-schema", "--sequence-data -s"]);
        }
        for options in runs {
            let options: Vec<_> = options.split_whitespace().collect();
            same_as_pg_dump(&server, "shop", &options);
        }
    }
}

#[test]
fn abbreviated_and_repeated_options_work_as_with_getopt() {
    let server = Server::start(15);
    server.psql("postgres", "CREATE TABLE t (a int)");
    let run = dump(&server, "postgres", &["--schema-o", "-Fc", "-Fp", "--no-pass", "-R"]).ok();
    assert!(run.stdout.contains("CREATE TABLE public.t"));
}

#[test]
fn filter_files_are_read_as_pg_dump_reads_them() {
    let server = Server::start(17);
    server.create_database("shop");
    server.psql(
        "shop",
        "CREATE SCHEMA \"odd\nname\"; CREATE TABLE \"odd\nname\".t (a int); CREATE TABLE \"a b\" (a int); \
         CREATE TABLE items AS SELECT 1 AS a; CREATE TABLE others AS SELECT 2 AS a; CREATE SCHEMA extra",
    );
    let file = tempfile::NamedTempFile::new().unwrap();
    let option = format!("--filter={}", file.path().display());
    for text in [
        "include table public . items # why\n\n\t# not this\nEXCLUDE table_data items\r\n",
        "exclude schema \"odd\\nname\"\nexclude table \"a b\"",
        "include schema \"odd\nname\"",
        "include extension plpgsql\nexclude table_and_children it*",
    ] {
        std::fs::write(file.path(), text).unwrap();
        same_as_pg_dump(&server, "shop", &[&option]);
    }
    for text in [
        "include",
        "include table",
        "keep table a",
        "include table \"a\n",
        "exclude function f(int,int)",
    ] {
        std::fs::write(file.path(), text).unwrap();
        let theirs = Run::of(server.tool("pg_dump").arg(&option)).code(1).stderr;
        assert_eq!(dump(&server, "shop", &[&option]).stderr, theirs, "{text}");
    }
}

#[test]
fn globals_are_pg_dumpalls() {
    let server = Server::start(15);
    server.psql(
        "postgres",
        "CREATE ROLE ann LOGIN PASSWORD 'x'; CREATE ROLE team; GRANT team TO ann",
    );
    let ours = Run::of(snapback().args(["dump", "-d", &server.url("postgres"), "--globals-only"]))
        .ok()
        .stdout;
    let mut pg_dumpall = server.tool("pg_dumpall");
    pg_dumpall.args(["-h", server.host(), "-p", "5432", "-U", "postgres", "--globals-only"]);
    let theirs = Run::of(&mut pg_dumpall).ok().stdout;
    assert_eq!(super::stable(ours.as_bytes()), super::stable(theirs.as_bytes()));
}

/// A link to the program by the name of pg_dump, in a folder that goes with it.
pub fn link() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let link = folder.path().join("pg_dump");
    std::os::unix::fs::symlink(snapback().get_program(), &link).unwrap();
    (folder, link)
}

#[test]
fn a_link_called_pg_dump_is_pg_dump() {
    let server = Server::start(15);
    server.create_database("linked");
    server.psql("linked", "CREATE TABLE t AS SELECT 1 AS a");
    let (_folder, link) = link();
    let linked = || Command::new(&link);

    let args = ["-Fp", "--restrict-key=x"];
    let ours = Run::of(linked().args(server.connection_args("linked")).args(args)).ok();
    let theirs = server.pg_dump("linked", &args);
    let without_comment = |text: &str| {
        let lines = text.lines().filter(|line| !line.starts_with("-- Dumped by"));
        lines.collect::<Vec<_>>().join("\n")
    };
    assert_eq!(
        without_comment(&ours.stdout),
        without_comment(std::str::from_utf8(&theirs).unwrap())
    );
    let version = Run::of(linked().arg("--version")).ok();
    assert!(
        version.stdout.starts_with("pg_dump (PostgreSQL) "),
        "{}",
        version.stdout
    );
}

/// Command lines that are wrong, and the first major version whose pg_dump says so in today's words.
const WRONG: &[(u32, &str)] = &[
    (14, "-s -a"),
    (14, "-F q -s -a"),
    (14, "-c -a"),
    (14, "--if-exists -a"),
    (14, "--on-conflict-do-nothing"),
    (14, "-s --include-foreign-data=x"),
    (14, "-j2 --include-foreign-data=x"),
    (14, "-j2"),
    (14, "-j2 -Fc"),
    (14, "-F q"),
    (14, "-Fd"),
    (14, "-Fd -f /nowhere/at/all"),
    (14, "-Ft -Z 3"),
    (14, "--restrict-key=a-b"),
    (15, "-j x"),
    (15, "-j 0 -s -a"),
    (15, "-j -1"),
    (15, "-j 2x"),
    (15, "--rows-per-insert 99999999999"),
    (15, "--rows-per-insert=x a b"),
    (15, "--extra-float-digits=9"),
    (15, "--extra-float-digits=x"),
    (15, "--section=x -s -a"),
    (15, "a b c"),
    (15, "-s -a -d a b c"),
    (15, "-k"),
    (15, "-sk"),
    (15, "-f"),
    (15, "-sf"),
    (15, "--file"),
    (15, "--forma"),
    (15, "--nosuch"),
    (15, "--nosuch=1 -s -a"),
    (15, "--schema-only=x"),
    (16, "-Z gzip:10"),
    (16, "-Z 10"),
    (16, "-Z foo"),
    (16, "-Z lz4:13"),
    (16, "-Z none:1"),
    (16, "-Z 99999999999"),
    (16, "-Z gzip:99999999999"),
    (16, "-Z zstd:workers=2 -Ft"),
    (16, "-Z zstd:long=1,x"),
    (17, "--filter=/nowhere -s -a"),
    (17, "--sync-method=x -s -a"),
    (17, "--fil"),
    (18, "-s --statistics-only"),
    (18, "-a --no-data"),
    (18, "-s --no-schema"),
    (18, "--no-statistics -a --statistics"),
    (18, "--statistics-only --no-statistics"),
];

#[test]
fn a_wrong_command_line_is_told_in_pg_dumps_words() {
    let (_folder, link) = link();
    let told = |program: &Path, options: &str| {
        let output = Command::new(program).args(options.split(' ')).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        (
            output.status.code(),
            stderr.replace(program.to_str().unwrap(), "pg_dump"),
        )
    };
    for major in VERSIONS {
        let pg_dump = bin_dir(major).join("pg_dump");
        for (_, options) in WRONG.iter().filter(|(since, _)| *since <= major) {
            assert_eq!(told(&link, options), told(&pg_dump, options), "{major}: {options}");
        }
    }
}
