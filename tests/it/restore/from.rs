//! Restores of dumps that people have, made by the stock tools in every form.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use super::Site;
use crate::support::s3::S3Server;
use crate::support::{Run, Server};

const FAILURE: i32 = 1;
const USAGE: i32 = 2;
const DAMAGED: i32 = 6;

/// A database with what is hard to read in a script.
fn fill(server: &Server) {
    server.psql(
        "app",
        r#"CREATE TABLE "odd ""name" (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, t text, "Col;umn" text DEFAULT ';''\');
           INSERT INTO "odd ""name" (t) VALUES ('tab	, ;'), (E'\\.'), (E'\\.\n\\.'), (''), (NULL), ('é $$ '' :x \connect');
           CREATE TABLE many AS SELECT g AS n, repeat(g::text, 10) AS t FROM generate_series(1, 3000) g;
           ALTER TABLE many ADD FOREIGN KEY (n) REFERENCES "odd ""name" NOT VALID;
           CREATE TABLE parts (k int, a int[]) PARTITION BY RANGE (k);
           CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (10);
           CREATE TABLE parts_2 PARTITION OF parts DEFAULT;
           INSERT INTO parts SELECT g, ARRAY[g] FROM generate_series(1, 20) g;
           CREATE FUNCTION body(x int) RETURNS int BEGIN ATOMIC SELECT CASE WHEN x > 0 THEN 1 ELSE 2 END; SELECT 3; END;
           CREATE FUNCTION quoted() RETURNS text LANGUAGE sql AS $x$ SELECT $y$ ; \. $y$::text $x$;
           CREATE VIEW slices AS SELECT a[1:k] AS s, k FROM parts;
           CREATE RULE two AS ON DELETE TO slices DO INSTEAD (SELECT 1; SELECT 2);
           COMMENT ON TABLE many IS 'a; /* b -- c';
           SELECT lo_from_bytea(4711, 'large ; object');"#,
    );
}

/// What pg_dump writes of a database.
fn text(server: &Server) -> String {
    String::from_utf8(server.pg_dump("app", &["--restrict-key=x"])).unwrap()
}

fn damage(server: &Server) {
    server.psql("app", "DROP TABLE many; CREATE TABLE newer AS SELECT 1 AS a");
}

fn restore(site: &Site, file: &Path, more: &[&str]) -> Run {
    let file = file.to_str().unwrap();
    site.run(&[&["restore", "app", "--from", file, "--yes"], more].concat())
}

/// Writes a file of pg_dump's.
fn dump(site: &Site, name: &str, options: &[&str]) -> PathBuf {
    let file = site.folder().join(name);
    let output = ["--file", file.to_str().unwrap()];
    site.server.pg_dump("app", &[&output, options].concat());
    file
}

fn write(site: &Site, name: &str, bytes: &[u8]) -> PathBuf {
    let file = site.folder().join(name);
    fs::write(&file, bytes).unwrap();
    file
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn lz4(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn a_dump_in_any_form_takes_the_place_of_the_database() {
    let site = Site::new(15, "app");
    let server = &site.server;
    fill(server);
    let wanted = text(server);
    let plain = server.pg_dump("app", &[]);
    let files = [
        // Names mean nothing: it is known by its contents.
        dump(&site, "a.sql", &["-Fc"]),
        dump(&site, "b", &["-Fd", "-j2"]),
        dump(&site, "c", &["-Ft"]),
        dump(&site, "d.dump", &[]),
        dump(&site, "e.sql", &["--create", "--clean", "--if-exists"]),
        dump(&site, "f.sql", &["--clean"]),
        dump(&site, "g.sql", &["--inserts"]),
        dump(&site, "h.sql", &["--column-inserts", "--rows-per-insert=7", "-Z1"]),
        dump(
            &site,
            "i.sql",
            &["--load-via-partition-root", "--use-set-session-authorization"],
        ),
        write(&site, "j.sql.gz", &gzip(&plain)),
        write(&site, "k.sql.zst", &zstd::encode_all(plain.as_slice(), 1).unwrap()),
        write(&site, "l.sql.lz4", &lz4(&plain)),
        pg_dumpall(&site, "m.sql"),
        // A newer pg_dump than the server sets what the server does not know.
        write(
            &site,
            "newer.sql",
            &[b"SET transaction_timeout = 0;\n", plain.as_slice()].concat(),
        ),
        dump(&site, "n", &["-Fc", "--inserts"]),
        dump(
            &site,
            "o",
            &["-Fd", "--column-inserts", "--rows-per-insert=7", "--encoding=LATIN1"],
        ),
    ];
    for file in files {
        damage(server);
        let safety: &[&str] = if file.ends_with("d.dump") {
            &[]
        } else {
            &["--no-safety"]
        };
        let restored = restore(&site, &file, safety).ok();
        assert!(text(server) == wanted, "{}: {}", file.display(), restored.stdout);
    }
    let listed = site.run(&["list", "app"]).ok().stdout;
    assert_eq!(listed.matches("safety").count(), 1, "{listed}");
    // And it can be taken back.
    site.run(&["undo", "app", "--yes"]).ok();
    assert_eq!(server.psql("app", "SELECT a FROM newer"), "1");
}

fn pg_dumpall(site: &Site, name: &str) -> PathBuf {
    let file = site.folder().join(name);
    let mut command = site.server.tool("pg_dumpall");
    command
        .args(["-h", site.server.host(), "-p", "5432", "-U", "postgres", "-f"])
        .arg(&file);
    Run::of(&mut command).ok();
    file
}

#[test]
fn a_script_in_another_encoding_keeps_its_text() {
    let site = Site::new(15, "app");
    let server = &site.server;
    server.psql(
        "app",
        "CREATE TABLE \"表\" (\"ソ\" text DEFAULT 'ソ'); INSERT INTO \"表\" VALUES ('表ソ'), (DEFAULT)",
    );
    let wanted = text(server);
    let files = [
        dump(&site, "sjis.sql", &["--encoding=SJIS"]),
        dump(&site, "sjis-inserts.sql", &["--encoding=SJIS", "--inserts"]),
        dump(&site, "euc.sql", &["--encoding=EUC_JP"]),
    ];
    for file in files {
        server.psql("app", "DROP TABLE \"表\"");
        restore(&site, &file, &["--no-safety"]).ok();
        assert_eq!(text(server), wanted, "{}", file.display());
    }
}

#[test]
fn statistics_that_a_dump_brings_are_not_gathered_again() {
    let site = Site::new(18, "app");
    let server = &site.server;
    server.psql(
        "app",
        "CREATE TABLE measured AS SELECT g AS a FROM generate_series(1, 100) g; ANALYZE measured;
         CREATE TABLE new AS SELECT g AS a FROM generate_series(1, 50) g;
         SELECT pg_restore_relation_stats('schemaname', 'public', 'relname', 'measured', 'reltuples', 4711::real)",
    );
    let file = dump(&site, "a.dump", &["-Fc", "--statistics"]);
    restore(&site, &file, &["--no-safety"]).ok();
    let rows = |table: &str| {
        let rows = format!(
            "SELECT reltuples, (SELECT count(*) FROM pg_stats WHERE tablename = relname) FROM pg_class WHERE relname = '{table}'"
        );
        server.psql("app", &rows)
    };
    assert_eq!(
        (rows("measured"), rows("new")),
        ("4711|1".to_owned(), "50|1".to_owned())
    );
}

#[test]
fn a_dump_in_a_bucket_is_read_where_it_is() {
    let bucket = S3Server::start();
    let site = Site::new(15, "app");
    let (server, folder) = (&site.server, bucket.bucket().join("dumps of mine"));
    site.use_store(&bucket.config("backups"));
    fill(server);
    let wanted = text(server);
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("a.dump"), server.pg_dump("app", &["-Fc"])).unwrap();
    fs::write(folder.join("b.tar"), server.pg_dump("app", &["-Ft"])).unwrap();
    fs::write(folder.join("c.sql.gz"), gzip(&server.pg_dump("app", &[]))).unwrap();
    // As others give them.
    let names = [
        "backup 2026-11-20T02:00:00+00:00.dump",
        ".Sicherung für=Köln/100%25 + #1?&x's.dump",
    ];
    for name in names {
        let file = folder.join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::copy(folder.join("a.dump"), file).unwrap();
    }
    for name in ["a.dump", "b.tar", "c.sql.gz", names[0], names[1]] {
        damage(server);
        let file = format!("s3://bucket/dumps of mine/{name}");
        site.restore(&["--from", &file, "--no-safety"]);
        assert!(text(server) == wanted, "{name}");
    }
    let missing = site.run(&["restore", "app", "--from", "s3://bucket/nothing", "--dry-run"]);
    assert!(
        missing
            .code(3)
            .stderr
            .contains("cannot read s3://bucket/nothing: there is no such object")
    );
}

#[test]
fn a_script_is_read_before_anything_is_done() {
    let site = Site::new(15, "app");
    let server = &site.server;
    server.create_database("other");
    server.psql("other", "CREATE TABLE of_other AS SELECT 2 AS a");
    fill(server);
    let all = pg_dumpall(&site, "all.sql");
    let plain = String::from_utf8(server.pg_dump("app", &[])).unwrap();
    damage(server);
    let cut = |at: &str| plain[..plain.find(at).unwrap()].to_owned();
    let zipped = gzip(plain.as_bytes());
    for (bytes, code, message) in [
        (
            cut("-- PostgreSQL database dump complete").into_bytes(),
            DAMAGED,
            "\"dump complete\", is missing",
        ),
        (cut("20\t{20}").into_bytes(), DAMAGED, "the rows after the COPY in line"),
        (cut("SELECT 3;").into_bytes(), DAMAGED, "has no end"),
        (zipped[..zipped.len() - 20].to_vec(), DAMAGED, "ends too early"),
        (
            b"SELECT 1;\n\\i other.sql\n".to_vec(),
            USAGE,
            "line 2: there is the command \\i",
        ),
        (
            b"SELECT\n :'name';\n".to_vec(),
            USAGE,
            "line 2: there is a variable of psql",
        ),
        (
            b"BEGIN;\nCREATE TABLE a (b int);\n".to_vec(),
            DAMAGED,
            "line 1 has no end",
        ),
        (b"CREATE ROLE somebody;".to_vec(), 3, "holds no database"),
        (
            b"ALTER TABLE t OWNER TO nobody;\nCREATE ROLE nobody;\n".to_vec(),
            FAILURE,
            "lacks roles: nobody",
        ),
        (
            b"CREATE EXTENSION no_such;\n".to_vec(),
            FAILURE,
            "lacks extensions: no_such",
        ),
        (fs::read(&all).unwrap(), USAGE, "several databases: app, other"),
    ] {
        let file = write(&site, "bad", &bytes);
        let failed = restore(&site, &file, &["--dry-run"]).code(code);
        assert!(failed.stderr.contains(message), "{message}: {}", failed.stderr);
        assert_eq!(server.psql("app", "SELECT a FROM newer"), "1");
    }
    let pipe = restore(&site, Path::new("/dev/null"), &["--dry-run"]).code(3);
    assert!(pipe.stderr.contains("no regular file"), "{}", pipe.stderr);
    let part = restore(
        &site,
        &all,
        &["--database", "app", "--mode", "new", "--as", "part", "-t", "many"],
    )
    .code(USAGE);
    assert!(part.stderr.contains("no part can be chosen"), "{}", part.stderr);
    restore(&site, &all, &["--database", "other", "--no-safety"]).ok();
    assert_eq!(server.psql("app", "SELECT a FROM of_other"), "2");
}

#[test]
fn a_script_that_fails_leaves_the_live_database() {
    let site = Site::new(15, "app");
    let server = &site.server;
    fill(server);
    let plain = String::from_utf8(server.pg_dump("app", &[])).unwrap();
    let inserts = String::from_utf8(server.pg_dump("app", &["--inserts"])).unwrap();
    damage(server);
    // Rows that a trigger adds were not in the file.
    let greedy = "CREATE FUNCTION public.more() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
                  IF pg_trigger_depth() = 1 THEN INSERT INTO public.many VALUES (0); END IF; RETURN NULL; END $$;\n\
                  CREATE TRIGGER more AFTER INSERT ON public.many FOR EACH STATEMENT EXECUTE FUNCTION public.more();\n\
                  COPY public.many";
    let line = |text: &str, wanted: &str| text.lines().position(|line| line.contains(wanted)).unwrap() + 1;
    let wrong = inserts.replace("(2000, ", "('x', ");
    for (text, message) in [
        (
            plain.replace("COPY public.many", greedy),
            "has 3001 rows, and 3000 were loaded".to_owned(),
        ),
        (
            plain.replace("\n7\t7777", "\nx\t7777"),
            format!("line {}: COPY public.many", line(&plain, "COPY public.many")),
        ),
        (
            wrong.clone(),
            format!("line {}: INSERT INTO public.many", line(&wrong, "('x', ")),
        ),
        (
            "CREATE TABLE a (b int);\nCREATE TABLE a (b int);\n".to_owned(),
            "line 2: CREATE TABLE a".to_owned(),
        ),
    ] {
        let file = write(&site, "bad.sql", text.as_bytes());
        let failed = restore(&site, &file, &["--no-safety"]);
        assert_ne!(failed.code, Some(0));
        assert!(failed.stderr.contains(&message), "{message}: {}", failed.stderr);
        assert!(failed.stderr.contains("nothing was changed"), "{}", failed.stderr);
        assert_eq!(server.psql("app", "SELECT a FROM newer"), "1");
        assert_eq!(site.databases(), ["app", "postgres", "template0", "template1"]);
    }
}

#[test]
fn a_script_becomes_a_new_database_as_it_says() {
    let site = Site::new(15, "app");
    let server = &site.server;
    fill(server);
    server.psql(
        "postgres",
        "CREATE ROLE boss; ALTER DATABASE app OWNER TO boss; ALTER DATABASE app SET work_mem TO '8MB'",
    );
    let created = dump(&site, "created.sql", &["--create"]);
    let plain = dump(&site, "plain.sql", &[]);
    restore(&site, &created, &["--mode", "new", "--as", "with all"]).ok();
    assert_eq!(server.psql("with all", "SHOW work_mem"), "8MB");
    let owner = "SELECT datdba::regrole FROM pg_database WHERE datname = current_database()";
    assert_eq!(server.psql("with all", owner), "boss");
    let shown = restore(&site, &plain, &["--mode", "new", "--as", "bare", "--json"]).ok();
    let report: serde_json::Value = serde_json::from_str(&shown.stdout).unwrap();
    assert_eq!(report["outcome"]["proof"]["rows"], 3026);
    assert_eq!(report["plan"]["file"]["format"], "plain");
    assert_eq!(server.psql("bare", "SELECT count(*) FROM many"), "3000");
    server.create_database("elsewhere");
    let (plain, to) = (plain.to_str().unwrap(), server.url("elsewhere"));
    site.run(&["restore", "--from", plain, "--to", &to, "--yes"]).ok();
    assert_eq!(server.psql("elsewhere", "SELECT count(*) FROM many"), "3000");
    let twice = site
        .run(&["restore", "app", "--from", plain, "--to", &to, "--dry-run"])
        .code(USAGE);
    assert!(twice.stderr.contains("says what to restore"), "{}", twice.stderr);
    assert_eq!(
        server.psql("bare", "SHOW work_mem"),
        server.psql("postgres", "SHOW work_mem")
    );
}
