//! Restores in one transaction, as a role that may not create databases: pg_dump says whether all or nothing changed.

use std::process::Child;

use super::Site;
use crate::support::{Run, Server, VERSIONS};

/// A site whose database belongs to a role that may nothing else, and a second database of its that stays empty.
fn site(major: u32) -> Site {
    let server = Server::start(major);
    for sql in [
        "CREATE ROLE app LOGIN",
        "CREATE ROLE reader",
        "CREATE DATABASE app OWNER app TEMPLATE template0",
        "CREATE DATABASE stock OWNER app TEMPLATE template0",
    ] {
        server.psql("postgres", sql);
    }
    if major < 15 {
        // What the owner of a database may do since then.
        for database in ["app", "stock"] {
            server.psql(database, "ALTER SCHEMA public OWNER TO app");
        }
    }
    // A role that is not the owner's made it, as managed servers do; the owner cannot make it again.
    for database in ["app", "stock"] {
        server.psql(database, "CREATE EXTENSION pageinspect");
    }
    Site::on(server, "app", "app")
}

fn psql(site: &Site, sql: &str) {
    site.server.psql("app", &format!("SET ROLE app;\n{sql}"));
}

fn dump(site: &Site, database: &str) -> String {
    String::from_utf8(site.server.pg_dump(database, &["--restrict-key=x"])).unwrap()
}

const SETUP: &str = "
    CREATE EXTENSION hstore;
    CREATE SCHEMA sales;
    CREATE TYPE sales.state AS ENUM ('new', 'paid');
    CREATE TABLE sales.orders (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, state sales.state, more hstore, note text);
    INSERT INTO sales.orders (state, more, note) SELECT 'new', 'a=>1', repeat('n', i) FROM generate_series(1, 500) i;
    CREATE TABLE lines (order_id int REFERENCES sales.orders, at int) PARTITION BY RANGE (order_id);
    CREATE TABLE lines_1 PARTITION OF lines FOR VALUES FROM (1) TO (300);
    CREATE TABLE lines_2 PARTITION OF lines FOR VALUES FROM (300) TO (1000);
    CREATE INDEX ON lines (at);
    INSERT INTO lines SELECT i, i FROM generate_series(1, 500) i;
    CREATE VIEW open_orders AS SELECT * FROM sales.orders WHERE state = 'new';
    CREATE MATERIALIZED VIEW counted AS SELECT count(*) FROM open_orders;
    CREATE FUNCTION loud() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''no''; END';
    INSERT INTO lines VALUES (7, 7);
    CREATE TRIGGER loud BEFORE INSERT ON sales.orders FOR EACH ROW EXECUTE FUNCTION loud();
    CREATE SEQUENCE numbers; SELECT setval('numbers', 77);
    CREATE PUBLICATION news FOR TABLE sales.orders;
    COMMENT ON SCHEMA public IS 'ours'; GRANT USAGE ON SCHEMA public TO reader; REVOKE ALL ON SCHEMA public FROM PUBLIC;
    ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO reader;
    GRANT SELECT ON sales.orders TO reader;
    SELECT lo_from_bytea(4711, 'one'), lo_from_bytea(4712, decode(repeat('ab', 700000), 'hex'));";

/// What happens to the database between the backup and the restore.
const CHANGES: &str = "
    DELETE FROM lines; DROP VIEW open_orders CASCADE; DROP TABLE sales.orders CASCADE; DROP EXTENSION hstore CASCADE;
    CREATE TABLE sales.orders (id text); INSERT INTO sales.orders VALUES ('other');
    CREATE SCHEMA besides; CREATE TABLE besides.t (a int, b int GENERATED ALWAYS AS (a + 1) STORED);
    CREATE DOMAIN besides.d AS int; CREATE FUNCTION besides.f(besides.d) RETURNS int LANGUAGE sql AS 'SELECT 1';
    CREATE EXTENSION citext SCHEMA besides; CREATE TABLE c (c besides.citext);
    CREATE COLLATION german (locale = 'C'); CREATE STATISTICS s ON a, b FROM besides.t;
    COMMENT ON SCHEMA public IS 'theirs'; GRANT CREATE ON SCHEMA public TO PUBLIC;
    ALTER DEFAULT PRIVILEGES GRANT ALL ON SEQUENCES TO PUBLIC;
    ALTER DEFAULT PRIVILEGES REVOKE USAGE ON TYPES FROM PUBLIC;
    ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT ALL ON TABLES TO reader;
    SELECT lo_unlink(4711), lo_from_bytea(4713, 'three');";

/// What stock pg_restore makes of the backup, in a database of the same owner.
fn stock(site: &Site, id: &str) -> String {
    let archive = site.backups().join(format!("app_{id}.dump"));
    let text = site.backups().with_file_name("stock.sql");
    let mut pg_restore = site.server.tool("pg_restore");
    Run::of(pg_restore.arg("-f").arg(&text).arg(archive)).ok();
    // Its own user cannot create again what another one made.
    site.server.load("stock", &text);
    dump(site, "stock")
}

#[track_caller]
fn assert_same(found: &str, wanted: &str, what: &str) {
    assert!(found == wanted, "{what}:\n{found}\ninstead of\n{wanted}");
}

#[test]
fn all_is_replaced_in_one_transaction_by_a_mere_owner() {
    for major in VERSIONS {
        let site = site(major);
        psql(&site, SETUP);
        let id = site.backup();
        psql(&site, CHANGES);
        let changed = dump(&site, "app");
        let report = site.restore(&[&id, "--mode", "in-place"]);
        let safety = report["outcome"]["safety"].as_str().unwrap().to_owned();
        let what = format!("PostgreSQL {major}");
        assert_same(&dump(&site, "app"), &stock(&site, &id), &what);
        assert_eq!(report["outcome"]["proof"]["large_objects"], 2, "{what}");
        assert_eq!(report["plan"]["mode"], "in-place", "{what}");
        assert_eq!(
            report["plan"]["needs"]["extensions"],
            serde_json::json!(["hstore", "pageinspect"])
        );
        assert_eq!(site.databases(), ["app", "postgres", "stock", "template0", "template1"]);
        let undo = site.run(&["undo", "app", "--yes"]).code(3);
        assert!(
            undo.stderr.contains(&format!("restore app {safety} --mode in-place")),
            "{}",
            undo.stderr
        );
        site.restore(&[&safety, "--mode", "in-place"]);
        assert_same(&dump(&site, "app"), &changed, &format!("{what}, taken back"));
    }
}

const IN_PLACE: &[&str] = &["restore", "app", "latest", "--yes", "--mode", "in-place"];

/// Starts a restore that stops at a step, and waits until it is there.
fn paused(site: &Site, step: &str) -> Child {
    super::failures::paused(site, &[IN_PLACE, &["--pause-at", step]].concat())
}

#[test]
fn whatever_fails_or_is_killed_leaves_all_as_it_was() {
    let site = site(15);
    psql(&site, SETUP);
    site.backup();
    psql(&site, CHANGES);
    let before = dump(&site, "app");
    for step in ["lock", "remove", "pre-data", "privileges", "prove", "commit"] {
        let mut child = paused(&site, step);
        child.kill().unwrap();
        child.wait().unwrap();
        // The dump waits until the server has noticed.
        assert_same(&dump(&site, "app"), &before, step);
    }
    // Somebody changes his mind.
    let mut child = paused(&site, "data");
    let pid = child.id().to_string();
    Run::of(std::process::Command::new("kill").args(["-INT", &pid])).ok();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_same(&dump(&site, "app"), &before, "cancelled");
    // The connection is cut.
    let mut child = paused(&site, "prove");
    let cut = "SELECT count(pg_terminate_backend(pid)) FROM pg_locks l WHERE mode = 'AccessExclusiveLock' AND granted \
               AND relation = 'sales.orders'::regclass";
    assert_eq!(site.server.psql("app", cut), "1");
    child.kill().unwrap();
    child.wait().unwrap();
    assert_same(&dump(&site, "app"), &before, "cut");

    // A superuser's session, which is not for the owner to end, holds a table.
    let mut holder = site.server.tool("psql");
    holder
        .args(site.server.connection_args("app"))
        .args(["-c", "BEGIN", "-c", "SET ROLE app"]);
    let mut holder = holder
        .args(["-c", "LOCK TABLE lines", "-c", "SELECT pg_sleep(600)"])
        .spawn()
        .unwrap();
    let locked =
        "SELECT count(*) FROM pg_locks WHERE relation = 'lines'::regclass AND mode = 'AccessExclusiveLock' AND granted";
    while site.server.psql("app", locked) != "1" {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let refused = site.run(IN_PLACE).code(5);
    assert!(
        refused.stderr.contains("psql") && refused.stderr.contains("in use"),
        "{}",
        refused.stderr
    );
    holder.kill().unwrap();
    holder.wait().unwrap();
    site.server.psql("postgres", "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_sleep%' AND pid <> pg_backend_pid()");
    assert_same(&dump(&site, "app"), &before, "in use");
}

#[test]
fn rows_of_single_tables_are_replaced_and_all_else_stays() {
    for major in [14, 18] {
        let site = site(major);
        psql(&site, SETUP);
        site.backup();
        let before = dump(&site, "app");
        psql(
            &site,
            "DELETE FROM lines; UPDATE sales.orders SET note = 'lost'; SELECT nextval('sales.orders_id_seq')",
        );
        let tables = ["-t", "orders", "-t", "lines_1", "-t", "lines_2"];
        let report = site.restore(&[&["--mode", "in-place"], &tables[..]].concat());
        assert_eq!(report["outcome"]["proof"]["rows"], 1001);
        assert_same(&dump(&site, "app"), &before, &format!("PostgreSQL {major}"));

        // A line of an order that the backup does not have.
        psql(
            &site,
            "ALTER TABLE sales.orders DISABLE TRIGGER loud; INSERT INTO sales.orders DEFAULT VALUES; \
             INSERT INTO lines SELECT max(id), 1 FROM sales.orders",
        );
        let changed = dump(&site, "app");
        let refused = |table: &str, code: i32, says: &str| {
            let run = site.run(&[IN_PLACE, &["-t", table]].concat()).code(code);
            assert!(run.stderr.contains(says), "{}", run.stderr);
        };
        refused("orders", 1, "lines_order_id_fkey");
        refused("open_orders", 2, "not VIEW open_orders");
        refused("lines", 1, "name its partitions");
        psql(&site, "ALTER TABLE sales.orders ADD COLUMN more_of_it int");
        refused("orders", 1, "sales.orders is defined otherwise now");
        psql(&site, "ALTER TABLE sales.orders DROP COLUMN more_of_it");
        assert_same(&dump(&site, "app"), &changed, &format!("PostgreSQL {major}, refused"));
    }
}

#[test]
fn what_cannot_be_done_in_place_is_said_before() {
    let site = site(15);
    psql(&site, "CREATE TABLE t (a int)");
    site.backup();
    site.server.psql(
        "app",
        "CREATE ROLE boss; CREATE TABLE bosses (a int); ALTER TABLE bosses OWNER TO boss",
    );
    let refused = |says: &str, code: i32| {
        let run = site.run(IN_PLACE).code(code);
        assert!(run.stderr.contains(says), "{}", run.stderr);
    };
    refused("belongs to: boss", 8);
    site.server
        .psql("app", "DROP TABLE bosses; CREATE TABLE supers (a int)");
    refused("belongs to: postgres", 8);
    site.server.psql("app", "DROP TABLE supers");
    psql(
        &site,
        "DO $$ BEGIN FOR i IN 1..8000 LOOP PERFORM lo_create(i); END LOOP; END $$",
    );
    refused("max_locks_per_transaction", 1);
    psql(
        &site,
        "SELECT lo_unlink(oid) FROM pg_largeobject_metadata WHERE oid < 4000",
    );
    psql(&site, "SELECT lo_unlink(oid) FROM pg_largeobject_metadata");
    site.configure("[jobs.app.dump]\nexclude_tables = [\"nothing\"]");
    refused("only a part of the database", 2);
}
