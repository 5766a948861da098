//! Restores of a part of a backup: stock pg_restore with the same options is the oracle.

use std::fs;

use super::Site;
use crate::support::{Run, VERSIONS};

const SETUP: &str = "
    CREATE ROLE reader; CREATE ROLE boss; CREATE ROLE other;
    CREATE SCHEMA sales AUTHORIZATION boss;
    CREATE SCHEMA stock;
    CREATE TABLE sales.orders (id int PRIMARY KEY, note text DEFAULT 'x');
    INSERT INTO sales.orders SELECT i, 'order ' || i FROM generate_series(1, 500) i;
    CREATE INDEX by_note ON sales.orders (note);
    ALTER TABLE sales.orders OWNER TO boss;
    GRANT SELECT ON sales.orders TO reader;
    COMMENT ON TABLE sales.orders IS 'what was ordered';
    CREATE SEQUENCE sales.numbers; SELECT setval('sales.numbers', 42);
    CREATE FUNCTION sales.twice(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 2 * $1';
    CREATE FUNCTION sales.fires() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END';
    CREATE TRIGGER watch BEFORE INSERT ON sales.orders FOR EACH ROW EXECUTE FUNCTION sales.fires();
    CREATE TABLE stock.items (id int PRIMARY KEY); INSERT INTO stock.items VALUES (1), (2);
    CREATE VIEW stock.all_items AS SELECT * FROM stock.items;
    CREATE TABLE public.lines (item int REFERENCES stock.items); INSERT INTO public.lines VALUES (1);
    ALTER DEFAULT PRIVILEGES FOR ROLE boss IN SCHEMA sales GRANT SELECT ON TABLES TO reader;
    SELECT lo_from_bytea(0, 'a large object');";

/// Options, the schemas that stock pg_restore must find, and how many tables with rows are proven.
const CHOICES: &[(&[&str], &str, u64)] = &[
    (&["-n", "sales"], "CREATE SCHEMA sales AUTHORIZATION boss", 1),
    (&["-N", "sales", "--no-owner"], "SELECT", 2),
    (
        &["-t", "orders", "-t", "numbers"],
        "CREATE SCHEMA sales AUTHORIZATION boss",
        1,
    ),
    (
        &["-t", "orders", "-I", "by_note", "-x"],
        "CREATE SCHEMA sales AUTHORIZATION boss",
        1,
    ),
    (&["-P", "twice(integer)"], "CREATE SCHEMA sales AUTHORIZATION boss", 0),
    (&["--schema-only", "--no-comments"], "SELECT", 0),
    (&["--section=pre-data", "--section=data", "-O", "-x"], "SELECT", 3),
];

#[test]
fn what_is_restored_of_a_selection_is_what_pg_restore_restores() {
    for major in [14, 18] {
        let site = Site::new(major, "app");
        site.server.psql("app", SETUP);
        let id = site.backup();
        let archive = site.backups().join(format!("app_{id}.dump"));
        for (number, (options, schemas, tables)) in CHOICES.iter().enumerate() {
            let (ours, stock) = (format!("ours{number}"), format!("stock{number}"));
            let report = site.restore(&[&["--mode", "new", "--as", &ours], *options].concat());
            assert_eq!(report["outcome"]["proof"]["tables"], *tables, "{options:?}");
            site.server.create_database(&stock);
            site.server.psql(&stock, schemas);
            let mut pg_restore = site.server.tool("pg_restore");
            pg_restore
                .arg("--exit-on-error")
                .args(*options)
                .args(site.server.connection_args(&stock));
            Run::of(pg_restore.arg(&archive)).ok();
            same(&site, &ours, &stock);
        }
    }
}

#[track_caller]
fn same(site: &Site, ours: &str, stock: &str) {
    let dump = |name: &str| String::from_utf8(site.server.pg_dump(name, &["--restrict-key=x"])).unwrap();
    let (ours, stock) = (dump(ours), dump(stock));
    assert!(
        ours == stock,
        "PostgreSQL {}:\n{ours}\ninstead of\n{stock}",
        site.server.major
    );
}

#[test]
fn a_list_says_what_is_restored_and_what_cannot_be_is_refused() {
    let site = Site::new(*VERSIONS.last().unwrap(), "app");
    site.server.psql("app", SETUP);
    let id = site.backup();
    let archive = site.backups().join(format!("app_{id}.dump"));
    let list = Run::of(site.server.tool("pg_restore").arg("-l").arg(&archive))
        .ok()
        .stdout;
    // A view last, a comment sign in front of what is not wanted.
    let (view, rest): (Vec<_>, Vec<_>) = list.lines().partition(|line| line.contains(" VIEW stock "));
    let off = |line: &&str| line.contains(" sales ") || line.contains("BLOB") || line.contains("LARGE OBJECT");
    let rest: Vec<_> = rest
        .iter()
        .map(|line| {
            if off(line) {
                format!(";{line}")
            } else {
                (*line).to_owned()
            }
        })
        .collect();
    let file = site.backups().with_file_name("list");
    fs::write(&file, [rest.join("\n"), view.join("\n")].join("\n")).unwrap();
    let file = file.to_str().unwrap();
    let report = site.restore(&["--mode", "new", "--as", "ours", "-L", file]);
    assert_eq!(report["outcome"]["proof"]["tables"], 2);
    site.server.create_database("stock");
    let mut pg_restore = site.server.tool("pg_restore");
    pg_restore
        .args(["--exit-on-error", "-L", file])
        .args(site.server.connection_args("stock"));
    Run::of(pg_restore.arg(&archive)).ok();
    same(&site, "ours", "stock");

    let refused = |args: &[&str], code: i32, says: &str| {
        let run = site.run(&[&["restore", "app", "--yes"], args].concat()).code(code);
        assert!(run.stderr.contains(says), "{}", run.stderr);
    };
    refused(&["-t", "orders"], 2, "the rest of it would be gone");
    refused(&["--mode", "new", "--as", "x", "-a"], 2, "no tables that rows");
    refused(&["--mode", "new", "--as", "x", "-t", "order"], 3, "--table order");
    fs::write(file, "1; ok\nrubbish\n").unwrap();
    refused(&["--mode", "new", "--as", "x", "-L", file], 2, "line 2");
    assert_eq!(
        site.databases(),
        ["app", "ours", "postgres", "stock", "template0", "template1"]
    );
}
