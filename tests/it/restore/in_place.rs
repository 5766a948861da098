//! Restores in one transaction, as a role that may not create databases: pg_dump says whether all or nothing changed.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};

use super::Site;
use crate::support::relay::{Cut, Relay};
use crate::support::{Run, Server, VERSIONS};

/// A site whose database belongs to a role that may nothing else, and a second database of its that stays empty.
pub fn site(major: u32) -> Site {
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

pub fn psql(site: &Site, sql: &str) {
    site.server.psql("app", &format!("SET ROLE app;\n{sql}"));
}

pub fn dump(site: &Site, database: &str) -> String {
    String::from_utf8(site.server.pg_dump(database, &["--restrict-key=x"])).unwrap()
}

pub const SETUP: &str = "
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
pub fn assert_same(found: &str, wanted: &str, what: &str) {
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
        let restored = dump(&site, "app");
        let undo = site.run(&["undo", "app", "--yes"]).ok();
        assert!(
            undo.stdout.contains(&format!("safety snapshot {safety}")),
            "{}",
            undo.stdout
        );
        assert_same(&dump(&site, "app"), &changed, &format!("{what}, taken back"));
        // What was undone is taken back in its turn.
        site.run(&["undo", "app", "--yes"]).ok();
        assert_same(&dump(&site, "app"), &restored, &format!("{what}, undone twice"));
    }
}

pub const IN_PLACE: &[&str] = &["restore", "app", "latest", "--yes", "--mode", "in-place"];

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
    // Of all these there is nothing to take back, though each has left its safety snapshot.
    let undo = site.run(&["undo", "app", "--yes"]).code(3);
    assert!(undo.stderr.contains("no database is kept"), "{}", undo.stderr);
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

/// Only one database can be entered: no session is possible beside the live one.
#[test]
fn a_server_with_one_database_is_enough() {
    let site = site(15);
    psql(&site, SETUP);
    site.backup();
    let before = dump(&site, "app");
    for database in ["postgres", "template1", "stock"] {
        site.server.psql(
            "postgres",
            &format!("REVOKE CONNECT ON DATABASE {database} FROM PUBLIC, app"),
        );
    }
    site.server.psql("postgres", "ALTER DATABASE stock OWNER TO postgres");
    psql(&site, CHANGES);
    let changed = dump(&site, "app");
    let mut first = paused(&site, "prove");
    let second = site.run(IN_PLACE).code(5);
    assert!(second.stderr.contains("another restore"), "{}", second.stderr);
    first.kill().unwrap();
    first.wait().unwrap();
    site.restore(&["--mode", "in-place"]);
    assert_same(&dump(&site, "app"), &before, "restored");
    site.run(&["list", "app"]).ok();
    site.run(&["undo", "app", "--yes"]).ok();
    assert_same(&dump(&site, "app"), &changed, "taken back");
}

#[test]
fn a_restore_in_place_that_failed_is_none_to_be_undone() {
    let site = Site::new(15, "app");
    site.server.psql("app", "CREATE TABLE t AS SELECT 'backup' AS a");
    site.backup();
    site.server.psql("app", "UPDATE t SET a = 'live'");
    let found = || site.server.psql("app", "SELECT a FROM t");
    site.restore(&[]);
    site.server.psql("app", "UPDATE t SET a = 'later'");
    let mut child = paused(&site, "prove");
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(found(), "later");
    let plan = site.run(&["undo", "app", "--dry-run"]).ok();
    assert!(plan.stdout.contains("app_before_"), "{}", plan.stdout);
    site.run(&["undo", "app", "--yes"]).ok();
    assert_eq!(found(), "live");
    // After one that was committed the way back is its safety snapshot, and after that the kept database again.
    site.restore(&["--mode", "in-place"]);
    assert_eq!(found(), "backup");
    let nobody = site.run(&["undo", "app"]).code(7);
    assert!(nobody.stderr.contains("--yes"), "{}", nobody.stderr);
    site.run(&["undo", "app", "--yes"]).ok();
    assert_eq!(found(), "live");
    let kept = site
        .databases()
        .into_iter()
        .find(|name| name.starts_with("app_before_"))
        .unwrap();
    site.run(&["undo", "app", "--kept", &kept, "--yes"]).ok();
    assert_eq!(found(), "later");
}

#[test]
fn a_connection_that_is_cut_over_the_commit_leaves_no_doubt() {
    let site = site(15);
    psql(&site, SETUP);
    site.backup();
    psql(&site, CHANGES);
    let before = dump(&site, "app");
    let direct = site.server.host().to_owned();
    let cut = |how| {
        let relay = Relay::cutting_over(&site.server, "COMMIT", how);
        site.reconfigure(&direct, relay.host());
        let run = site.command(&[IN_PLACE, &["--no-safety"]].concat());
        (relay, run)
    };
    let uncut = |relay: Relay| site.reconfigure(relay.host(), &direct);

    let (relay, mut run) = cut(Cut::Before);
    let failed = Run::of(&mut run).code(4);
    assert!(failed.stderr.contains("nothing was changed"), "{}", failed.stderr);
    assert_same(&dump(&site, "app"), &before, "cut before");
    uncut(relay);

    let (relay, mut run) = cut(Cut::After);
    let done = Run::of(&mut run).ok();
    assert!(done.stderr.contains("broke over the commit"), "{}", done.stderr);
    assert!(
        dump(&site, "app") != before,
        "cut after: what was reported as done was not"
    );
    uncut(relay);

    psql(&site, "CREATE TABLE after_all ()");
    let (relay, mut run) = cut(Cut::ForGood);
    let mut child = run.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(said.any(|line| line.contains("broke over the commit")));
    Run::of(std::process::Command::new("kill").args(["-INT", &child.id().to_string()])).ok();
    let rest: Vec<String> = said.collect();
    assert_eq!(child.wait().unwrap().code(), Some(4), "{rest:?}");
    let (message, hint) = (rest.join("\n"), "SELECT pg_xact_status(");
    assert!(message.contains("is not known"), "{message}");
    let number = message.split(hint).nth(1).unwrap().split('\'').nth(1).unwrap();
    assert_eq!(site.server.psql("app", &format!("{hint}'{number}')")), "committed");
    assert_eq!(site.server.psql("app", "SELECT to_regclass('after_all')"), "");
    uncut(relay);
}

#[test]
fn who_holds_what_no_fence_locks_is_ended_or_named() {
    let site = site(15);
    psql(&site, SETUP);
    site.backup();
    psql(&site, CHANGES);
    let before = dump(&site, "app");
    let hold = |role: &str| {
        let mut holder = site.server.tool("psql");
        let connection = site.server.connection_args("app");
        let connection: Vec<_> = connection
            .iter()
            .map(|arg| if arg == "postgres" { role } else { arg.as_str() })
            .collect();
        holder.env("PGAPPNAME", "counter").args(connection);
        let script = [
            "-c",
            "BEGIN",
            "-c",
            "SELECT last_value FROM public.numbers",
            "-c",
            "SELECT pg_sleep(600)",
        ];
        let child = holder
            .args(script)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let held = "SELECT count(*) FROM pg_locks WHERE relation = 'numbers'::regclass AND granted";
        while site.server.psql("app", held) != "1" {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        child
    };
    let mut holder = hold("postgres");
    let refused = site.run(IN_PLACE).code(5);
    for words in ["numbers", "\"counter\" (role postgres", "nothing was changed"] {
        assert!(refused.stderr.contains(words), "{words}: {}", refused.stderr);
    }
    holder.kill().unwrap();
    holder.wait().unwrap();
    site.server.psql(
        "app",
        "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE application_name = 'counter'",
    );
    assert_same(&dump(&site, "app"), &before, "in use");

    let mut holder = hold("app");
    let report = site.restore(&["--mode", "in-place"]);
    assert_eq!(report["outcome"]["ended"], 1);
    assert_ne!(holder.wait().unwrap().code(), Some(0));
}
