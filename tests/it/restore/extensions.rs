//! Extensions that ask something of a restore: their tables refer to each other, or they live in one database only.

use super::Site;
use super::in_place::{assert_same, dump};
use crate::support::Server;

const OBSTACLE: i32 = 1;

const TAKEN_OUT: &str = "CREATE EXTENSION hstore; CREATE EXTENSION tablefunc; CREATE EXTENSION citext;
    CREATE TABLE t (id int PRIMARY KEY, h hstore); INSERT INTO t VALUES (1, 'a=>1'), (2, NULL);
    ALTER EXTENSION hstore DROP FUNCTION hstore_version_diag(hstore);
    ALTER EXTENSION hstore DROP FUNCTION exist(hstore, text); ALTER FUNCTION exist(hstore, text) COST 7;
    ALTER EXTENSION citext DROP CAST (citext AS varchar);
    ALTER EXTENSION tablefunc DROP FUNCTION normal_rand(int, float8, float8);
    CREATE OR REPLACE FUNCTION normal_rand(int, float8, float8) RETURNS SETOF float8 LANGUAGE sql AS 'SELECT $2'";

/// Members that were taken out are objects of their own in a dump, and come along with the extension all the same: pg_restore
/// fails at them and goes on. `exist` cannot be dropped, for an operator of the extension needs it.
#[test]
fn members_that_were_taken_out_of_their_extension_come_back_as_that() {
    all_ways(
        TAKEN_OUT,
        "DELETE FROM t; DROP CAST (citext AS varchar); DROP FUNCTION hstore_version_diag(hstore)",
    );
}

/// Restores in all ways, each of them taken back, and compares what pg_dump says.
#[track_caller]
fn all_ways(setup: &str, change: &str) {
    let site = Site::new(15, "app");
    site.server.psql("app", setup);
    let id = site.backup();
    let before = dump(&site, "app");
    site.server.psql("app", change);
    let changed = dump(&site, "app");
    assert_ne!(before, changed);
    for how in [
        &["--mode", "swap", "-j", "1"][..],
        &["--mode", "swap", "-j", "4"],
        &["--mode", "in-place"],
    ] {
        site.restore(&[&[id.as_str()], how].concat());
        assert_same(&dump(&site, "app"), &before, how[1]);
        site.run(&["undo", "app", "--yes"]).ok();
        assert_same(&dump(&site, "app"), &changed, how[1]);
    }
    site.restore(&[&id, "--mode", "new", "--as", "beside", "-j", "4"]);
    assert_same(&dump(&site, "beside"), &before, "new");
}

#[test]
fn rows_of_an_extension_come_in_the_order_of_its_foreign_keys() {
    all_ways(
        "CREATE EXTENSION periods CASCADE; CREATE TABLE emp (id int, since date, till date);
         SELECT periods.add_period('emp', 'p', 'since', 'till');
         SELECT periods.add_unique_key('emp', ARRAY['id'], 'p', key_name => 'k');
         CREATE TABLE task (emp int, since date, till date); SELECT periods.add_period('task', 'q', 'since', 'till');
         SELECT periods.add_foreign_key('task', ARRAY['emp'], 'q', 'k'); SELECT periods.add_system_time_period('emp');
         SELECT periods.add_system_versioning('emp'); INSERT INTO emp VALUES (1, '2020-01-01', '2021-01-01')",
        "DELETE FROM emp",
    );
}

#[test]
fn queues_of_pgq_come_back() {
    all_ways(
        "CREATE EXTENSION pgq; SELECT pgq.create_queue('q'); SELECT pgq.create_queue('r');
         SELECT pgq.register_consumer('q', 'c'); SELECT pgq.register_consumer('r', 'c'); SELECT pgq.register_consumer('r', 'd')",
        "SELECT pgq.unregister_consumer('r', 'd')",
    );
}

#[test]
fn what_an_extension_configured_comes_before_the_rows_that_need_it() {
    // The format of a point is a row of the extension's; by name it comes after these tables.
    let format = "<?xml version=\"1.0\"?><pc:PointCloudSchema xmlns:pc=\"http://pointcloud.org/schemas/PC/1.1\"><pc:dimension>\
        <pc:position>1</pc:position><pc:size>4</pc:size><pc:name>X</pc:name><pc:interpretation>int32_t</pc:interpretation>\
        </pc:dimension><pc:dimension><pc:position>2</pc:position><pc:size>4</pc:size><pc:name>Y</pc:name>\
        <pc:interpretation>int32_t</pc:interpretation></pc:dimension></pc:PointCloudSchema>";
    all_ways(
        &format!(
            "CREATE EXTENSION pointcloud; INSERT INTO pointcloud_formats (pcid, srid, schema) VALUES (1, 4326, '{format}');
             CREATE TABLE a (p pcpoint(1)); INSERT INTO a SELECT PC_MakePoint(1, ARRAY[n, n]) FROM generate_series(1, 100) n;
             CREATE TABLE b AS SELECT * FROM a; CREATE TABLE z AS SELECT * FROM a"
        ),
        "DELETE FROM a",
    );
}

#[test]
fn triggers_of_an_extension_do_not_fire_at_what_comes_back() {
    all_ways(
        "CREATE EXTENSION pg_fact_loader; CREATE TABLE q (id int PRIMARY KEY); CREATE TABLE base (id int PRIMARY KEY);
         INSERT INTO fact_loader.queue_tables (queue_table_relid, queue_of_base_table_relid)
            VALUES ('q'::regclass, 'base'::regclass)",
        "CREATE TABLE more (n int)",
    );
}

#[test]
fn an_extension_of_one_database_only_is_known_before_anything_is_done() {
    let server = Server::start_with(15, &["shared_preload_libraries=pg_cron", "cron.database_name=app"]);
    let site = Site::on(server, "app", "postgres");
    site.server.create_database("app");
    site.server.psql(
        "app",
        "CREATE EXTENSION pg_cron; CREATE TABLE t (n int); INSERT INTO t VALUES (1);
         SELECT cron.schedule('yearly', '0 0 1 1 *', 'SELECT 1')",
    );
    let warned = site.run(&["backup", "app"]).ok().stderr;
    assert!(
        warned.contains("the extension pg_cron") && warned.contains("cron.database_name"),
        "{warned}"
    );
    let before = dump(&site, "app");
    site.server
        .psql("app", "DELETE FROM t; SELECT cron.unschedule('yearly')");
    let databases = site.databases();
    for args in [
        &["--dry-run"][..],
        &["--yes"],
        &["--yes", "--mode", "new", "--as", "beside"],
    ] {
        let run = site.run(&[&["restore", "app"], args].concat()).code(OBSTACLE);
        let said = run.stdout + &run.stderr;
        let words =
            "the extension pg_cron cannot be created in a new database: can only create extension in database app";
        assert!(said.contains(words), "{said}");
        let offers = if args.contains(&"new") {
            "--keep-going"
        } else {
            "--mode in-place"
        };
        assert!(said.contains(offers), "{said}");
        assert_eq!(site.databases(), databases);
    }
    let backups: serde_json::Value = serde_json::from_str(&site.run(&["list", "app", "--json"]).ok().stdout).unwrap();
    assert!(!backups.to_string().contains("\"kind\":\"safety\""), "{backups}");
    site.restore(&["--mode", "in-place"]);
    assert_same(&dump(&site, "app"), &before, "in place");
    site.run(&["undo", "app", "--yes"]).ok();
    assert_eq!(
        site.server
            .psql("app", "SELECT count(*) FROM t; SELECT count(*) FROM cron.job"),
        "0\n0"
    );
}

#[test]
fn an_extension_that_keeps_databases_from_ever_being_dropped_is_known_before_anything_is_done() {
    let server = Server::start_with(15, &["shared_preload_libraries=pgautofailover"]);
    let site = Site::on(server, "app", "postgres");
    site.server.create_database("app");
    site.server.psql(
        "app",
        "CREATE EXTENSION pgautofailover CASCADE; CREATE TABLE t (n int); INSERT INTO t VALUES (1)",
    );
    let id = site.backup();
    let before = dump(&site, "app");
    site.server.psql("app", "DELETE FROM t");
    let databases = site.databases();
    for args in [
        &["--dry-run"][..],
        &["--yes"],
        &["--yes", "--mode", "new", "--as", "beside"],
    ] {
        let run = site.run(&[&["restore", "app", &id], args].concat()).code(OBSTACLE);
        let said = run.stdout + &run.stderr;
        let words = "the extension pgautofailover cannot be created in a new database: its workers keep the server from ever ending a \
                     DROP DATABASE";
        assert!(said.contains(words), "{said}");
        let offers = if args.contains(&"new") {
            "--keep-going"
        } else {
            "--mode in-place"
        };
        assert!(said.contains(offers), "{said}");
        // What could never be dropped was not made.
        assert_eq!(site.databases(), databases);
    }
    site.restore(&[&id, "--mode", "in-place"]);
    assert_same(&dump(&site, "app"), &before, "in place");
    site.run(&["undo", "app", "--yes"]).ok();
    assert_eq!(site.server.psql("app", "SELECT count(*) FROM t"), "0");

    // Of a database without it nothing hangs, as long as nothing has to be dropped.
    site.server.create_database("other");
    site.server
        .psql("other", "CREATE TABLE t (n int); INSERT INTO t VALUES (1)");
    let other = Site::on(std::sync::Arc::clone(&site.server), "other", "postgres");
    let id = other.backup();
    other.server.psql("other", "DELETE FROM t");
    other.restore(&[&id]);
    assert_eq!(other.server.psql("other", "SELECT count(*) FROM t"), "1");
}
